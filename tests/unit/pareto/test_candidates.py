"""Records taken apart into one table, with reasons and covered groups beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lfray.errors import LfrayError
from lfray.names import HARMFUL_BIAS_GAP
from lfray.pareto.candidates import IDENTITY, candidates_of
from lfray.record import Derived, Measure, defined
from tests.unit.records import make_config, make_failure, make_measure, make_record

WORST = "fair.worst_group_accuracy"


def covering(groups: list[str]) -> Measure:
    return make_measure(WORST, 0.5, options={"covers": groups})


def test_one_row_a_trial_with_settings_and_metrics() -> None:
    lora = make_record(rank=2, ratio=0.2, seed=42, measures={WORST: 0.7, "accuracy/race/a b": 0.8}, hardware_key="h1")
    base = make_record("base", measures={WORST: 0.5})
    candidates = candidates_of([lora, base])
    table = candidates.table
    assert tuple(table.columns[: len(IDENTITY)]) == IDENTITY
    first = table.iloc[0]
    assert (first["method"], first["method_label"], first["rank"], first["downsampling_ratio"], first["seed"]) == (
        "lora", "lora-r2", 2, 0.2, 42,
    )  # fmt: skip
    assert first["hardware_key"] == "h1"
    assert first["method.alpha"] == 4.0
    assert first["train.learning_rate"] == 2e-4
    assert table.iloc[1][["rank", "seed", "downsampling_ratio"]].isna().all()
    # The bare key and the one with the minority attribute spelled out are the same number.
    assert candidates.values(WORST).tolist() == [0.7, 0.5]
    assert candidates.values(f"{WORST}/sentiment").tolist() == [0.7, 0.5]
    assert candidates.values("accuracy/race/a:20:b")[0] == 0.8
    assert math.isnan(candidates.values("accuracy/race/a:20:b")[1])


def test_reasons() -> None:
    records = [
        make_record(seed=1, measures={WORST: 0.7}),
        make_record(seed=2, measures={WORST: "single_group"}),
        make_record(seed=3, measures={"accuracy": 0.7}),
        make_record(seed=4, measures={WORST: 0.9}, failure=make_failure()),
    ]
    assert candidates_of(records).why_undefined(WORST) == [None, "single_group", "not_measured", "trial_failed"]


def test_summaries_over_other_groups_are_not_compared() -> None:
    wide, narrow = ["a", "b", "c"], ["a", "b"]
    covers = [narrow, narrow, narrow, wide, ["c", "b", "a"]]
    records = [make_record(seed=seed, measures=[covering(cover)]) for seed, cover in enumerate(covers)]
    # The largest set is the reference even where it is the rarer one; the order of names means nothing.
    assert candidates_of(records).why_undefined(WORST) == ["covers_differ"] * 3 + [None, None]


def test_of_equally_large_covers_the_most_frequent_is_the_reference() -> None:
    covers = [["a", "b"], ["a", "c"], ["a", "c"]]
    records = [make_record(seed=seed, measures=[covering(cover)]) for seed, cover in enumerate(covers)]
    assert candidates_of(records).why_undefined(WORST) == ["covers_differ", None, None]


def test_an_undefined_summary_sets_no_reference_cover() -> None:
    wide = make_measure(WORST, "undefined_cell", options={"covers": ["a", "b", "c"]})
    records = [make_record(seed=1, measures=[wide]), make_record(seed=2, measures=[covering(["a", "b"])])]
    assert candidates_of(records).why_undefined(WORST) == ["undefined_cell", None]


def test_derived_values_stand_beside_measured_ones() -> None:
    record = make_record(measures={WORST: 0.7})
    gap = defined(HARMFUL_BIAS_GAP, 0.05, attribute="sentiment", group="negative")
    candidates = candidates_of([record], [Derived(record.trial_id, ("other",), gap, "test")])
    assert candidates.values("fair.harmful_bias_gap/sentiment/negative").tolist() == [0.05]


def test_a_trial_counts_once() -> None:
    with pytest.raises(LfrayError, match="each trial counts once"):
        candidates_of([make_record(), make_record()])


def test_no_records() -> None:
    candidates = candidates_of([])
    assert len(candidates) == 0
    assert candidates.why_undefined(WORST) == []
    assert candidates.completed.tolist() == []


def test_take_keeps_rows_together() -> None:
    records = [make_record(seed=seed, measures={WORST: seed / 10 if seed else "single_group"}) for seed in range(3)]
    taken = candidates_of(records).take(np.array([2, 0]))
    assert taken.table["seed"].tolist() == [2, 0]
    assert taken.why_undefined(WORST) == [None, "single_group"]


def test_settings_have_one_type_each() -> None:
    configs = [make_config(train={"max_grad_norm": None}), make_config(train={"max_grad_norm": 0.5}), make_config("base")]
    table = candidates_of([make_record(config=config) for config in configs]).table
    assert table["train.max_grad_norm"].dtype == np.float64
    assert table["train.effective_batch"].dtype == "Int64"
    assert table["train.schedule"].tolist() == ["linear", "linear", None]
