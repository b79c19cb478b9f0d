from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, precision_score

from lfray.evaluation.cells import cells
from lfray.evaluation.intervals import wilson
from lfray.evaluation.rates import Confusion, confusion, group_rates, macro_f1, pooled, rate_measures
from lfray.names import (
    ACCURACY,
    ERROR_RATE,
    F1,
    FALSE_POSITIVE_RATE,
    PRECISION,
    RATES,
    SELECTION_RATE,
    TRUE_POSITIVE_RATE,
)
from lfray.record import GroupColumn, Measure, Predictions


def _by_hand(rows: list[tuple[int, int]]) -> dict[str, float]:
    """Rates by counting one row at a time; a missing denominator is NaN."""

    def share(wanted: list[bool]) -> float:
        return sum(wanted) / len(wanted) if wanted else math.nan

    return {
        "accuracy": share([y == p for y, p in rows]),
        "error_rate": share([y != p for y, p in rows]),
        "selection_rate": share([p == 1 for _, p in rows]),
        "true_positive_rate": share([p == 1 for y, p in rows if y == 1]),
        "false_positive_rate": share([p == 1 for y, p in rows if y == 0]),
        "precision": share([y == 1 for y, p in rows if p == 1]),
    }


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 1)), max_size=12))
def test_rates_equal_counting_by_hand(rows: list[tuple[int, int]]) -> None:
    label, prediction = (np.array([row[side] for row in rows], dtype=np.int64) for side in (0, 1))
    found = group_rates(confusion(label, prediction, 1))
    assert set(found) == set(RATES)
    for metric, rate in found.items():
        assert math.isnan(rate.value) == (rate.reason is not None)
        if metric.key in (expected := _by_hand(rows)):
            assert rate.value == pytest.approx(expected[metric.key], nan_ok=True)


@pytest.mark.parametrize(
    ("label", "prediction", "reasons"),
    [
        ([], [], dict.fromkeys(RATES, "empty_group")),
        ([0, 0], [0, 1], {TRUE_POSITIVE_RATE: "no_positives", F1: "no_positives"}),
        ([1, 1], [0, 1], {FALSE_POSITIVE_RATE: "no_negatives"}),
        ([0, 1], [0, 0], {PRECISION: "no_predicted_positives"}),
        ([0, 1], [-1, -1], {PRECISION: "no_predicted_positives"}),
    ],
)
def test_empty_denominators_have_a_reason(label: list[int], prediction: list[int], reasons: Mapping[Any, str]) -> None:
    found = group_rates(confusion(np.array(label, dtype=np.int64), np.array(prediction, dtype=np.int64), 1))
    assert {metric: rate.reason for metric, rate in found.items() if rate.reason} == reasons


def test_real_zeros_stay_zero() -> None:
    found = group_rates(Confusion(n=10, n_pos=3, correct=4, true_positives=0, false_positives=3))
    assert found[TRUE_POSITIVE_RATE].value == 0.0
    assert found[F1].value == 0.0


def test_an_unparsed_answer_is_an_error_and_selects_nothing() -> None:
    found = group_rates(confusion(np.array([0, 1, 1]), np.array([-1, -1, 1]), 1))
    assert (found[ERROR_RATE].value, found[SELECTION_RATE].value, found[TRUE_POSITIVE_RATE].value) == (2 / 3, 1 / 3, 0.5)


def test_pooled_counts_add_up() -> None:
    label, prediction = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 1, -1])
    parts = [confusion(label[part], prediction[part], 1) for part in (slice(0, 2), slice(2, 5))]
    assert pooled(parts) == confusion(label, prediction, 1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("num_classes", [2, 4])
def test_f1_precision_and_cross_entropy_equal_sklearn(
    seed: int, num_classes: int, random_table: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = random_table(seed, 120, 2, num_classes=num_classes)
    found = indexed(rate_measures(table, cells(table), "test"))
    assert found["macro_f1"].value == pytest.approx(f1_score(table.label, table.prediction, average="macro"), abs=1e-12)
    logits = table.logits.astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["cross_entropy"].value == pytest.approx(log_loss(table.label, p), abs=1e-12)
    suffix = "" if num_classes == 2 else ".class_c1"
    one = (table.label == 1, table.prediction == 1)
    assert found[f"f1{suffix}"].value == pytest.approx(f1_score(*one), abs=1e-12)
    assert found[f"precision{suffix}"].value == pytest.approx(precision_score(*one), abs=1e-12)


def test_macro_f1_needs_every_class() -> None:
    label, prediction = np.array([0, 1, 0]), np.array([0, 1, 1])
    assert macro_f1(label, prediction, 3).reason == "undefined_cell"
    assert macro_f1(np.array([1, 1]), np.array([0, 1]), 2).reason == "one_class"
    assert macro_f1(label[:0], prediction[:0], 2).reason == "empty_group"
    assert macro_f1(label, prediction, 2).reason is None


def test_proportions_carry_support_and_wilson(
    build: Callable[..., Predictions], partition: Callable[..., GroupColumn], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = build([1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [partition(["a", "a", "a", "a", "b"])])
    found = indexed(rate_measures(table, cells(table), "validation"))
    rate = found["validation.true_positive_rate/g/a"]
    assert (rate.value, rate.n, rate.n_pos, rate.n_neg) == (2 / 3, 4, 3, 1)
    assert (rate.interval, rate.interval_kind) == (wilson(2 / 3, 3), "wilson95")
    assert found["validation.accuracy"].interval == wilson(0.6, 5)
    assert found["validation.precision/g/a"].options == {"selected": 3}
    assert found["validation.f1"].interval is None
    assert found["validation.true_positive_rate/g/b"].undefined_reason == "no_positives"


def test_more_than_two_classes_are_one_against_the_rest(
    random_table: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = random_table(3, 90, 2, num_classes=3)
    found = indexed(rate_measures(table, cells(table), "test"))
    for metric in (SELECTION_RATE, TRUE_POSITIVE_RATE, FALSE_POSITIVE_RATE, PRECISION, F1):
        assert found[metric.key].undefined_reason == "multiclass"
    assert found[ACCURACY.key].value == float((table.label == table.prediction).mean())
    for index in range(3):
        rows = list(
            zip((table.label == index).astype(int).tolist(), (table.prediction == index).astype(int).tolist(), strict=True)
        )
        expected = _by_hand(rows)
        for key in ("selection_rate", "true_positive_rate", "false_positive_rate", "precision"):
            assert found[f"{key}.class_c{index}"].value == pytest.approx(expected[key])
    assert found["selection_rate.class_c1/g/g0"].n_pos == int((table.label == 1)[table.groups[0].member[:, 0]].sum())


def test_unparsed_rate_only_where_answers_are_generated(
    build: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    plain = build([0, 1], [0, 1])
    assert "unparsed_rate" not in indexed(rate_measures(plain, cells(plain), "test"))
    generated = build([0, 1, 1, 1], [0, -1, 1, 1], parsed=[True, False, True, True])
    rate = indexed(rate_measures(generated, cells(generated), "test"))["unparsed_rate"]
    assert (rate.value, rate.interval) == (0.25, wilson(0.25, 4))


def test_labels_without_scores_have_no_cross_entropy(
    build: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = build([0, 1], [0, 1], logits=np.zeros((2, 0)))
    found = indexed(rate_measures(table, cells(table), "test"))
    assert found["cross_entropy"].undefined_reason == "no_scores"
    assert found["accuracy"].value == 1.0
