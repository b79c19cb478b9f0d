"""`Candidates`: the trials of a sweep as one table, before any front is drawn over them.

One row a trial, one column a setting or a flat metric key; beside it, why a value is undefined and which groups a summary
covers. A front, a filter and a report all start here, so records are taken apart once. Building it from a stored snapshot
instead of from records is one more constructor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lfray.errors import LfrayError
from lfray.record import index_measures
from lfray.space.trial import LoraMethod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lfray.record import Derived, Measure, TrialRecord

IDENTITY: Final = (
    "trial_id",
    "config_id",
    "label",
    "state",
    "method",
    "method_label",
    "rank",
    "downsampling_ratio",
    "seed",
    "hardware_key",
)
"""Columns that say which trial a row is. `method` is base, head, lora or full; `method_label` adds variant and rank."""

SETTING_PREFIXES: Final = ("method.", "train.")
"""Columns of what was set: `method.alpha`, `train.learning_rate`, ..."""

UNKNOWN_HARDWARE: Final = "unknown"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Trials, ready to be compared.

    `table` has one row a trial (index 0..N-1) and the columns IDENTITY, settings, metrics. `reasons` and `covers` hold one
    mapping a row: flat key -> why it is undefined, flat key -> the groups that the summary covers.
    """

    table: pd.DataFrame
    reasons: tuple[Mapping[str, str], ...]
    covers: tuple[Mapping[str, tuple[str, ...]], ...]
    metric_keys: tuple[str, ...]

    def __len__(self) -> int:
        """Trials."""
        return len(self.table)

    @property
    def completed(self) -> NDArray[np.bool_]:
        """Whether the trial ended well. Bool [N]."""
        return (self.table["state"] == "COMPLETED").to_numpy(dtype=bool)

    def take(self, rows: NDArray[np.int64]) -> Candidates:
        """The trials of these rows (int [M]), in the order of `rows`."""
        return Candidates(
            self.table.iloc[rows].reset_index(drop=True),
            tuple(self.reasons[row] for row in rows),
            tuple(self.covers[row] for row in rows),
            self.metric_keys,
        )

    def values(self, key: str) -> NDArray[np.float64]:
        """One metric of every trial, NaN where it is undefined or was not measured. Float [N]."""
        if key not in self.table:
            return np.full(len(self), np.nan)
        return self.table[key].to_numpy(dtype=np.float64)

    def why_undefined(self, key: str) -> list[str | None]:
        """For each trial the reason why it cannot be compared on `key`, or None where it can.

        `covers_differ`: the summary covers other groups than the reference cover, which is the largest set of groups that any
        defined summary covers (of several that large the most frequent, then the first by name).
        """
        values = self.values(key)
        reference = self._reference_cover(key)
        found: list[str | None] = []
        for row, completed in enumerate(self.completed):
            cover = self.covers[row].get(key)
            if not completed:
                found.append("trial_failed")
            elif np.isnan(values[row]):
                found.append(self.reasons[row].get(key, "not_measured"))
            elif not np.isfinite(values[row]):
                found.append("non_finite")
            elif cover is not None and cover != reference:
                found.append("covers_differ")
            else:
                found.append(None)
        return found

    def _reference_cover(self, key: str) -> tuple[str, ...] | None:
        usable = self.completed & np.isfinite(self.values(key))
        counted = Counter(cover[key] for cover, counts in zip(self.covers, usable, strict=True) if counts and key in cover)
        return min(counted, key=lambda cover: (-len(cover), -counted[cover], cover), default=None)


def candidates_of(records: Sequence[TrialRecord], derived: Sequence[Derived] = ()) -> Candidates:
    """The table of some records, with the values that needed other trials beside the trial's own.

    Raises:
        LfrayError: A trial stands twice among the records.
    """
    beside: dict[str, list[Measure]] = {}
    for item in derived:
        beside.setdefault(item.trial_id, []).append(item.measure)
    repeated = [trial for trial, count in Counter(record.trial_id for record in records).items() if count > 1]
    if repeated:
        raise LfrayError(f"front: each trial counts once (got {len(repeated)} twice, {repeated[0]} first)")
    described: list[dict[str, Any]] = []
    measured: list[dict[str, float]] = []
    reasons: list[dict[str, str]] = []
    covers: list[dict[str, tuple[str, ...]]] = []
    for record in records:
        by_key = index_measures((*record.measures, *beside.get(record.trial_id, ())), record.config.data.minority_attribute)
        described.append(_describe(record))
        measured.append({key: measure.value for key, measure in by_key.items()})
        reasons.append({key: m.undefined_reason for key, m in by_key.items() if m.undefined_reason is not None})
        covers.append({key: tuple(sorted(m.options["covers"])) for key, m in by_key.items() if m.options.get("covers")})
    metrics = pd.DataFrame(measured, index=range(len(records)), dtype=np.float64)
    metrics = metrics[sorted(metrics.columns)]
    table = pd.concat([_described(described), metrics], axis=1)
    return Candidates(table, tuple(reasons), tuple(covers), tuple(metrics.columns))


def _describe(record: TrialRecord) -> dict[str, Any]:
    """What was set: one value a column."""
    config = record.config
    row: dict[str, Any] = {
        "trial_id": record.trial_id,
        "config_id": config.config_id,
        "label": config.label,
        "state": record.state,
        "method": config.method.kind,
        "method_label": config.method_label,
        "rank": config.rank,
        "downsampling_ratio": config.downsampling_ratio,
        "seed": config.seed,
        "hardware_key": UNKNOWN_HARDWARE if record.execution is None else record.execution.hardware_key,
    }
    if isinstance(config.method, LoraMethod):
        targets = config.method.targets
        row |= {
            "method.variant": config.method.variant,
            "method.alpha": config.method.alpha,
            "method.alpha_policy": config.method.alpha_policy,
            "method.dropout": config.method.dropout,
            "method.targets": targets if isinstance(targets, str) else ",".join(targets),
        }
    if config.train is not None:
        plain = config.train.model_dump(exclude={"adam_betas"})
        row |= {f"train.{name}": value for name, value in plain.items()}
    return row


def _described(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The identity and settings columns, with one type each: text, float, or whole numbers that may be absent."""
    names = [*IDENTITY, *sorted({name for row in rows for name in row} - set(IDENTITY))]
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name in ("rank", "seed"):
            columns[name] = pd.array(values, dtype="Int64")
        elif name == "downsampling_ratio" or any(isinstance(value, float) for value in values):
            columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        elif any(isinstance(value, int) for value in values):
            columns[name] = pd.array(values, dtype="Int64")
        else:
            columns[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns, index=range(len(rows)))
