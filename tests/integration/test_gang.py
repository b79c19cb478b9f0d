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
    found: dict[str, np.ndarray[Any, Any]] = load_file(path)
    return found


def table(job: TrialJob) -> Any:
    return read_predictions(Storage(Path(job.where.storage)).trial_folder(job.config.trial_id) / "predictions.parquet")


@pytest.mark.parametrize("base", ["tiny_bert", "tiny_gpt2"])
def test_every_engine_learns_what_one_process_learns(
    base: str, request: pytest.FixtureRequest, tmp_path: Path, tiny_data: Path, gang: GangTrial
) -> None:
    """Curve and weights within 2e-4 of one process' (fp32, other order of sums, Adam's 1/sqrt), same rows predicted alike."""
    from lfray.trial.load import rescore_trial, same_bits

    folder = undropped(request.getfixturevalue(base), tmp_path / "base")
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
            # What one process makes of the kept weights has the same bits: whole batches are dealt out.
            ours, theirs = table(mine), table(job)
            assert same_bits(rescore_trial(Storage(Path(mine.where.storage)), job.config.trial_id), ours), name
            for column in ("row_id", "split", "label"):
                assert np.array_equal(getattr(ours, column), getattr(theirs, column)), (name, column)
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=2e-3, err_msg=name)
            assert (ours.prediction == theirs.prediction).mean() > 0.99


def undropped(base: Path, folder: Path) -> Path:
    """A copy with dropout off: its masks differ from rank to rank, as they should, so engines can be compared without it only."""
    import json
    import shutil

    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "attn_pdrop", "embd_pdrop", "resid_pdrop"):
        if field in config:
            config[field] = 0.0
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_ran_before_in_a_gang_changes_no_bit(tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial) -> None:
    """DeepSpeed replaces functions of torch: DDP after ZeRO-3, and ZeRO-3 after both, as in fresh processes."""
    job = jobs(tmp_path, tiny_bert, tiny_data, ("epochs: 2", "epochs: 4"))[FULL]
    gang.close()
    found = [record_of(finish(gang, in_gang(job, tmp_path / f"{turn}", **ENGINES[name]))) for turn, name in enumerate(ORDER)]
    assert [record.execution.warm for record in found if record.execution is not None] == [False, True, True, True]
    same_numbers(found[0], found[2])
    same_numbers(found[1], found[3])


ORDER = ("ddp", "zero-3", "ddp", "zero-3")
LONG = (("epochs: 2", "epochs: 8"),)
FULL = "full ratio-1 seed-1"


def harm(gang: GangTrial, job: TrialJob, harm_rank: Any, *, after: float) -> TrialRecord:
    """Begin a trial; `harm_rank(pid)` is done to a random rank that long after its first point; run on to the record."""
    gang.begin(job)
    state, first, done, until = None, None, False, time.monotonic() + 120
    while state is None:
        assert time.monotonic() < until, "the trial does not end"
        points, state = gang.advance()
        first = time.monotonic() if first is None and points else first
        if first is not None and not done and time.monotonic() - first >= after and state is None:
            harm_rank(random.choice([pid for pid in gang.pids() if pid is not None]))
            done = True
    assert done, "the trial ended before it was harmed"
    record = Storage(Path(job.where.storage)).read_record(job.config.trial_id)
    assert record is not None
    return record


def same_numbers(one: TrialRecord, other: TrialRecord) -> None:
    measured = {
        "cost.train_seconds", "cost.evaluation_seconds", "cost.worker_seconds", "cost.gpu_seconds", "cost.peak_memory_gib",
        "cost.tokens_per_second", "cost.energy_joules",
    }  # fmt: skip
    assert one.curve == other.curve
    ours, theirs = ({m.key: m.value for m in r.measures if m.measure not in measured} for r in (one, other))
    assert ours.keys() == theirs.keys()
    wrong = {key for key in ours if ours[key] != theirs[key] and not (np.isnan(ours[key]) and np.isnan(theirs[key]))}
    assert not wrong, wrong


