"""A trial of several workers, driven: start them in the trial's own placement group, watch them, end them, start them again.

The driver is Ray Tune's actor. Every worker is a Ray actor (`Keeper`) in a bundle of the trial's placement group, which starts the
process that computes (`rank.main`) and says how it ended. Tune gave the group and takes it back, so what the trial held is free when
Tune says so; a gang stays warm for the next trial of its shape.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.record import Failure, TrialRecord
from lfray.storage import Storage
from lfray.trial.failed import put_failure
from lfray.trial.keeper import Ended, Keeper, Report
from lfray.trial.rank import Fault, Place

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lfray.space.trial import TrialJob

WATCH_SECONDS = 1.0
"""A worker is asked so often how it goes: an answer comes at once where there is news."""
SILENCE_SECONDS = 5.0
"""After one worker has died or complained, the others are given so long to say what they know."""
START_SECONDS = 300.0
"""Imports of torch and transformers from a cold network file system can take minutes."""


@dataclass(frozen=True)
class Loss:
    """Why an attempt ended without a result."""

    kind: str
    message: str
    traceback: str
    final: Failure | None = None
    """The trial's own error: another attempt would end the same way."""
    memory: bool = False


class Gang:
    """The workers of one placement group."""

    def __init__(self, job: TrialJob) -> None:
        """Start the workers in the current placement group; `met` brings them together."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        execution, group = job.execution, ray.util.get_current_placement_group()
        remote = ray.remote(Keeper)
        self.shape = shape_of(job)
        self._keepers = [
            remote.options(
                num_cpus=execution.cpus,
                num_gpus=execution.gpus,
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
                if group is not None
                else "DEFAULT",
            ).remote()
            for rank in range(execution.workers)
        ]
        self.hosts: list[str] = []
        self._meeting: Iterator[None] | None = self._meet(job)

    def met(self) -> bool:
        """Whether all workers have joined; waits a second at most, so that a trial can be stopped while its gang still starts.

        Raises:
            RuntimeError: A worker died or stayed away before all had met.
        """
        if self._meeting is not None and next(self._meeting, self) is self:
            self._meeting = None
        return self._meeting is None

    def _meet(self, job: TrialJob) -> Iterator[None]:
        execution = job.execution
        addresses = yield from _awaited([keeper.address.remote() for keeper in self._keepers])
        self.hosts = [host for host, _ in addresses]
        local: Counter[str] = Counter()
        started = []
        for rank, (keeper, (_, address)) in enumerate(zip(self._keepers, addresses, strict=True)):
            place = Place(rank, execution.workers, local[address], addresses[0][1], execution.collective_seconds)
            local[address] += 1
            started.append(keeper.start.remote(place, execution.environment, execution.gpus))
        (port,) = yield from _awaited(started[:1])
        yield from _awaited([keeper.meet.remote(port) for keeper in self._keepers[1:]] + started[1:])
        yield from _awaited([keeper.ready.remote(START_SECONDS) for keeper in self._keepers])

    def pids(self) -> list[int | None]:
        """Process of each rank."""
        import ray

        return list(ray.get([keeper.pid.remote() for keeper in self._keepers]))

    def begin(self, job: TrialJob) -> None:
        """Give every worker the trial."""
        import ray

        text = job.model_dump_json()
        ray.get([keeper.begin.remote(text) for keeper in self._keepers])

    def watch(self) -> list[Report]:
        """News of every worker, in the order of ranks; at most `WATCH_SECONDS` after the call, or as soon as there is some."""
        return self._ask(WATCH_SECONDS)

    def _ask(self, seconds: float) -> list[Report]:
        import ray

        asked = [keeper.watch.remote(seconds) for keeper in self._keepers]
        reports = []
        for rank, reference in enumerate(asked):
            try:
                reports.append(ray.get(reference, timeout=seconds + SILENCE_SECONDS))
            except ray.exceptions.GetTimeoutError:
                reports.append(Report([], Ended(None, f"its node does not answer ({self.hosts[rank]})"), 0))
            except ray.exceptions.RayActorError as error:
                # The keeper itself: its node is gone, or Ray killed it because memory ran out.
                reports.append(Report([], Ended(None, str(error).strip().splitlines()[-1]), 0))
        return reports

    def last_words(self, reports: list[Report]) -> list[Report]:
        """What the others say within a few seconds of the first bad news."""
        until = time.monotonic() + SILENCE_SECONDS
        while time.monotonic() < until and any(not report.over for report in reports):
            fresh = self._ask(0.5)
            reports = [old if old.over else new for old, new in zip(reports, fresh, strict=True)]
        return reports

    def end(self) -> None:
        """Kill every worker; their processes go with them."""
        import ray

        for keeper in self._keepers:
            ray.kill(keeper)


def _awaited(references: list[Any]) -> Generator[None, None, list[Any]]:
    """The values behind references, looked for a second at a time.

    Raises:
        RuntimeError: They did not come.
    """
    import ray

    until = time.monotonic() + START_SECONDS
    while references and len(ray.wait(references, num_returns=len(references), timeout=WATCH_SECONDS)[0]) < len(references):
        if time.monotonic() >= until:
            raise RuntimeError(f"no answer within {START_SECONDS:g} s")
        yield
    return list(ray.get(references))


def shape_of(job: TrialJob) -> tuple[Any, ...]:
    """Trials of equal shape can follow one another in one gang."""
    execution = job.execution
    return execution.workers, execution.cpus, execution.gpus, execution.collective_seconds, tuple(execution.environment.items())


class GangTrial:
    """One trial after another in a gang that stays warm. What `run_trial` is to a trial of one worker."""

    def __init__(self) -> None:
        self._gang: Gang | None = None
        self._running = False

    def begin(self, job: TrialJob) -> None:
        """Take a trial. One that was left in the middle leaves a gang that waits for nobody."""
        if self._running:
            self.close()
        self._job = job
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._failures = 0
        self._running = False

    def advance(self) -> tuple[list[tuple[Any, ...]], str | None]:
        """Go on for a second or to the end: new points of the curve, and the record's state once it stands."""
        if not self._running:
            lost = self._attempt()
            return [], None if lost is None else self._after(lost)
        assert self._gang is not None
        reports = self._gang.watch()
        points = [said.body for said in reports[0].said if said.kind == "point"]
        if all(report.done for report in reports):
            self._running = False
            return points, next(said.body for said in reports[0].said if said.kind == "done")
        if any(report.fault is not None or report.ended is not None for report in reports):
            return points, self._after(_cause(self._gang.last_words(reports), self._gang.hosts))
        return points, None

    def _attempt(self) -> Loss | None:
        """A step towards the trial running in a gang, a new one where there is none of its shape."""
        import ray

        if self._gang is not None and self._gang.shape != shape_of(self._job):
            self.close()
        try:
            if self._gang is None:
                self._gang = Gang(self._job)
            if self._gang.met():
                self._gang.begin(self._job)
                self._running = True
        except (RuntimeError, ray.exceptions.RayError, TimeoutError) as error:
            return Loss("GangDidNotStart", f"the trial's workers did not come together ({error})", str(error))
        return None

    def _after(self, lost: Loss) -> str | None:
        """Start again, or record the failure and return its state. A gang that lost a worker is never used again."""
        self.close()
        self._running = False
        execution = self._job.execution
        if lost.memory and execution.shrink_micro_batch and execution.micro_batch > 1:
            self._job = self._job.again(
                micro_batch=execution.micro_batch // 2, out_of_memory_at=(*execution.out_of_memory_at, execution.micro_batch)
            )
            return None
        if lost.final is None and self._failures < execution.max_failures:
            self._failures += 1
            self._job = self._job.again(restarts=self._failures)
            logging.getLogger(__name__).warning("%s; starting again", lost.message)
            return None
        attempts = f" (attempt {self._failures + 1} of {execution.max_failures + 1})"
        failure = lost.final or Failure("worker", lost.kind, lost.message + attempts, lost.traceback)
        seconds = time.monotonic() - self._clock
        record: TrialRecord = put_failure(
            Storage(Path(self._job.where.storage)), self._job, failure, started=self._started, seconds=seconds
        )
        return record.state

    def pids(self) -> list[int | None]:
        """Process of each rank; empty where no gang stands."""
        return [] if self._gang is None else self._gang.pids()

    def close(self) -> None:
        """End the gang."""
        if self._gang is not None:
            self._gang.end()
            self._gang = None


