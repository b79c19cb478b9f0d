"""How far from the decision boundary the rows lie: the distribution of the logit margin, overall and by group.

Two trials of equal accuracy may differ in how many rows sit near the boundary, and for whom. The scale of logits differs between
low-rank and full fine-tuning, so distributions (and the share near the boundary, in probabilities) are compared, not means alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lfray.evaluation.cells import log_probabilities
from lfray.evaluation.intervals import WILSON95, wilson
from lfray.names import MARGIN_MEAN, MARGIN_NEAR, MARGIN_QUANTILES
from lfray.record import Measure, defined, undefined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from lfray.evaluation.cells import Cell
    from lfray.record import Predictions

NEAR: Final = 0.1
"""Largest probability margin, either side, that counts as near the boundary."""


def margins(scores: NDArray[np.floating[Any]], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score of the label minus the largest other score, float64 [N].

    Positive: the label wins. `scores` is [N, C] with C >= 2, logits or probabilities; it is not changed.
    """
    wide = scores.astype(np.float64)
    rows = np.arange(len(label))
    own = wide[rows, label]
    wide[rows, label] = -np.inf
    return np.asarray(own - wide.max(axis=1), dtype=np.float64)


def margin_measures(table: Predictions, cells: Sequence[Cell], split: str) -> list[Measure]:
    """Mean, quantiles and share near the boundary of every cell."""
    log_p = log_probabilities(table)
    every = (MARGIN_MEAN, *MARGIN_QUANTILES.values(), MARGIN_NEAR)
    logit = None if log_p is None else margins(table.logits, table.label)
    near = None if log_p is None else np.abs(margins(np.exp(log_p), table.label)) <= NEAR
    measures: list[Measure] = []
    for cell in cells:
        n = int(cell.mask.sum())
        fields: dict[str, Any] = {"split": split, "attribute": cell.attribute, "group": cell.group, "n": n}
        if n == 0 or logit is None or near is None:
            measures += [undefined(metric, "empty_group" if n == 0 else "no_scores", **fields) for metric in every]
            continue
        values = logit[cell.mask]
        measures.append(defined(MARGIN_MEAN, float(values.mean()), **fields))
        for (_, metric), value in zip(
            MARGIN_QUANTILES.items(), np.quantile(values, [level / 100 for level in MARGIN_QUANTILES]), strict=True
        ):
            measures.append(defined(metric, float(value), options={"quantile": "linear"}, **fields))
        share = float(near[cell.mask].mean())
        measures.append(defined(MARGIN_NEAR, share, interval=wilson(share, n), interval_kind=WILSON95, **fields))
    return measures
