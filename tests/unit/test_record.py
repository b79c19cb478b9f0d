from __future__ import annotations

import math

import pytest

from lfray import names
from lfray.record import Measure, defined, index_measures, undefined
from tests.unit.records import ATTRIBUTE, make_record


def test_a_value_is_nan_exactly_when_it_has_a_reason() -> None:
    with pytest.raises(AssertionError):
        Measure("accuracy", math.nan)
    with pytest.raises(AssertionError):
        Measure("accuracy", 0.5, undefined_reason="empty_group")
    with pytest.raises(AssertionError):
        Measure("accuracy", math.nan, undefined_reason="because")
    with pytest.raises(AssertionError):
        Measure("no_such_metric", 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_becomes_undefined(value: float) -> None:
    measure = defined(names.ACCURACY, value, n=3)
    assert math.isnan(measure.value)
    assert (measure.undefined_reason, measure.n) == ("non_finite", 3)


def test_a_measure_has_a_flat_key() -> None:
    assert undefined(names.ACCURACY, "empty_group", split="validation", attribute="a b", group="c/d").key == (
        "validation.accuracy/a:20:b/c:2f:d"
    )


def test_summaries_of_the_minority_attribute_stand_under_their_bare_key_too() -> None:
    summary = defined(names.ACCURACY_GAP, 0.2, attribute="race")
    other = defined(names.ACCURACY_GAP, 0.3, attribute="sex")
    group = defined(names.ACCURACY, 0.9, attribute="race", group="a")
    overall = defined(names.ACCURACY, 0.8)
    table = index_measures([summary, other, group, overall], "race")
    assert {key: measure.value for key, measure in table.items()} == {
        "fair.accuracy_gap": 0.2,
        "fair.accuracy_gap/race": 0.2,
        "fair.accuracy_gap/sex": 0.3,
        "accuracy/race/a": 0.9,
        "accuracy": 0.8,
    }


def test_undefined_values_are_nan_with_their_reason() -> None:
    record = make_record(measures={"fair.accuracy_gap": "single_group", "accuracy": 0.5})
    metrics = record.metrics()
    assert metrics["accuracy"] == 0.5
    assert math.isnan(metrics["fair.accuracy_gap"])
    assert record.undefined() == dict.fromkeys(("fair.accuracy_gap", f"fair.accuracy_gap/{ATTRIBUTE}"), "single_group")
    assert record.trial_id == record.config.trial_id
