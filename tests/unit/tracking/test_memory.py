"""The tracker that keeps nothing. `MemoryTracker` is held to the contract in tests/contract."""

from __future__ import annotations

from lfray.tracking.memory import MemoryTracker, NoTracker
from tests.contract.builders import make_config, make_record, make_sweep, make_trial


def test_no_tracker_takes_every_call() -> None:
    config = make_config()
    tracker = NoTracker()
    assert tracker.open_sweep(make_sweep()) == ""
    tracker.open_trial(make_trial(config))
    tracker.log_curve(config.trial_id, make_record(config).curve)
    tracker.log_record(make_record(config), {})
    tracker.close_sweep("FINISHED", artifacts={}, metrics={}, tags={})
    assert tracker.logged_trials() == set()
    assert tracker.page() == ""


def test_trackers_have_stores_of_their_own() -> None:
    one, other = MemoryTracker(), MemoryTracker()
    one.open_sweep(make_sweep())
    assert other.store.sweeps == {}
