from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lfray.data.prepare import prepare_data
from lfray.errors import CapacityError, DataError
from lfray.model.execution import attention_of
from lfray.model.folder import model_facts
from lfray.spec.stages import TaskSpec
from lfray.trial.bench import Bench, hostname, versions
from tests.unit.data.builders import data_spec, people, write_rows
from tests.unit.jobs import make_job
from tests.unit.model.tiny import logits
from tests.unit.records import make_config

if TYPE_CHECKING:
    from lfray.data.prepared import PreparedData
    from lfray.space.trial import TrialConfig, TrialJob
    from tests.unit.model.tiny import Bases


pytestmark = pytest.mark.usefixtures("worker_settings")


def prepared(tmp_path: Path, count: int = 60) -> PreparedData:
    write_rows(tmp_path / f"rows{count}.csv", people(count))
    spec = data_spec(source=f"file:{tmp_path}/rows{count}.csv", minority={"group": "group", "value": "b"}, min_group_rows=1)
    return prepare_data(spec, TaskSpec(), folder=tmp_path, root=tmp_path / "data")


def job_of(bases: Bases, data: PreparedData | None = None, **execution: Any) -> TrialJob:
    config = make_config()
    facts = {"fingerprint": data.facts.fingerprint} if data is not None else {}
    found: TrialConfig = config.model_copy(
        update={
            "data": config.data.model_copy(update=facts),
            "model": config.model.model_copy(update={"fingerprint": model_facts(bases.bert).fingerprint}),
        }
    )
    job = make_job(found, **execution)
    folder = str(data.folder) if data is not None else "absent"
    return job.model_copy(update={"where": job.where.model_copy(update={"model": str(bases.bert), "data": folder})})


def test_a_trial_starts_with_its_threads_on_its_device(bases: Bases) -> None:
    bench = Bench()
    assert bench.start(job_of(bases, cpus=2)) == torch.device("cpu")
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    bench.start(job_of(bases))
    assert torch.get_num_threads() == 1
    assert bench.trials == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(bases: Bases) -> None:
    with pytest.raises(CapacityError, match=r"gpus_per_trial: 0\.5 asked for, this worker sees no GPU"):
        Bench().start(job_of(bases, gpus=0.5))


def test_trials_get_copies_that_know_nothing_of_each_other(bases: Bases) -> None:
    bench = Bench()
    first, second = bench.model(job_of(bases)), bench.model(job_of(bases))
    before = logits(second.model, bases.bert)
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.zero_().requires_grad_(False)
    third = bench.model(job_of(bases))
    for other in (second, third):
        assert torch.equal(logits(other.model, bases.bert), before)
        assert all(parameter.requires_grad for parameter in other.model.parameters())
    assert (first.head_keys, first.fresh_keys) == (third.head_keys, third.fresh_keys)


def test_another_attention_is_another_base(bases: Bases) -> None:
    bench = Bench()
    found = [attention_of(bench.model(job_of(bases, attention=name)).model) for name in ("eager", "sdpa", "auto", "eager")]
    assert found == ["eager", "sdpa", "sdpa", "eager"]


def four_bit(job: TrialJob) -> TrialJob:
    method = job.config.method.model_copy(update={"variant": "qlora"})
    return job.model_copy(update={"config": job.config.model_copy(update={"method": method})})


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_four_bit_base_without_bitsandbytes_is_refused_and_the_worker_goes_on(bases: Bases) -> None:
    bench = Bench()
    with pytest.raises(CapacityError, match="pip install bitsandbytes"):
        bench.model(four_bit(job_of(bases)))
    assert bench.model(job_of(bases)).head_keys


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes absent: pip install bitsandbytes")
def test_a_four_bit_base_is_read_anew_for_each_trial(bases: Bases) -> None:
    bench, job = Bench(), four_bit(job_of(bases))
    first, second = bench.model(job), bench.model(job)
    assert not {id(p) for p in first.model.parameters()} & {id(p) for p in second.model.parameters()}
    assert {str(p.dtype) for p in second.model.parameters()} == {"torch.uint8", "torch.float32"}
    assert {str(p.dtype) for p in bench.model(job_of(bases)).model.parameters()} == {"torch.float32"}


def test_tokenizer_rows_and_tokens_are_paid_for_once(bases: Bases, tmp_path: Path) -> None:
    bench, data = Bench(), prepared(tmp_path)
    job = job_of(bases, data)
    assert bench.tokenizer(job) is bench.tokenizer(job)
    assert bench.data(job) is bench.data(job)
    tokens = bench.tokens(job, bench.data(job))
    assert tokens is bench.tokens(job, bench.data(job))
    assert len(tokens) == 60
    assert not tokens.tokens.flags.writeable


def test_other_rows_than_planned_are_refused(bases: Bases, tmp_path: Path) -> None:
    planned, found = prepared(tmp_path), prepared(tmp_path, count=80)
    job = job_of(bases, planned)
    moved = job.model_copy(update={"where": job.where.model_copy(update={"data": str(found.folder)})})
    with pytest.raises(DataError, match=f"must hold the planned rows {planned.facts.fingerprint}"):
        Bench().data(moved)


def test_versions_are_plain_text() -> None:
    found = versions()
    assert {"python", "torch", "peft", "lfray"} <= found.keys()
    assert json.loads(json.dumps(found)) == found
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert hostname()
