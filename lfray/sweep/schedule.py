"""Which trial starts when, trials of one worker and gangs mixed: one policy that the running sweep and its forecast both ask.

The forecast (`simulate`) runs the very class that admits trials, on a clock of events, so what `plan` prints is what would run.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lfray.sweep.capacity import Free, most_at_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.sweep.capacity import Machines, Placement
    from lfray.sweep.need import Need

MaxConcurrent = int | Literal["auto"]
Timed = tuple[str, "Need", float]
"""(trial id, need, seconds)."""

GENERATIONS = 2
"""Of small trials that may pass a blocked trial before the machines are drained for it. A drain leaves about half of the slots idle
for the length of one small trial; two generations between drains keep that to a sixth of the time, and the blocked trial waits for
at most three."""


class Admission:
    """Admits trials: in the order given, others past a blocked one within a bound, never more than the machines hold.

    The first trial in the order that has not started is the *head*; it starts as soon as it fits. While it does not fit, a later
    trial that fits may overtake it, the largest first. An overtaking counts against the bound K = GENERATIONS x slots (slots: most
    trials at once) unless it can cost the head nothing: the head waits for a trial that was running before it became head anyway
    (it would not fit even if every overtaker were gone), and it will fit beside this overtaker and the others once those earlier
    trials are gone. After K counted ones nothing that counts is admitted until the head fits: the machines drain.

    This is EASY backfilling (Lifka 1995) with a bound in the place of the durations, which are not known. Hence:

        No starvation.  Once the trials that ran before it became head are gone, at most K others start before the head.
        No deadlock.    When nothing runs, everything is free, and the head fits: `refuse_impossible` has seen to it.

    Not safe for several threads: the sweep's driver asks from one.
    """

    def __init__(self, trials: Sequence[tuple[str, Need]], machines: Machines, max_concurrent: MaxConcurrent = "auto") -> None:
        """Nothing runs.

        Args:
            trials: (id, need) in the order in which they should start; ids differ, and every need passes `refuse_impossible`.
            machines: What there is.
            max_concurrent: Most trials at once; auto: as many as fit.
        """
        self._trials = tuple(trials)
        self._free = Free(machines)
        self._most = len(self._trials) if max_concurrent == "auto" else max_concurrent
        waiting: dict[Need, deque[int]] = {}
        for position, (_, need) in enumerate(self._trials):
            waiting.setdefault(need, deque()).append(position)
        # By need, the largest first: the 10,000 trials of a sweep have few different needs, so a look at each need is enough.
        self._waiting = dict(sorted(waiting.items(), key=lambda item: (tuple(-part for part in item[0].size), item[1][0])))
        self._started = bytearray(len(self._trials))
        self._head = 0
        self._running: dict[str, Placement] = {}
        self._counted = 0
        self._overtakers: set[str] = set()
        self._empty = Free(machines)
        # Two more books, of the machines as they would be if only some ran: those that ran before the head became head, and the
        # others, who overtook it.
        self._earlier, self._later = self._empty.copy(), self._empty.copy()
        self._no_room: set[Need] = set()
        slots = max((most_at_once(need, machines, at_most=self._most) for need in waiting), default=0)
        self.most_overtaken = GENERATIONS * slots
        """The bound K."""

    @property
    def done(self) -> bool:
        """Whether every trial has started and finished."""
        return self._head == len(self._trials) and not self._running

    def placed(self, trial_id: str) -> Placement:
        """Where a running trial is reckoned to lie. Ray places by itself: with several nodes it may choose another."""
        return self._running[trial_id]

    def next(self) -> str | None:
        """The trial that may start now, from now on counted as running; None: none until another finishes. Ask until None."""
        if self._head == len(self._trials) or len(self._running) >= self._most:
            return None
        need = self._trials[self._head][1]
        placement = self._place(need)
        if placement is None:
            return self._backfill(need)
        self._overtakers.clear()
        self._counted = 0
        self._earlier, self._later = self._free.copy(), self._empty.copy()
        return self._start(self._head, placement)

    def finished(self, trial_id: str) -> None:
        """A running trial has ended, however; what it held is free."""
        placement = self._running.pop(trial_id)
        self._free.release(placement)
        (self._later if trial_id in self._overtakers else self._earlier).release(placement)
        self._overtakers.discard(trial_id)
        self._no_room.clear()

    def _place(self, need: Need) -> Placement | None:
        """Room for a need. One that found none is not tried again before something has ended: until then room only shrinks."""
        if need in self._no_room:
            return None
        placement = self._free.place(need)
        if placement is None:
            self._no_room.add(need)
        return placement

    def _start(self, position: int, placement: Placement) -> str:
        trial_id = self._trials[position][0]
        self._waiting[placement.need].popleft()  # a need's trials start in their order: head and overtaker are its first
        self._running[trial_id] = placement
        self._started[position] = 1
        while self._head < len(self._trials) and self._started[self._head]:
            self._head += 1
        return trial_id

    def _backfill(self, head: Need) -> str | None:
        """Let a later trial pass the blocked head, or nobody."""
        drained = self._counted >= self.most_overtaken
        held_anyway = not self._earlier.fits(head)
        if drained and not held_anyway:
            return None
        for need, waiting in self._waiting.items():
            placement = self._place(need) if waiting else None
            if placement is None:
                continue
            self._later.take(placement)
            counts = not held_anyway or not self._later.fits(head)
            if counts and drained:
                self._later.release(placement)
                self._free.release(placement)
                continue
            self._counted += counts
            trial_id = self._start(waiting[0], placement)
            self._overtakers.add(trial_id)
            return trial_id
        return None


@dataclass(frozen=True)
class Interval:
    """One trial on the clock: seconds since the sweep's start."""

    trial_id: str
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """A sweep on the clock."""

    intervals: tuple[Interval, ...]
    """In the order of their starts."""
    makespan: float
    """Seconds from the first start to the last end; 0 without trials."""
    at_once: int
    """Most trials at once."""
    at_once_by_shape: Mapping[str, int]
    """Shape (`Need.shape`) -> most trials of it at once. The maxima need not fall on one moment."""


