"""`Front`: of the trials of a sweep, those that no other trial beats on every objective, and everything said beside them.

Rules that keep it honest. Dominance is exact and on raw values; the hypervolume's scale and reference point are written down,
since it depends on both. A trial that failed, or whose objective is undefined, stands apart with its reason and never on the
front. An objective that depends on the machine is compared within one hardware key only: with several keys each has a front of
its own and no volume is summed over them. A front is drawn over trials (`level`); configurations with their seeds as one point
are a later level.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from lfray.errors import LfrayError, did_you_mean
from lfray.names import REASONS
from lfray.pareto.candidates import IDENTITY, Candidates, candidates_of
from lfray.pareto.export import front_to_json
from lfray.pareto.geometry import as_losses, hypervolume, knee, ranks
from lfray.pareto.objective import Objective, Scale, objectives_of
from lfray.pareto.query import matches, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lfray.record import Derived, TrialRecord

_ANYWHERE: Final = ""
"""Comparison class of all trials where no objective depends on the machine."""


@dataclass(frozen=True)
class Undefined:
    """One trial that cannot be compared on one objective."""

    trial_id: str
    label: str
    objective: str
    reason: str
    """A code of `names.REASONS`."""

    @property
    def meaning(self) -> str:
        """The reason in plain words."""
        return REASONS.get(self.reason, self.reason)


@dataclass(frozen=True, eq=False)
class Front:
    """The answer of a sweep. Built by `front_of`."""

    objectives: tuple[Objective, ...]
    table: pd.DataFrame
    """One row a trial, best first: who it is, what was set, every flat metric key, `pareto_rank` (0 is the front; absent where
    undefined), `on_front`, `undefined_reason`. With one objective `pareto_rank` is the place in the ranking and `on_front`
    marks the first place."""
    reference_point: Mapping[str, float]
    """Objective's key -> the worst value that still counts, in the metric's own unit. Empty with one objective."""
    hypervolume_by_hardware: Mapping[str, float]
    """Hardware key -> volume of its front, on `scale`; one entry (key "") where no objective depends on the machine."""
    undefined: tuple[Undefined, ...]
    filter: str | None = None
    """The `where` expressions that chose the trials."""
    level: Literal["trial"] = "trial"
    candidates: Candidates = field(repr=False, kw_only=True)

    @property
    def hypervolume(self) -> float | None:
        """Volume that the front dominates, in the product of the scaled objectives' units; 0 where nothing beats the reference.

        None with one objective, and with several hardware keys (see `hypervolume_by_hardware`).
        """
        volumes = list(self.hypervolume_by_hardware.values())
        return volumes[0] if len(volumes) == 1 else None

    @property
    def scale(self) -> dict[str, Scale]:
        """Objective's key -> the scale on which plots, knee and hypervolume see it."""
        return {objective.key: objective.scale for objective in self.objectives}

    @property
    def trials(self) -> pd.DataFrame:
        """The rows of `table` that are on the front."""
        return self.table[self.table["on_front"]].reset_index(drop=True)

    @property
    def hardware_keys(self) -> tuple[str, ...]:
        """Kinds of machine that the completed trials ran on."""
        return tuple(sorted(set(self.table.loc[self.candidates.completed, "hardware_key"])))

    @property
    def separates_hardware(self) -> bool:
        """Whether an objective depends on the machine, so that each hardware key has a front of its own."""
        return any(objective.metric.hardware_dependent for objective in self.objectives)

    def knee(self, hardware_key: str | None = None) -> pd.Series[Any] | None:
        """Row of the front's trial where one more step on one objective starts to cost most on the other (see `geometry.knee`).

        None: fewer than three distinct points on the front, or a front that does not bend inwards.

        Args:
            hardware_key: Whose front; needed only where several keys have one each.

        Raises:
            LfrayError: Several hardware keys have a front of their own, and none or an unknown one was named.
        """
        rows = self.trials
        if self.separates_hardware:
            known = sorted(set(rows["hardware_key"]))
            if hardware_key is None and len(known) > 1:
                raise LfrayError(f"knee: each hardware key has its own front (got {len(known)}). Name one of: {', '.join(known)}")
            if hardware_key is not None and hardware_key not in known:
                raise LfrayError(
                    f"knee: no front for this hardware key (got {hardware_key}). {did_you_mean(hardware_key, known)}"
                )
            rows = rows[rows["hardware_key"] == (hardware_key or known[0])] if known else rows
        found = knee(_scaled_losses(self.objectives, rows))
        return None if found is None else rows.iloc[found]

    def where(self, expression: str) -> Front:
        """The front of those trials for which `expression` holds (grammar: `pareto.query`), e.g. `"rank <= 8"`.

        The trials are filtered first and the front drawn anew; the reference point stays, so volumes can be compared. A trial
        without the value that is asked for does not take part.

        Raises:
            LfrayError: The expression cannot be read, or names what no trial has.
        """
        kept = np.flatnonzero(matches(parse(expression), self.candidates.table))
        both = expression if self.filter is None else f"({self.filter}) and ({expression})"
        return _draw(self.candidates.take(kept), self.objectives, self.reference_point, filter=both)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object (see `export.front_to_json`)."""
        return front_to_json(self)


def front_of(
    records: Sequence[TrialRecord],
    objectives: Sequence[str | Objective],
    *,
    derived: Sequence[Derived] = (),
    where: str | None = None,
    reference: Mapping[str, float] | None = None,
) -> Front:
    """The front of some trials.

    Args:
        records: Completed and failed trials, in any order; the result does not depend on it.
        objectives: One (a ranking) to five flat keys or ready objectives.
        derived: Values that needed other trials; each becomes a metric of its trial.
        where: Which trials take part (grammar: `pareto.query`). The default reference point is that of all trials.
        reference: Objective's key -> reference value in the metric's own unit, instead of `Objective.default_reference`.

    Raises:
        LfrayError: An objective that is refused or that no trial measured, a trial that stands twice, an expression that cannot
            be read, a reference that is not finite or names no objective.
    """
    asked = objectives_of(objectives)
    candidates = candidates_of(records, derived)
    if candidates.completed.any():
        for objective in asked:
            if objective.key not in candidates.metric_keys:
                near = did_you_mean(objective.key, candidates.metric_keys)
                raise LfrayError(f"front: {objective.key}: no trial measured it. {near}")
    front = _draw(candidates, asked, _reference(candidates, asked, reference or {}))
    return front if where is None else front.where(where)


def _reference(candidates: Candidates, objectives: tuple[Objective, ...], given: Mapping[str, float]) -> dict[str, float]:
    keys = [objective.key for objective in objectives]
    for key, value in given.items():
        if key not in keys:
            raise LfrayError(f"front: the reference point names an objective (got {key}). {did_you_mean(key, keys)}")
        if not np.isfinite(value):
            raise LfrayError(f"front: {key}: the reference must be finite (got {value})")
    if len(objectives) == 1:
        return {}
    found = {}
    for objective in objectives:
        values = candidates.values(objective.key)
        usable = values[candidates.completed & np.isfinite(values)]
        found[objective.key] = float(given.get(objective.key, objective.default_reference(usable)))
    return found


def _scaled_losses(objectives: tuple[Objective, ...], table: pd.DataFrame) -> NDArray[np.float64]:
    """Losses [N, K] on the objectives' scales."""
    if not len(table):
        return np.empty((0, len(objectives)))
    return np.stack([o.sign * o.scaled(table[o.key].to_numpy(dtype=np.float64)) for o in objectives], axis=1)


