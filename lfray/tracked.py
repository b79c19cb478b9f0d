"""A sweep as its tracker sees it: the parent run, a nested run a trial, caught up after every restart.

Everything goes through the writer thread of `tracking.spool`, so no trial waits for MLflow. What storage has and the tracker has
not is logged first: a driver that was killed, or a tracker that was away, leaves nothing out for good.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.analysis import Analysis
from lfray.errors import TrackingError
from lfray.spec.safe import storable
from lfray.tracking.contract import DatasetInfo, SweepInfo, TrialInfo, resolve_uri
from lfray.tracking.layout import describe_trial, flatten
from lfray.tracking.memory import NoTracker
from lfray.tracking.spool import BackgroundTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.app import Plan
    from lfray.pareto.front import Front
    from lfray.record import CurvePoint, TrialRecord
    from lfray.space.trial import TrialJob
    from lfray.sweep.run import Outcome
    from lfray.tracking.contract import Status, Tracker


class SweepTracking:
    """Listener of one run of a sweep that keeps its tracker up to date."""

    def __init__(self, made: Plan, jobs: Sequence[TrialJob], option: str | None) -> None:
        """Open the sweep in the tracker and log what it lacks of the recorded trials."""
        self._made = made
        self._spec = made.loaded.spec
        self.uri = resolve_uri(option, self._spec.tracking.uri, os.environ)
        self._jobs = jobs
        self._begun: dict[str, str] = {}
        self.trouble: list[str] = []
        # MLflow's import and its tables take seconds on first use: Ray starts meanwhile.
        self._opening = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lfray-tracker-opens")
        self._opened = self._opening.submit(self._open)

    def _open(self) -> BackgroundTracker:
        """Open the sweep and log what the tracker lacks of the recorded trials."""
        tracker = BackgroundTracker(_tracker(self.uri))
        try:
            tracker.open_sweep(self._sweep_info())
            logged = tracker.logged_trials()
        except TrackingError as error:
            self.trouble.append(str(error))
            logged = set()
        for job in self._jobs:
            if job.config.trial_id in self._made.recorded and job.config.trial_id not in logged:
                record = self._made.storage.read_record(job.config.trial_id)
                if record is not None:
                    self._log(tracker, job, record)
        return tracker

    def _log(self, tracker: BackgroundTracker, job: TrialJob, record: TrialRecord) -> None:
        tracker.open_trial(self._trial_info(job, record.started_at))
        tracker.log_record(record, self._artifacts(record))

    def trial_started(self, job: TrialJob) -> None:
        """Note when; the run is made with the first point, when there is something to see."""
        self._begun[job.config.trial_id] = datetime.now(UTC).isoformat(timespec="milliseconds")

    def trial_progressed(self, job: TrialJob, points: Sequence[CurvePoint]) -> None:
        """Live loss curve."""
        tracker = self._opened.result()
        tracker.open_trial(self._trial_info(job, self._begun[job.config.trial_id]))
        tracker.log_curve(job.config.trial_id, points)

    def trial_ended(self, job: TrialJob, record: TrialRecord) -> None:
        """The measured trial with its artifacts."""
        self._log(self._opened.result(), job, record)

    def finish(self, outcome: Outcome, analysis: Analysis | None) -> dict[str, Any]:
        """Log front, figures and page into the parent run, end it, and wait until all is written."""
        status: Status = "KILLED" if outcome.interrupted else "FAILED" if outcome.failed else "FINISHED"
        tracker, files = self._opened.result(), () if analysis is None else analysis.files
        self._opening.shutdown()
        tracker.close_sweep(
            status,
            artifacts={f"analysis/{path.name}": path for path in files},
            metrics={} if analysis is None else _front_metrics(analysis.front),
            tags={"lfray.objectives": ", ".join(self._spec.objectives)},
        )
        page = self._page(tracker)
        report = tracker.close()
        return {
            "tracking": self.uri,
            "page": page,
            "unlogged": list(report.unlogged),
            "tracking_trouble": [*self.trouble, *report.errors],
        }

    def _page(self, tracker: BackgroundTracker) -> str:
        try:
            return tracker.page()
        except TrackingError as error:
            self.trouble.append(str(error))
            return ""

    def _sweep_info(self) -> SweepInfo:
        spec, folder = self._spec, self._made.storage.sweep_folder(self._spec.name)
        return SweepInfo(
            name=spec.name,
            experiment=spec.tracking.experiment or spec.name,
            started_at=self._made.created_at,
            params=flatten(storable(self._made.loaded)),
            tags={"mlflow.source.git.commit": commit} if (commit := _git_commit(self._made.loaded.folder)) else {},
            artifacts={"spec.yaml": folder / "spec.yaml", "plan.json": folder / "plan.json"},
            axes=("method_label", *(name for name in spec.axes if name not in ("method", "rank"))),
            objectives=spec.objectives,
        )

    def _trial_info(self, job: TrialJob, started_at: str) -> TrialInfo:
        facts = self._made.data
        source = job.context["data"]
        return describe_trial(
            job.config,
            job.context,
            started_at=started_at,
            dataset=DatasetInfo(source, facts.fingerprint, source, facts.split_rows),
            tags={"lfray.sweep": self._spec.name},
        )

    def _artifacts(self, record: TrialRecord) -> dict[str, Path]:
        folder, wanted = self._made.storage.trial_folder(record.trial_id), self._spec.tracking
        files = {"record.json": folder / "record.json"}
        if wanted.log_predictions:
            files["predictions.parquet"] = folder / "predictions.parquet"
        if wanted.log_adapters:
            files["adapter"] = folder / "adapter"
        return {name: path for name, path in files.items() if path.exists()}


def _front_metrics(front: Front) -> dict[str, float]:
    """What the parent run says of the front, as numbers that sweeps can be compared by."""
    metrics = {"front.trials": float(len(front.trials)), "sweep.trials": float(len(front.table))}
    return metrics if front.hypervolume is None else metrics | {"front.hypervolume": front.hypervolume}


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
