"""Geometry against its definition by brute force, against moocore, against stored oracles and against closed forms."""

from __future__ import annotations

import json
import os
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfray.errors import LfrayError
from lfray.names import ACCURACY, SELECTION_RATE, TRAINABLE_PARAMETERS
from lfray.pareto.geometry import as_losses, hypervolume, knee, on_front, ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def dominates(a: Floats, b: Floats) -> bool:
    return bool((a <= b).all() and (a < b).any())


def front_by_definition(losses: Floats) -> list[bool]:
    return [not any(dominates(other, point) for other in losses) for point in losses]


def ranks_by_definition(losses: Floats) -> list[int]:
    found = np.full(len(losses), -1)
    for layer in range(len(losses)):
        left = np.flatnonzero(found < 0)
        found[left[front_by_definition(losses[left])]] = layer
    return [int(rank) for rank in found]


def volume_by_cells(losses: Floats, side: int) -> int:
    """Unit cells of a grid of whole numbers that some point dominates; reference = side everywhere."""
    cells = product(range(side), repeat=losses.shape[1])
    return sum(any((point <= cell).all() for point in losses) for cell in map(np.array, cells))


def small_sets(count: int) -> list[Floats]:
    """Small random sets of 1 to 5 objectives on few distinct values: ties and duplicates everywhere."""
    rng = np.random.default_rng(20240518)
    return [
        rng.integers(0, rng.integers(2, 6), size=(rng.integers(1, 13), 1 + index % 5)).astype(float) for index in range(count)
    ]


def oracle(name: str) -> dict[str, Any]:
    path = os.environ.get("LFRAY_TEST_ORACLES")
    if not path:
        pytest.skip("shared data absent: LFRAY_TEST_ORACLES is not set")
    block: dict[str, Any] = json.loads(Path(path).read_text())[name]
    return block


def test_front_and_ranks_match_their_definition_on_thousands_of_sets() -> None:
    for losses in small_sets(2000):
        assert on_front(losses).tolist() == front_by_definition(losses)
        assert ranks(losses).tolist() == ranks_by_definition(losses)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5])
def test_front_matches_its_definition_on_larger_sets(seed: int, num_objectives: int) -> None:
    losses = np.random.default_rng(seed).integers(0, 6, size=(60, num_objectives)).astype(float)
    assert on_front(losses).tolist() == front_by_definition(losses)
    assert ranks(losses).tolist() == ranks_by_definition(losses)


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5])
def test_front_and_hypervolume_match_moocore(num_objectives: int) -> None:
    rng = np.random.default_rng(num_objectives)
    for index in range(150):
        losses = rng.random((int(rng.integers(1, 40)), num_objectives)) * 1.4
        if index % 2:
            losses = np.round(losses, 1)
        reference = np.full(num_objectives, 1.1)
        assert on_front(losses).tolist() == moocore.is_nondominated(losses, keep_weakly=True).tolist()
        assert hypervolume(losses, reference) == pytest.approx(moocore.hypervolume(losses, ref=reference), rel=1e-12, abs=1e-14)


def test_hypervolume_counts_the_dominated_cells_of_a_grid() -> None:
    for losses in small_sets(300):
        side = 5 if losses.shape[1] < 5 else 4
        assert hypervolume(losses, np.full(losses.shape[1], float(side))) == volume_by_cells(losses, side)


def test_two_objectives_equal_the_oracle() -> None:
    block = oracle("pareto_min_min")
    losses = np.array(block["points"])
    assert on_front(losses).tolist() == block["nondominated_keep_weakly"]
    assert ranks(losses).tolist() == block["rank"]
    assert hypervolume(losses, np.array(block["ref"])) == pytest.approx(block["hypervolume"], abs=1e-12)


def test_three_objectives_equal_the_oracle() -> None:
    block = oracle("pareto_3d_min")
    losses = np.array(block["points"])
    assert on_front(losses).tolist() == block["nondominated"]
    assert hypervolume(losses, np.array(block["ref"])) == pytest.approx(block["hypervolume"], abs=1e-12)


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4, 5])
def test_duplicates_on_the_front_all_stay_and_share_a_rank(num_objectives: int) -> None:
    best, worse = np.zeros(num_objectives), np.ones(num_objectives)
    losses = np.stack([worse, best, best, worse, -best])  # -0.0 equals 0.0
    assert on_front(losses).tolist() == [False, True, True, False, True]
    assert ranks(losses).tolist() == [1, 0, 0, 1, 0]
    assert hypervolume(losses, np.full(num_objectives, 2.0)) == 2.0**num_objectives


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_staircase_area_in_closed_form(steps: int) -> None:
    # Points (i, steps - 1 - i) with reference (steps, steps): 1 + 2 + ... + steps unit squares.
    losses = np.array([(i, steps - 1 - i) for i in range(steps)], dtype=float)
    assert hypervolume(losses, np.array([steps, steps], dtype=float)) == steps * (steps + 1) / 2


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5])
def test_points_outside_the_reference_add_nothing(num_objectives: int) -> None:
    inside = np.full((1, num_objectives), 0.5)
    outside = np.full((1, num_objectives), 0.1)
    outside[0, -1] = 1.0  # on the border: no volume
    reference = np.ones(num_objectives)
    assert hypervolume(np.vstack([inside, outside]), reference) == 0.5**num_objectives
    assert hypervolume(outside, reference) == 0.0
    assert hypervolume(np.empty((0, num_objectives)), reference) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    losses = np.array([[1.0, bad], [2.0, 0.2]])
    for refuse in (on_front, ranks, knee, lambda points: hypervolume(points, np.ones(2))):
        with pytest.raises(LfrayError, match=r"must be finite .* in row 0"):
            refuse(losses)
    with pytest.raises(LfrayError, match="reference must be 2 finite numbers"):
        hypervolume(np.ones((1, 2)), np.array([1.0, bad]))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(LfrayError, match=r"\[points, objectives\]"):
        on_front(np.ones(3))
    with pytest.raises(LfrayError, match="reference must be 2 finite numbers"):
        hypervolume(np.ones((1, 2)), np.ones(3))