def simulate(trials: Sequence[Timed], machines: Machines, max_concurrent: MaxConcurrent = "auto") -> Schedule:
    """Run the policy on a clock of events: what the sweep would look like if trials took these seconds.

    Args:
        trials: (id, need, seconds) in the order in which they should start.
        machines: What there is.
        max_concurrent: Most trials at once; auto: as many as fit.
    """
    admission = Admission([(trial_id, need) for trial_id, need, _ in trials], machines, max_concurrent)
    seconds = {trial_id: length for trial_id, _, length in trials}
    shapes = {trial_id: need.shape for trial_id, need, _ in trials}
    now, intervals, ends = 0.0, list[Interval](), list[tuple[float, int, str]]()
    running, most, at_once = Counter[str](), Counter[str](), 0
    while not admission.done:
        while (trial_id := admission.next()) is not None:
            intervals.append(Interval(trial_id, now, now + seconds[trial_id]))
            heapq.heappush(ends, (now + seconds[trial_id], len(intervals), trial_id))
            shape = shapes[trial_id]
            running[shape] += 1
            most[shape] = max(most[shape], running[shape])
        at_once = max(at_once, len(ends))
        now = ends[0][0]
        # Whatever ends at one moment is free at that moment: the order of equal ends decides nothing.
        while ends and ends[0][0] == now:
            ended = heapq.heappop(ends)[2]
            running[shapes[ended]] -= 1
            admission.finished(ended)
    return Schedule(tuple(intervals), now, at_once, dict(most))


def lower_bound(trials: Sequence[Timed], machines: Machines, max_concurrent: MaxConcurrent = "auto") -> float:
    """Seconds that no schedule can beat: the longest trial; CPU-seconds over CPUs; GPU-seconds over GPUs; trials over slots.

    The last only where `max_concurrent` is a number. It may lie under every schedule that exists (trials cannot be cut); 0 without
    trials.
    """
    bounds = [max((seconds for _, _, seconds in trials), default=0.0)]
    for have, held in (
        (machines.cpus, sum(need.workers * need.cpus * seconds for _, need, seconds in trials)),
        (machines.gpus, sum(need.workers * need.gpus * seconds for _, need, seconds in trials)),
    ):
        if held > 0:
            bounds.append(held / have)
    if max_concurrent != "auto":
        bounds.append(sum(seconds for _, _, seconds in trials) / max_concurrent)
    return max(bounds)
