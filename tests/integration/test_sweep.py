"""Whole sweeps through the real command: Ray, MLflow on SQLite, storage, front, report."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import environment, lfray

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

pytestmark = pytest.mark.ray


def record_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Trial id -> record.json, read without lfray."""
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / "runs" / "trials").glob("*/record.json")}


def numbers(record: dict[str, Any]) -> dict[str, float | None]:
    """Every measure but measured cost, exactly as stored."""
    measured = (
        "cost.train_seconds", "cost.evaluation_seconds", "cost.worker_seconds", "cost.gpu_seconds", "cost.peak_memory_gib",
        "cost.tokens_per_second", "cost.energy_joules",
    )  # fmt: skip
    return {m["key"]: m["value"] for m in record["measures"] if m["measure"] not in measured}


def mlflow_trials(folder: Path, name: str) -> list[Any]:
    """Every nested run of a sweep, deleted ones left out."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return [run for run in client.search_runs([experiment.experiment_id], max_results=1000) if "lfray.trial_id" in run.data.tags]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_data: Path) -> Path:
    """A sweep that ran through, once for all tests that compare with it."""
    from tests.integration.conftest import SWEEP

    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(SWEEP.format(name="tiny", data=tiny_data, base=tiny_bert))
    ran = lfray("run", "tiny.yaml", cwd=folder)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return folder


def test_every_trial_is_recorded_logged_and_drawn(undisturbed: Path) -> None:
    records = record_files(undisturbed)
    assert len(records) == 6
    assert {record["state"] for record in records.values()} == {"COMPLETED"}
    runs = mlflow_trials(undisturbed, "tiny")
    assert sorted(run.data.tags["lfray.trial_id"] for run in runs) == sorted(records)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        record = records[run.data.tags["lfray.trial_id"]]
        values = numbers(record)
        for key, value in run.data.metrics.items():
            if key in values:
                assert value == values[key], key
        assert not any(math.isnan(value) for value in run.data.metrics.values())
    analysis = undisturbed / "runs" / "sweeps" / "tiny" / "analysis"
    assert {"report.html", "report.md", "front.png", "front.svg", "front.json", "derived.json"} <= {
        p.name for p in analysis.iterdir()
    }
    assert not list((undisturbed / "runs" / "trials").glob("*/checkpoint"))


def test_a_second_run_skips_and_an_extended_one_runs_only_what_is_new(undisturbed: Path, tmp_path: Path) -> None:
    again = json.loads(lfray("run", "tiny.yaml", "--json", cwd=undisturbed).stdout)
    assert (len(again["skipped"]), again["ran"]) == (6, [])
    text = (undisturbed / "tiny.yaml").read_text()
    longer = undisturbed / "longer.yaml"
    longer.write_text(
        text.replace("downsampling_ratio: [1.0, 0.2]", "downsampling_ratio: [1.0, 0.2, 0.5]").replace("rank: [2]", "rank: [2, 0]")
    )
    extended = json.loads(lfray("run", "longer.yaml", "--json", cwd=undisturbed).stdout)
    assert (len(extended["skipped"]), len(extended["ran"])) == (6, 3)
    assert len(mlflow_trials(undisturbed, "tiny")) == 9
    other = undisturbed / "other.yaml"
    other.write_text(text.replace("epochs: 2", "epochs: 3"))
    refused = lfray("run", "other.yaml", cwd=undisturbed)
    assert refused.returncode == 2
    assert "train.epochs" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_same_file_in_two_storages_gives_the_same_bits(undisturbed: Path, sweep: Write, tmp_path: Path) -> None:
    path = sweep()
    ran = lfray("run", path, "--tracking", "none", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    ours, theirs = record_files(tmp_path), record_files(undisturbed)
    for trial_id, record in ours.items():
        assert numbers(record) == numbers(theirs[trial_id])
        assert record["curve"] == theirs[trial_id]["curve"]


def test_killed_in_the_middle_and_run_again_equals_an_undisturbed_run(undisturbed: Path, sweep: Write, tmp_path: Path) -> None:
    path = sweep()
    driver = subprocess.Popen(
        [sys.executable, "-m", "lfray", "run", str(path)], cwd=tmp_path, env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not record_files(tmp_path) and time.monotonic() < deadline:
        assert driver.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = record_files(tmp_path)
    assert 1 <= len(before) < 6
    again = lfray("run", path, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after, whole = record_files(tmp_path), record_files(undisturbed)
    assert len(after) == 6
    for trial_id, record in after.items():
        assert numbers(record) == numbers(whole[trial_id])
    for trial_id, record in before.items():
        assert after[trial_id] == record, "a recorded trial was run twice"
    logged = [run.data.tags["lfray.trial_id"] for run in mlflow_trials(tmp_path, "tiny")]
    assert sorted(logged) == sorted(after), "MLflow lost a trial or has one twice"


def test_a_failed_trial_is_a_record_and_does_not_stop_the_others(sweep: Write, tmp_path: Path) -> None:
    path = sweep(
        "broken",
        rank="  lora.targets: [all-linear, no_such_layer]",
        seed="  seed: [1]",
        downsampling_ratio="  downsampling_ratio: [1.0]",
    )
    ran = lfray("run", path, cwd=tmp_path)
    assert ran.returncode == 1, ran.stderr
    states = sorted(record["state"] for record in record_files(tmp_path).values())
    assert states == ["COMPLETED", "COMPLETED", "COMPLETED", "FAILED"]
    failed = next(record for record in record_files(tmp_path).values() if record["state"] == "FAILED")
    assert failed["failure"]["stage"] == "model"
    assert "no_such_layer" in failed["failure"]["message"]
    assert "ModelError" in failed["failure"]["traceback"]
    runs = {run.data.tags["lfray.trial_id"]: run.info.status for run in mlflow_trials(tmp_path, "broken")}
    assert runs[failed["trial_id"]] == "FAILED"
    assert "no_such_layer" in lfray("show", failed["trial_id"], "--storage", tmp_path / "runs", cwd=tmp_path).stdout
    again = lfray("rerun", "--failed", path, "--json", cwd=tmp_path)
    assert again.returncode == 1
    assert json.loads(again.stdout)["ran"] == [failed["trial_id"]]


def test_a_killed_worker_is_replaced_and_the_trial_ends_with_the_same_numbers(sweep: Write, tmp_path: Path) -> None:
    """The worker dies once in mid-training; the trial goes on from its checkpoint in a new one."""
    fields = {
        "method": "  method: [full]", "rank": "", "downsampling_ratio": "  downsampling_ratio: [1.0]",
        "train": "train: {epochs: 60, batch_size: 8, learning_rate: 1e-4}",
    }  # fmt: skip
    calm = tmp_path / "calm"
    calm.mkdir()
    path = sweep("stormy", **fields)
    path.write_text(path.read_text() + "resources: {checkpoint_seconds: 0.2}\n")
    whole = lfray("run", path, "--storage", calm / "runs", "--tracking", "none", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    driver = subprocess.Popen(
        [sys.executable, "-m", "lfray", "run", str(path), "--tracking", "none"], cwd=tmp_path, env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs" / "trials").glob("*/checkpoint/*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed = [pid for pid in _descendants(driver.pid) if _is_trial_actor(pid)]
    assert killed, "no trial actor found"
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert driver.wait(timeout=200) == 0
    (ours,), (theirs,) = record_files(tmp_path).values(), record_files(calm).values()
    assert ours["execution"]["resumed_at_step"], "it did not resume from a checkpoint"
    assert numbers(ours) == numbers(theirs)
    assert ours["curve"] == theirs["curve"]


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(sweep: Write, tmp_path: Path) -> None:
    path = sweep("stopped", train="train: {epochs: 200, batch_size: 8, learning_rate: 1e-4}")
    driver = subprocess.Popen(
        [sys.executable, "-m", "lfray", "run", str(path), "--tracking", "none"], cwd=tmp_path, env=environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert driver.stderr is not None
    for line in driver.stderr:
        if line.startswith("start"):
            break
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=100)
    assert driver.returncode == 3, err
    assert "lfray run" in out


def _descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _is_trial_actor(pid: int) -> bool:
    try:
        return b"Trainable" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
