from __future__ import annotations

from itertools import product
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import CapacityError
from lfray.sweep.capacity import Free, Machines, Node, local_machines, most_at_once, refuse_impossible
from lfray.sweep.need import Need


def machines(*nodes: tuple[float, float, float], where: str = "this machine") -> Machines:
    """(CPUs, GPUs, GiB) of each node."""
    return Machines(tuple(Node(f"n{index}", *node) for index, node in enumerate(nodes)), where)


def need(workers: int = 1, cpus: float = 1, gpus: float = 0, memory: float = 1.0, placement: Any = "pack") -> Need:
    return Need(workers, cpus, gpus, memory, placement)


def nodes_of(free: Free, wanted: Need) -> list[int] | None:
    placement = free.place(wanted)
    return None if placement is None else [seat.node for seat in placement.seats]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 16),
        ({"cpus": 3}, 5),
        ({"memory": 10.0}, 6),
        ({"workers": 3}, 5),
        ({"workers": 2, "cpus": 3}, 2),
        ({"gpus": 4, "wants": 1}, 4),
        ({"gpus": 4, "wants": 2}, 2),
        ({"gpus": 4, "wants": 1, "workers": 3}, 1),
        # A share lies on one device, and 1 / 0.2 is 5 whatever floating point says.
        ({"gpus": 1, "wants": 0.2}, 5),
        ({"gpus": 1, "wants": 0.1}, 10),
        ({"gpus": 1, "wants": 1 / 3}, 3),
        ({"gpus": 2, "wants": 0.4}, 4),
        ({"gpus": 2, "wants": 0.6}, 2),
        # Main memory counts for trials on GPUs too.
        ({"gpus": 4, "wants": 1, "memory": 30.0}, 2),
    ],
)
def test_as_many_trials_as_the_scarcest_resource_holds(fields: dict[str, Any], expected: int) -> None:
    wanted = need(fields.get("workers", 1), fields.get("cpus", 1), fields.get("wants", 0), fields.get("memory", 1.0))
    here = machines((16, fields.get("gpus", 0), 64))
    assert most_at_once(wanted, here) == expected
    assert most_at_once(wanted, here, at_most=3) == min(3, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpus": 17}, r"full: 17 CPUs: no trial can ever fit this machine \(it has 16\)\. Lower cpus_per_trial"),
        ({"gpus": 3}, r"full: 3 GPUs: .*\(it has 2\)\. Lower gpus_per_trial"),
        ({"memory": 63.0}, r"about 63\.0 GiB of memory: .*64\.0 GiB, 1\.5 of them kept"),
        ({"workers": 2, "cpus": 17}, r"full: 17 CPUs for each of 2 workers: "),
        ({"workers": 9, "cpus": 2}, r"full: 9 workers of 2 CPUs, about 1\.0 GiB each: .*\(it holds 8 of them: 16 CPUs, 2 GPUs"),
        ({"workers": 5, "gpus": 0.4}, r"5 workers of 1 CPU and 0\.4 GPU.*holds 4 of them"),
        ({"workers": 2, "memory": 40.0}, r"2 workers of 1 CPU, about 40\.0 GiB each.*holds 1 of them.*64\.0 GiB"),
    ],
)
def test_a_trial_that_can_never_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    refuse_impossible([("lora", need())], machines((16, 2, 64)))
    with pytest.raises(CapacityError, match=message):
        refuse_impossible([("lora", need()), ("full", need(**fields))], machines((16, 2, 64)))


def test_a_trial_without_a_gpu_at_hand_is_refused() -> None:
    with pytest.raises(CapacityError, match=r"0\.5 GPUs: .*\(it has 0\)"):
        refuse_impossible([("lora", need(gpus=0.5))], machines((16, 0, 64)))


def test_strict_pack_is_refused_where_only_several_nodes_together_hold_it() -> None:
    cluster = machines((4, 0, 64), (3, 0, 64), where="the cluster")
    refuse_impossible(
        [("full", need(7)), ("full", need(7, placement="spread")), ("full", need(4, placement="strict_pack"))], cluster
    )
    with pytest.raises(
        CapacityError, match=r"full: 5 workers .*no single node of the cluster .*holds 4, all 2 together 7\)\. Use pl"
    ):
        refuse_impossible([("full", need(5, placement="strict_pack"))], cluster)
    with pytest.raises(CapacityError, match=r"no trial can ever fit the cluster \(it holds 7 of them"):
        refuse_impossible([("full", need(8, placement="strict_pack"))], cluster)


