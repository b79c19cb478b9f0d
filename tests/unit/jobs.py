"""Trial jobs for tests: a trial, where to find things, how to run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.space.trial import ExecutionRequest, Locations, TrialJob

if TYPE_CHECKING:
    from lfray.space.trial import TrialConfig


def make_job(config: TrialConfig, *, root: Path | str = "root", **execution: Any) -> TrialJob:
    """A job with storage, data and model under `root`; keywords replace fields of its execution."""
    fields: dict[str, Any] = {
        "micro_batch": 16, "evaluation_batch": 64, "cpus": 1, "gpus": 0.0, "checkpoint_seconds": 60.0, "keep_weights": False,
    }  # fmt: skip
    root = Path(root)
    return TrialJob(
        config=config,
        where=Locations(storage=str(root / "storage"), data=str(root / "data"), model=str(root / "model")),
        execution=ExecutionRequest(**(fields | execution)),
        split_manifests={},
        preparation={},
        context={"sweep": "test"},
    )
