"""A sweep as its tracker sees it: the parent run, a nested run a trial, caught up after every restart.

Everything goes through the writer thread of `tracking.spool`, so no trial waits for MLflow. What storage has and the tracker has
not is logged first: a driver that was killed, or a tracker that was away, leaves nothing out for good.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.analysis import Analysis
from lfray.errors import TrackingError
from lfray.spec.safe import storable
from lfray.tracking.contract import DatasetInfo, SweepInfo, TrialInfo, resolve_uri
from lfray.tracking.memory import NoTracker
from lfray.tracking.spool import BackgroundTracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.app import Plan
    from lfray.record import CurvePoint, TrialRecord
    from lfray.space.trial import TrialConfig, TrialJob
    from lfray.sweep.run import Outcome
    from lfray.tracking.contract import Status, Tracker


class SweepTracking:
    """Listener of one run of a sweep that keeps its tracker up to date."""

    def __init__(self, made: Plan, jobs: Sequence[TrialJob], option: str | None) -> None:
        """Open the sweep in the tracker and log what it lacks of the recorded trials."""
        self._made = made
        self._spec = made.loaded.spec
        self.uri = resolve_uri(option, self._spec.tracking.uri, os.environ)
        self._tracker = BackgroundTracker(_tracker(self.uri))
        self.trouble: list[str] = []
        try:
            self._tracker.open_sweep(self._sweep_info())
            logged = self._tracker.logged_trials()
        except TrackingError as error:
            self.trouble.append(str(error))
            logged = set()
        for job in jobs:
            if job.config.trial_id in made.recorded and job.config.trial_id not in logged:
                record = made.storage.read_record(job.config.trial_id)
                if record is not None:
                    self.trial_ended(job, record)

    def trial_started(self, job: TrialJob) -> None:
        """Nothing yet: the run is made with the first point, when there is something to see."""

    def trial_progressed(self, job: TrialJob, points: Sequence[CurvePoint]) -> None:
        """Live loss curve."""
        self._tracker.open_trial(self._trial_info(job.config))
        self._tracker.log_curve(job.config.trial_id, points)

    def trial_ended(self, job: TrialJob, record: TrialRecord) -> None:
        """The measured trial with its artifacts."""
        self._tracker.open_trial(self._trial_info(job.config, record.started_at, record))
        self._tracker.log_record(record, self._artifacts(record))

    def finish(self, outcome: Outcome, analysis: Analysis) -> dict[str, Any]:
        """Log front, figures and page into the parent run, end it, and wait until all is written."""
        front = analysis.front
        status: Status = "KILLED" if outcome.interrupted else "FAILED" if outcome.failed else "FINISHED"
        metrics = {"front.trials": float(len(front.trials)), "sweep.trials": float(len(front.table))}
        if front.hypervolume is not None:
            metrics["front.hypervolume"] = front.hypervolume
        self._tracker.close_sweep(
            status,
            artifacts={f"analysis/{path.name}": path for path in analysis.files},
            metrics=metrics,
            tags={"lfray.objectives": ", ".join(objective.key for objective in front.objectives)},
        )
        report = self._tracker.close()
        return {"tracking": self.uri, "unlogged": list(report.unlogged), "tracking_trouble": [*self.trouble, *report.errors]}

    def _sweep_info(self) -> SweepInfo:
        spec, folder = self._spec, self._made.storage.sweep_folder(self._spec.name)
        return SweepInfo(
            name=spec.name,
            experiment=spec.tracking.experiment or spec.name,
            started_at=self._made.created_at,
            params=_flat(storable(self._made.loaded)),
            tags={"lfray.git_commit": commit} if (commit := _git_commit(self._made.loaded.folder)) else {},
            artifacts={"spec.yaml": folder / "spec.yaml", "plan.json": folder / "plan.json"},
        )

    def _trial_info(self, config: TrialConfig, started_at: str | None = None, record: TrialRecord | None = None) -> TrialInfo:
        facts = self._made.data
        return TrialInfo(
            trial_id=config.trial_id,
            label=config.label,
            started_at=started_at or self._made.created_at,
            params=trial_params(config),
            tags={"lfray.config_id": config.config_id, "lfray.sweep": self._spec.name},
            dataset=DatasetInfo(self._spec.data.source, facts.fingerprint, self._spec.data.source, facts.split_rows),
        )

    def _artifacts(self, record: TrialRecord) -> dict[str, Path]:
        folder, wanted = self._made.storage.trial_folder(record.trial_id), self._spec.tracking
        files = {"record.json": folder / "record.json"}
        if wanted.log_predictions:
            files["predictions.parquet"] = folder / "predictions.parquet"
        if wanted.log_adapters:
            files["adapter"] = folder / "adapter"
        return {name: path for name, path in files.items() if path.exists()}


def trial_params(config: TrialConfig) -> dict[str, str]:
    """A trial's settings as the columns that people compare: plain names, plain numbers."""
    params: dict[str, Any] = {
        "method": config.method.kind,
        "rank": config.rank,
        "downsampling_ratio": config.downsampling_ratio,
        "seed": config.seed,
        **{key: value for key, value in config.method.model_dump().items() if key not in ("kind", "rank")},
        **({} if config.train is None else config.train.model_dump()),
        "head": config.task.head,
        "max_tokens": config.data.max_tokens,
    }
    return {key: _plain(value) for key, value in params.items() if value is not None}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested fields as dotted params; fields that were not given are left out."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{path}.")
        elif value is not None:
            flat[path] = _plain(value)
    return flat


def _git_commit(folder: Path) -> str | None:
    """Commit of the checkout that the sweep file stands in, `-dirty` where it has changes; None outside one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _tracker(uri: str | None) -> Tracker:
    if uri is None:
        return NoTracker()
    from lfray.tracking.mlflow_store import MlflowTracker

    return MlflowTracker(uri)
