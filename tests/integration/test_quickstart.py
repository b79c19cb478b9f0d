"""The quickstart keeps its promises: what the README says of the planted world is measured here, over its seeds."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from lfray.evaluation.intervals import gap_noise_floor
from lfray.pareto.geometry import on_front
from tests.integration.conftest import lfray

pytestmark = [pytest.mark.ray, pytest.mark.slow]

QUICKSTART = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"


def test_the_planted_world_shows_who_pays(tmp_path: Path) -> None:
    ran = lfray("run", QUICKSTART, "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    plan = json.loads((tmp_path / "lfray-runs" / "sweeps" / "quickstart" / "plan.json").read_text())
    (attribute,) = plan["data"]["attributes"]
    minority = plan["data"]["minority_group"]
    (majority,) = [group for group in attribute["groups"] if group != minority]
    accuracy: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    trainable: dict[tuple[str, float], float] = {}
    support: dict[str, int] = {}
    for path in (tmp_path / "lfray-runs" / "trials").glob("*/record.json"):
        record = json.loads(path.read_text())
        method, ratio = record["label"].split()[0], record["config"]["downsampling_ratio"]
        measures = {measure["key"]: measure for measure in record["measures"]}
        trainable[method, ratio] = measures["cost.trainable_parameters"]["value"]
        for group in (minority, majority):
            measure = measures[f"accuracy/{attribute['attribute']}/{group}"]
            accuracy[method, ratio, group].append(measure["value"])
            support[group] = measure["n"]
    mean = {key: float(np.mean(values)) for key, values in accuracy.items()}
    configurations = sorted(trainable)
    losses = np.array([[trainable[c], -min(mean[(*c, minority)], mean[(*c, majority)])] for c in configurations])
    assert on_front(losses).sum() >= 3, "at least three configurations are on the front"

    ratios = sorted({ratio for _, ratio in configurations})
    for method in {method for method, _ in configurations}:
        few, all_rows = mean[method, ratios[0], minority], mean[method, 1.0, minority]
        floor = gap_noise_floor([support[minority], support[minority]], (few + all_rows) / 2)
        assert all_rows - few > floor, f"{method}: the minority pays for its missing rows"
    full = mean["full", 1.0, majority]
    assert abs(full - plan["data"]["bayes_accuracy"][majority]) <= 0.05
    again = json.loads(lfray("run", QUICKSTART, "--json", cwd=tmp_path).stdout)
    assert (again["ran"], len(again["skipped"])) == ([], len(plan["trials"]))
