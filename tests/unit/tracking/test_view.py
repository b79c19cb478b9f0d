"""The saved view. That MLflow's page understands it is shown in tests/browser."""

from __future__ import annotations

import json

from lfray import names
from lfray.tracking import view
from tests.contract.builders import make_sweep

WORST, SIZE, GAP = names.WORST_GROUP_ACCURACY.key, names.TRAINABLE_PARAMETERS.key, names.ACCURACY_GAP.key


def state(axes: tuple[str, ...], objectives: tuple[str, ...]) -> dict[str, object]:
    _, value = view.saved_view(make_sweep(axes=axes, objectives=objectives), parent_id="p", created_ms=5)
    envelope = json.loads(value)
    assert (envelope["name"], envelope["createdAt"], envelope["updatedAt"]) == ("lfray: quick", 5, 5)
    found = json.loads(envelope["state"])
    assert isinstance(found, dict)
    return found


def test_axes_and_objectives_are_columns() -> None:
    found = state(("rank", "seed"), (WORST, SIZE))
    assert found["selectedColumns"] == ["params.`rank`", "params.`seed`", f"metrics.`{WORST}`", f"metrics.`{SIZE}`"]
    assert found["searchFilter"] == "tags.`mlflow.parentRunId` = 'p'"


def test_the_best_of_the_first_objective_stands_on_top() -> None:
    for key, ascending in ((WORST, False), (GAP, True), (f"{GAP}/sex", True)):
        found = state((), (key,))
        assert (found["orderByKey"], found["orderByAsc"]) == (f"metrics.`{key}`", ascending)
    assert "orderByKey" not in state(("rank",), ())


def test_parallel_coordinates_keep_trials_without_a_rank() -> None:
    charts = state(("method", "rank", "downsampling_ratio"), (WORST, SIZE, GAP))["compareRunCharts"]
    assert isinstance(charts, list)
    assert [chart["type"] for chart in charts] == ["PARALLEL", "SCATTER", "SCATTER"]
    assert charts[0]["selectedParams"] == ["method_label", "downsampling_ratio"]
    assert {chart["yaxis"]["key"] for chart in charts[1:]} == {WORST}
    assert len({chart["uuid"] for chart in charts}) == 3


def test_another_question_is_another_view() -> None:
    ids = {
        view.saved_view(make_sweep(axes=axes, objectives=objectives), parent_id=parent, created_ms=1)[0]
        for axes, objectives, parent in [((), (WORST,), "p"), (("rank",), (WORST,), "p"), ((), (SIZE,), "p"), ((), (WORST,), "q")]
    }
    assert len(ids) == 4


def test_page() -> None:
    assert view.page("7", "lfray-1") == "/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=lfray-1"
    assert view.page("7", "") == "/#/experiments/7/runs?workflowType=machine_learning"