def test_no_points_are_no_error() -> None:
    assert on_front(np.empty((0, 3))).tolist() == []
    assert ranks(np.empty((0, 3))).tolist() == []
    assert knee(np.empty((0, 2))) is None


grids = st.integers(2, 5).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=12)
)


@settings(max_examples=100, deadline=None)
@given(grids, st.randoms(use_true_random=False))
def test_order_of_points_and_of_objectives_changes_nothing(rows: list[list[int]], random: Any) -> None:
    losses = np.array(rows, dtype=float)
    order, columns = list(range(len(losses))), list(range(losses.shape[1]))
    random.shuffle(order)
    random.shuffle(columns)
    moved = losses[order][:, columns]
    reference = np.full(losses.shape[1], 10.0)
    assert on_front(moved).tolist() == on_front(losses)[order].tolist()
    assert ranks(moved).tolist() == ranks(losses)[order].tolist()
    assert hypervolume(moved, reference) == pytest.approx(hypervolume(losses, reference))


@settings(max_examples=100, deadline=None)
@given(grids)
def test_dominated_points_add_no_volume(rows: list[list[int]]) -> None:
    losses = np.array(rows, dtype=float)
    reference = np.full(losses.shape[1], 10.0)
    assert hypervolume(losses[on_front(losses)], reference) == pytest.approx(hypervolume(losses, reference))


def test_losses_are_lower_is_better() -> None:
    values = np.array([[0.9, 100.0], [0.8, 10.0]])
    assert as_losses(values, [ACCURACY, TRAINABLE_PARAMETERS]).tolist() == [[-0.9, 100.0], [-0.8, 10.0]]
    with pytest.raises(LfrayError, match="no good direction"):
        as_losses(values, [ACCURACY, SELECTION_RATE])


def test_knee_is_furthest_from_the_chord() -> None:
    losses = np.array([[0.0, 10.0], [1.0, 4.0], [2.0, 2.0], [6.0, 1.0], [10.0, 0.0], [9.0, 9.0]])
    chord = [(x + y - 10) / np.sqrt(2) for x, y in losses[:5]]
    assert knee(losses) == int(np.argmin(chord)) == 2


def test_knee_does_not_depend_on_units() -> None:
    losses = np.array([[0.0, 1.0], [0.2, 0.3], [0.5, 0.2], [1.0, 0.0]])
    assert knee(losses) == knee(losses * [1000.0, 0.001] + [5.0, -3.0]) == 1


@pytest.mark.parametrize(
    "losses",
    [
        [[0.0, 1.0], [1.0, 0.0]],  # two points
        [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],  # three points, two distinct
        [[0.0, 0.3], [0.1, 0.2], [0.2, 0.1], [0.3, 0.0]],  # straight
        [[0.0, 1.0], [0.8, 0.9], [1.0, 0.0]],  # bulging
        [[1.0], [2.0], [3.0]],  # one objective
    ],
)
def test_no_knee(losses: list[list[float]]) -> None:
    assert knee(np.array(losses)) is None


def test_knee_of_three_objectives() -> None:
    losses = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.3, 0.3, 0.3], [0.9, 0.9, 0.9]])
    assert knee(losses) == 3


def test_a_hundred_thousand_points_of_three_objectives_take_seconds() -> None:
    rng = np.random.default_rng(3)
    sphere = np.abs(rng.normal(size=(100_000, 3)))
    losses = 1.0 - sphere / np.linalg.norm(sphere, axis=1, keepdims=True)  # all on the front
    started = time.perf_counter()
    assert (ranks(losses) == 0).all()
    volume = hypervolume(losses, np.ones(3))
    # 0.3 s on one idle core; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 5.0
    assert volume == pytest.approx(np.pi / 6, rel=0.02)  # an eighth of the unit ball
