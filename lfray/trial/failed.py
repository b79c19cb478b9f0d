"""Recording a trial that failed: by its worker, or by the driver when the worker died. Free of torch, since the driver needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.record import Failure, TrialRecord

if TYPE_CHECKING:
    from datetime import datetime

    from lfray.space.trial import TrialJob
    from lfray.storage import Storage


def put_failure(storage: Storage, job: TrialJob, failure: Failure, *, started: datetime, seconds: float) -> TrialRecord:
    """Write the FAILED record of a trial and return it."""
    record = TrialRecord(
        config=job.config,
        state="FAILED",
        measures=(),
        curve=(),
        execution=None,
        data={},
        context=job.context,
        started_at=started.isoformat(timespec="milliseconds"),
        seconds=seconds,
        failure=failure,
    )
    storage.write_record(record)
    return record
