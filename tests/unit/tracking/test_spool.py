"""Order, retries and giving up. The inner tracker is the memory fake with a scripted line to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from lfray.errors import TrackingError
from lfray.record import CurvePoint, TrialRecord
from lfray.tracking.contract import Status, SweepInfo, TrackerRefused, TrialInfo
from lfray.tracking.memory import MemoryStore, MemoryTracker
from lfray.tracking.spool import BackgroundTracker
from tests.contract.builders import make_config, make_record, make_sweep, make_trial

CONFIGS = [make_config(seed=seed) for seed in range(4)]


class Line:
    """A tracker behind a line that `before` may cut: it is asked before each call, with the call's name and trial."""

    def __init__(self, before: Callable[[str, str], None]) -> None:
        self.store = MemoryStore()
        self.calls: list[tuple[str, str]] = []
        self._tracker = MemoryTracker(self.store)
        self._before = before

    def _pass(self, name: str, trial_id: str) -> None:
        self.calls.append((name, trial_id))
        self._before(name, trial_id)

    def open_sweep(self, sweep: SweepInfo) -> str:
        self._pass("open_sweep", "")
        return self._tracker.open_sweep(sweep)

    def open_trial(self, trial: TrialInfo) -> None:
        self._pass("open_trial", trial.trial_id)
        self._tracker.open_trial(trial)

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        self._pass("log_curve", trial_id)
        self._tracker.log_curve(trial_id, points)

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        self._pass("log_record", record.trial_id)
        self._tracker.log_record(record, artifacts)

    def close_sweep(
        self, status: Status, *, artifacts: Mapping[str, Path], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        self._pass("close_sweep", "")
        self._tracker.close_sweep(status, artifacts=artifacts, metrics=metrics, tags=tags)

    def logged_trials(self) -> set[str]:
        self._pass("logged_trials", "")
        return self._tracker.logged_trials()

    def page(self) -> str:
        return "/page"


def nothing(name: str, trial_id: str) -> None:
    """An open line."""


def log_all(spool: BackgroundTracker) -> None:
    for config in CONFIGS:
        spool.open_trial(make_trial(config))
        spool.log_curve(config.trial_id, make_record(config).curve)
        spool.log_record(make_record(config), {})
    spool.close_sweep("FINISHED", artifacts={}, metrics={}, tags={})


def test_calls_arrive_in_order() -> None:
    line = Line(nothing)
    spool = BackgroundTracker(line)
    spool.open_sweep(make_sweep())
    log_all(spool)
    report = spool.close()
    assert (report.unlogged, report.sweep_logged, report.errors, report.drained) == ((), True, (), True)
    expected = [(name, config.trial_id) for config in CONFIGS for name in ("open_trial", "log_curve", "log_record")]
    assert line.calls == [("open_sweep", ""), *expected, ("close_sweep", "")]
    assert {run.status for runs in line.store.trials.values() for run in runs.values()} == {"FINISHED"}


def test_the_caller_does_not_wait() -> None:
    gate = threading.Event()

    def closed(name: str, trial_id: str) -> None:
        if name == "open_trial":
            assert gate.wait(30)

    spool = BackgroundTracker(Line(closed))
    spool.open_sweep(make_sweep())
    log_all(spool)
    report = spool.flush(0.01)
    assert not report.drained
    assert report.unlogged == tuple(sorted(config.trial_id for config in CONFIGS))
    gate.set()
    assert spool.logged_trials() == {config.trial_id for config in CONFIGS}
    assert spool.page() == "/page"
    assert spool.close().unlogged == ()


def test_a_short_absence_is_waited_out() -> None:
    failures = iter([True, True, False])

    def flaky(name: str, trial_id: str) -> None:
        if (name, trial_id) == ("log_record", CONFIGS[1].trial_id) and next(failures):
            raise TrackingError("away")

    line = Line(flaky)
    spool = BackgroundTracker(line, pauses=(0, 0))
    spool.open_sweep(make_sweep())
    log_all(spool)
    assert spool.close().unlogged == ()
    assert line.calls.count(("log_record", CONFIGS[1].trial_id)) == 3


def test_a_long_absence_ends_logging_and_the_next_run_catches_up() -> None:
    def dead(name: str, trial_id: str) -> None:
        if trial_id == CONFIGS[1].trial_id and name == "log_record":
            raise TrackingError("away")

    line = Line(dead)
    spool = BackgroundTracker(line, pauses=(0,))
    spool.open_sweep(make_sweep())
    log_all(spool)
    report = spool.close()
    assert report.unlogged == tuple(sorted(config.trial_id for config in CONFIGS[1:]))
    assert not report.sweep_logged
    assert report.errors == ("away",)
    assert report.drained
    assert line.calls[-1] == ("log_record", CONFIGS[1].trial_id)
    again = BackgroundTracker(MemoryTracker(line.store))
    again.open_sweep(make_sweep())
    assert again.logged_trials() == {CONFIGS[0].trial_id}
    log_all(again)
    assert again.close().unlogged == ()
    (runs,) = line.store.trials.values()
    assert all(len(run.rows["train.loss"]) == 20 for run in runs.values())


def test_a_refused_trial_does_not_stop_the_others() -> None:
    def picky(name: str, trial_id: str) -> None:
        if (name, trial_id) == ("open_trial", CONFIGS[1].trial_id):
            raise TrackerRefused("no")

    line = Line(picky)
    spool = BackgroundTracker(line, pauses=(0, 0))
    spool.open_sweep(make_sweep())
    log_all(spool)
    report = spool.close()
    assert (report.unlogged, report.sweep_logged, report.errors) == ((CONFIGS[1].trial_id,), True, ("no",))
    assert [call for call in line.calls if call[1] == CONFIGS[1].trial_id] == [("open_trial", CONFIGS[1].trial_id)]


def test_a_wrong_address_is_told_at_once() -> None:
    def refuse(name: str, trial_id: str) -> None:
        raise TrackerRefused("wrong address")

    spool = BackgroundTracker(Line(refuse))
    with pytest.raises(TrackerRefused, match="wrong address"):
        spool.open_sweep(make_sweep())
    assert spool.close().errors == ("wrong address",)


def test_a_sweep_may_go_on_without_its_tracker() -> None:
    up = threading.Event()

    def away(name: str, trial_id: str) -> None:
        if not up.is_set():
            raise TrackingError("away")

    line = Line(away)
    spool = BackgroundTracker(line)
    with pytest.raises(TrackingError):
        spool.open_sweep(make_sweep())
    log_all(spool)
    report = spool.flush()
    assert (len(report.unlogged), report.sweep_logged, report.errors) == (len(CONFIGS), False, ("away",))
    assert line.calls == [("open_sweep", "")]
    up.set()
    spool.open_sweep(make_sweep())
    assert spool.close().sweep_logged


def test_a_bug_is_not_swallowed() -> None:
    def broken(name: str, trial_id: str) -> None:
        if name == "log_curve":
            raise ZeroDivisionError

    spool = BackgroundTracker(Line(broken))
    spool.open_sweep(make_sweep())
    log_all(spool)
    with pytest.raises(ZeroDivisionError):
        spool.close()


def test_close_ends_retries() -> None:
    """A pause of an hour must not hold a sweep that is done."""
    tried = threading.Event()

    def dead(name: str, trial_id: str) -> None:
        if trial_id:
            tried.set()
            raise TrackingError("away")

    spool = BackgroundTracker(Line(dead), pauses=(3600.0,))
    spool.open_sweep(make_sweep())
    log_all(spool)
    assert tried.wait(30)
    report = spool.close(0.01)
    assert not report.drained
    assert report.unlogged == tuple(sorted(config.trial_id for config in CONFIGS))
    assert not report.sweep_logged
