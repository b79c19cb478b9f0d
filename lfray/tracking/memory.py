"""A tracker that forgets with the process: the fake of this border for tests, and the one that logs nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from lfray.tracking import artifacts as files
from lfray.tracking import layout
from lfray.tracking.contract import Status, SweepInfo, TrialInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lfray.record import CurvePoint, TrialRecord


@dataclass(frozen=True)
class Row:
    """One logged value of a metric."""

    step: int
    timestamp: int
    value: float


@dataclass
class MemoryRun:
    """One run, as a tracker's reader sees it."""

    name: str
    start_ms: int
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    """(name, fingerprint)."""

    def log(self, values: Mapping[str, float], *, timestamp: int) -> None:
        """Add what is new; a value that changed stands one step later."""
        for key, value in values.items():
            rows = self.rows.setdefault(key, [])
            if not rows:
                rows.append(Row(0, timestamp, value))
            elif rows[-1].value != value:
                rows.append(Row(rows[-1].step + 1, timestamp, value))

    def log_curve(self, points: Sequence[CurvePoint]) -> None:
        """Add the steps that are not there."""
        for point in points:
            for key, value in layout.curve_values(point).items():
                rows = self.rows.setdefault(key, [])
                if all(row.step != point.step for row in rows):
                    rows.append(Row(point.step, layout.curve_time(self.start_ms, point.step), value))


@dataclass
class MemoryStore:
    """What outlives a `MemoryTracker`, as a server outlives its clients. (experiment, sweep name) -> runs."""

    sweeps: dict[tuple[str, str], MemoryRun] = field(default_factory=dict)
    trials: dict[tuple[str, str], dict[str, MemoryRun]] = field(default_factory=dict)


@final
class MemoryTracker:
    """Keeps every run in `store`; a second tracker on the same store is a restarted process.

    Args:
        store: The runs; a new, empty one by default.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self._sweep = ("", "")

    def open_sweep(self, sweep: SweepInfo) -> str:
        """See `Tracker.open_sweep`."""
        files.require(sweep.artifacts)
        self._sweep = (sweep.experiment, sweep.name)
        run = self.store.sweeps.setdefault(self._sweep, MemoryRun(sweep.name, layout.milliseconds(sweep.started_at)))
        self.store.trials.setdefault(self._sweep, {})
        run.status = "RUNNING"
        params = layout.clean_params(sweep.params)
        run.params = params | run.params
        stale = {key for key in params if params[key] != run.params[key] or layout.NOW + key in run.tags}
        changed = {layout.NOW + key: params[key] for key in stale}
        marks = {layout.KIND: "sweep", layout.SWEEP: sweep.name}
        run.tags |= layout.clean_tags({**layout.origin_tags(), **sweep.tags, **changed, **marks})
        run.artifacts |= files.files(sweep.artifacts) | {layout.ENVIRONMENT}
        return "/".join(self._sweep)

    def open_trial(self, trial: TrialInfo) -> None:
        """See `Tracker.open_trial`."""
        created = MemoryRun(trial.label, layout.milliseconds(trial.started_at))
        run = self.store.trials[self._sweep].setdefault(trial.trial_id, created)
        if layout.LOGGED in run.tags:
            return
        run.status = "RUNNING"
        run.params = layout.clean_params(trial.params) | run.params
        marks = {layout.KIND: "trial", layout.SWEEP: self._sweep[1], layout.TRIAL: trial.trial_id}
        run.tags |= layout.clean_tags({**trial.tags, **marks})
        if trial.dataset is not None:
            run.datasets.add((trial.dataset.name, trial.dataset.fingerprint))

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """See `Tracker.log_curve`."""
        self.store.trials[self._sweep][trial_id].log_curve(points)

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        """See `Tracker.log_record`."""
        run = self.store.trials[self._sweep][record.trial_id]
        digest = layout.record_digest(record)
        if run.tags.get(layout.LOGGED) == digest:
            return
        files.require(artifacts)
        run.log_curve(record.curve)
        run.log(layout.record_metrics(record), timestamp=layout.end_time(run.start_ms, record))
        kept = {key: value for key, value in run.tags.items() if not layout.is_outcome(key)}
        run.tags = kept | layout.record_tags(record) | {layout.LOGGED: digest}
        run.artifacts |= files.files(artifacts) | (set() if record.failure is None else {layout.TRACEBACK})
        run.status = "FAILED" if record.state == "FAILED" else "FINISHED"

    def close_sweep(
        self, status: Status, *, artifacts: Mapping[str, Path], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """See `Tracker.close_sweep`."""
        files.require(artifacts)
        run = self.store.sweeps[self._sweep]
        run.log({layout.shorten(k): v for k, v in metrics.items() if math.isfinite(v)}, timestamp=run.start_ms)
        run.tags |= layout.clean_tags(tags)
        run.artifacts |= files.files(artifacts)
        run.status = status
        for trial in self.store.trials[self._sweep].values():
            if trial.status == "RUNNING":
                trial.status = "KILLED"

    def logged_trials(self) -> set[str]:
        """See `Tracker.logged_trials`."""
        return {trial_id for trial_id, run in self.store.trials[self._sweep].items() if layout.LOGGED in run.tags}

    def page(self) -> str:
        """Nothing to look at."""
        return ""


@final
class NoTracker:
    """`tracking.uri: none`: takes every call and keeps nothing."""

    def open_sweep(self, sweep: SweepInfo) -> str:
        """Nothing is opened; the id is empty."""
        return ""

    def open_trial(self, trial: TrialInfo) -> None:
        """Nothing."""

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """Nothing."""

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        """Nothing."""

    def close_sweep(
        self, status: Status, *, artifacts: Mapping[str, Path], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Nothing."""

    def logged_trials(self) -> set[str]:
        """No trial is logged."""
        return set()

    def page(self) -> str:
        """Nothing to look at."""
        return ""