def _cause(reports: list[Report], hosts: list[str]) -> Loss:
    """What ended the attempt: a worker's death before an error of its own, that before the complaints of those who waited."""
    size, step = len(reports), max(report.updates for report in reports)
    dead = [(rank, report) for rank, report in enumerate(reports) if report.ended is not None]
    faults = [(rank, report.fault) for rank, report in enumerate(reports) if report.fault is not None]
    texts = "\n\n".join(f"rank {rank}: {fault.traceback}" for rank, fault in faults)
    own = [(rank, fault) for rank, fault in faults if not fault.waited]
    if dead:
        # A rank that waited in vain may be ended by its own library (SIGABRT of NCCL's watchdog): the first cause is another's.
        rank, report = min(dead, key=lambda item: item[1].ended is not None and item[1].ended.aborted)
        assert report.ended is not None
        message = f"rank {rank} of {size} on {hosts[rank]} {report.ended.words}; last update {step}"
        return Loss("WorkerDied", message, texts or message, memory=report.ended.memory)
    if own:
        rank, fault = own[0]
        failure = Failure(fault.stage, fault.kind, _of_rank(rank, size, fault), texts)
        return Loss(fault.kind, failure.message, texts, final=failure, memory=fault.memory)
    silent = [f"rank {rank} on {hosts[rank]}" for rank, report in enumerate(reports) if not report.over]
    who = f"{', '.join(silent)} did not answer" if silent else "no worker answered the others"
    return Loss("CollectiveTimedOut", f"{who} in a collective; last update {step}", texts)


def _of_rank(rank: int, size: int, fault: Fault) -> str:
    return fault.message if rank == 0 else f"{fault.message} (rank {rank} of {size})"
