from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.data.stratify import choose, crossed, iterative_stratification, largest_remainder
from lfray.record import GroupColumn


def partition(codes: np.ndarray, name: str = "g") -> GroupColumn:
    groups = np.unique(codes)
    return GroupColumn(name, tuple(map(str, groups)), codes[:, None] == groups[None, :])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
def test_largest_remainder_meets_the_total_and_stays_within_one_row_of_each_share(cells: list[int], data: st.DataObject) -> None:
    cell = np.unique(np.array(cells), return_inverse=True)[1]
    count = data.draw(st.integers(0, len(cells)))
    order = np.array(data.draw(st.permutations(range(len(cells)))))
    chosen = largest_remainder(cell, count=count, order=order)
    assert chosen.sum() == count
    for value in np.unique(cell):
        share = (cell == value).sum() * count / len(cells)
        assert abs(chosen[cell == value].sum() - share) < 1
        positions = [p for p in order if cell[p] == value]
        assert chosen[positions].tolist() == sorted(chosen[positions].tolist(), reverse=True), "the first in order are taken"


def test_a_tied_remainder_goes_to_the_smaller_cell() -> None:
    cell = np.array([0] * 6 + [1] * 2)
    assert largest_remainder(cell, count=2, order=np.arange(8))[cell == 1].sum() == 1


def test_cells_are_label_by_every_attribute() -> None:
    rng = np.random.default_rng(0)
    label, one, two = (rng.integers(0, 2, size=800) for _ in range(3))
    chosen = choose(label, (partition(one, "one"), partition(two, "two")), count=200, order=rng.permutation(800))
    for values in np.ndindex(2, 2, 2):
        inside = (label == values[0]) & (one == values[1]) & (two == values[2])
        assert abs(chosen[inside].mean() - 0.25) < 1 / inside.sum()


def test_crossed_columns_are_classes_and_groups_within_classes() -> None:
    group = GroupColumn("g", ("a", "b"), np.array([[1, 0], [1, 1], [0, 0]], dtype=bool), overlapping=True)
    table = crossed(np.array([0, 1, 1]), (group,))
    # class 0, class 1, a&0, a&1, b&1 (b&0 has no rows)
    assert table.astype(int).tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 1, 1], [0, 1, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_iterative_stratification_keeps_proportions_of_overlapping_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.random((2000, 12)) < rng.uniform(0.005, 0.4, size=12)
    shares = (0.2, 0.1, 0.7)
    subset = iterative_stratification(member, shares=shares, order=rng.permutation(2000))
    assert set(subset.tolist()) == {0, 1, 2}
    for k, share in enumerate(shares):
        inside = subset == k
        assert abs(inside.sum() - share * 2000) <= 0.03 * 2000
        # Random dealing errs by a standard deviation of sqrt(n p q); this one by a few rows at most.
        assert np.abs(member[inside].sum(axis=0) - share * member.sum(axis=0)).max() <= 6


def test_iterative_stratification_beats_random_dealing_on_rare_labels() -> None:
    rng = np.random.default_rng(1)
    member = rng.random((3000, 20)) < 0.01
    order = rng.permutation(3000)
    wanted = 0.2 * member.sum(axis=0)
    ours = iterative_stratification(member, shares=(0.2, 0.8), order=order) == 0
    random = rng.random(3000) < 0.2
    error = [np.abs(member[chosen].sum(axis=0) - wanted).mean() for chosen in (ours, random)]
    assert error[0] < 0.6 < error[1]


def test_iterative_stratification_follows_the_order_alone() -> None:
    rng = np.random.default_rng(2)
    member, order, moved = rng.random((300, 6)) < 0.2, rng.permutation(300), rng.permutation(300)
    position = np.argsort(moved)
    one = iterative_stratification(member, shares=(0.3, 0.7), order=order)
    two = iterative_stratification(member[moved], shares=(0.3, 0.7), order=position[order])
    assert (one[moved] == two).all()


def test_rows_without_any_label_fill_the_subsets_up() -> None:
    subset = iterative_stratification(np.zeros((10, 2), dtype=bool), shares=(0.3, 0.7), order=np.arange(10))
    assert np.bincount(subset).tolist() == [3, 7]
