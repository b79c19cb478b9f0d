from __future__ import annotations

import heapq
import time
from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfray.errors import CapacityError
from lfray.sweep.capacity import SYSTEM_GIB, Machines, Node, refuse_impossible
from lfray.sweep.need import Need
from lfray.sweep.schedule import Admission, lower_bound, simulate

if TYPE_CHECKING:
    from lfray.sweep.capacity import Placement
    from lfray.sweep.schedule import Timed

ONE, GANG = Need(1, 1, 0, 1.0), Need(2, 1, 0, 1.0)


def cpus(count: int) -> Machines:
    return Machines((Node("n0", count, 0, 640.0),), "this machine")


def named(*needs: Need) -> list[tuple[str, Need]]:
    return [(f"t{position}", need) for position, need in enumerate(needs)]


def started(admission: Admission) -> list[str]:
    """Everything that may start now."""
    found = []
    while (trial_id := admission.next()) is not None:
        found.append(trial_id)
    return found


def test_two_small_trials_and_two_gangs_on_three_cpus() -> None:
    for order in ([GANG, GANG, ONE, ONE], [ONE, ONE, GANG, GANG], [ONE, GANG, ONE, GANG]):
        schedule = simulate([(name, need, 10.0) for name, need in named(*order)], cpus(3))
        assert len(schedule.intervals) == 4
        assert schedule.at_once_by_shape["2 workers of 1 CPU"] == 1
    schedule = simulate([(name, need, 10.0) for name, need in named(GANG, GANG, ONE, ONE)], cpus(3))
    assert schedule.makespan == 20.0 == lower_bound([(name, need, 10.0) for name, need in named(GANG, GANG, ONE, ONE)], cpus(3))
    assert schedule.at_once == 2
    assert schedule.at_once_by_shape == {"2 workers of 1 CPU": 1, "1 CPU": 1}
    assert [(i.trial_id, i.start, i.end) for i in schedule.intervals] == [
        ("t0", 0.0, 10.0), ("t2", 0.0, 10.0), ("t1", 10.0, 20.0), ("t3", 10.0, 20.0),
    ]  # fmt: skip


def test_trials_start_in_their_order_as_far_as_they_fit() -> None:
    admission = Admission(named(*[ONE] * 5), cpus(2))
    assert started(admission) == ["t0", "t1"]
    admission.finished("t1")
    assert started(admission) == ["t2"]
    for trial_id in ("t0", "t2"):
        admission.finished(trial_id)
    assert started(admission) == ["t3", "t4"]


def test_done_when_all_have_started_and_finished() -> None:
    assert Admission([], cpus(1)).done
    admission = Admission(named(ONE, ONE), cpus(1))
    seen = []
    for trial_id in iter(admission.next, None):
        seen.append(admission.done)
        admission.finished(trial_id)
        seen.append(admission.done)
    assert seen == [False, False, False, True]


def test_max_concurrent_counts_trials() -> None:
    assert started(Admission(named(*[ONE] * 5), cpus(8), 3)) == ["t0", "t1", "t2"]


def test_the_largest_that_fits_overtakes_first() -> None:
    # The head takes four CPUs; two are free.
    admission = Admission(named(GANG, Need(4, 1, 0, 1.0), ONE, GANG), cpus(4))
    assert started(admission) == ["t0", "t3"]


def test_a_blocked_trial_is_overtaken_a_bounded_number_of_times() -> None:
    # t0 holds one CPU for ever so long; the gang takes all four; a stream of small trials would keep it out for ever.
    admission = Admission(named(ONE, Need(4, 1, 0, 1.0), *[ONE] * 100), cpus(4))
    assert admission.most_overtaken == 8
    assert admission.next() == "t0"
    overtakers = 0
    while small := started(admission):
        overtakers += len(small)
        for name in small:
            admission.finished(name)
    assert overtakers == 8
    admission.finished("t0")
    assert started(admission) == ["t1"]


def test_every_blocked_trial_has_the_whole_bound() -> None:
    wide = Need(4, 1, 0, 1.0)
    # t0 blocks t1, and eight pass it; t10 blocks t11 in the same way.
    admission = Admission(named(ONE, wide, *[ONE] * 9, wide, *[ONE] * 50), cpus(4))
    for kept, blocked in (("t0", "t1"), ("t10", "t11")):
        assert admission.next() == kept
        passed = 0
        while small := started(admission):
            passed += len(small)
            for name in small:
                admission.finished(name)
        assert passed == 8
        admission.finished(kept)
        assert started(admission) == [blocked]
        admission.finished(blocked)


