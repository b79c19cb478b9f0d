"""What a sweep looks like in a terminal: a live table where there is one, plain lines where there is none."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.pareto.front import Front
    from lfray.record import CurvePoint, TrialRecord
    from lfray.space.trial import TrialJob

FRONT_SECONDS = 2.0
"""The live front is drawn anew at most so often: it is cheap for hundreds of trials, not for tens of thousands."""
SHOWN_RUNNING = 8


def number(value: Any) -> str:
    """A number for people: counts whole with separators, others with four significant digits, undefined as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Listener that shows how a sweep goes."""

    def __init__(self, *, total: int, skipped: int, objectives: Sequence[str], console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr)
        self._total, self._skipped, self._objectives = total, skipped, list(objectives)
        self._records: list[TrialRecord] = []
        self._running: dict[str, tuple[str, float, float]] = {}
        self._clock = time.monotonic()
        self._front: Front | None = None
        self._front_at = -math.inf
        self._live = (
            Live(console=self._console, refresh_per_second=4, get_renderable=self._render) if self._console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state standing."""
        if self._live is not None:
            self._live.stop()

    def trial_started(self, job: TrialJob) -> None:
        """A worker took the trial."""
        self._running[job.config.trial_id] = (job.config.label, 0.0, math.nan)
        if self._live is None:
            self._console.print(f"start   {job.config.label}", highlight=False)

    def trial_progressed(self, job: TrialJob, points: Sequence[CurvePoint]) -> None:
        """New points of its loss curve."""
        epochs = job.config.train.epochs if job.config.train is not None else 1.0
        self._running[job.config.trial_id] = (job.config.label, points[-1].epoch / epochs, points[-1].loss)

    def trial_ended(self, job: TrialJob, record: TrialRecord) -> None:
        """Its record is in storage."""
        self._running.pop(record.trial_id, None)
        self._records.append(record)
        if self._live is None:
            self._console.print(self._end_line(record), highlight=False, soft_wrap=True)

    def _end_line(self, record: TrialRecord) -> str:
        place = f"[{len(self._records) + self._skipped}/{self._total}]"
        if record.failure is not None:
            return f"FAILED  {record.config.label}  {record.failure.stage}: {record.failure.message}  {place}".replace("[", "\\[")
        metrics = record.metrics()
        values = "  ".join(f"{key.partition('.')[2] or key} {number(metrics.get(key))}" for key in self._objectives)
        return f"done    {record.config.label}  {values}  {duration(record.seconds)}  {place}".replace("[", "\\[")

    def _render(self) -> Group:
        failed = sum(record.state == "FAILED" for record in self._records)
        done, elapsed = len(self._records) - failed, time.monotonic() - self._clock
        left = self._total - self._skipped - len(self._records)
        eta = f"  ETA {duration(elapsed / len(self._records) * left)}" if self._records and left else ""
        head = Text(
            f"{done} done  {len(self._running)} running  {failed} failed  {self._skipped} skipped"
            f"  of {self._total}   {duration(elapsed)}{eta}"
        )
        parts: list[Any] = [head]
        for label, share, loss in list(self._running.values())[:SHOWN_RUNNING]:
            filled = round(20 * min(1.0, share))
            parts.append(Text(f"  {'=' * filled}{'.' * (20 - filled)} {label}  loss {number(loss)}", style="dim"))
        front = self._live_front()
        if front is not None:
            parts.append(front_table(front, title="front so far", limit=10))
        return Group(*parts)

    def _live_front(self) -> Front | None:
        if time.monotonic() - self._front_at >= FRONT_SECONDS and any(record.state == "COMPLETED" for record in self._records):
            from lfray.errors import LfrayError
            from lfray.pareto.front import front_of

            try:
                self._front = front_of(self._records, self._objectives)
            except LfrayError:
                # An objective that needs other trials (a bias gap) has no live front; the analysis at the end has it.
                self._front = None
            self._front_at = time.monotonic()
        return self._front


def front_table(front: Front, *, title: str = "front", limit: int | None = None) -> Table:
    """The trials on the front, dearest last."""
    keys = [objective.key for objective in front.objectives]
    rows = front.trials.sort_values(keys[-1])
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial")
    for objective in front.objectives:
        arrow = "max" if objective.sign < 0 else "min"
        table.add_column(f"{objective.key} ({arrow})", justify="right")
    table.add_column("id", style="dim")
    shown = rows if limit is None else rows.head(limit)
    for _, row in shown.iterrows():
        table.add_row(str(row["label"]), *(number(row[key]) for key in keys), str(row["trial_id"]))
    if limit is not None and len(rows) > limit:
        table.add_row(f"... and {len(rows) - limit} more", *("" for _ in keys), "")
    return table
