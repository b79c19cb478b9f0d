"""Calibration: two expected calibration errors, each with what a perfectly calibrated model would read at the same size.

`ece_pos` sets the probability of the positive class against the rate of positives, `ece_top` the largest probability against
accuracy. On the same data they differ (.0887 and .0314 in one case), so neither is ever called just ECE. Both are biased
upwards by small size: a perfectly calibrated model reads .199 at 30 rows and .018 at 5,000, so a minority always looks worse.
The null-corrected form subtracts the mean reading of labels drawn from the model's own probabilities; only it may be compared
across groups.

Shapes: N rows, C classes, G cells, B bins, R resamples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lfray.errors import DataError
from lfray.evaluation.cells import log_probabilities
from lfray.names import BRIER, ECE_POS, ECE_POS_NULL_CORRECTED, ECE_TOP, ECE_TOP_NULL_CORRECTED, Metric
from lfray.record import Measure, defined, undefined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lfray.evaluation.cells import Cell
    from lfray.evaluation.settings import MeasureSettings
    from lfray.record import Predictions

NULL_SEED: Final = 0
"""The same draws for every trial: trials on the same rows then differ in their probabilities only."""
_CHUNK: Final = 2048
"""Rows drawn at once: 200 x 2048 numbers stay in cache, and counts under 2^24 are exact in float32."""


def bin_index(score: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Equal-width bin of each score, int [N] in 0..bins-1: closed below, open above, the last one closed (1.0 is in it).

    Raises:
        DataError: A score is NaN or outside [0, 1] (logits, perhaps).
    """
    if not ((score >= 0) & (score <= 1)).all():
        raise DataError("calibration: scores must be probabilities in [0, 1] (got NaN or a value outside). Give softmax outputs")
    # k / bins is the float nearest to the edge, as a literal 0.3 is; linspace's 0.1 * 3 is not.
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, score, side="right").astype(np.int64)


def calibration_error(score: NDArray[np.float64], hit: NDArray[np.bool_], bins: int) -> float:
    """Bin-weighted absolute gap between mean score and rate of hits, in [0, 1]; NaN for no rows.

    With the positive class's probability and `label == positive` this is `ece_pos`; with the largest probability and correctness,
    `ece_top`. 0: in every bin the scores are right on average (which needs many rows to show).

    Raises:
        DataError: A score is NaN or outside [0, 1].

    Source: Naeini et al. 2015; Guo et al. 2017.
    """
    if len(score) == 0:
        return math.nan
    index = bin_index(score, bins)
    gap = np.bincount(index, weights=score, minlength=bins) - np.bincount(index, weights=hit, minlength=bins)
    return float(np.abs(gap).sum() / len(score))


def null_calibration_error(
    score: NDArray[np.float64], member: NDArray[np.bool_], *, bins: int, resamples: int, seed: int = NULL_SEED
) -> NDArray[np.float64]:
    """Mean calibration error of labels drawn from the scores themselves, float64 [G]: what a calibrated model reads at this size.

    Every row's hit is drawn Bernoulli(score) once a resample and shared by all cells that hold the row, so one matrix product
    counts the hits of every cell and bin.

    Args:
        score: [N] in [0, 1].
        member: bool [N, G], the rows of each cell.
        bins: Equal-width bins.
        resamples: Draws.
        seed: Of the draws; they follow the order of the rows.

    Returns:
        NaN for a cell without rows.
    """
    num_cells, index = member.shape[1], bin_index(score, bins)
    rng = np.random.default_rng(seed)
    expected = np.zeros((num_cells, bins))
    hits = np.zeros((resamples, num_cells * bins))
    for start in range(0, len(score), _CHUNK):
        part = slice(start, start + _CHUNK)
        in_bin = index[part, None] == np.arange(bins)
        cell_bin = (member[part, :, None] & in_bin[:, None, :]).reshape(-1, num_cells * bins)
        drawn = rng.random((resamples, len(in_bin))) < score[part]
        hits += drawn.astype(np.float32) @ cell_bin.astype(np.float32)
    for cell in range(num_cells):
        rows = member[:, cell]
        expected[cell] = np.bincount(index[rows], weights=score[rows], minlength=bins)
    gaps = np.abs(hits.reshape(resamples, num_cells, bins) - expected).sum(axis=2).mean(axis=0)
    size = member.sum(axis=0)
    means = np.full(num_cells, np.nan)
    np.divide(gaps, size, out=means, where=size > 0)
    return means


