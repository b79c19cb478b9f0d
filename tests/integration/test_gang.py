"""Trials of several workers for real: Ray actors, processes, torch.distributed over gloo, DDP and DeepSpeed ZeRO on the CPU."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lfray.app import jobs_of, plan
from lfray.record import TrialRecord, read_predictions
from lfray.storage import Storage
from tests.integration.conftest import SWEEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.space.trial import TrialJob
    from lfray.trial.gang import GangTrial

pytestmark = pytest.mark.ray
ENGINES: dict[str, dict[str, Any]] = {
    "ddp": {"workers": 2},
    "zero-1": {"workers": 2, "zero_stage": 1},
    "zero-2": {"workers": 2, "zero_stage": 2},
    "zero-3": {"workers": 2, "zero_stage": 3},
    "zero-3 offloaded": {"workers": 2, "zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    from lfray.sweep.tuner import start_ray, stop_ray

    assert not ray.is_initialized()
    start_ray(None)
    yield
    stop_ray()


@pytest.fixture(scope="module")
def gang(ray_here: None) -> Iterator[GangTrial]:
    """One driver for all tests: its gang stays warm, as in a sweep."""
    from lfray.trial.gang import GangTrial

    driver = GangTrial()
    yield driver
    driver.close()


def jobs(folder: Path, base: Path, data: Path, *changes: tuple[str, str], storage: str = "runs") -> dict[str, TrialJob]:
    """Label -> job of the tiny sweep, models kept."""
    text = SWEEP.format(name="gang", data=data, base=base) + "keep_full_models: true\n"
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "gang.yaml").write_text(text)
    return {job.config.label: job for job in jobs_of(plan(folder / "gang.yaml", storage=str(folder / storage)))}


def in_gang(job: TrialJob, storage: Path, **execution: Any) -> TrialJob:
    """The job for a gang of two (or as `execution` says), with a storage of its own."""
    shares = {"micro_batch": job.execution.micro_batch // 2, "workers": 2} | execution
    moved = job.model_copy(update={"where": job.where.model_copy(update={"storage": str(storage)})})
    return moved.again(**shares)


def alone(job: TrialJob) -> TrialRecord:
    from lfray.trial.bench import Bench
    from lfray.trial.worker import run_trial

    return record_of(list(run_trial(job, Bench()))[-1])


def record_of(item: object) -> TrialRecord:
    assert isinstance(item, TrialRecord)
    assert item.state == "COMPLETED", item.failure
    return item


def finish(gang: GangTrial, job: TrialJob, *, seconds: float = 120.0) -> TrialRecord:
    """Run a trial in the gang to its record, whatever its state."""
    gang.begin(job)
    state, until = None, time.monotonic() + seconds
    while state is None:
        assert time.monotonic() < until, "the trial does not end"
        _, state = gang.advance()
    record = Storage(Path(job.where.storage)).read_record(job.config.trial_id)
    assert record is not None
    return record


def weights(job: TrialJob) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.numpy import load_file

    folder = Storage(Path(job.where.storage)).trial_folder(job.config.trial_id) / "adapter"
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def table(job: TrialJob) -> Any:
    return read_predictions(Storage(Path(job.where.storage)).trial_folder(job.config.trial_id) / "predictions.parquet")


@pytest.mark.parametrize("base", ["tiny_bert", "tiny_gpt2"])
def test_every_engine_learns_what_one_process_learns(
    base: str, request: pytest.FixtureRequest, tmp_path: Path, tiny_data: Path, gang: GangTrial
) -> None:
    """Curve and weights within 2e-4 of one process' (fp32, other order of sums, Adam's 1/sqrt), same rows predicted alike."""
    folder = request.getfixturevalue(base)
    undropped(folder)
    for label in ("full ratio-0.2 seed-1", "lora-r2 ratio-0.2 seed-1"):
        job = jobs(tmp_path, folder, tiny_data)[label]
        single = alone(job)
        for name, engine in ENGINES.items():
            if label.startswith("lora") and name == "zero-1":
                continue
            mine = in_gang(job, tmp_path / name.replace(" ", "-"), **engine)
            record = record_of(finish(gang, mine))
            execution = record.execution
            assert execution is not None
            assert (execution.world_size, execution.zero_stage) == (2, engine.get("zero_stage", 0)), name
            assert execution.stepper == ("deepspeed" if "zero_stage" in engine else "ddp")
            assert len(execution.hosts) == 2
            assert [p.step for p in record.curve] == [p.step for p in single.curve]
            np.testing.assert_allclose([p.loss for p in record.curve], [p.loss for p in single.curve], atol=2e-4, err_msg=name)
            found, expected = weights(mine), weights(job)
            assert found.keys() == expected.keys()
            for key in expected:
                np.testing.assert_allclose(found[key], expected[key], atol=2e-4, err_msg=f"{name}: {key}")
            ours, theirs = table(mine), table(job)
            for column in ("row_id", "split", "label"):
                assert np.array_equal(getattr(ours, column), getattr(theirs, column)), (name, column)
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=2e-3, err_msg=name)
            assert (ours.prediction == theirs.prediction).mean() > 0.99


def undropped(folder: Path) -> None:
    """Dropout off: its masks differ from rank to rank, as they should, so engines can be compared without it only."""
    import json

    config = json.loads((folder / "config.json").read_text())
    for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "attn_pdrop", "embd_pdrop", "resid_pdrop"):
        if field in config:
            config[field] = 0.0
    (folder / "config.json").write_text(json.dumps(config))
