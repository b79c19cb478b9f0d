"""The rows behind accuracy by group, and how variants of one method are told apart."""

from __future__ import annotations

import math

from lfray.names import ACCURACY
from lfray.record import undefined
from lfray.report.groups import group_accuracy, groups_by_support, look_of, variants
from tests.unit.records import make_config, make_failure, make_measure, make_record
from tests.unit.report.sweep import small_sweep, trial


def test_one_row_a_completed_trial_and_group() -> None:
    table = group_accuracy([trial("lora", 2, 0.5, 42), trial("lora", 2, 0.5, 13), trial("head", 0, 1.0, 13)], "sentiment")
    assert table["variant"].tolist() == ["head"] * 2 + ["lora-r2"] * 4
    assert table["seed"].tolist() == [13, 13, 13, 13, 42, 42]
    assert table["ratio"].tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert table["group"].tolist() == ["negative", "positive"] * 3
    assert table["n"].tolist() == [40, 60] * 3
    assert table["accuracy"].iloc[1] == 0.9 - 0.013


def test_other_attributes_splits_classes_and_failed_trials_are_left_out() -> None:
    measures = [
        make_measure("accuracy/race/a", 0.1),
        make_measure("validation.accuracy/sentiment/negative", 0.2),
        make_measure("accuracy/sentiment", 0.3),
        make_measure("f1/sentiment/negative", 0.4),
        make_measure("accuracy/sentiment/negative", 0.5),
    ]
    failed = make_record(seed=99, measures=measures, failure=make_failure())
    table = group_accuracy([make_record(measures=measures), failed], "sentiment")
    assert table["accuracy"].tolist() == [0.5]
    assert len(group_accuracy([], "sentiment")) == 0


def test_the_base_has_no_ratio_and_undefined_is_nan() -> None:
    record = make_record("base", measures=[undefined(ACCURACY, "empty_group", attribute="sentiment", group="negative", n=0)])
    row = group_accuracy([record], "sentiment").iloc[0]
    assert math.isnan(row["ratio"])
    assert math.isnan(row["accuracy"])


def test_a_further_setting_makes_a_variant_of_its_own() -> None:
    slow, fast = (make_record(config=make_config(train={"learning_rate": rate})) for rate in (1e-4, 1e-3))
    full = make_record("full")
    names = variants([slow, fast, full])
    assert names == {
        slow.trial_id: "lora-r8, learning rate 0.0001",
        fast.trial_id: "lora-r8, learning rate 0.001",
        full.trial_id: "full",
    }


def test_seeds_and_ratios_make_no_variant() -> None:
    assert set(variants(small_sweep()).values()) == {"head", "lora-r2", "lora-r8", "lora-r64", "dora-r4", "full"}


def test_methods_by_name() -> None:
    assert [look_of(make_record(method)) for method in ("base", "head", "lora", "dora", "full")] == [
        "base", "head", "lora", "dora", "full",
    ]  # fmt: skip


def test_groups_with_most_rows_first() -> None:
    assert groups_by_support(group_accuracy([trial("head", 0, 1.0, 13)], "sentiment")) == ["positive", "negative"]
