"""Names and values as people read them."""

from __future__ import annotations

import math

import pytest

from lfray.names import METRICS
from lfray.pareto.objective import objective
from lfray.report.wording import display_name, format_value, listed, plural, short_count, with_unit


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("accuracy", "accuracy"),
        ("fair.worst_group_accuracy", "worst group accuracy"),
        ("fair.accuracy_gap/race", "accuracy gap (race)"),
        ("accuracy/race/African:20:American", "accuracy (race = African American)"),
        ("validation.f1.class_a", "f1 (validation, class a)"),
    ],
)
def test_names(key: str, name: str) -> None:
    assert display_name(key) == name


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("accuracy", 0.81234, "0.812"),
        ("accuracy", math.nan, "undefined"),
        ("cost.trainable_parameters", 1234567.0, "1,234,567"),
        ("cost.trainable_parameters", 0.0, "0"),
        ("cost.adapter_bytes", 2048.0, "2,048"),
        ("cost.train_seconds", 12.345, "12.35"),
        ("cost.training_flops", 1.5e15, "1.5e+15"),
        ("cost.tokens_per_second", 2.5e7, "2.5e+07"),
    ],
)
def test_values(key: str, value: float, text: str) -> None:
    assert format_value(METRICS[key], value) == text


def test_units_and_counts() -> None:
    assert with_unit(objective("cost.train_seconds")) == "train seconds [s]"
    assert with_unit(objective("cost.trainable_parameters")) == "trainable parameters"
    assert [short_count(value) for value in (0, 10, 1e3, 2e6, 3e9, 4e12)] == ["0", "10", "1k", "2M", "3G", "4T"]
    assert (plural(1, "trial"), plural(2000, "trial")) == ("1 trial", "2,000 trials")
    assert listed(["a", "b", "c"], most=2) == "a, b and 1 more"