def _draw(
    candidates: Candidates, objectives: tuple[Objective, ...], reference: Mapping[str, float], *, filter: str | None = None
) -> Front:
    reasons = {objective.key: candidates.why_undefined(objective.key) for objective in objectives}
    first = [next((why for why in row if why is not None), None) for row in zip(*reasons.values(), strict=True)]
    defined = np.array([why is None for why in first], dtype=bool)
    values = np.stack([candidates.values(objective.key) for objective in objectives], axis=1)
    losses = as_losses(values, [objective.metric for objective in objectives])
    separate = any(objective.metric.hardware_dependent for objective in objectives)
    hardware = candidates.table["hardware_key"].to_numpy(dtype=object) if separate else np.full(len(candidates), _ANYWHERE)

    rank = np.full(len(candidates), -1, dtype=np.int64)
    volumes: dict[str, float] = {}
    for key in sorted(set(hardware[defined])) or [_ANYWHERE]:
        rows = np.flatnonzero(defined & (hardware == key))
        rank[rows] = ranks(losses[rows])
        if len(objectives) > 1:
            volumes[key] = _hypervolume(objectives, candidates.table.iloc[rows], reference)

    order = _best_first(candidates, rank, losses)
    candidates = candidates.take(order)
    keys = [objective.key for objective in objectives]
    return Front(
        objectives,
        _table(candidates, keys, rank[order], [first[row] for row in order]),
        dict(reference),
        volumes,
        _undefined(candidates, {key: [reasons[key][row] for row in order] for key in keys}),
        filter,
        candidates=candidates,
    )


def _best_first(candidates: Candidates, rank: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows by place, then losses, then label and id, so that the order of the records leaves no trace; undefined trials last."""
    names = list(zip(candidates.table["label"], candidates.table["trial_id"], strict=True))
    known = np.where(rank[:, None] < 0, 0.0, losses).tolist()
    order = sorted(range(len(names)), key=lambda row: (rank[row] < 0, rank[row], *known[row], *names[row]))
    return np.array(order, dtype=np.int64)


def _hypervolume(objectives: tuple[Objective, ...], table: pd.DataFrame, reference: Mapping[str, float]) -> float:
    worst = np.array([o.sign * float(o.scaled(np.array(reference[o.key]))) for o in objectives])
    return hypervolume(_scaled_losses(objectives, table), worst)


def _table(candidates: Candidates, objective_keys: list[str], rank: NDArray[np.int64], why: list[str | None]) -> pd.DataFrame:
    """Identity, objectives, place, then settings and every other metric."""
    table = candidates.table.copy()
    for key in objective_keys:
        table[key] = candidates.values(key)
    table["pareto_rank"] = pd.array([None if value < 0 else int(value) for value in rank], dtype="Int64")
    table["on_front"] = rank == 0
    table["undefined_reason"] = pd.Series(why, dtype=object, index=table.index)
    first = [*IDENTITY, *objective_keys, "pareto_rank", "on_front", "undefined_reason"]
    return table[[*first, *(column for column in table.columns if column not in first)]]


def _undefined(candidates: Candidates, reasons: Mapping[str, list[str | None]]) -> tuple[Undefined, ...]:
    """Who cannot be compared on what; a failed trial is listed once, under its first objective."""
    found: list[Undefined] = []
    for row, (trial_id, label) in enumerate(zip(candidates.table["trial_id"], candidates.table["label"], strict=True)):
        listed = [Undefined(trial_id, label, key, reason) for key, why in reasons.items() if (reason := why[row]) is not None]
        failed = listed and listed[0].reason == "trial_failed"
        found += listed[:1] if failed else listed
    return tuple(found)
