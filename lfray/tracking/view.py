"""The page a person should land on: MLflow's run table and charts, set to the sweep's axes and objectives.

MLflow's own default shows neither params nor metrics, and opens experiments in its mode for agents and traces. It lets a user
save a *view* (columns, filter, order, charts) as a tag of the experiment; this writes one a sweep, in the form of mlflow 3.17.
A server that does not know the form shows its default page.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from lfray.names import Better, parse_key
from lfray.tracking.layout import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.tracking.contract import SweepInfo

TAG_PREFIX: Final = "mlflow.sharedViewState."
_LINES: Final = "lfray-lines"
_PAIRS: Final = "lfray-pairs"
_OURS: Final = {"deleted": False, "isGenerated": False, "isReordered": True, "display": True}


def saved_view(sweep: SweepInfo, *, parent_id: str, created_ms: int) -> tuple[str, str]:
    """The view of one sweep.

    Args:
        sweep: Its `axes` become columns and lines of the parallel coordinates, its `objectives` the same and a scatter plot.
        parent_id: The sweep's run; the view shows its trials only.
        created_ms: Time shown beside the view's name.

    Returns:
        (id of the view, value of its tag). The id changes with the axes and objectives, so that a view which somebody edited
        is never written over.
    """
    objectives = tuple(shorten(key) for key in sweep.objectives)
    columns = [f"params.`{axis}`" for axis in sweep.axes] + [f"metrics.`{key}`" for key in objectives]
    state: dict[str, Any] = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_id}'",
        "selectedColumns": columns,
        "compareRunCharts": _charts(sweep.axes, objectives),
        "compareRunSections": [
            {**_OURS, "uuid": _LINES, "name": f"{sweep.name}: all trials", "columns": 1, "cardHeight": 420},
            {**_OURS, "uuid": _PAIRS, "name": f"{sweep.name}: objectives in pairs", "columns": 2, "cardHeight": 360},
        ],
        # Keeps these sections on top of those that MLflow makes of the metrics' names.
        "isAccordionReordered": True,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
    }
    if objectives:
        state |= {
            "orderByKey": f"metrics.`{objectives[0]}`",
            "orderByAsc": parse_key(sweep.objectives[0]).metric.better is Better.LOWER,
        }
    digest = hashlib.sha256(json.dumps([parent_id, sweep.axes, objectives]).encode()).hexdigest()[:16]
    value = {"name": f"lfray: {sweep.name}", "createdAt": created_ms, "updatedAt": created_ms, "state": json.dumps(state)}
    return f"lfray-{digest}", json.dumps(value)


def page(experiment_id: str, view_id: str) -> str:
    """Path of the view below the server's address; of the plain table where the id is empty."""
    query = urlencode({"workflowType": "machine_learning"} | ({"viewStateShareKey": view_id} if view_id else {}))
    return f"/#/experiments/{experiment_id}/runs?{query}"


def _charts(axes: Sequence[str], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Parallel coordinates over everything, and a scatter plot of each objective against the first."""
    if not objectives:
        return []
    lines = {"type": "PARALLEL", "selectedParams": _complete(axes), "selectedMetrics": list(objectives), "showAllRuns": True}
    pairs = [
        {"type": "SCATTER", "xaxis": {"key": other, "type": "METRIC"}, "yaxis": {"key": objectives[0], "type": "METRIC"}}
        for other in objectives[1:]
    ]
    charts = [{"metricSectionId": _LINES, **lines}] + [{"metricSectionId": _PAIRS, **pair} for pair in pairs]
    return [{**_OURS, "uuid": f"lfray-{index}", "runsCountToCompare": 100, **chart} for index, chart in enumerate(charts)]


def _complete(axes: Sequence[str]) -> list[str]:
    """Axes for the parallel coordinates, which leave out every run that lacks one: full fine-tuning has no rank.

    `method` and `rank` are therefore drawn as the one category `method_label` (`lora-r8`, `full`).
    """
    return list(dict.fromkeys("method_label" if axis in {"method", "rank"} else axis for axis in axes))
