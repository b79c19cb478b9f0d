"""The papers' presets: each says where its values are from, passes `check`, and runs to its end with `--tiny`, offline."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.conftest import lfray

SWEEPS = Path(__file__).parents[2] / "sweeps"
PAPERS = sorted(SWEEPS.glob("[ab]_*.yaml"))
ONE_WORKER = ["a_bert_sst2", "a_gpt2_sst2"]
GANGS = ["a_opt13b_sst2", "b_llama2_7b_dlab"]
MARKS = {
    "a": ("stated", "derived", "not stated in the paper", "paper's value not held"),
    "b": ("stated", "code", "derived", "not stated in the code"),
}
UNMARKED = re.compile(r"\s*(#.*|version: 1|name: \S+|\w+:( *))")
"""Comments, what is no setting, and the heads of blocks."""


def test_every_preset_of_the_papers_is_run_below() -> None:
    assert [path.stem for path in PAPERS] == sorted([*ONE_WORKER, *GANGS])


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_every_line_says_where_its_value_is_from(path: Path) -> None:
    bare = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        _, _, comment = line.partition("  #")
        marked = re.search(rf"\b({'|'.join(map(re.escape, MARKS[path.stem[0]]))})\b", comment)
        if not (marked or UNMARKED.fullmatch(line)):
            bare.append(f"{path.name}:{number}: {line}")
    assert bare == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONE_WORKER, *GANGS])
def test_a_preset_is_checked_and_planned(name: str, tmp_path: Path) -> None:
    path = SWEEPS / f"{name}.yaml"
    checked = lfray("check", path, "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["warnings"] == []
    planned = lfray("plan", path, "--tiny", "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["name"] == f"{name.replace('_', '-')}-tiny"
    assert 2 <= len(plan["trials"]) <= 12
    again = json.loads(lfray("plan", path, "--tiny", "--json", cwd=tmp_path).stdout)
    assert [trial["trial_id"] for trial in again["trials"]] == [trial["trial_id"] for trial in plan["trials"]]
    assert {entry.name for entry in tmp_path.iterdir()} == {"lfray-runs", "state"}


def run_tiny(name: str, folder: Path) -> dict[str, dict[str, object]]:
    """Label -> record of every trial of the tiny sweep, which must all have ended well."""
    ran = lfray("run", SWEEPS / f"{name}.yaml", "--tiny", "--json", cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcome = json.loads(ran.stdout)
    assert outcome["failed"] == []
    assert Path(outcome["report"]).is_file()
    storage = folder / "lfray-runs"
    assert [path.name for path in (storage / "sweeps").iterdir()] == [f"{name.replace('_', '-')}-tiny"]
    records = [json.loads(path.read_text()) for path in (storage / "trials").glob("*/record.json")]
    assert {record["state"] for record in records} == {"COMPLETED"}
    for record in records:
        context = record["context"]
        assert context["sweep"].endswith("-tiny")
        assert context["base"].startswith("hub:lfray-tiny/")
        assert context["data"].startswith("hub:lfray-tiny/")
    return {record["label"]: record for record in records}


def accuracy(record: dict[str, object]) -> float:
    measures = record["measures"]
    assert isinstance(measures, list)
    return float(next(measure["value"] for measure in measures if measure["key"] == "accuracy"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", ONE_WORKER)
def test_a_preset_of_one_worker_runs_and_learns(name: str, tmp_path: Path) -> None:
    records = run_tiny(name, tmp_path)
    assert {label.split()[0] for label in records} == {"full", "lora-r2", "lora-r8"}
    assert accuracy(records["full ratio-1 seed-13"]) > 0.9


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", GANGS)
def test_a_preset_of_gangs_runs_in_gangs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("lfray.trial.gang", reason="gangs are not built yet")
    records = run_tiny(name, tmp_path)
    shapes = {label.split()[0]: record["execution"] for label, record in records.items()}
    full = shapes["full"]
    assert isinstance(full, dict)
    assert full["world_size"] == 2
    assert full["zero_stage"] == 3
    assert accuracy(next(record for label, record in records.items() if label.startswith("full"))) > 0.6
