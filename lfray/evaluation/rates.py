"""Rates of one set of rows: accuracy, error, selection, true- and false-positive rate, precision, F1, cross-entropy.

A rate whose denominator is empty has no value. Other libraries return 0.0 there: a group without positives then reads a
true-positive rate of 0, and an equalized-odds difference of 1.0 beside a perfect group, or 0.0 beside a failing one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lfray.evaluation.cells import log_probabilities
from lfray.evaluation.intervals import WILSON95, wilson
from lfray.names import (
    ACCURACY,
    CROSS_ENTROPY,
    ERROR_RATE,
    F1,
    FALSE_POSITIVE_RATE,
    MACRO_F1,
    PRECISION,
    SELECTION_RATE,
    TRUE_POSITIVE_RATE,
    UNPARSED_RATE,
    Metric,
)
from lfray.record import Measure, defined, undefined

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from lfray.evaluation.cells import Cell
    from lfray.record import Predictions

LABEL_RATES: Final = (SELECTION_RATE, TRUE_POSITIVE_RATE, FALSE_POSITIVE_RATE, PRECISION, F1)
"""Rates that need a positive class; with more than two classes they are one-vs-rest."""
_NO_INTERVAL: Final = (F1, MACRO_F1)
"""Not proportions of independent rows."""


@dataclass(frozen=True)
class GroupRate:
    """One rate of one group."""

    value: float
    """NaN exactly when `reason` is set."""
    support: int
    """Rows (for F1: rows of weight) in the denominator."""
    reason: str | None = None


@dataclass(frozen=True)
class Confusion:
    """Counts of one set of rows, one class against the rest. `correct` counts rows whose class is right, over all classes."""

    n: int
    n_pos: int
    correct: int
    true_positives: int
    false_positives: int

    @property
    def n_neg(self) -> int:
        """Rows of any other class."""
        return self.n - self.n_pos

    @property
    def selected(self) -> int:
        """Rows predicted to be of the class."""
        return self.true_positives + self.false_positives


def confusion(label: NDArray[np.int64], prediction: NDArray[np.int64], positive: int) -> Confusion:
    """Count one class against the rest; a prediction of -1 (unparsed) is an error and selects nothing."""
    is_pos, chosen = label == positive, prediction == positive
    return Confusion(
        n=len(label),
        n_pos=int(is_pos.sum()),
        correct=int((label == prediction).sum()),
        true_positives=int((is_pos & chosen).sum()),
        false_positives=int((~is_pos & chosen).sum()),
    )


def pooled(counts: Iterable[Confusion]) -> Confusion:
    """The counts of disjoint sets of rows taken together."""
    parts = list(counts)
    return Confusion(
        n=sum(part.n for part in parts),
        n_pos=sum(part.n_pos for part in parts),
        correct=sum(part.correct for part in parts),
        true_positives=sum(part.true_positives for part in parts),
        false_positives=sum(part.false_positives for part in parts),
    )


def group_rates(counts: Confusion) -> dict[Metric, GroupRate]:
    """All of `names.RATES` for one set of rows.

    Precision, true- and false-positive rate are NaN where their denominator is empty. F1 is 2 TP / (positives + selected): 0
    where positives exist and none is found, NaN where there is no positive to find.
    """
    if counts.n == 0:
        return {metric: GroupRate(math.nan, 0, "empty_group") for metric in (ACCURACY, ERROR_RATE, *LABEL_RATES)}
    f1_support = counts.n_pos + counts.selected if counts.n_pos else 0
    return {
        ACCURACY: _share(counts.correct, counts.n, ""),
        ERROR_RATE: _share(counts.n - counts.correct, counts.n, ""),
        SELECTION_RATE: _share(counts.selected, counts.n, ""),
        TRUE_POSITIVE_RATE: _share(counts.true_positives, counts.n_pos, "no_positives"),
        FALSE_POSITIVE_RATE: _share(counts.false_positives, counts.n_neg, "no_negatives"),
        PRECISION: _share(counts.true_positives, counts.selected, "no_predicted_positives"),
        F1: _share(2 * counts.true_positives, f1_support, "no_positives"),
    }


def _share(hits: int, support: int, reason: str) -> GroupRate:
    return GroupRate(hits / support, support) if support else GroupRate(math.nan, 0, reason)


def macro_f1(label: NDArray[np.int64], prediction: NDArray[np.int64], num_classes: int) -> GroupRate:
    """Unweighted mean of the classes' F1, in [0, 1].

    NaN where a class does not occur among the labels (`undefined_cell`; `one_class` where only one does): its F1 is undefined,
    and a mean over fewer classes would be another quantity.
    """
    if len(label) == 0:
        return GroupRate(math.nan, 0, "empty_group")
    scores = [group_rates(confusion(label, prediction, index))[F1] for index in range(num_classes)]
    absent = sum(score.reason is not None for score in scores)
    if absent:
        return GroupRate(math.nan, len(label), "one_class" if absent == num_classes - 1 else "undefined_cell")
    return GroupRate(sum(score.value for score in scores) / num_classes, len(label))


def rate_measure(metric: Metric, rate: GroupRate, **fields: Any) -> Measure:
    """A measure of one rate; proportions carry Wilson's interval over their own denominator."""
    if rate.reason is not None:
        return undefined(metric, rate.reason, **fields)
    if metric in _NO_INTERVAL:
        return defined(metric, rate.value, **fields)
    return defined(metric, rate.value, interval=wilson(rate.value, rate.support), interval_kind=WILSON95, **fields)