def test_who_overtook_one_blocked_trial_ran_before_the_next() -> None:
    three, five = Need(3, 1, 0, 1.0), Need(5, 1, 0, 1.0)
    admission = Admission(named(three, three, GANG, five, *[ONE] * 50), cpus(5))
    assert started(admission) == ["t0", "t2"]
    admission.finished("t0")
    assert admission.next() == "t1"
    # t3 is blocked by t1 and by t2, which overtook t1. Small trials that end one by one would never leave it five CPUs.
    passed: list[str] = []
    for trial_id in ("t1", "t2"):
        admission.finished(trial_id)
        passed += started(admission)
    for trial_id in passed:
        admission.finished(trial_id)
        running = started(admission)
        if "t3" in running:
            break
        passed += running
    assert len(passed) <= admission.most_overtaken
    assert admission.placed("t3").need == five


def test_after_the_bound_only_those_pass_who_cost_nothing() -> None:
    admission = Admission(named(GANG, Need(4, 1, 0, 1.0), *[GANG] * 20, *[ONE] * 30), cpus(5))
    assert admission.next() == "t0"
    passed = []
    while found := started(admission):
        passed += found
        for name in found:
            admission.finished(name)
    # Five gangs, each with a small one beside it, are the ten; then the fifth CPU serves the small ones, one after another.
    assert [int(name[1:]) < 22 for name in passed].count(True) == 5
    assert len(passed) == 5 + 30


def test_whoever_costs_the_blocked_trial_nothing_may_always_pass() -> None:
    # While the first gang runs the second has no place, and beside it one CPU stays over: draining would leave it idle for nothing.
    trials: list[Timed] = [("a", GANG, 1000.0), ("b", GANG, 1000.0), *((f"s{n}", ONE, 10.0) for n in range(200))]
    schedule = simulate(trials, cpus(3))
    assert schedule.makespan == 2000.0 == lower_bound(trials, cpus(3))


def test_a_longest_trial_is_not_put_off_until_all_small_ones_are_done() -> None:
    long, small = Need(4, 1, 0, 1.0), Need(1, 1, 0, 1.0)
    trials: list[Timed] = [("a", long, 600.0), *((f"s{n}", small, 10.0) for n in range(4)), ("b", long, 600.0)]
    trials += [(f"r{n}", small, 10.0) for n in range(100)]
    schedule = simulate(trials, cpus(8))
    second = next(interval for interval in schedule.intervals if interval.trial_id == "b")
    # 16 may pass, four at a time.
    assert second.start <= 10.0 + 4 * 10.0
    assert schedule.makespan <= 1.35 * lower_bound(trials, cpus(8))


def test_lower_bound_is_the_largest_of_four() -> None:
    here = Machines((Node("n0", 4, 2, 64.0),), "this machine")
    one, gpu = Need(1, 1, 0, 1.0), Need(2, 1, 0.5, 1.0)
    assert lower_bound([], here) == 0
    assert lower_bound([("a", one, 7.0)], here) == 7.0
    assert lower_bound([(str(n), one, 7.0) for n in range(8)], here) == 14.0
    assert lower_bound([(str(n), gpu, 7.0) for n in range(8)], here) == 28.0
    assert lower_bound([(str(n), one, 7.0) for n in range(8)], here, 2) == 28.0
    assert simulate([], here).makespan == 0


def test_ten_thousand_trials_pass_in_two_seconds() -> None:
    here = Machines(tuple(Node(f"n{n}", 16, 4, 64.0) for n in range(4)), "the cluster")
    kinds = [Need(4, 4, 1, 5.0), Need(1, 2, 0.5, 2.0), Need(8, 1, 0, 3.0, "spread"), Need(1, 1, 0, 1.0), Need(2, 1, 1, 2.0)]
    trials = [(f"t{n}", kinds[n * 7 % 5], 10.0 + n % 13) for n in range(10_000)]
    before = time.process_time()
    schedule = simulate(trials, here)
    assert time.process_time() - before < 2.0
    assert len(schedule.intervals) == 10_000
    assert schedule.makespan < 1.5 * lower_bound(trials, here)


