from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from lfray.errors import DataError
from lfray.evaluation.calibration import bin_index, brier, calibration_error, calibration_measures, null_calibration_error
from lfray.evaluation.cells import cells
from lfray.evaluation.settings import MeasureSettings
from lfray.record import GroupColumn, Measure, Predictions

SETTINGS = MeasureSettings(1, "g", "a")


def _by_definition(score: list[float], hit: list[bool], bins: int) -> float:
    """Calibration error, one bin at a time."""
    total = 0.0
    for index in range(bins):
        low, high, last = index / bins, (index + 1) / bins, index == bins - 1
        inside = [(s, h) for s, h in zip(score, hit, strict=True) if low <= s and (s < high or (last and s <= 1.0))]
        if inside:
            mean, rate = (math.fsum(pair[side] for pair in inside) / len(inside) for side in (0, 1))
            total += len(inside) / len(score) * abs(mean - rate)
    return total


@given(
    st.lists(st.tuples(st.floats(0, 1) | st.sampled_from([k / 10 for k in range(11)]), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 15),
)
def test_error_equals_its_definition(rows: list[tuple[float, bool]], bins: int) -> None:
    score, hit = [row[0] for row in rows], [row[1] for row in rows]
    assert calibration_error(np.array(score), np.array(hit), bins) == pytest.approx(_by_definition(score, hit, bins), abs=1e-12)


@pytest.mark.parametrize("bins", [10, 15])
def test_both_errors_equal_the_oracle(bins: int, oracles: Mapping[str, Any]) -> None:
    block, expected = oracles["classification"], oracles["calibration"]
    y, p1 = np.asarray(block["y"]) == 1, np.asarray(block["p1"])
    assert calibration_error(p1, y, bins) == pytest.approx(expected[f"torchmetrics_binary_posclass_bins{bins}"], abs=1e-9)
    assert calibration_error(p1, y, bins) == pytest.approx(expected[f"netcal_posclass_bins{bins}"], abs=1e-9)
    top, right = np.maximum(p1, 1 - p1), (p1 >= 0.5) == y
    # The oracle of the top form was made in float32.
    assert calibration_error(top, right, bins) == pytest.approx(
        expected[f"torchmetrics_multiclass_toplabel_bins{bins}"], abs=1e-6
    )


def test_measures_equal_the_oracle_for_each_group(
    oracles: Mapping[str, Any], oracle_table: Predictions, indexed: Callable[..., dict[str, Measure]]
) -> None:
    block, expected = oracles["classification"], oracles["calibration"]
    found = indexed(calibration_measures(oracle_table, cells(oracle_table), SETTINGS))
    for group in "abc":
        inside = np.array([name == group for name in block["group"]])
        y, p1 = np.asarray(block["y"])[inside] == 1, np.asarray(block["p1"])[inside]
        pos = expected[f"torchmetrics_binary_posclass_bins10_group_{group}"]
        assert calibration_error(p1, y, 10) == pytest.approx(pos, abs=1e-9)
        # The table keeps float32 logits.
        assert found[f"calib.ece_pos/g/{group}"].value == pytest.approx(pos, abs=1e-6)
        top = expected[f"torchmetrics_multiclass_toplabel_bins10_group_{group}"]
        assert found[f"calib.ece_top/g/{group}"].value == pytest.approx(top, abs=1e-6)
        assert found[f"calib.ece_pos/g/{group}"].n == inside.sum()
    options = found["calib.ece_pos"].options
    assert (options["bins"], options["scheme"], options["effective_bins"]) == (10, "equal_width", 10)


def test_one_lies_in_the_last_bin_and_edges_in_the_upper() -> None:
    assert bin_index(np.array([0.0, 0.1, 0.3, 0.7, 0.9999, 1.0]), 10).tolist() == [0, 1, 3, 7, 9, 9]
    # A certain model that is right half the time: .5, wherever a phantom bin would put half of it.
    assert calibration_error(np.ones(4), np.array([True, False, True, False]), 10) == 0.5


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.5, 17.0])
def test_what_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(DataError, match="must be probabilities"):
        calibration_error(np.array([0.5, score]), np.array([True, False]), 10)


@pytest.mark.parametrize("rows", [50, 1000])
def test_corrected_error_of_calibrated_models_is_about_zero(rows: int) -> None:
    rng = np.random.default_rng(0)
    raw, corrected = [], []
    for _ in range(200):
        score = rng.random(rows)
        hit = rng.random(rows) < score
        null = null_calibration_error(score, np.ones((rows, 1), dtype=bool), bins=10, resamples=200)
        raw.append(calibration_error(score, hit, 10))
        corrected.append(raw[-1] - float(null[0]))
    assert abs(np.mean(corrected)) < 0.01
    # The raw form is what a minority would be blamed for.
    assert np.mean(raw) > (0.1 if rows == 50 else 0.02)