def rate_measures(table: Predictions, cells: Sequence[Cell], split: str) -> list[Measure]:
    """Every rate of every cell; the rates that need scores or parsed answers where the table has them."""
    log_p = log_probabilities(table)
    nll = None if log_p is None else -log_p[np.arange(len(table)), table.label]
    measures: list[Measure] = []
    for cell in cells:
        fields = {"split": split, "attribute": cell.attribute, "group": cell.group}
        measures += _counted(table, cell.mask, fields)
        measures.append(_cross_entropy(None if nll is None else nll[cell.mask], int(cell.mask.sum()), fields))
        if table.parsed is not None:
            measures.append(_unparsed(table.parsed[cell.mask], fields))
    return measures


def _counted(table: Predictions, mask: NDArray[np.bool_], fields: dict[str, Any]) -> list[Measure]:
    """The rates that only need label and prediction."""
    label, prediction, num_classes = table.label[mask], table.prediction[mask], len(table.class_names)
    binary = num_classes == 2
    bare = confusion(label, prediction, table.positive)
    rates = group_rates(bare) | {MACRO_F1: macro_f1(label, prediction, num_classes)}
    support: dict[str, Any] = {"n": bare.n} | ({"n_pos": bare.n_pos, "n_neg": bare.n_neg} if binary else {})
    measures = []
    for metric, rate in rates.items():
        multiclass = metric in LABEL_RATES and not binary and bare.n > 0
        shown = GroupRate(math.nan, 0, "multiclass") if multiclass else rate
        measures.append(rate_measure(metric, shown, **fields, **support, **_denominator(metric, shown)))
    for index, name in enumerate(() if binary else table.class_names):
        counts = confusion(label, prediction, index)
        of_class = fields | {"of_class": name, "n": counts.n, "n_pos": counts.n_pos, "n_neg": counts.n_neg}
        found = group_rates(counts)
        measures += [rate_measure(m, found[m], **of_class, **_denominator(m, found[m])) for m in LABEL_RATES]
    return measures


def _denominator(metric: Metric, rate: GroupRate) -> dict[str, Any]:
    """Precision alone divides by something that n, n_pos and n_neg do not say."""
    return {"options": {"selected": rate.support}} if metric == PRECISION and rate.reason is None else {}


def _cross_entropy(nll: NDArray[np.float64] | None, n: int, fields: dict[str, Any]) -> Measure:
    if n == 0:
        return undefined(CROSS_ENTROPY, "empty_group", n=0, **fields)
    if nll is None:
        return undefined(CROSS_ENTROPY, "no_scores", n=n, **fields)
    return defined(CROSS_ENTROPY, float(nll.mean()), n=n, **fields)


def _unparsed(parsed: NDArray[np.bool_], fields: dict[str, Any]) -> Measure:
    rate = _share(int((~parsed).sum()), len(parsed), "empty_group")
    return rate_measure(UNPARSED_RATE, rate, n=len(parsed), **fields)
