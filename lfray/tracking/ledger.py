"""What already stands in a run, so that only what is missing is sent, cut to MLflow's limits a call. Pure.

Rows are identified by (key, timestamp, step, value); params never change; tags do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lfray.tracking import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lfray.record import CurvePoint

_ROWS_A_CALL: Final = 800
"""Under 1,000 metrics and, with params and tags, at most 1,000 entities a call."""
_TEXTS_A_CALL: Final = 100
_CHARACTERS_A_CALL: Final = 30_000
"""A request may have 10^6 bytes; a character takes up to 12 as JSON, and params and tags each send so many."""

Text = tuple[str, str]


class Row(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp: int
    step: int


class Batch(NamedTuple):
    """What one call sends."""

    params: Sequence[Text]
    tags: Sequence[Text]
    rows: Sequence[Row]


@dataclass
class Ledger:
    """One run, as far as this process knows it."""

    run_id: str
    start_ms: int
    logged: str | None = None
    """Digest of the record that is logged in whole."""
    loaded: bool = False
    """Whether `steps` is known; false for a run of an earlier process until its history is read."""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Key -> the value that a reader is shown."""
    steps: dict[str, set[int]] = field(default_factory=dict)
    """Curve key -> steps that are there."""

    def new_steps(self, points: Sequence[CurvePoint]) -> list[Row]:
        """Rows of the curve's steps that are not in the run."""
        rows = {
            (key, point.step): Row(key, value, layout.curve_time(self.start_ms, point.step), point.step)
            for point in points
            for key, value in layout.curve_values(point).items()
            if point.step not in self.steps.get(key, ())
        }
        return list(rows.values())

    def stale_params(self, params: Mapping[str, str]) -> dict[str, str]:
        """Params that read otherwise than logged, now or once, as tags `lfray.now.<param>`."""
        stale = {key for key, value in params.items() if self.params.get(key, value) != value or layout.NOW + key in self.tags}
        return {layout.NOW + key: params[key] for key in stale}

    def missing(self, params: Mapping[str, str], tags: Mapping[str, str], rows: Sequence[Row]) -> Iterator[Batch]:
        """The calls that bring the run up to date: none where nothing is missing."""
        new_params = {key: value for key, value in params.items() if key not in self.params}
        new_tags = {key: value for key, value in tags.items() if self.tags.get(key) != value}
        some_rows = [rows[start : start + _ROWS_A_CALL] for start in range(0, len(rows), _ROWS_A_CALL)]
        for parts in zip_longest(_parts(new_params), _parts(new_tags), some_rows, fillvalue=()):
            yield Batch(*parts)

    def sent(self, batch: Batch) -> None:
        """Note what a call has written."""
        self.params |= dict(batch.params)
        self.tags |= dict(batch.tags)
        for row in batch.rows:
            self.metrics[row.key] = row.value
            if row.key in layout.CURVE_KEYS:
                self.steps.setdefault(row.key, set()).add(row.step)


def found_again(run: Any) -> Ledger:
    """What a search says about a run of an earlier process (an MLflow `Run`)."""
    info, data = run.info, run.data
    return Ledger(
        info.run_id,
        info.start_time,
        logged=data.tags.get(layout.LOGGED),
        params=dict(data.params),
        tags=dict(data.tags),
        metrics=dict(data.metrics),
    )


def _parts(texts: Mapping[str, str]) -> list[list[Text]]:
    """Cut params or tags into calls of at most 100 entries and 30,000 characters."""
    parts: list[list[Text]] = []
    room = 0
    for key, value in texts.items():
        size = len(key) + len(value)
        if not parts or len(parts[-1]) == _TEXTS_A_CALL or size > room:
            parts.append([])
            room = _CHARACTERS_A_CALL
        parts[-1].append((key, value))
        room -= size
    return parts
