"""What a front says of its trials: dominance, failed and undefined ones, machines, covered groups, filters, scale."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lfray.errors import LfrayError
from lfray.pareto.front import Front, front_of
from tests.unit.records import make_failure, make_measure, make_record

if TYPE_CHECKING:
    from lfray.record import TrialRecord

WORST, SIZE, SECONDS = "fair.worst_group_accuracy", "cost.trainable_parameters", "cost.train_seconds"


def trial(rank: int, worst: float | str, size: float | str, *, seed: int = 13, **fields: str) -> TrialRecord:
    return make_record(rank=rank, seed=seed, measures={WORST: worst, SIZE: size, SECONDS: float(rank)}, **fields)  # type: ignore[arg-type]


SWEEP = [
    trial(1, 0.60, 0.0),
    trial(2, 0.80, 1e3),
    trial(4, 0.79, 1e4),  # dominated by rank 2
    trial(8, 0.84, 1e5),
    trial(16, 0.84, 1e5),  # the same as rank 8
    trial(32, 0.85, 1e8),
]


def ranks_on(front: Front) -> list[int]:
    return sorted(front.trials["rank"].tolist())


def test_the_front_and_its_places() -> None:
    front = front_of(SWEEP, [WORST, SIZE])
    assert ranks_on(front) == [1, 2, 8, 16, 32]
    table = front.table.set_index("rank")
    assert table["pareto_rank"].to_dict() == {1: 0, 2: 0, 4: 1, 8: 0, 16: 0, 32: 0}
    assert table["undefined_reason"].isna().all()
    assert front.undefined == ()
    assert front.level == "trial"
    assert front.scale == {WORST: "raw", SIZE: "log10(1+x)"}


def test_reference_and_hypervolume_are_written_down_and_agree() -> None:
    front = front_of(SWEEP, [WORST, SIZE])
    worst = np.log10(1 + 1e8) * 1.1
    assert front.reference_point[WORST] == 0.0
    assert np.log10(1 + front.reference_point[SIZE]) == pytest.approx(worst)
    steps = [(0.60, 0.0), (0.80, 1e3), (0.84, 1e5), (0.85, 1e8)]
    edges = [np.log10(1 + size) for _, size in steps] + [worst]
    expected = sum(height * (edges[i + 1] - edges[i]) for i, (height, _) in enumerate(steps))
    assert front.hypervolume == pytest.approx(expected)


def test_a_given_reference_is_used_and_checked() -> None:
    front = front_of(SWEEP, [WORST, SIZE], reference={SIZE: 999.0, WORST: 0.5})
    assert front.reference_point == {WORST: 0.5, SIZE: 999.0}
    assert front.hypervolume == pytest.approx(0.1 * 3.0)
    with pytest.raises(LfrayError, match="names an objective"):
        front_of(SWEEP, [WORST, SIZE], reference={"accuracy": 0.5})
    with pytest.raises(LfrayError, match="must be finite"):
        front_of(SWEEP, [WORST, SIZE], reference={SIZE: float("inf")})


def test_order_of_records_leaves_no_trace() -> None:
    shuffled = random.Random(1).sample(SWEEP, len(SWEEP))
    assert front_of(shuffled, [WORST, SIZE]).to_json() == front_of(SWEEP, [WORST, SIZE]).to_json()


def test_failed_and_undefined_trials_stand_apart() -> None:
    records = [
        *SWEEP,
        trial(3, "single_group", 1.0),
        make_record(rank=5, measures={WORST: 0.99, SIZE: 0.0}, failure=make_failure()),
        make_record(rank=6, measures={SIZE: 0.0}),
    ]
    front = front_of(records, [WORST, SIZE])
    assert ranks_on(front) == [1, 2, 8, 16, 32]
    table = front.table.set_index("rank")
    assert table.loc[[3, 5, 6], "undefined_reason"].tolist() == ["single_group", "trial_failed", "not_measured"]
    assert not table.loc[[3, 5, 6], "on_front"].any()
    assert table.loc[[3, 5, 6], "pareto_rank"].isna().all()
    assert table.loc[5, "state"] == "FAILED"
    assert sorted((item.reason, item.objective) for item in front.undefined) == [
        ("not_measured", WORST), ("single_group", WORST), ("trial_failed", WORST),
    ]  # fmt: skip
    assert all(item.meaning != item.reason for item in front.undefined)
    assert front.table["rank"].tolist()[-3:] == [3, 5, 6]


def test_trials_that_cover_other_groups_are_not_compared() -> None:
    records = [
        make_record(rank=rank, measures=[make_measure(WORST, worst, options={"covers": covers}), make_measure(SIZE, 1.0)])
        for rank, worst, covers in [(1, 0.7, ["a", "b"]), (2, 0.9, ["a"]), (4, 0.6, ["b", "a"])]
    ]
    front = front_of(records, [WORST, SIZE])
    assert ranks_on(front) == [1]
    assert front.table.set_index("rank").loc[2, "undefined_reason"] == "covers_differ"
    # The gap and the size do not cover groups, so nothing is set apart there.
    assert front_of(records, [SIZE]).undefined == ()


def test_machines_are_not_mixed_where_an_objective_depends_on_them() -> None:
    records = [
        trial(1, 0.6, 0.0, hardware_key="slow"),
        trial(2, 0.6, 0.0, hardware_key="slow"),
        trial(3, 0.5, 0.0, hardware_key="fast"),
        trial(4, 0.9, 0.0, hardware_key="fast"),
    ]
    front = front_of(records, [WORST, SECONDS])
    assert ranks_on(front) == [1, 3, 4]
    assert front.hypervolume is None
    assert sorted(front.hypervolume_by_hardware) == ["fast", "slow"]
    assert front.hardware_keys == ("fast", "slow")
    with pytest.raises(LfrayError, match="Name one of: fast, slow"):
        front.knee()
    assert front.knee("fast") is None
    with pytest.raises(LfrayError, match=r"Did you mean 'fast'\?"):
        front.knee("fats")
    # Objectives that do not depend on the machine are compared across machines.
    across = front_of(records, [WORST, SIZE])
    assert ranks_on(across) == [4]
    assert across.hypervolume is not None


def test_one_objective_is_a_ranking() -> None:
    front = front_of(SWEEP, [WORST])
    assert front.table["rank"].tolist() == [32, 16, 8, 2, 4, 1]
    assert front.table["pareto_rank"].tolist() == [0, 1, 1, 2, 3, 4]
    assert front.hypervolume is None
    assert front.reference_point == {}
    assert front.knee() is None
    assert ranks_on(front) == [32]


def test_knee() -> None:
    bend = front_of(SWEEP, [WORST, SIZE]).knee()
    assert bend is not None
    assert bend["rank"] == 2


def test_where_filters_first_and_draws_anew() -> None:
    front = front_of(SWEEP, [WORST, SIZE])
    narrowed = front.where("rank != 2")
    assert ranks_on(narrowed) == [1, 4, 8, 16, 32]
    assert len(narrowed.table) == 5
    assert narrowed.filter == "rank != 2"
    assert narrowed.reference_point == front.reference_point
    assert narrowed.hypervolume is not None
    assert front.hypervolume is not None
    assert narrowed.hypervolume < front.hypervolume
    assert front_of(SWEEP, [WORST, SIZE], where="rank != 2").to_json() == narrowed.to_json()
    twice = narrowed.where(f"{SIZE} < 1e6")
    assert ranks_on(twice) == [1, 4, 8, 16]
    assert twice.filter == f"(rank != 2) and ({SIZE} < 1e6)"
    assert len(front.where("rank > 1000").table) == 0


def test_three_objectives() -> None:
    front = front_of(SWEEP, [WORST, SIZE, SECONDS])
    assert ranks_on(front) == [1, 2, 8, 32]  # rank 16 equals rank 8 but for its time
    assert front.hypervolume is not None
    assert front.hypervolume > 0


def test_refused_objectives() -> None:
    with pytest.raises(LfrayError, match=r"no trial measured it\. Did you mean 'fair.worst_group_accuracy'"):
        front_of(SWEEP, ["fair.worst_group_accuracy/race", SIZE])
    with pytest.raises(LfrayError, match=r"one \(a ranking\) to five"):
        front_of(SWEEP, [])


@pytest.mark.parametrize("records", [[], [make_record(failure=make_failure())]])
def test_nothing_completed_yet_is_an_empty_front(records: list[TrialRecord]) -> None:
    front = front_of(records, [WORST, SIZE])
    assert len(front.trials) == 0
    assert front.hypervolume == 0.0
    assert front.knee() is None
    json.dumps(front.to_json(), allow_nan=False)
