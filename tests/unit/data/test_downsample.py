from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.data.downsample import downsample, kept_rows
from lfray.errors import DataError

SIZE = 200
IDS = np.array([hashlib.sha256(str(i).encode()).hexdigest()[:16] for i in range(SIZE)])
MINORITY = np.arange(SIZE) % 5 == 0
RATIOS = st.floats(min_value=0.001, max_value=1.0)


@given(RATIOS, RATIOS, st.integers(0, 5))
def test_smaller_ratio_keeps_a_subset(one: float, two: float, seed: int) -> None:
    small, large = sorted((one, two))
    assert not (downsample(IDS, MINORITY, ratio=small, seed=seed) & ~downsample(IDS, MINORITY, ratio=large, seed=seed)).any()


@given(RATIOS, st.integers(0, 5))
def test_the_majority_is_untouched_and_the_count_is_as_defined(ratio: float, seed: int) -> None:
    kept = downsample(IDS, MINORITY, ratio=ratio, seed=seed)
    assert kept[~MINORITY].all()
    assert kept[MINORITY].sum() == kept_rows(ratio, int(MINORITY.sum())) >= 1


@given(st.permutations(range(SIZE)), RATIOS)
def test_row_order_does_not_matter(order: list[int], ratio: float) -> None:
    shuffled = downsample(IDS[order], MINORITY[order], ratio=ratio, seed=3)
    assert set(IDS[order][shuffled]) == set(IDS[downsample(IDS, MINORITY, ratio=ratio, seed=3)])


def test_definition_by_hand() -> None:
    ids = np.array(["a", "b", "c", "d", "x"])
    lowest = sorted("abcd", key=lambda row: hashlib.sha256(f"7:{row}".encode()).hexdigest())[:2]
    kept = downsample(ids, np.array([True] * 4 + [False]), ratio=0.5, seed=7)
    assert set(ids[kept]) == {*lowest, "x"}


def test_full_ratio_keeps_everything_and_a_tiny_one_keeps_one() -> None:
    assert downsample(IDS, MINORITY, ratio=1.0, seed=0).all()
    assert downsample(IDS, MINORITY, ratio=1e-9, seed=0)[MINORITY].sum() == 1


def test_halves_round_up() -> None:
    assert [kept_rows(ratio, 10) for ratio in (0.05, 0.15, 0.25, 0.35)] == [1, 2, 3, 4]


def test_seeds_keep_different_rows_of_one_number() -> None:
    kept = [downsample(IDS, MINORITY, ratio=0.5, seed=seed) for seed in range(4)]
    assert len({k.tobytes() for k in kept}) == 4
    assert {int(k.sum()) for k in kept} == {160 + 20}


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_refuses_ratios_outside_the_range(ratio: float) -> None:
    with pytest.raises(DataError, match=r"downsampling_ratio: must be in \(0, 1\]"):
        downsample(IDS, MINORITY, ratio=ratio, seed=0)


def test_refuses_an_empty_minority() -> None:
    with pytest.raises(DataError, match="must have training rows"):
        downsample(IDS, np.zeros(SIZE, dtype=bool), ratio=0.5, seed=0)