def test_corrected_error_sees_what_is_wrong() -> None:
    rng = np.random.default_rng(0)
    score = np.full(400, 0.9)
    hit = rng.random(400) < 0.6
    null = null_calibration_error(score, np.ones((400, 1), dtype=bool), bins=10, resamples=200)
    assert calibration_error(score, hit, 10) - float(null[0]) > 0.25


def test_corrected_measure_is_raw_minus_null(
    random_table: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = random_table(2, 90, 3)
    found = indexed(calibration_measures(table, cells(table), SETTINGS))
    logits = table.logits.astype(float)
    p1 = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    member = np.concatenate([np.ones((90, 1), dtype=bool), table.groups[0].member], axis=1)
    null = null_calibration_error(p1, member, bins=10, resamples=200)
    for key, floor in zip(("", "/g/g0", "/g/g1", "/g/g2"), null, strict=True):
        corrected = found[f"calib.ece_pos_null_corrected{key}"]
        assert corrected.value == pytest.approx(found[f"calib.ece_pos{key}"].value - floor, abs=1e-9)
        assert corrected.options["null_resamples"] == 200


def test_null_of_many_cells_equals_one_draw_at_a_time() -> None:
    rng = np.random.default_rng(3)
    score, member = rng.random(120), rng.random((120, 3)) < 0.4
    member[:, 2] = False
    found = null_calibration_error(score, member, bins=7, resamples=20, seed=5)
    drawn = np.random.default_rng(5).random((20, 120)) < score
    for cell in range(2):
        rows = member[:, cell]
        expected = np.mean([_by_definition(score[rows].tolist(), hit[rows].tolist(), 7) for hit in drawn])
        assert found[cell] == pytest.approx(expected, abs=1e-12)
    assert math.isnan(found[2])


def test_null_of_more_rows_than_one_chunk_has_the_expected_size() -> None:
    # One bin, constant score: the mean absolute deviation of a binomial share, about sqrt(2 p q / (pi n)).
    score = np.full(5000, 0.3)
    found = null_calibration_error(score, np.ones((5000, 1), dtype=bool), bins=1, resamples=2000)
    assert float(found[0]) == pytest.approx(math.sqrt(2 * 0.3 * 0.7 / (math.pi * 5000)), rel=0.05)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_brier_equals_sklearn(num_classes: int, random_table: Callable[..., Predictions]) -> None:
    table = random_table(1, 80, 2, num_classes=num_classes)
    logits = table.logits.astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = brier_score_loss(table.label, p[:, 1] if num_classes == 2 else p)
    assert brier(p, table.label, 1) == pytest.approx(expected, abs=1e-12)


def test_multiclass_has_the_top_form_only(
    random_table: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = random_table(1, 80, 2, num_classes=3)
    found = indexed(calibration_measures(table, cells(table), SETTINGS))
    assert found["calib.ece_pos"].undefined_reason == "multiclass"
    assert found["calib.ece_pos_null_corrected/g/g0"].undefined_reason == "multiclass"
    p = np.exp(table.logits.astype(float))
    top = (p / p.sum(axis=1, keepdims=True)).max(axis=1)
    assert found["calib.ece_top"].value == pytest.approx(calibration_error(top, table.label == table.prediction, 10))
    assert found["calib.brier"].options == {"form": "sum_over_classes"}


def test_between_equal_probabilities_the_prediction_decides(
    build: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    for prediction, expected in ((1, 0.5), (0, 0.5)):
        table = build([1], [prediction], logits=[[2.0, 2.0]])
        found = indexed(calibration_measures(table, cells(table), SETTINGS))
        assert found["calib.ece_top"].value == pytest.approx(expected)
    # The generated answer was unparsed or went against the scores: the probability speaks of the scores' own class.
    for prediction in (-1, 0):
        table = build([1], [prediction], logits=[[0.0, 30.0]])
        found = indexed(calibration_measures(table, cells(table), SETTINGS))
        assert found["calib.ece_top"].value == pytest.approx(0.0, abs=1e-9)


def test_no_rows_and_no_scores_have_a_reason(
    build: Callable[..., Predictions], partition: Callable[..., GroupColumn], indexed: Callable[..., dict[str, Measure]]
) -> None:
    column = partition(["a"], ["a", "absent"])
    table = build([1], [1], [column])
    found = indexed(calibration_measures(table, cells(table), SETTINGS))
    assert {m.undefined_reason for m in found.values() if m.group == "absent"} == {"empty_group"}
    assert {m.undefined_reason for m in found.values() if m.group != "absent"} == {None}
    bare = build([1], [1], [column], logits=np.zeros((1, 0)))
    found = indexed(calibration_measures(bare, cells(bare), SETTINGS))
    assert {m.undefined_reason for m in found.values() if m.group != "absent"} == {"no_scores"}
