"""MLflow: a parent run a sweep, a nested run a trial. The only module that names MLflow.

Built on four facts of mlflow 3.17: a client cannot choose a run's id (so runs are found by tag), a metric row is identified by
(key, timestamp, step, value) (so timestamps come from stored data and a replay adds nothing), params never change, and NaN is
stored as a 0 that searches find (so an undefined value is a tag). A process that dies between two calls leaves a run that the
next one finds, completes and only then marks with the record's digest.

No fluent call and no global state of MLflow: one explicit client.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from lfray.errors import TrackingError
from lfray.tracking import address, layout, view
from lfray.tracking import artifacts as files
from lfray.tracking.contract import DatasetInfo, Status, SweepInfo, TrackerRefused, TrialInfo, absolute_uri
from lfray.tracking.ledger import Ledger, Row, found_again

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lfray.record import CurvePoint, TrialRecord

_PAGE: Final = 1000
_OLDEST_FIRST: Final = ["attributes.start_time ASC"]
_INHERITED: Final = ("mlflow.user", "mlflow.source.git.commit")
"""Tags of the parent that MLflow shows as columns of every run."""
_REFUSALS: Final = frozenset({
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "CUSTOMER_UNAUTHORIZED",
})  # fmt: skip


@final
class MlflowTracker:
    """Logs to an MLflow server or database.

    Args:
        uri: `sqlite:///file`, another database's URL, or the address of a server.
    """

    def __init__(self, uri: str) -> None:
        self._uri = absolute_uri(uri)
        self._where = f"tracking {address.spoken(self._uri)}"
        with self._calling():
            address.probe(self._uri)
            self._client = MlflowClient(tracking_uri=self._uri)
        self._experiment = ""
        self._sweep = ""
        self._parent: Ledger | None = None
        self._trials: dict[str, Ledger] = {}
        self._running: set[str] = set()
        """Trials whose run has not ended."""
        self._opened: dict[str, TrialInfo] = {}
        """What this process has opened, so that opening it before each point of a curve costs nothing."""
        self._view = ""
        self._doubt = False
        """A run was asked for and no answer came: it may exist."""

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Turn what MLflow raises into `TrackingError`: refused where trying again is useless."""
        try:
            yield
        except MlflowException as error:
            text = layout.clip(address.spoken(str(error)), 600)
            if error.error_code in _REFUSALS:
                raise TrackerRefused(f"{self._where}: refused: {text}") from error
            raise TrackingError(f"{self._where}: failed: {text}. Records are safe in storage; run again to catch up") from error
        except ModuleNotFoundError as error:
            raise TrackerRefused(f"{self._where}: needs the package {error.name}. Install it, or use another URI") from error
        except (OSError, SQLAlchemyError) as error:
            text = layout.clip(address.spoken(f"{type(error).__name__}: {error}"), 600)
            raise TrackingError(f"{self._where}: cannot be reached: {text}. Check the address") from error

    def open_sweep(self, sweep: SweepInfo) -> str:
        """See `Tracker.open_sweep`."""
        files.require(sweep.artifacts)
        with self._calling():
            self._sweep = sweep.name
            self._experiment = self._find_experiment(sweep.experiment)
            marks = {layout.KIND: "sweep", layout.SWEEP: sweep.name}
            sweeps = [found_again(run) for run in self._search(f"tags.`{layout.KIND}` = 'sweep'")]
            found = [run for run in sweeps if run.tags.get(layout.SWEEP) == sweep.name]
            parent = found[0] if found else self._create(sweep.name, sweep.started_at, marks)
            self._parent = parent
            self._find_trials(parent)
            self._running = {trial_id for trial_id, run in self._trials.items() if run.logged is None}
            self._client.update_run(parent.run_id, status="RUNNING")
            params = layout.clean_params(sweep.params)
            note = {"mlflow.note.content": sweep.description} if sweep.description else {}
            self._send(parent, params=params, tags={**layout.origin_tags(), **sweep.tags, **parent.stale_params(params), **note})
            self._save_view(sweep, parent)
            files.upload(self._client, parent.run_id, sweep.artifacts)
            self._client.log_text(parent.run_id, layout.environment_text(), layout.ENVIRONMENT)
            return parent.run_id

    def open_trial(self, trial: TrialInfo) -> None:
        """See `Tracker.open_trial`."""
        assert self._parent is not None, "open_sweep comes first"
        run = self._trials.get(trial.trial_id)
        if self._opened.get(trial.trial_id) == trial or (run is not None and run.logged is not None):
            return
        with self._calling():
            if run is None and self._doubt:
                self._find_trials(self._parent)
                run = self._trials.get(trial.trial_id)
            if run is None:
                marks = {layout.KIND: "trial", layout.SWEEP: self._sweep, layout.TRIAL: trial.trial_id}
                marks |= {"mlflow.parentRunId": self._parent.run_id, "mlflow.source.name": "lfray"}
                marks |= {key: self._parent.tags[key] for key in _INHERITED if key in self._parent.tags}
                self._doubt = True
                run = self._create(trial.label, trial.started_at, {**trial.tags, **marks})
                self._doubt = False
                self._trials[trial.trial_id] = run
            else:
                self._load(run)
                self._client.update_run(run.run_id, status="RUNNING")
            self._running.add(trial.trial_id)
            self._send(run, params=trial.params, tags=trial.tags)
            if trial.dataset is not None:
                self._client.log_inputs(run.run_id, datasets=[_dataset(trial.dataset)])
            self._opened[trial.trial_id] = trial

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """See `Tracker.log_curve`."""
        run = self._trials[trial_id]
        with self._calling():
            self._load(run)
            self._send(run, rows=run.new_steps(points))

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        """See `Tracker.log_record`."""
        run = self._trials[record.trial_id]
        digest = layout.record_digest(record)
        if run.logged == digest:
            return
        files.require(artifacts)
        with self._calling():
            self._load(run)
            run.logged = None
            end = layout.end_time(run.start_ms, record)
            tags = layout.record_tags(record)
            for key in [key for key in run.tags if layout.is_outcome(key) and key not in tags]:
                self._client.delete_tag(run.run_id, key)
                del run.tags[key]
            self._send(run, tags=tags, rows=run.new_steps(record.curve) + self._finals(run, layout.record_metrics(record), end))
            files.upload(self._client, run.run_id, artifacts)
            if record.failure is not None:
                self._client.log_text(run.run_id, record.failure.traceback, layout.TRACEBACK)
            status = "FAILED" if record.state == "FAILED" else "FINISHED"
            self._client.set_terminated(run.run_id, status=status, end_time=end)
            self._client.set_tag(run.run_id, layout.LOGGED, digest)
            run.logged = run.tags[layout.LOGGED] = digest
            self._running.discard(record.trial_id)

    def close_sweep(
        self, status: Status, *, artifacts: Mapping[str, Path], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """See `Tracker.close_sweep`."""
        assert self._parent is not None, "open_sweep comes first"
        files.require(artifacts)
        with self._calling():
            for trial_id in sorted(self._running):
                self._client.set_terminated(self._trials[trial_id].run_id, status="KILLED")
            self._running.clear()
            self._opened.clear()
            parent = self._parent
            finite = {layout.shorten(key): value for key, value in metrics.items() if math.isfinite(value)}
            self._send(parent, tags=tags, rows=self._finals(parent, finite, parent.start_ms))
            files.upload(self._client, parent.run_id, artifacts)
            self._client.set_terminated(parent.run_id, status=status)

    def logged_trials(self) -> set[str]:
        """See `Tracker.logged_trials`."""
        return {trial_id for trial_id, run in self._trials.items() if run.logged is not None}

    def page(self) -> str:
        """See `Tracker.page`."""
        return view.page(self._experiment, self._view)

    def _save_view(self, sweep: SweepInfo, parent: Ledger) -> None:
        """Write the sweep's view once; what a person changed in it afterwards stays."""
        if not sweep.axes and not sweep.objectives:
            return
        self._view, value = view.saved_view(sweep, parent_id=parent.run_id, created_ms=parent.start_ms)
        key = view.TAG_PREFIX + self._view
        if key not in self._client.get_experiment(self._experiment).tags:
            self._client.set_experiment_tag(self._experiment, key, value)

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = address.artifact_folder(self._uri, name)
            return str(self._client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage != "active":
            raise TrackerRefused(f"{self._where}: experiment {name} is deleted. Restore it in MLflow, or set tracking.experiment")
        if found.artifact_location.startswith("mlflow-artifacts:") and not address.is_server(self._uri):
            raise TrackerRefused(
                f"{self._where}: experiment {name} keeps its artifacts behind a server. "
                "Give the server's address as the URI, or set tracking.experiment to another name"
            )
        return str(found.experiment_id)

    def _find_trials(self, parent: Ledger) -> None:
        """Learn the trials' runs. Of two for one trial (an answer got lost on the way) the logged or older one stays."""
        self._trials = {}
        children = [found_again(run) for run in self._search(f"tags.`mlflow.parentRunId` = '{parent.run_id}'")]
        for run in sorted(children, key=lambda child: child.logged is None):
            kept = self._trials.setdefault(run.tags.get(layout.TRIAL, run.run_id), run)
            if kept is not run:
                self._client.delete_run(run.run_id)
        self._doubt = False

    def _search(self, query: str) -> list[Any]:
        """Every active run that matches, oldest first."""
        runs: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, ViewType.ACTIVE_ONLY, _PAGE, _OLDEST_FIRST, token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _create(self, name: str, started_at: str, tags: Mapping[str, str]) -> Ledger:
        start = layout.milliseconds(started_at)
        run = self._client.create_run(self._experiment, start_time=start, tags=layout.clean_tags(tags), run_name=name)
        return Ledger(run.info.run_id, start, loaded=True, tags=dict(run.data.tags))

    def _load(self, run: Ledger) -> None:
        """Learn which curve steps a run of an earlier process holds; done once."""
        if run.loaded:
            return
        for key in layout.CURVE_KEYS:
            if key in run.metrics:
                run.steps[key] = {row.step for row in self._client.get_metric_history(run.run_id, key)}
        run.loaded = True

    def _finals(self, run: Ledger, values: Mapping[str, float], timestamp: int) -> list[Row]:
        """Rows for values that are new; one that changed goes a step later, because the largest step is the one shown."""
        rows = []
        for key, value in values.items():
            step = 0
            if key in run.metrics:
                if run.metrics[key] == value:
                    continue
                step = 1 + max(row.step for row in self._client.get_metric_history(run.run_id, key))
            rows.append(Row(key, value, timestamp, step))
        return rows

    def _send(
        self,
        run: Ledger,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        rows: Sequence[Row] = (),
    ) -> None:
        """Send what is missing in as few calls as MLflow's limits allow."""
        for batch in run.missing(layout.clean_params(params or {}), layout.clean_tags(tags or {}), rows):
            self._client.log_batch(
                run.run_id,
                params=[Param(*text) for text in batch.params],
                tags=[RunTag(*text) for text in batch.tags],
                metrics=[Metric(*row) for row in batch.rows],
            )
            run.sent(batch)


def _dataset(info: DatasetInfo) -> DatasetInput:
    kind, source = layout.dataset_source(info.source)
    entity = Dataset(
        name=layout.clip(info.name, 500),
        digest=info.fingerprint[:36],
        source_type=kind,
        source=source,
        profile=json.dumps(dict(info.rows)),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training and evaluation")])