def brier(probability: NDArray[np.float64], label: NDArray[np.int64], positive: int) -> float:
    """Mean squared distance of probabilities [N, C] to the label; NaN for no rows.

    Two classes: (p(positive) - y)^2, in [0, 1]. More: summed over classes, in [0, 2]. 0: certain and right on every row.

    Source: Brier 1950; the two-class form is the usual half of his.
    """
    if len(label) == 0:
        return math.nan
    if probability.shape[1] == 2:
        return float(np.mean((probability[:, positive] - (label == positive)) ** 2))
    truth = np.eye(probability.shape[1])[label]
    return float(((probability - truth) ** 2).sum(axis=1).mean())


def calibration_measures(table: Predictions, cells: Sequence[Cell], settings: MeasureSettings) -> list[Measure]:
    """Both calibration errors, raw and null-corrected, and the Brier score of every cell."""
    log_p = log_probabilities(table)
    if log_p is None:
        every = (ECE_POS, ECE_POS_NULL_CORRECTED, ECE_TOP, ECE_TOP_NULL_CORRECTED, BRIER)
        return [
            undefined(metric, "no_scores" if cell.mask.any() else "empty_group", **_fields(cell, settings))
            for cell in cells
            for metric in every
        ]
    probability = np.exp(log_p)
    # Rounding of exp(log p) may pass 1 by one unit in the last place.
    probability = np.minimum(probability, 1.0)
    is_positive = table.label == table.positive
    if len(table.class_names) == 2:
        pair = (ECE_POS, ECE_POS_NULL_CORRECTED)
        measures = _both(pair, probability[:, table.positive], is_positive, cells, settings, is_positive)
    else:
        measures = [
            undefined(metric, "multiclass" if cell.mask.any() else "empty_group", **_fields(cell, settings))
            for cell in cells
            for metric in (ECE_POS, ECE_POS_NULL_CORRECTED)
        ]
    top, correct = _top(table, probability)
    measures += _both((ECE_TOP, ECE_TOP_NULL_CORRECTED), top, correct, cells, settings)
    form = {"form": "positive_class" if len(table.class_names) == 2 else "sum_over_classes"}
    for cell in cells:
        fields = _fields(cell, settings)
        value = brier(probability[cell.mask], table.label[cell.mask], table.positive)
        empty = math.isnan(value)
        measures.append(undefined(BRIER, "empty_group", **fields) if empty else defined(BRIER, value, options=form, **fields))
    return measures


def _top(table: Predictions, probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Largest probability of each row and whether its class is the label.

    Between equal probabilities the table's own prediction decides; an answer that was generated against the scores does not,
    since it is not the class this probability speaks of.
    """
    rows = np.arange(len(table))
    top = probability.max(axis=1)
    stands = (table.prediction >= 0) & (probability[rows, table.prediction] == top)
    chosen = np.where(stands, table.prediction, probability.argmax(axis=1))
    return top, chosen == table.label


def _both(
    metrics: tuple[Metric, Metric],
    score: NDArray[np.float64],
    hit: NDArray[np.bool_],
    cells: Sequence[Cell],
    settings: MeasureSettings,
    positive: NDArray[np.bool_] | None = None,
) -> list[Measure]:
    """Raw and null-corrected error of every cell."""
    raw_metric, corrected_metric = metrics
    member = np.stack([cell.mask for cell in cells], axis=1)
    null = null_calibration_error(score, member, bins=settings.ece_bins, resamples=settings.null_resamples)
    measures: list[Measure] = []
    for cell, floor in zip(cells, null.tolist(), strict=True):
        fields = _fields(cell, settings)
        if positive is not None:
            n_pos = int(positive[cell.mask].sum())
            fields |= {"n_pos": n_pos, "n_neg": fields["n"] - n_pos}
        inside = score[cell.mask]
        options: dict[str, Any] = {"bins": settings.ece_bins, "scheme": "equal_width"}
        if len(inside) == 0:
            measures += [undefined(metric, "empty_group", options=options, **fields) for metric in metrics]
            continue
        raw = calibration_error(inside, hit[cell.mask], settings.ece_bins)
        options["effective_bins"] = len(np.unique(bin_index(inside, settings.ece_bins)))
        null_options = {"null_mean": floor, "null_resamples": settings.null_resamples, "null_seed": NULL_SEED}
        measures.append(defined(raw_metric, raw, options=options, **fields))
        measures.append(defined(corrected_metric, raw - floor, options=options | null_options, **fields))
    return measures


def _fields(cell: Cell, settings: MeasureSettings) -> dict[str, Any]:
    return {"split": settings.split, "attribute": cell.attribute, "group": cell.group, "n": int(cell.mask.sum())}
