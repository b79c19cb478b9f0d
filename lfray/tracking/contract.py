"""What a tracker is, and which one a sweep uses.

The guarantee: every call may be repeated, in this process or in the next, and adds nothing twice. A run is found by its tag
before it is created, so a tracker wants a single writer for a sweep (`spool` gives it one thread); readers do not matter.
Two processes that log the *same* sweep at the same time may both create a run; storage keeps two drivers apart before that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lfray.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.record import CurvePoint, TrialRecord

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended."""

DEFAULT_URI = "sqlite:///mlflow.db"


class TrackerRefused(TrackingError):
    """The tracker understood the call and refused it: trying again changes nothing."""


@dataclass(frozen=True)
class DatasetInfo:
    """The rows that a trial learned from and was judged on."""

    name: str
    fingerprint: str
    source: str
    """As the sweep file has it: `hub:...`, `file:...`, `lab:...`."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """Split (or split and group) -> rows."""


@dataclass(frozen=True)
class SweepInfo:
    """What the parent run says."""

    name: str
    experiment: str
    started_at: str
    """UTC, ISO 8601; used when the run is created and never again."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    """Path inside the run -> local file or folder."""
    description: str = ""
    """Markdown, shown on the run's page."""
    axes: tuple[str, ...] = ()
    """Params in which trials differ: what a person compares by."""
    objectives: tuple[str, ...] = ()
    """Flat metric keys; the first is the one that trials are sorted by."""


@dataclass(frozen=True)
class TrialInfo:
    """What a trial's run says before anything is measured."""

    trial_id: str
    label: str
    """Readable name: `lora-r8 ratio-0.2 seed-13`."""
    started_at: str
    """UTC, ISO 8601; used when the run is created and never again."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: DatasetInfo | None = None


class Tracker(Protocol):
    """Where a sweep is logged. Calls come in the order open_sweep, then per trial open_trial, log_curve*, log_record.

    Every method raises `TrackingError` where the tracker cannot be reached, and `TrackerRefused` where it says no.
    """

    def open_sweep(self, sweep: SweepInfo) -> str:
        """Find or create the experiment and the sweep's parent run, bring it up to date, and return the run's id.

        Params that are already logged stay (trackers do not change them): one that now reads otherwise, as an axis does when
        a sweep is extended, becomes the tag `lfray.now.<param>`.
        """
        ...

    def open_trial(self, trial: TrialInfo) -> None:
        """Find or create the trial's run under the parent. A run whose record is logged is left alone."""
        ...

    def log_curve(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """Log points of the training curve as they come. A step that is already there stays as it is."""
        ...

    def log_record(self, record: TrialRecord, artifacts: Mapping[str, Path]) -> None:
        """Log the measured trial and end its run: all metrics, the curve, tags, artifacts.

        An undefined value is no metric but the tag `undefined.<key>=<reason>`. The very record that is already logged is
        skipped; another record of the trial (it failed, and was run again) is logged over it.
        """
        ...

    def close_sweep(
        self,
        status: Status,
        *,
        artifacts: Mapping[str, Path],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        """Log what belongs to the sweep as a whole and end the parent run; trials' runs still open end as KILLED."""
        ...

    def logged_trials(self) -> set[str]:
        """Ids of the trials whose record is logged in whole, whether COMPLETED or FAILED."""
        ...

    def page(self) -> str:
        """Path of the sweep's table and charts below the address of the tracker's pages; empty where there are none."""
        ...


def resolve_uri(option: str | None, spec_uri: str, environ: Mapping[str, str]) -> str | None:
    """Which tracker: the option, else `MLFLOW_TRACKING_URI`, else the sweep file's, else the default.

    `auto` is the default, `sqlite:///mlflow.db` in the working folder. A relative SQLite path becomes absolute, because
    workers and later commands may stand elsewhere.

    Returns:
        The URI, or None for `none` (no tracking).
    """
    given = (option, environ.get("MLFLOW_TRACKING_URI"), spec_uri)
    uri = next((candidate for candidate in given if candidate), "auto")
    if uri == "none":
        return None
    return absolute_uri(DEFAULT_URI if uri == "auto" else uri)


def absolute_uri(uri: str) -> str:
    """The URI with a relative SQLite path taken from the working folder; other URIs as they are."""
    path, question, options = uri.removeprefix("sqlite:///").partition("?")
    if not uri.startswith("sqlite:///") or path.startswith((":memory:", "/")) or not path:
        return uri
    return f"sqlite:///{Path.cwd() / path}{question}{options}"
