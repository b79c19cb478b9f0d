"""Intervals, and noise floors: what a gap or a worst group reads when nothing differs but the luck of few rows.

A gap is largest minus smallest, so it is never negative and its expectation under equality is not 0: eight groups of 50 rows
that all truly have accuracy .85 show a gap of .143 on average. The floor is printed beside every gap; it is an expectation, not
a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.special import bdtr, stdtrit

from lfray.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Z95: Final = 1.959963984540054
"""97.5 % quantile of the standard normal."""
WILSON95: Final = "wilson95"
FLOOR_DRAWS: Final = 4000
"""Draws behind a simulated floor: its standard error is then under .002 for any gap whose spread is under .1."""
_FLOOR_SEED: Final = 20_250_301
_TAIL: Final = 9.0
"""Standard deviations kept around a binomial's mean; what lies outside weighs less than 1e-15."""


def wilson(value: float, support: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, in [0, 1].

    Args:
        value: Hits / support.
        support: Rows in the denominator.

    Returns:
        Low and high end. NaN twice where support is 0. 10 of 10 gives (.722, 1).

    Source: Wilson 1927.
    """
    if support == 0:
        return (math.nan, math.nan)
    square = Z95 * Z95 / support
    middle = (value + square / 2) / (1 + square)
    half = Z95 * math.sqrt(value * (1 - value) / support + square / (4 * support)) / (1 + square)
    # The ends at 0 and 1 hits are exact; rounding would leave 1e-17 beside them.
    return (0.0 if value == 0 else max(0.0, middle - half), 1.0 if value == 1 else min(1.0, middle + half))


@dataclass(frozen=True)
class SeedInterval:
    """Mean over seeds with its interval (None for one seed); `flag` says why an interval is absent or of no width."""

    mean: float
    seeds: int
    interval: tuple[float, float] | None
    kind: str = "t95"
    flag: Literal["one_seed", "zero_variance"] | None = None


def t_interval(values: Sequence[float]) -> SeedInterval:
    """Student's 95 % interval of a mean over seeds (2.776 s / sqrt(5) at five seeds).

    One seed has no interval. Seeds without spread keep a width of 0, flagged: that is not certainty.

    Raises:
        DataError: No value, or one that is not finite (leave undefined trials out and say so).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise DataError(f"interval over seeds: needs one finite value or more (got {list(values)}). Leave undefined trials out")
    mean = float(sample.mean())
    if sample.size == 1:
        return SeedInterval(mean, 1, None, flag="one_seed")
    if np.ptp(sample) == 0:
        return SeedInterval(mean, sample.size, (mean, mean), flag="zero_variance")
    half = float(stdtrit(sample.size - 1, 0.975)) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return SeedInterval(mean, sample.size, (mean - half, mean + half))


def gap_noise_floor(support: Sequence[int], rate: float) -> float:
    """Expected largest minus smallest observed rate when every group truly has this rate.

    Exact: the groups' hits are independent binomials, and the expectations of the largest and the smallest are integrals of
    products of their distribution functions.

    Args:
        support: Rows in the denominator of each group, each at least 1.
        rate: The common true rate, in [0, 1].

    Returns:
        The expectation in [0, 1]: 0 for one group or for a rate of 0 or 1.
    """
    low, high = _expected_extremes(support, rate)
    return max(0.0, high - low)


def worst_rate_floor(support: Sequence[int], rate: float) -> float:
    """Expected smallest observed rate when every group truly has this rate (exact; see `gap_noise_floor`)."""
    return _expected_extremes(support, rate)[0]


def _expected_extremes(support: Sequence[int], rate: float) -> tuple[float, float]:
    """Expected smallest and largest of independent Binomial(n, rate) / n."""
    _check_floor(support, rate)
    if rate in (0.0, 1.0):
        return rate, rate
    sizes, windows = [int(size) for size in support], []
    for size in sizes:
        reach = _TAIL * math.sqrt(size * rate * (1 - rate)) + _TAIL
        first, last = max(0, math.floor(size * rate - reach)), min(size, math.ceil(size * rate + reach))
        windows.append(np.arange(first, last + 1))
    points = np.unique(np.concatenate([[0.0, 1.0], *(window / size for window, size in zip(windows, sizes, strict=True))]))
    below, above = np.ones(points.size), np.ones(points.size)
    for window, size in zip(windows, sizes, strict=True):
        # 1e-9 undoes the rounding of size * (k / other size); true fractions are multiples of 1 / other size.
        hits = np.floor(points * size + 1e-9).astype(np.int64)
        at_most = np.concatenate([[0.0], bdtr(window, size, rate)])[np.clip(hits - window[0] + 1, 0, window.size)]
        below *= at_most
        above *= 1 - at_most
    width = np.diff(points)
    return float((width * above[:-1]).sum()), float((width * (1 - below[:-1])).sum())


def odds_noise_floor(positives: Sequence[int], negatives: Sequence[int], rates: tuple[float, float]) -> float:
    """Expected larger of two ranges, of true- and of false-positive rate, when every group truly has both `rates`.

    Simulated with a fixed seed; the order of the groups does not matter.
    """
    _check_floor(positives, rates[0])
    _check_floor(negatives, rates[1])
    pairs = np.array(sorted(zip(positives, negatives, strict=True)), dtype=np.int64)
    rng = np.random.default_rng(_FLOOR_SEED)
    drawn = rng.binomial(pairs, np.asarray(rates), size=(FLOOR_DRAWS, *pairs.shape)) / pairs
    return float(np.ptp(drawn, axis=1).max(axis=1).mean())


def overall_noise_floor(support: Sequence[int], rest: int, rate: float) -> float:
    """Expected largest distance of a group's rate to that of all rows when every row truly has this rate.

    `rest` is the number of rows in no group of `support`. Simulated with a fixed seed; the order of the groups does not matter.
    """
    _check_floor(support, rate)
    sizes = np.array(sorted(support), dtype=np.int64)
    rng = np.random.default_rng(_FLOOR_SEED)
    hits = rng.binomial(sizes, rate, size=(FLOOR_DRAWS, sizes.size))
    others = rng.binomial(rest, rate, size=FLOOR_DRAWS)
    overall = (hits.sum(axis=1) + others) / (sizes.sum() + rest)
    return float(np.abs(hits / sizes - overall[:, None]).max(axis=1).mean())


def overlapping_worst_floor(member: NDArray[np.bool_], rate: float) -> float:
    """Expected smallest observed rate over groups that share rows, when every row truly has this rate.

    Rows of one membership pattern are exchangeable, so one binomial a pattern is enough, and shared rows stay shared.

    Args:
        member: bool [N, G], every group with at least one row.
        rate: The common true rate.
    """
    _check_floor(member.sum(axis=0).tolist(), rate)
    patterns, counts = np.unique(member, axis=0, return_counts=True)
    rng, size, holds = np.random.default_rng(_FLOOR_SEED), member.sum(axis=0), patterns.astype(np.float64)
    total = 0.0
    # In parts of 250 draws: rows with as many patterns as rows would need gigabytes at once. float64 counts are exact.
    for _ in range(FLOOR_DRAWS // 250):
        hits = rng.binomial(counts, rate, size=(250, counts.size)).astype(np.float64)
        total += float((hits @ holds / size).min(axis=1).sum())
    return total / FLOOR_DRAWS


def _check_floor(support: Sequence[int], rate: float) -> None:
    if len(support) == 0 or min(support) < 1 or not 0 <= rate <= 1:
        raise DataError(f"noise floor: needs groups of at least one row and a rate in [0, 1] (got {list(support)}, {rate})")
