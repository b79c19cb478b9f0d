from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lfray.errors import StorageError
from lfray.record import CurvePoint
from lfray.storage import Storage
from lfray.sweep.capacity import Machines, Node
from lfray.sweep.need import Need
from lfray.sweep.run import Outcome, _Relay, run_jobs
from lfray.sweep.tuner import Limits
from tests.unit.jobs import make_job
from tests.unit.records import make_config, make_failure, make_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lfray.record import TrialRecord
    from lfray.space.trial import TrialJob

JOBS = [make_job(make_config(seed=seed)) for seed in range(3)]
IDS = [job.config.trial_id for job in JOBS]
LIMITS = Limits({name: Need(1, 1, 0, 1.0) for name in IDS}, Machines((Node("n0", 2, 0, 8.0),), "this machine"), "auto", 0, 1.0)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.records: list[TrialRecord] = []

    def trial_started(self, job: TrialJob) -> None:
        self.events.append(("started", job.config.trial_id))

    def trial_progressed(self, job: TrialJob, points: Sequence[CurvePoint]) -> None:
        self.events.append((f"{len(points)} points", job.config.trial_id))

    def trial_ended(self, job: TrialJob, record: TrialRecord) -> None:
        self.events.append((record.state, job.config.trial_id))
        self.records.append(record)


def relay(folder: Path) -> tuple[_Relay, Heard, Outcome, Storage]:
    heard, outcome, storage = Heard(), Outcome(), Storage(folder)
    return _Relay(JOBS, storage, [heard], outcome), heard, outcome, storage


def test_what_is_recorded_is_not_run_again_and_starts_nothing(tmp_path: Path) -> None:
    storage, heard = Storage(tmp_path), Heard()
    for seed in range(3):
        storage.write_record(make_record(seed=seed, failure=make_failure() if seed == 1 else None))
    outcome = run_jobs(JOBS, storage, [heard], limits=LIMITS)
    assert (outcome.skipped, outcome.ran, outcome.missing) == (IDS, [], [])
    assert outcome.failed == [IDS[1]]
    assert heard.events == []
    assert outcome.recorded
    assert not outcome.interrupted


def test_a_torn_record_is_found_before_anything_starts(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write_record(make_record(seed=2))
    (storage.trial_folder(IDS[2]) / "record.json").write_text('{"config": ')
    with pytest.raises(StorageError):
        run_jobs(JOBS, storage, [], limits=LIMITS)


def test_listeners_hear_of_a_trial_in_its_order(tmp_path: Path) -> None:
    told, heard, outcome, storage = relay(tmp_path)
    told.started(IDS[0])
    told.progressed(IDS[0], [CurvePoint(1, 0.5, 0.25, 0.02)])
    storage.write_record(make_record(seed=0))
    told.ended(IDS[0])
    assert heard.events == [("started", IDS[0]), ("1 points", IDS[0]), ("COMPLETED", IDS[0])]
    assert outcome.ran == [IDS[0]]


def test_a_worker_that_died_for_good_leaves_a_record(tmp_path: Path) -> None:
    told, heard, outcome, storage = relay(tmp_path)
    told.started(IDS[0])
    told.died(IDS[0], "killed by SIGKILL")
    # It said that it had ended, and left nothing.
    told.started(IDS[1])
    told.ended(IDS[1])
    assert [(r.failure.stage, r.failure.kind, r.failure.traceback) for r in heard.records if r.failure] == [
        ("worker", "WorkerDied", "killed by SIGKILL"),
        ("worker", "WorkerDied", "the worker ended the trial without a record"),
    ]
    assert [storage.read_record(name) for name in IDS[:2]] == heard.records
    assert outcome.ran == IDS[:2]


def test_a_trial_without_a_place_is_told_of_once(tmp_path: Path) -> None:
    told, heard, outcome, storage = relay(tmp_path)
    told.unplaced(IDS[2], "resources.placement_seconds: 1 CPU must find a place within 1 s")
    assert heard.events == []
    # Tune ends the trial that it was told to stop.
    told.ended(IDS[2])
    assert heard.events == [("FAILED", IDS[2])]
    assert outcome.ran == [IDS[2]]
    record = storage.read_record(IDS[2])
    assert record is not None
    assert record.failure is not None
    assert (record.failure.stage, record.failure.kind, record.seconds) == ("placement", "CapacityError", 0.0)
    assert "placement_seconds" in record.failure.message


@pytest.mark.parametrize(
    ("outcome", "recorded", "interrupted"),
    [(Outcome(), False, False), (Outcome(ran=["a"], missing=["b"]), True, True), (Outcome(skipped=["a"]), True, False)],
)
def test_an_outcome_in_two_words(outcome: Outcome, recorded: bool, interrupted: bool) -> None:
    assert (outcome.recorded, outcome.interrupted) == (recorded, interrupted)