class Books:
    """What is held on every node, kept in exact fractions by adding up what the needs say."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.held: defaultdict[tuple[int, str | int], Fraction] = defaultdict(Fraction)

    def add(self, placement: Placement, sign: int) -> None:
        need = placement.need
        assert len(placement.seats) == need.workers
        assert need.placement != "strict_pack" or len({seat.node for seat in placement.seats}) == 1
        for seat in placement.seats:
            self.held[seat.node, "cpus"] += sign * Fraction(need.cpus)
            self.held[seat.node, "memory"] += sign * Fraction(need.memory_gib)
            assert len(set(seat.devices)) == (0 if need.gpus == 0 else max(1, int(need.gpus)))
            for device in seat.devices:
                assert 0 <= device < self.machines.nodes[seat.node].gpus
                self.held[seat.node, device] += sign * min(Fraction(1), Fraction(str(need.gpus)))
        for (node, kind), held in self.held.items():
            there = self.machines.nodes[node]
            rooms: dict[str | int, float] = {"cpus": there.cpus, "memory": there.memory_gib - SYSTEM_GIB}
            assert 0 <= held <= rooms.get(kind, 1)


nodes = st.builds(
    Node,
    st.just("n"),
    st.integers(1, 8).map(float),
    st.sampled_from([0.0, 0.0, 1.0, 2.0, 4.0]),
    st.sampled_from([4.0, 8.0, 32.0]),
)
needs = st.builds(
    Need, st.sampled_from([1, 1, 1, 2, 3, 4]), st.integers(1, 3).map(float), st.sampled_from([0.0, 0.0, 0.25, 0.4, 0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from(["pack", "spread", "strict_pack"]),
)  # fmt: skip


def possible(trials: list[tuple[Need, int]], machines: Machines) -> list[Timed]:
    kept: list[Timed] = []
    for need, seconds in trials:
        try:
            refuse_impossible([("full", need)], machines)
        except CapacityError:
            continue
        kept.append((f"t{len(kept)}", need, float(seconds)))
    return kept


@settings(max_examples=1000, deadline=None)
@given(
    machines=st.lists(nodes, min_size=1, max_size=3).map(lambda found: Machines(tuple(found), "the cluster")),
    drawn=st.lists(st.tuples(needs, st.integers(1, 20)), max_size=24),
    at_most=st.one_of(st.just("auto"), st.integers(1, 5)),
)
def test_every_mix_ends_within_the_machines_and_nobody_starves(machines: Machines, drawn: Any, at_most: Any) -> None:
    trials = possible(drawn, machines)
    admission, books = Admission([(name, need) for name, need, _ in trials], machines, at_most), Books(machines)
    seconds, order = {name: length for name, _, length in trials}, {name: n for n, (name, _, _) in enumerate(trials)}
    ends: list[tuple[float, str]] = []
    held, waiting, now = {}, list(order), 0.0
    earlier: set[str] = set()  # what ran when the present head became head
    passed = 0  # who started past it since all of those are gone
    while not admission.done:
        for name in iter(admission.next, None):
            is_head = name == waiting[0]
            waiting.remove(name)
            held[name] = admission.placed(name)
            books.add(held[name], 1)
            heapq.heappush(ends, (now + seconds[name], name))
            if is_head:
                earlier, passed = set(held), 0
            else:
                passed += not earlier
                assert passed <= admission.most_overtaken
        # No deadlock: something runs for as long as something waits.
        assert ends
        assert at_most == "auto" or len(ends) <= at_most
        now, ended = heapq.heappop(ends)
        books.add(held.pop(ended), -1)
        earlier.discard(ended)
        admission.finished(ended)
    assert not waiting
    assert set(books.held.values()) <= {0}
    schedule = simulate(trials, machines, at_most)
    assert sorted(interval.trial_id for interval in schedule.intervals) == sorted(order)
    assert lower_bound(trials, machines, at_most) <= schedule.makespan * (1 + 1e-9)
    assert schedule.makespan <= sum(seconds.values())


@given(st.lists(st.tuples(needs, st.integers(1, 20)), max_size=12))
def test_the_same_sweep_has_the_same_schedule(drawn: Any) -> None:
    machines = Machines((Node("a", 4, 2, 32.0), Node("b", 6, 0, 16.0)), "the cluster")
    trials = possible(drawn, machines)
    assert simulate(trials, machines) == simulate(trials, machines)


@pytest.mark.parametrize("at_most", ["auto", 2])
def test_most_at_once_is_read_off_the_intervals(at_most: Any) -> None:
    trials: list[Timed] = [(f"t{n}", (ONE, GANG)[n % 2], 3.0 + n % 5) for n in range(20)]
    schedule = simulate(trials, cpus(5), at_most)
    starts = [interval.start for interval in schedule.intervals]
    assert schedule.at_once == max(sum(i.start <= at < i.end for i in schedule.intervals) for at in starts)
    assert schedule.makespan == max(interval.end for interval in schedule.intervals)
