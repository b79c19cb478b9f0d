from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lfray.errors import DataError
from lfray.evaluation.intervals import (
    gap_noise_floor,
    odds_noise_floor,
    overall_noise_floor,
    overlapping_worst_floor,
    t_interval,
    wilson,
    worst_rate_floor,
)


def _mass(hits: int, size: int, rate: float) -> float:
    return math.comb(size, hits) * rate**hits * (1 - rate) ** (size - hits)


@given(st.integers(1, 3000), st.data())
def test_wilson_equals_scipy(support: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, support))
    expected = binomtest(hits, support).proportion_ci(method="wilson")
    assert wilson(hits / support, support) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_at_its_ends() -> None:
    low, high = wilson(1.0, 10)
    assert (round(low, 3), high) == (0.722, 1.0)
    assert wilson(0.0, 10)[0] == 0.0
    assert all(math.isnan(end) for end in wilson(math.nan, 0))


def test_t_interval_at_five_seeds() -> None:
    values = [0.80, 0.82, 0.79, 0.85, 0.81]
    found = t_interval(values)
    assert found.interval is not None
    half = 2.7764451 * float(np.std(values, ddof=1)) / math.sqrt(5)
    assert found.interval == pytest.approx((found.mean - half, found.mean + half), abs=1e-8)
    assert found.flag is None


def test_one_seed_and_no_spread_are_flagged() -> None:
    assert (t_interval([0.5]).interval, t_interval([0.5]).flag) == (None, "one_seed")
    assert (t_interval([0.5, 0.5]).interval, t_interval([0.5, 0.5]).flag) == ((0.5, 0.5), "zero_variance")


@pytest.mark.parametrize("values", [[], [0.5, math.nan]])
def test_undefined_seeds_are_not_averaged(values: list[float]) -> None:
    with pytest.raises(DataError, match="one finite value or more"):
        t_interval(values)


@pytest.mark.parametrize(
    ("groups", "rows", "gap", "worst"),
    [(2, 100, 0.041, 0.830), (4, 100, 0.073, 0.813), (8, 50, 0.143, 0.776), (8, 200, 0.072, 0.813), (8, 1000, 0.032, 0.834)],
)
def test_floors_equal_the_simulated_table(groups: int, rows: int, gap: float, worst: float) -> None:
    # The published table was simulated: its third decimal is uncertain.
    assert gap_noise_floor([rows] * groups, 0.85) == pytest.approx(gap, abs=1.2e-3)
    assert worst_rate_floor([rows] * groups, 0.85) == pytest.approx(worst, abs=1.2e-3)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.floats(0, 1))
def test_exact_floor_equals_enumeration(support: list[int], rate: float) -> None:
    gap = worst = 0.0
    for hits in product(*(range(size + 1) for size in support)):
        weight = math.prod(_mass(k, n, rate) for k, n in zip(hits, support, strict=True))
        shares = [k / n for k, n in zip(hits, support, strict=True)]
        gap += weight * (max(shares) - min(shares))
        worst += weight * min(shares)
    assert gap_noise_floor(support, rate) == pytest.approx(gap, abs=1e-9)
    assert worst_rate_floor(support, rate) == pytest.approx(worst, abs=1e-9)


def test_exact_floor_of_large_uneven_groups_equals_simulation() -> None:
    support, rate = [37, 100, 12_345, 200_000], 0.9
    drawn = np.random.default_rng(0).binomial(support, rate, size=(200_000, 4)) / support
    assert gap_noise_floor(support, rate) == pytest.approx(float(np.ptp(drawn, axis=1).mean()), abs=4e-4)


def test_floors_without_luck_are_zero() -> None:
    assert gap_noise_floor([5, 9], 1.0) == 0.0
    assert gap_noise_floor([5], 0.3) == pytest.approx(0.0, abs=1e-12)
    assert odds_noise_floor([5, 5], [5, 5], (1.0, 0.0)) == 0.0
    assert overall_noise_floor([5, 5], 3, 1.0) == 0.0


def test_odds_floor_equals_enumeration() -> None:
    positives, negatives, rates = [3, 2], [2, 4], (0.7, 0.4)
    expected = 0.0
    sizes, chances = [*positives, *negatives], [rates[0]] * 2 + [rates[1]] * 2
    for hits in product(*(range(size + 1) for size in sizes)):
        weight = math.prod(_mass(k, n, p) for k, n, p in zip(hits, sizes, chances, strict=True))
        share = [k / n for k, n in zip(hits, sizes, strict=True)]
        expected += weight * max(abs(share[0] - share[1]), abs(share[2] - share[3]))
    assert odds_noise_floor(positives, negatives, rates) == pytest.approx(expected, abs=0.015)
    assert odds_noise_floor(positives[::-1], negatives[::-1], rates) == odds_noise_floor(positives, negatives, rates)


def test_overall_floor_of_two_halves_is_half_their_gap() -> None:
    # With two equal groups and nobody else, both lie half the gap from the overall rate.
    assert overall_noise_floor([50, 50], 0, 0.6) == pytest.approx(gap_noise_floor([50, 50], 0.6) / 2, abs=2e-3)


def test_shared_rows_soften_the_worst_group() -> None:
    apart = np.kron(np.eye(4, dtype=bool), np.ones((60, 1), dtype=bool))
    assert overlapping_worst_floor(apart, 0.8) == pytest.approx(worst_rate_floor([60] * 4, 0.8), abs=2e-3)
    same = np.ones((60, 4), dtype=bool)
    assert overlapping_worst_floor(same, 0.8) == pytest.approx(0.8, abs=3e-3)


@pytest.mark.parametrize(("support", "rate"), [([], 0.5), ([3, 0], 0.5), ([3], 1.5), ([3], math.nan)])
def test_floors_refuse_what_has_none(support: list[int], rate: float) -> None:
    with pytest.raises(DataError, match="noise floor"):
        gap_noise_floor(support, rate)