def test_a_killed_rank_changes_no_number(tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial) -> None:
    """LFRAY_KILLS times (default 2; 10 for the record in benchmarks/LOG.md), DDP and ZeRO-3 in turn, at random moments."""
    # DDP's updates are short, so there are more of them: a kill must find the trial running.
    epochs = {"ddp": "epochs: 32", "zero-3": "epochs: 8"}
    made = {n: jobs(tmp_path, tiny_bert, tiny_data, ("epochs: 2", text), storage=f"runs-{n}") for n, text in epochs.items()}
    undisturbed: dict[str, TrialRecord] = {}
    for turn in range(int(os.environ.get("LFRAY_KILLS", "2"))):
        name = ("ddp", "zero-3")[turn % 2]
        job = made[name][FULL]
        options = ENGINES[name] | {"checkpoint_seconds": 0.05, "max_failures": 1}
        if name not in undisturbed:
            undisturbed[name] = record_of(finish(gang, in_gang(job, tmp_path / f"calm-{name}", **options)))
        mine = in_gang(job, tmp_path / f"killed-{turn}", **options)
        record = record_of(harm(gang, mine, lambda pid: os.kill(pid, signal.SIGKILL), after=random.uniform(0, 1.0)))
        assert record.execution is not None
        assert record.execution.restarts == 1
        assert record.execution.resumed_at_step, "it began anew instead of going on from its checkpoint"
        same_numbers(record, undisturbed[name])
        assert weights(mine).keys() == weights(in_gang(job, tmp_path / f"calm-{name}")).keys()


def test_a_trial_that_loses_a_worker_too_often_names_it(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial
) -> None:
    job = in_gang(jobs(tmp_path, tiny_bert, tiny_data, *LONG)[FULL], tmp_path / "a", **ENGINES["zero-3"], max_failures=0)
    record = harm(gang, job, lambda pid: os.kill(pid, signal.SIGKILL), after=0.2)
    assert record.state == "FAILED"
    assert record.failure is not None
    assert record.failure.kind == "WorkerDied"
    assert "of 2 on" in record.failure.message
    assert "was killed by SIGKILL" in record.failure.message
    assert "last update" in record.failure.message
    assert int(record.failure.message.split("last update ")[1].split()[0]) > 0


def test_a_rank_that_hangs_is_not_waited_for(tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial) -> None:
    """SIGSTOP: the process is there and answers nothing."""
    job = jobs(tmp_path, tiny_bert, tiny_data, *LONG)[FULL]
    options = ENGINES["zero-3"] | {"collective_seconds": 6.0, "max_failures": 0}
    begun = time.monotonic()
    record = harm(gang, in_gang(job, tmp_path / "hung", **options), lambda pid: os.kill(pid, signal.SIGSTOP), after=0.2)
    assert record.failure is not None
    assert record.failure.kind == "CollectiveTimedOut"
    assert "did not answer in a collective" in record.failure.message
    assert time.monotonic() - begun < 60


def test_an_error_of_the_trial_itself_is_final(tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial) -> None:
    job = in_gang(jobs(tmp_path, tiny_bert, tiny_data)[FULL], tmp_path / "a", **ENGINES["ddp"])
    forged = job.model_copy(update={"split_manifests": job.split_manifests | {"test": "0" * 16}})
    record = finish(gang, forged)
    assert record.state == "FAILED"
    assert record.failure is not None
    assert (record.failure.stage, record.failure.kind) == ("data", "DataError")


def test_a_torn_checkpoint_of_one_rank_falls_back_to_the_one_before(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, gang: GangTrial
) -> None:
    job = jobs(tmp_path, tiny_bert, tiny_data, *LONG)[FULL]
    options = ENGINES["zero-3"] | {"checkpoint_seconds": 0.05, "keep_checkpoints": 3}
    calm = record_of(finish(gang, in_gang(job, tmp_path / "calm", **options)))
    mine = in_gang(job, tmp_path / "torn", **options, max_failures=0)
    assert harm(gang, mine, lambda pid: os.kill(pid, signal.SIGKILL), after=0.5).state == "FAILED"
    storage = Storage(tmp_path / "torn")
    folder = storage.trial_folder(job.config.trial_id) / "checkpoint"
    whole = sorted(path for path in folder.glob("step-*") if (path / "manifest.json").exists())
    assert len(whole) >= 2
    torn = whole[-1] / "weights-1.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    storage.set_aside(job.config.trial_id)
    record = record_of(finish(gang, mine))
    assert record.execution is not None
    assert any(whole[-1].name in text and "weights-1" in text for text in record.execution.checkpoints_passed_over)
    assert record.execution.resumed_at_step == int(whole[-2].name.split("-")[1])
    same_numbers(record, calm)


