"""From a plan to records: skip what is recorded, run the rest, tell the tracker and whoever watches.

The driver may be killed at any moment. Records are in storage before anyone is told of them, so a second run skips them and only
brings the tracker up to date; a trial that was running goes on from its checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from lfray.record import Failure
from lfray.sweep.tuner import run_trials
from lfray.trial.failed import put_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.record import CurvePoint, TrialRecord
    from lfray.space.trial import TrialJob
    from lfray.storage import Storage
    from lfray.sweep.tuner import Limits


class Listener(Protocol):
    """Who hears of a sweep as it goes: the terminal, the tracker, the live front."""

    def trial_started(self, job: TrialJob) -> None:
        """A worker took the trial."""
        ...

    def trial_progressed(self, job: TrialJob, points: Sequence[CurvePoint]) -> None:
        """New points of its loss curve."""
        ...

    def trial_ended(self, job: TrialJob, record: TrialRecord) -> None:
        """Its record is in storage."""
        ...


@dataclass
class Outcome:
    """How a run of a sweep ended."""

    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Planned but without a record: the run was interrupted."""
    seconds: float = 0.0

    @property
    def recorded(self) -> bool:
        """Whether any trial has a record."""
        return bool(self.ran or self.skipped)

    @property
    def interrupted(self) -> bool:
        """Whether trials remain to be run."""
        return bool(self.missing)


class _Relay:
    """From trial ids to jobs and records, for every listener."""

    def __init__(self, jobs: Sequence[TrialJob], storage: Storage, listeners: Sequence[Listener], outcome: Outcome) -> None:
        self._jobs = {job.config.trial_id: job for job in jobs}
        self._storage = storage
        self._listeners = listeners
        self._outcome = outcome
        self._begun: dict[str, datetime] = {}

    def started(self, trial_id: str) -> None:
        self._begun[trial_id] = datetime.now(UTC)
        for listener in self._listeners:
            listener.trial_started(self._jobs[trial_id])

    def progressed(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        for listener in self._listeners:
            listener.trial_progressed(self._jobs[trial_id], points)

    def ended(self, trial_id: str) -> None:
        record = self._storage.read_record(trial_id)
        if record is None:
            self.died(trial_id, "the worker ended the trial without a record")
            return
        self._tell(record)

    def died(self, trial_id: str, message: str) -> None:
        begun = self._begun.get(trial_id, datetime.now(UTC))
        failure = Failure("worker", "WorkerDied", "the trial's worker process died; see the traceback", message)
        seconds = (datetime.now(UTC) - begun).total_seconds()
        self._tell(put_failure(self._storage, self._jobs[trial_id], failure, started=begun, seconds=seconds))

    def unplaced(self, trial_id: str, message: str) -> None:
        begun = datetime.now(UTC)
        failure = Failure("placement", "CapacityError", message, message)
        put_failure(self._storage, self._jobs[trial_id], failure, started=begun, seconds=0.0)

    def _tell(self, record: TrialRecord) -> None:
        self._outcome.ran.append(record.trial_id)
        for listener in self._listeners:
            listener.trial_ended(self._jobs[record.trial_id], record)


def run_jobs(jobs: Sequence[TrialJob], storage: Storage, listeners: Sequence[Listener], *, limits: Limits) -> Outcome:
    """Run every job that has no record yet; returns what ran, was skipped, failed, or is missing.

    Raises:
        StorageError: A record is torn; nothing is started.
    """
    outcome, clock = Outcome(), time.monotonic()
    todo = []
    for job in jobs:
        if storage.read_record(job.config.trial_id) is None:
            todo.append(job)
        else:
            outcome.skipped.append(job.config.trial_id)
    if todo:
        relay = _Relay(todo, storage, listeners, outcome)
        run_trials(todo, relay, limits)
    for job in jobs:
        record = storage.read_record(job.config.trial_id)
        if record is None:
            outcome.missing.append(job.config.trial_id)
        elif record.state == "FAILED":
            outcome.failed.append(job.config.trial_id)
    outcome.seconds = time.monotonic() - clock
    return outcome
