from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lfray.errors import DataError
from lfray.evaluation.bias_gap import harmful_bias_gap
from lfray.evaluation.settings import MeasureSettings
from lfray.record import GroupColumn, Measure, Predictions

Tables = Callable[..., Predictions]
Index = Callable[..., dict[str, Measure]]
SETTINGS = MeasureSettings(2, "g", "a")


@pytest.fixture
def pair(build: Tables, partition: Callable[..., GroupColumn]) -> tuple[Predictions, Predictions]:
    groups = [partition(list("aaaabb"), ["a", "b", "nobody"])]
    label = [1, 1, 0, 0, 1, 0]
    return build(label, [1, 0, 1, 0, 1, 0], groups), build(label, [1, 1, 0, 1, 0, 0], groups)


def test_gap_is_reference_minus_trial(pair: tuple[Predictions, Predictions], indexed: Index) -> None:
    found = indexed(harmful_bias_gap(*pair, SETTINGS))
    assert found["fair.harmful_bias_gap/g/a"].value == 0.75 - 0.5
    assert found["fair.harmful_bias_gap/g/b"].value == 0.5 - 1.0
    assert found["fair.harmful_bias_gap_absolute/g/b"].value == 0.5
    assert found["fair.harmful_bias_gap/g/nobody"].undefined_reason == "empty_group"
    summary = found["fair.harmful_bias_gap"]
    assert (summary.value, summary.n, summary.options["group"]) == (0.25, 4, "a")
    assert (summary.options["accuracy_reference"], summary.options["accuracy_trial"]) == (0.75, 0.5)


def test_a_small_minority_is_shown_and_not_summarised(pair: tuple[Predictions, Predictions], indexed: Index) -> None:
    found = indexed(harmful_bias_gap(*pair, MeasureSettings(5, "g", "a")))
    assert found["fair.harmful_bias_gap"].undefined_reason == "below_n_min"
    assert found["fair.harmful_bias_gap"].options["left_out"] == {"a": "below_n_min"}
    assert found["fair.harmful_bias_gap/g/a"].value == 0.25


def test_against_itself_and_in_another_order(random_table: Tables, indexed: Index) -> None:
    table = random_table(0, 100, 3, overlapping=True)
    order = np.random.default_rng(0).permutation(100)
    shuffled = replace(
        table, row_id=table.row_id[order], label=table.label[order], prediction=table.prediction[order],
        logits=table.logits[order], groups=(replace(table.groups[0], member=table.groups[0].member[order]),),
    )  # fmt: skip
    found = indexed(harmful_bias_gap(table, shuffled, MeasureSettings(1, "g", "g1")))
    assert {measure.value for measure in found.values()} == {0.0}


def test_other_rows_are_refused_with_their_number(pair: tuple[Predictions, Predictions]) -> None:
    trial, reference = pair
    with pytest.raises(DataError, match="got 2 row ids that only one of them has"):
        harmful_bias_gap(trial, reference.rows(np.array([True] * 4 + [False] * 2)), SETTINGS)
    renamed = replace(reference, row_id=np.array([*reference.row_id[:5].tolist(), "other"]))
    with pytest.raises(DataError, match="got 2 row ids"):
        harmful_bias_gap(trial, renamed, SETTINGS)
    twice = replace(trial, row_id=np.array(["row00000", *trial.row_id[:5].tolist()]))
    with pytest.raises(DataError, match="must be unique"):
        harmful_bias_gap(twice, twice, SETTINGS)


def test_other_labels_or_groups_are_refused(pair: tuple[Predictions, Predictions]) -> None:
    trial, reference = pair
    with pytest.raises(DataError, match="got 6 that differ"):
        harmful_bias_gap(trial, replace(reference, label=1 - reference.label), SETTINGS)
    column = reference.groups[0]
    moved = column.member.copy()
    moved[0] = [False, True, False]
    with pytest.raises(DataError, match="1 rows are in other groups"):
        harmful_bias_gap(trial, replace(reference, groups=(replace(column, member=moved),)), SETTINGS)
    with pytest.raises(DataError, match="name the same groups"):
        harmful_bias_gap(trial, replace(reference, groups=(replace(column, attribute="h"),)), SETTINGS)
    with pytest.raises(DataError, match="minority attribute"):
        harmful_bias_gap(trial, reference, MeasureSettings(1, "h", "a"))
