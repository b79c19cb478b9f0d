"""Pareto geometry on plain arrays: who is dominated, in which layer, how much volume a front covers, where it bends.

Kept apart from trials and metrics so that it can be read, tested against brute force and trusted on its own. Inside, lower is
better: `as_losses` flips signs once at the border. Dominance is exact (no epsilon), duplicates stand or fall together, and a
value that is not finite is refused: a NaN that slips in would silently knock out valid points.

Shapes: N points, K objectives.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lfray.errors import LfrayError
from lfray.names import Better, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def as_losses(values_NK: Floats, metrics: Sequence[Metric]) -> Floats:
    """Flip signs once so that every column is lower-is-better. Shape [N, K] in and out.

    Raises:
        LfrayError: A metric has no good direction (`Better.NEITHER`).
    """
    for metric in metrics:
        if metric.better is Better.NEITHER:
            raise LfrayError(f"pareto: {metric.key}: describes and has no good direction. State maximize or minimize")
    signs: Floats = np.array([-1.0 if metric.better is Better.HIGHER else 1.0 for metric in metrics])
    return np.multiply(values_NK, signs)


def on_front(losses: Floats) -> NDArray[np.bool_]:
    """Whether no other point is at least as low everywhere and lower somewhere. Bool [N].

    Points that are equal on every objective do not dominate each other: all of them stay.

    Raises:
        LfrayError: The losses are not [N, K >= 1], or one is not finite.
    """
    points, inverse = _distinct(losses)
    if points.shape[1] == 1:
        return np.equal(inverse, 0)
    layer = _new_layer(points.shape[1])
    keep = np.zeros(len(points), dtype=bool)
    for index, point in _walk(points):
        if not layer.dominates(point):
            layer.add(point)
            keep[index] = True
    return keep[inverse]


def ranks(losses: Floats) -> NDArray[np.int64]:
    """Layer of each point in the non-dominated sort. Int [N]; 0 is the front, duplicates share a rank.

    Rank r is the front of what is left when ranks below r are taken away. A layer that dominates a point is itself dominated by
    the layer before it, so the layers that dominate it are the first ones and a binary search finds its own.

    Raises:
        LfrayError: The losses are not [N, K >= 1], or one is not finite.

    Source: Zhang, Tian, Cheng, Jin 2015 (efficient non-dominated sort, binary search form).
    """
    points, inverse = _distinct(losses)
    if points.shape[1] == 1:
        return inverse
    layers: list[_Layer] = []
    rank = np.zeros(len(points), dtype=np.int64)
    for index, point in _walk(points):
        low, high = 0, len(layers)
        while low < high:
            middle = (low + high) // 2
            if layers[middle].dominates(point):
                low = middle + 1
            else:
                high = middle
        if low == len(layers):
            layers.append(_new_layer(points.shape[1]))
        layers[low].add(point)
        rank[index] = low
    return rank[inverse]


def hypervolume(losses: Floats, reference: Floats) -> float:
    """Volume that the points dominate, bounded by `reference` [K]; in the product of the objectives' units.

    0: no point is better than the reference on every objective. A point outside the reference adds 0; dominated points and
    duplicates add nothing. Exact for every K: a sweep for 2, a sweep over staircases for 3 (10^5 points in about a second), a
    recursion over exclusive volumes above (1,000 points of 4 objectives in seconds; each further objective costs a factor of
    about the front's size).

    Raises:
        LfrayError: The losses are not [N, K >= 1], the reference is not [K], or a value is not finite.

    Source: While, Bradstreet, Barone 2012 (exclusive volumes with slicing); Beume et al. 2009 (three objectives).
    """
    losses, reference = _checked(losses), np.asarray(reference, dtype=np.float64)
    if reference.shape != (losses.shape[1],) or not np.isfinite(reference).all():
        raise LfrayError(f"pareto: reference must be {losses.shape[1]} finite numbers (got {reference.tolist()})")
    return _volume(losses[(losses < reference).all(axis=1)], reference)


def knee(losses_scaled: Floats) -> int | None:
    """Row of the point where the front bends most: the smallest sum of min-max scaled losses over the front.

    With two objectives this is the point furthest from the chord between the front's two ends, towards the utopia point. With K
    it is the point furthest below the plane through the worst possible ends (best on one objective, worst on all others; the
    sum there is K - 1). The first such row where several tie.

    None: fewer than three distinct points on the front, an objective without spread, or no point below the chord (a straight or
    bulging front has no knee).

    Raises:
        LfrayError: The losses are not [N, K >= 1], or one is not finite.
    """
    losses = _checked(losses_scaled)
    front = np.flatnonzero(on_front(losses))
    if losses.shape[1] < 2 or len(np.unique(losses[front], axis=0)) < 3:
        return None
    spread = np.ptp(losses[front], axis=0)
    if (spread == 0).any():
        return None
    total = ((losses[front] - losses[front].min(axis=0)) / spread).sum(axis=1)
    best = int(np.argmin(total))
    # The ends sum to K - 1 exactly; a point on the chord may fall short of it by rounding alone.
    return int(front[best]) if total[best] < losses.shape[1] - 1 - 1e-9 else None


def _checked(losses: Floats) -> Floats:
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or losses.shape[1] < 1:
        raise LfrayError(f"pareto: losses must be [points, objectives] (got shape {losses.shape})")
    if not np.isfinite(losses).all():
        row = int(np.flatnonzero(~np.isfinite(losses).all(axis=1))[0])
        raise LfrayError(f"pareto: losses must be finite (got {losses[row].tolist()} in row {row}). List undefined points apart")
    return losses


def _distinct(losses: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Distinct points in lexicographic order, and for each input row the index of its point.

    In this order no point is dominated by a later one, and an earlier point that is at least as low on objectives 1..K-1 is at
    least as low on objective 0 too.
    """
    losses = _checked(losses)
    order = np.lexsort(losses.T[::-1])
    ordered = losses[order]
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(order), dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return ordered[new], inverse


def _walk(points: Floats) -> Iterator[tuple[int, Sequence[float]]]:
    """Row number and the objectives that the lexicographic order has not settled yet (all but the first)."""
    rest = points[:, 1:]
    # Lists of Python floats: bisect on NumPy scalars took 6 times as long. Above three objectives the layer is an array.
    return enumerate(rest if points.shape[1] > 3 else rest.tolist())


class _Layer(Protocol):
    """Points of one layer, asked and filled in lexicographic order."""

    def dominates(self, point: Sequence[float]) -> bool:
        """Whether a point held is at least as low on every objective left."""

    def add(self, point: Sequence[float]) -> None:
        """Hold one more point, which the layer does not dominate."""


class _Tail:
    """Two objectives: the lowest second objective so far decides."""

    def __init__(self) -> None:
        self.lowest = math.inf

    def dominates(self, point: Sequence[float]) -> bool:
        return self.lowest <= point[0]

    def add(self, point: Sequence[float]) -> None:
        self.lowest = point[0]


class _Staircase:
    """Three objectives: the minima of the second and third, `first` rising and `second` falling."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.second: list[float] = []

    def dominates(self, point: Sequence[float]) -> bool:
        at = bisect_right(self.first, point[0]) - 1
        return at >= 0 and self.second[at] <= point[1]

    def add(self, point: Sequence[float]) -> None:
        start = end = bisect_left(self.first, point[0])
        while end < len(self.first) and self.second[end] >= point[1]:
            end += 1
        self.first[start:end] = [point[0]]
        self.second[start:end] = [point[1]]


class _Rows:
    """Four objectives or more: every point, compared at once; the array doubles when it is full."""

    def __init__(self) -> None:
        self.rows: Floats = np.empty((0, 0))
        self.size = 0

    def dominates(self, point: Sequence[float]) -> bool:
        return self.size > 0 and bool((self.rows[: self.size] <= point).all(axis=1).any())

    def add(self, point: Sequence[float]) -> None:
        if self.size == len(self.rows):
            grown = np.empty((max(8, 2 * self.size), len(point)))
            grown[: self.size] = self.rows[: self.size].reshape(self.size, len(point))
            self.rows = grown
        self.rows[self.size] = point
        self.size += 1


def _new_layer(num_objectives: int) -> _Layer:
    match num_objectives:
        case 2:
            return _Tail()
        case 3:
            return _Staircase()
        case _:
            return _Rows()


def _volume(inside: Floats, reference: Floats) -> float:
    """Hypervolume of points that all lie strictly inside the reference."""
    if not len(inside):
        return 0.0
    match len(reference):
        case 1:
            return float(reference[0] - inside.min())
        case 2:
            ordered = inside[np.argsort(inside[:, 0])]
            lowest = np.minimum.accumulate(ordered[:, 1])
            widths = np.diff(ordered[:, 0], append=reference[0])
            return float((widths * (reference[1] - lowest)).sum())
        case 3:
            return _volume_3(inside, reference)
        case _:
            return _volume_by_exclusion(inside, reference)


def _volume_3(inside: Floats, reference: Floats) -> float:
    """Sweep along the third objective; the staircase of the first two carries the area dominated so far."""
    reference_x, reference_y, reference_z = map(float, reference)
    # Sentinels: every point stands right of the first stair and left of the last, so no step needs a special case.
    xs, ys = [-math.inf, reference_x], [reference_y, -math.inf]
    area, volume, below = 0.0, 0.0, 0.0
    for x, y, z in inside[np.argsort(inside[:, 2])].tolist():
        start = bisect_left(xs, x)
        if ys[bisect_right(xs, x) - 1] <= y:
            continue
        volume += area * (z - below)
        below = z
        left, top, end = x, ys[start - 1], start
        while True:
            area += (xs[end] - left) * (top - y)
            if ys[end] < y:
                break
            left, top, end = xs[end], ys[end], end + 1
        xs[start:end] = [x]
        ys[start:end] = [y]
    return volume + area * (reference_z - below)


def _volume_by_exclusion(inside: Floats, reference: Floats) -> float:
    """Sum of what each point dominates alone among those after it.

    Sorted by the last objective, worst first: what a later point shares with this one reaches this one's last coordinate, so
    the shared part is a volume of one objective less.
    """
    front = np.unique(inside[on_front(inside)], axis=0)
    front = front[np.argsort(-front[:, -1], kind="stable")]
    volume = 0.0
    for index, point in enumerate(front):
        shared = np.maximum(front[index + 1 :, :-1], point[:-1])
        alone = float(np.prod(reference[:-1] - point[:-1])) - _volume(shared, reference[:-1])
        volume += alone * float(reference[-1] - point[-1])
    return volume
