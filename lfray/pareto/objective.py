"""`Objective`: a metric of one split, attribute and group, with the direction that is good and the scale it is drawn on.

A metric already knows its good direction, so `--maximize` on a cost is refused rather than obeyed: the front would praise the
dearest trial. Only a metric without a good direction (a share, a rate) takes the one that the user states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from lfray.errors import LfrayError
from lfray.names import (
    BRIER,
    DEMOGRAPHIC_PARITY_SIGNED,
    ECE_POS_NULL_CORRECTED,
    ECE_TOP_NULL_CORRECTED,
    HARMFUL_BIAS_GAP,
    MARGIN_MEAN,
    MARGIN_QUANTILES,
    Better,
    Metric,
    parse_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_OBJECTIVES: Final = 5

Scale = Literal["raw", "log10(1+x)"]

_UNBOUNDED: Final = frozenset({MARGIN_MEAN.key, *(metric.key for metric in MARGIN_QUANTILES.values())})
_SIGNED: Final = frozenset(
    metric.key for metric in (HARMFUL_BIAS_GAP, DEMOGRAPHIC_PARITY_SIGNED, ECE_POS_NULL_CORRECTED, ECE_TOP_NULL_CORRECTED)
)


def bounds(metric: Metric) -> tuple[float, float] | None:
    """Lowest and highest value that the metric can take; None where it has no bound on both sides (counts, times, margins)."""
    if metric.unit != "1" or metric.key in _UNBOUNDED:
        return None
    if metric.key in _SIGNED:
        return -1.0, 1.0
    return (0.0, 2.0) if metric.key == BRIER.key else (0.0, 1.0)


@dataclass(frozen=True)
class Objective:
    """One objective of a front."""

    key: str
    """Flat key, as it stands in the table's columns."""
    metric: Metric
    """The metric, with its direction settled: `better` is HIGHER or LOWER."""

    @property
    def scale(self) -> Scale:
        """Of plots, knee and hypervolume: counts span orders of magnitude and may be 0. Dominance is always on raw values."""
        return "log10(1+x)" if self.metric.count else "raw"

    @property
    def sign(self) -> float:
        """Factor that makes a scaled value a loss."""
        return -1.0 if self.metric.better is Better.HIGHER else 1.0

    def scaled(self, values: Floats) -> Floats:
        """Values on the objective's scale, same shape and direction."""
        return np.log10(1.0 + values) if self.metric.count else np.asarray(values, dtype=np.float64)

    def default_reference(self, values: Floats) -> float:
        """The reference point's value on this objective, in the metric's own unit.

        The worst possible value where the metric is bounded (0 for an accuracy, 1 for a gap). Else one tenth beyond the worst
        value seen: worst loss + 0.1 |worst loss| on the objective's scale (+ 0.1 where that is 0).

        Args:
            values: Finite values of the trials, float [N]; an empty array gives that of a single trial at 0.
        """
        limits = bounds(self.metric)
        if limits is not None:
            return limits[0] if self.metric.better is Better.HIGHER else limits[1]
        worst = float((self.sign * self.scaled(values)).max(initial=-np.inf)) if len(values) else 0.0
        value = self.sign * (worst + (0.1 * abs(worst) or 0.1))
        return float(10.0**value - 1.0) if self.metric.count else value


def objective(text: str, direction: Better | None = None) -> Objective:
    """An objective from a flat key.

    Args:
        text: Flat key; groups may be written plainly or escaped (`accuracy/race/African American`).
        direction: What the user asked for; None takes the metric's own.

    Raises:
        LfrayError: No such metric; a direction that contradicts the metric's; none stated for a metric that has none.
    """
    key = parse_key(text)
    metric = key.metric
    if metric.better is Better.NEITHER:
        if direction in (None, Better.NEITHER):
            raise LfrayError(
                f"objective: {text}: describes ({metric.meaning}) and has no good direction. State maximize or minimize"
            )
        metric = replace(metric, better=direction)
    elif direction not in (None, metric.better):
        verb = "minimize" if metric.better is Better.LOWER else "maximize"
        raise LfrayError(
            f"objective: {text}: {metric.better.value} is better here, because it is the {metric.meaning} "
            f"(got {'maximize' if direction is Better.HIGHER else 'minimize'}). Use {verb}"
        )
    return Objective(key.text(), metric)


def objectives_of(asked: Sequence[str | Objective]) -> tuple[Objective, ...]:
    """One to five different objectives, from keys or ready ones, in the order asked.

    Raises:
        LfrayError: None, more than five, one twice, or one that `objective` refuses.
    """
    found = tuple(objective(item) if isinstance(item, str) else item for item in asked)
    keys = [item.key for item in found]
    if not 1 <= len(keys) <= MAX_OBJECTIVES:
        raise LfrayError(f"objectives: one (a ranking) to five (a front) are compared (got {len(keys)})")
    for key in keys:
        if keys.count(key) > 1:
            raise LfrayError(f"objectives: each counts once (got {key} {keys.count(key)} times)")
    return found
