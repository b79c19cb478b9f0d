"""Logging off the critical path: calls queue up for one writer thread, in order.

The sweep never waits for the tracker and never ends because of it. A tracker that cannot be reached is tried again a few times,
then logging stops for this process; what was not logged is named, and is caught up by the next `lfray run`, since the records
are in storage. If the process is killed, what was queued is lost to the tracker only.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, final

from lfray.errors import TrackingError
from lfray.tracking.contract import Status, SweepInfo, Tracker, TrackerRefused, TrialInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lfray.record import CurvePoint, TrialRecord

PAUSES_SECONDS = (0.5, 2.0, 8.0)
"""Waits between attempts at a tracker that cannot be reached; a server's restart fits in."""


@dataclass(frozen=True)
class SpoolReport:
    """What became of the calls so far."""

    unlogged: tuple[str, ...]
    """Trials that are not logged in whole, sorted; the next run catches up."""
    sweep_logged: bool
    """Whether the sweep's own calls got through."""
    errors: tuple[str, ...]
    """First error of each kind of trouble, worded for people."""
    drained: bool
    """Whether the queue was empty before time was up."""


@final
class BackgroundTracker:
    """A tracker whose calls return at once. `open_sweep` and `logged_trials` wait, because their answers are needed.

    Args:
        inner: The tracker that writes; from now on only this object's thread may call it.
        pauses: Seconds between attempts; () means one attempt.
    """

    def __init__(self, inner: Tracker, *, pauses: Sequence[float] = PAUSES_SECONDS) -> None:
        self._inner = inner
        self._pauses = tuple(pauses)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lfray-tracking")
        self._pending: list[tuple[str, Future[None]]] = []
        self._closing = threading.Event()
        self._stopped = False
        self._unlogged: set[str] = set()
        self._errors: list[str] = []

    def open_sweep(self, sweep: SweepInfo) -> str:
        """Open the sweep and wait for it: a wrong address is told before anything is trained.

        A caller may go on after a `TrackingError`: nothing is logged then, and `close` names what was left out.
        """
        try:
            run_id = self._pool.submit(self._inner.open_sweep, sweep).result()
        except TrackingError as error:
            self._give_up("", error)
            self._stopped = True
            raise
        self._stopped = False
        self._unlogged.discard("")
        return run_id

    def logged_trials(self) -> set[str]:
        """Ask behind everything that is queued, and wait."""
        return self._pool.submit(self._inner.logged_trials).result()

    def page(self) -> str:
        """Ask behind everything that is queued, and wait."""
        return self._pool.submit(self._inner.page).result()

    def open_trial(self, trial: TrialInfo) -> None:
        """Queue the call."""
        self._submit(trial.trial_id, lambda: self._inner.open_trial(trial))

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """Queue the call."""
        held = tuple(points)
        self._submit(trial_id, lambda: self._inner.log_curve(trial_id, held))

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        """Queue the call; the artifacts must stay where they are until `flush`."""
        held = dict(artifacts)
        self._submit(record.trial_id, lambda: self._inner.log_record(record, held))

    def close_sweep(
        self, status: Status, *, artifacts: Mapping[str, Path], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Queue the call; the artifacts must stay where they are until `flush`."""
        held = (dict(artifacts), dict(metrics), dict(tags))
        self._submit("", lambda: self._inner.close_sweep(status, artifacts=held[0], metrics=held[1], tags=held[2]))

    def flush(self, timeout: float | None = None) -> SpoolReport:
        """Wait until everything queued so far is written, or `timeout` seconds are over.

        Raises:
            Exception: Whatever else than a `TrackingError` the tracker raised: a bug, not lost to a thread.
        """
        done, waiting = wait([future for _, future in self._pending], timeout)
        held_back = {owner for owner, future in self._pending if future in waiting}
        self._pending = [(owner, future) for owner, future in self._pending if future in waiting]
        for future in done:
            future.result()
        unlogged = self._unlogged | held_back
        return SpoolReport(tuple(sorted(unlogged - {""})), "" not in unlogged, tuple(self._errors), not waiting)

    def close(self, timeout: float | None = None) -> SpoolReport:
        """Flush and end the thread. After `timeout` seconds retries end and what still waits is dropped, and reported."""
        started = monotonic()
        report = self.flush(timeout)
        self._closing.set()
        self._pool.shutdown(wait=report.drained, cancel_futures=True)
        if not report.drained and timeout is not None and monotonic() - started > timeout:
            note = f"tracking: still writing after {timeout:g} s; the next run catches up"
            return SpoolReport(report.unlogged, report.sweep_logged, (*report.errors, note), drained=False)
        return report

    def _submit(self, owner: str, call: Callable[[], None]) -> None:
        """Queue a call that belongs to a trial, or to the sweep (owner '')."""
        self._pending = [(name, future) for name, future in self._pending if not future.done() or future.exception()]
        self._pending.append((owner, self._pool.submit(self._attempt, owner, call)))

    def _attempt(self, owner: str, call: Callable[[], None]) -> None:
        """Runs in the writer thread."""
        if self._stopped or (owner and owner in self._unlogged):
            self._unlogged.add(owner)
            return
        for pause in (*self._pauses, None):
            try:
                call()
            except TrackerRefused as error:  # one trial is refused, the next may pass
                self._give_up(owner, error)
                return
            except TrackingError as error:
                if pause is None or self._closing.wait(pause):
                    self._give_up(owner, error)
                    self._stopped = True
                    return
            else:
                return

    def _give_up(self, owner: str, error: TrackingError) -> None:
        self._unlogged.add(owner)
        if str(error) not in self._errors and len(self._errors) < 20:
            self._errors.append(str(error))
