from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from lfray.storage import Storage
from lfray.trial.failed import put_failure
from tests.unit.jobs import make_job
from tests.unit.records import make_config, make_failure


def test_a_failure_is_a_record_in_storage(tmp_path: Path) -> None:
    storage, job = Storage(tmp_path), make_job(make_config(), root=tmp_path)
    started = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    record = put_failure(storage, job, make_failure("loss must be finite"), started=started, seconds=2.5)
    assert storage.read_record(job.config.trial_id) == record
    assert (record.state, record.started_at, record.seconds) == ("FAILED", "2026-03-01T12:00:00.123+00:00", 2.5)
    assert record.failure == make_failure("loss must be finite")
    assert (record.measures, record.curve, record.execution) == ((), (), None)
    assert record.context == job.context


def test_the_driver_can_record_a_failure_without_torch() -> None:
    program = "import sys, lfray.trial.failed; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
