"""A front in written form. JSON today; each further form (CSV, Parquet, LaTeX) is one more function here.

Undefined is null, never NaN (which is no JSON) and never 0, and each null objective is listed with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from lfray.pareto.front import Front
    from lfray.pareto.objective import Objective


def front_to_json(front: Front) -> dict[str, Any]:
    """The JSON object of a front, of plain types only.

    `objectives`, `where`, `reference_point` (the metrics' own units), `scale`, `hypervolume` (null with one objective or several
    hardware keys), `hypervolume_by_hardware`, `hardware_keys`, `knee` (a trial's id; null where there is none, or one for each
    hardware key), `table` (one object a trial, best first), `undefined` (trial, objective, reason code, plain words).
    """
    several = front.separates_hardware and len(front.hypervolume_by_hardware) > 1
    bend = None if several else front.knee()
    return {
        "level": front.level,
        "objectives": [_objective(objective) for objective in front.objectives],
        "where": front.filter,
        "reference_point": dict(front.reference_point),
        "scale": dict(front.scale),
        "hypervolume": front.hypervolume,
        "hypervolume_by_hardware": dict(front.hypervolume_by_hardware),
        "hardware_keys": list(front.hardware_keys),
        "knee": None if bend is None else str(bend["trial_id"]),
        "table": [{str(key): _plain(value) for key, value in row.items()} for row in front.table.to_dict("records")],
        "undefined": [
            {"trial_id": u.trial_id, "label": u.label, "objective": u.objective, "reason": u.reason, "meaning": u.meaning}
            for u in front.undefined
        ],
    }


def _objective(objective: Objective) -> dict[str, Any]:
    return {
        "key": objective.key,
        "better": objective.metric.better.value,
        "unit": objective.metric.unit,
        "meaning": objective.metric.meaning,
        "scale": objective.scale,
        "hardware_dependent": objective.metric.hardware_dependent,
    }


def _plain(value: Any) -> Any:
    """A table's cell: absent and not finite become null, NumPy scalars Python's own."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