WIDE = (("batch_size: 16", "batch_size: 256"), ("epochs: 2", "epochs: 2"))


def wide_bert(folder: Path) -> Path:
    """A BERT whose activations, not its weights, take the memory: about 4 MB a row of training."""
    import torch
    from transformers import BertConfig, BertModel

    from tests.integration.conftest import save_tokenizer

    size = save_tokenizer(folder, causal=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=4096,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def limit_memory(pid: int, more: float) -> None:
    """Let a process' address space grow by so many MiB and no more: what it then asks for is refused by the kernel."""
    import resource

    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + int(more * 2**20)
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def test_a_micro_batch_that_does_not_fit_is_halved(
    tmp_path: Path, tiny_data: Path, gang: GangTrial, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A real refusal of memory in one rank; the update keeps its rows, the trial its id, the record what did not fit."""
    job = jobs(tmp_path, wide_bert(tmp_path_factory.mktemp("wide")), tiny_data, *WIDE)[FULL]
    whole = record_of(finish(gang, in_gang(job, tmp_path / "whole", workers=2)))
    mine = in_gang(job, tmp_path / "short", workers=2, shrink_micro_batch=True)
    pids = [pid for pid in gang.pids() if pid is not None]
    limit_memory(pids[1], 100)
    record = record_of(finish(gang, mine))
    assert record.execution is not None
    assert record.trial_id == whole.trial_id
    assert record.execution.out_of_memory_at[0] == 128
    assert record.execution.micro_batch == 128 // 2 ** len(record.execution.out_of_memory_at)
    assert record.execution.restarts == 0
    np.testing.assert_allclose([p.loss for p in record.curve], [p.loss for p in whole.curve], atol=1e-4)
    short = in_gang(job, tmp_path / "fixed", workers=2)
    limit_memory(next(pid for pid in gang.pids() if pid is not None), 100)
    failed = finish(gang, short)
    assert failed.failure is not None
    assert failed.failure.kind == "CapacityError"
    assert "128 rows must fit in a worker's memory" in failed.failure.message
    assert "micro_batch: auto" in failed.failure.message


def test_one_worker_halves_its_micro_batch_too(tmp_path: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a process of its own, whose memory is limited."""
    import subprocess
    import sys

    job = jobs(tmp_path, wide_bert(tmp_path_factory.mktemp("wide")), tiny_data, *WIDE)[FULL]
    whole = alone(job)
    mine = job.model_copy(update={"where": job.where.model_copy(update={"storage": str(tmp_path / "short")})})
    program = (
        "import os, sys\n"
        "from lfray.space.trial import TrialJob\n"
        "from lfray.trial.bench import Bench\n"
        "from lfray.trial.worker import run_trial\n"
        "from tests.integration.test_gang import limit_memory\n"
        "job, bench = TrialJob.model_validate_json(sys.stdin.read()), Bench()\n"
        "bench.start(job); bench.model(job); bench.tokens(job, bench.data(job)); limit_memory(os.getpid(), 500)\n"
        "print(list(run_trial(job, bench))[-1].state)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=mine.again(shrink_micro_batch=True).model_dump_json(), text=True,
        capture_output=True, check=False, cwd=Path(__file__).parents[2], timeout=200,
    )  # fmt: skip
    record = Storage(tmp_path / "short").read_record(job.config.trial_id)
    assert record is not None, ran.stderr
    record_of(record)
    assert record.execution is not None
    assert record.execution.out_of_memory_at[0] == 256
    np.testing.assert_allclose([p.loss for p in record.curve], [p.loss for p in whole.curve], atol=1e-4)
