from __future__ import annotations

from typing import Any

import pytest
import torch

from lfray.engine.contract import EngineFacts
from lfray.engine.single import SingleStepper
from lfray.errors import CapacityError, LfrayError
from lfray.model.adapt import Adapted
from lfray.trial.training import check_engine, explained, fit_plan, make_stepper, smaller
from tests.unit.engine.toy import Toy, ToyObjective
from tests.unit.jobs import make_job
from tests.unit.records import make_config


def out_of_memory() -> RuntimeError:
    """As torch says it."""
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("workers", "micro_batch", "expected"), [(1, 16, 16), (1, 4, 4), (4, 16, 4), (4, 2, 2), (3, 16, 6), (16, 16, 1), (1, 99, 16)]
)
def test_a_micro_batch_is_no_larger_than_a_workers_share(workers: int, micro_batch: int, expected: int) -> None:
    plan = fit_plan(make_job(make_config(), workers=workers, micro_batch=micro_batch))
    assert plan is not None
    assert (plan.micro_batch, plan.effective_batch) == (expected, 16)


def test_a_plan_is_the_trials_train_block() -> None:
    config = make_config(train={"epochs": 2.5, "select": "validation_loss"}, seed=42)
    plan = fit_plan(make_job(config, checkpoint_seconds=7.0))
    assert plan is not None
    assert config.train is not None
    assert {name: getattr(plan, name) for name in type(config.train).model_fields} == config.train.model_dump()
    assert (plan.seed, plan.checkpoint_seconds) == (42, 7.0)


def test_the_untouched_base_has_no_plan() -> None:
    assert fit_plan(make_job(make_config("base"))) is None


def test_a_trial_of_one_worker_has_a_stepper_of_one_process() -> None:
    job, model = make_job(make_config("full")), Toy()
    adapted = Adapted(model, False, 0, 1, 1, True)
    for plan in (fit_plan(job), None):
        stepper = make_stepper(job, adapted, ToyObjective(), plan, device=torch.device("cpu"))
        assert type(stepper) is SingleStepper


def facts(stepper: str, workers: int, stage: int = 0, offload: tuple[str, ...] = ()) -> EngineFacts:
    return EngineFacts(stepper, "torch", workers, stage, offload)


ENGINES: list[tuple[dict[str, Any], EngineFacts]] = [
    ({}, facts("single", 1)),
    ({"workers": 2}, facts("ddp", 2)),
    ({"zero_stage": 1}, facts("deepspeed", 1, 1)),
    ({"workers": 2, "zero_stage": 2}, facts("deepspeed", 2, 2)),
    ({"workers": 2, "zero_stage": 3}, facts("deepspeed", 2, 3)),
    ({"workers": 2, "zero_stage": 2, "offload_optimizer": True}, facts("deepspeed", 2, 2, ("optimizer",))),
    (
        {"workers": 2, "zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
        facts("deepspeed", 2, 3, ("optimizer", "parameters")),
    ),
    ({"workers": 4}, facts("ddp", 4)),
    # What DeepSpeed makes of stage 0.
    ({"workers": 2, "zero_stage": 0}, facts("ddp", 2)),
]


@pytest.mark.parametrize(("asked", "found"), ENGINES)
def test_only_the_engine_that_was_asked_for_passes(asked: dict[str, Any], found: EngineFacts) -> None:
    job = make_job(make_config("full"), **asked)
    check_engine(job, found, trains=True)
    for _, other in ENGINES:
        if other != found:
            with pytest.raises(LfrayError, match="must be what the sweep asks for"):
                check_engine(job, other, trains=True)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts("ddp", 2, 0, ("optimizer",)), r"stepper deepspeed \(got ddp\), ZeRO stage 2 \(got 0\)\. Check"),
        (facts("deepspeed", 2, 0, ("optimizer",)), r"for: ZeRO stage 2 \(got 0\)\. Check"),
        (facts("deepspeed", 1, 2, ("optimizer",)), r"for: workers 2 \(got 1\)\. Check"),
        (facts("deepspeed", 2, 2), r"for: offloaded \('optimizer',\) \(got \(\)\)\. Check"),
        (facts("deepspeed", 2, 2, ("optimizer", "parameters")), r"\(got \('optimizer', 'parameters'\)\)"),
    ],
)
def test_a_mismatch_is_named(found: EngineFacts, message: str) -> None:
    job = make_job(make_config("full"), workers=2, zero_stage=2, offload_optimizer=True)
    with pytest.raises(LfrayError, match=message):
        check_engine(job, found, trains=True)


def test_what_trains_nothing_is_shared_out_by_rows_alone() -> None:
    job = make_job(make_config("full"), workers=2, zero_stage=3, offload_parameters=True)
    check_engine(job, facts("ddp", 2), trains=False)
    with pytest.raises(LfrayError, match="stepper ddp"):
        check_engine(job, facts("single", 1), trains=False)


def test_a_micro_batch_that_does_not_fit_is_halved_and_noted_down_to_one() -> None:
    job, tried = make_job(make_config(), micro_batch=12, shrink_micro_batch=True), []
    found = smaller(job, out_of_memory())
    while found is not None:
        tried.append(found.execution.micro_batch)
        last = found
        found = smaller(found, out_of_memory())
    assert tried == [6, 3, 1]
    assert last.execution.out_of_memory_at == (12, 6, 3)
    # The trial is the same: only how it runs has changed.
    assert last.config == job.config
    assert job.execution.out_of_memory_at == ()


def test_it_shrinks_only_for_memory_and_only_where_the_sweep_lets_it() -> None:
    assert smaller(make_job(make_config(), shrink_micro_batch=True), ValueError("bad row")) is None
    assert smaller(make_job(make_config()), out_of_memory()) is None


@pytest.mark.parametrize(
    ("rows", "remedy"), [(16, "micro_batch: auto would help"), (1, "A larger machine, gradient_checkpointing")]
)
def test_running_out_of_memory_is_explained(rows: int, remedy: str) -> None:
    shown = explained(make_job(make_config(), micro_batch=rows), out_of_memory())
    assert isinstance(shown, CapacityError)
    assert str(shown).startswith(
        f"resources.micro_batch: {rows} {'row' if rows == 1 else 'rows'} must fit in a worker's memory ("
    )
    assert "you tried to allocate" in str(shown)
    assert remedy in str(shown)


def test_another_error_explains_itself() -> None:
    error = ValueError("bad row")
    assert explained(make_job(make_config()), error) is error