def test_memory_and_cpus_are_asked_of_each_node_not_of_their_sum() -> None:
    with pytest.raises(CapacityError, match=r"about 20\.0 GiB of memory: .*\(its largest node has 16\.0 GiB"):
        refuse_impossible([("full", need(memory=20.0))], machines((4, 0, 16), (4, 0, 16), where="the cluster"))
    with pytest.raises(CapacityError, match=r"one node must have 8 CPUs, 1 GPUs and 1\.0 GiB .*no node of the cluster has all"):
        refuse_impossible([("full", need(cpus=8, gpus=1))], machines((16, 0, 16), (4, 1, 16), where="the cluster"))


def test_totals_are_over_nodes() -> None:
    cluster = machines((4, 1, 16), (8, 2, 32))
    assert (cluster.cpus, cluster.gpus, cluster.memory_gib) == (12, 3, 48)


def test_pack_takes_one_node_where_one_has_room_the_one_left_fullest() -> None:
    free = Free(machines((8, 0, 64), (3, 0, 64), (4, 0, 64)))
    assert nodes_of(free, need(3)) == [1, 1, 1]
    assert nodes_of(free, need(9)) == [0] * 8 + [2]
    assert nodes_of(free, need(4)) is None
    assert free.rooms(need()) == [0, 0, 3]


def test_spread_takes_as_many_nodes_as_it_can() -> None:
    free = Free(machines((1, 0, 64), (8, 0, 64), (2, 0, 64)))
    assert nodes_of(free, need(3, placement="spread")) == [0, 1, 2]
    assert nodes_of(free, need(4, placement="spread")) == [1, 1, 1, 2]


def test_strict_pack_takes_one_node_or_nothing() -> None:
    free = Free(machines((2, 0, 64), (2, 0, 64)))
    assert nodes_of(free, need(3, placement="strict_pack")) is None
    assert nodes_of(free, need(2, placement="strict_pack")) == [0, 0]


def test_a_trial_without_gpus_leaves_the_node_with_gpus_alone_while_it_can() -> None:
    free = Free(machines((1, 1, 64), (2, 0, 64)))
    assert [nodes_of(free, need()) for _ in range(4)] == [[1], [1], [0], None]


def test_shares_fill_one_device_before_the_next_is_opened() -> None:
    free = Free(machines((16, 2, 64)))
    devices = [placement.seats[0].devices for _ in range(4) if (placement := free.place(need(gpus=0.4)))]
    assert devices == [(0,), (0,), (1,), (1,)]
    assert free.place(need(gpus=1)) is None
    assert free.place(need(gpus=0.2)) is not None


def test_what_is_released_is_free_again() -> None:
    here = machines((3, 2, 10))
    free = Free(here)
    before = free.rooms(need(gpus=1 / 3, memory=0.7))
    held = [free.place(need(gpus=1 / 3, memory=0.7)) for _ in range(3)]
    assert free.place(need()) is None
    for placement in held:
        assert placement is not None
        free.release(placement)
    assert free.rooms(need(gpus=1 / 3, memory=0.7)) == before
    assert free.place(need(2, gpus=1)) is not None


@given(
    cpus=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    gpus=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    workers=st.integers(1, 8),
    each=st.tuples(st.integers(1, 3), st.integers(0, 2)),
    placement=st.sampled_from(["pack", "spread", "strict_pack"]),
)
def test_a_placement_is_the_best_of_all(
    cpus: list[int], gpus: list[int], workers: int, each: tuple[int, int], placement: str
) -> None:
    nodes = list(zip(cpus, gpus, strict=False))
    holds = [min(c // each[0], g // each[1] if each[1] else 99) for c, g in nodes]
    # Every way to deal the workers out, by definition.
    ways = [way for way in product(*(range(hold + 1) for hold in holds)) if sum(way) == workers]
    used = [sum(count > 0 for count in way) for way in ways]
    got = nodes_of(Free(machines(*((c, g, 64) for c, g in nodes))), need(workers, *each, placement=placement))
    if not ways or (placement == "strict_pack" and min(used) > 1):
        assert got is None
        return
    assert got is not None
    assert tuple(got.count(node) for node in range(len(nodes))) in ways
    assert len(set(got)) == (max(used) if placement == "spread" else min(used))


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2), ("GPU-abc, GPU-def,", 2)])
def test_this_machine_is_counted(monkeypatch: pytest.MonkeyPatch, visible: str, gpus: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    here = local_machines()
    assert len(here.nodes) == 1
    assert here.cpus >= 1
    assert here.gpus == gpus
    assert here.memory_gib == pytest.approx(psutil.virtual_memory().total / 2**30)
