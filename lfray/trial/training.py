"""How one trial trains: its plan, its stepper, and the proof that the stepper is the one that was asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lfray.engine.contract import FitPlan
from lfray.engine.ddp import DdpStepper
from lfray.engine.memory import out_of_memory
from lfray.engine.single import SingleStepper
from lfray.errors import CapacityError, LfrayError
from lfray.model.execution import checkpoint_activations
from lfray.spec.deepspeed import ZeroFields, deepspeed_config

if TYPE_CHECKING:
    import torch

    from lfray.engine.contract import EngineFacts, Objective, Stepper
    from lfray.model.adapt import Adapted
    from lfray.space.trial import TrialJob


def fit_plan(job: TrialJob) -> FitPlan | None:
    """The engine's view of the trial's `train` block; None for the method `base`."""
    train = job.config.train
    if train is None:
        return None
    share = math.ceil(train.effective_batch / job.execution.workers)
    return FitPlan(
        **train.model_dump(),
        micro_batch=min(job.execution.micro_batch, share),
        seed=job.config.seed or 0,
        checkpoint_seconds=job.execution.checkpoint_seconds,
    )


def make_stepper(job: TrialJob, adapted: Adapted, objective: Objective, plan: FitPlan | None, *, device: torch.device) -> Stepper:
    """The stepper that the job asks for, checked to be that one.

    Raises:
        LfrayError: Another engine came up than the one asked for: such a trial must not pass for it.
    """
    execution = job.execution
    if plan is not None and execution.gradient_checkpointing:
        checkpoint_activations(adapted.model)
    stepper: Stepper
    if plan is not None and execution.zero_stage > 0:
        from lfray.engine.zero import ZeroStepper

        stepper = ZeroStepper(adapted.model, objective, plan, _deepspeed_json(job, plan), device=device)
    elif execution.workers > 1 or execution.gang:
        stepper = DdpStepper(adapted.model, objective, plan, device=device)
    else:
        stepper = SingleStepper(adapted.model, objective, plan, device=device)
    check_engine(job, stepper.facts, trains=plan is not None)
    return stepper


def check_engine(job: TrialJob, facts: EngineFacts, *, trains: bool) -> None:
    """Compare what runs with what was asked for.

    Raises:
        LfrayError: They differ.
    """
    execution = job.execution
    stage = execution.zero_stage if trains else 0
    offload = {"optimizer": execution.offload_optimizer, "parameters": execution.offload_parameters}
    asked: dict[str, Any] = {
        "stepper": "deepspeed" if stage else "ddp" if execution.gang else "single",
        "ZeRO stage": stage,
        "workers": execution.workers,
        "offloaded": tuple(name for name, on in offload.items() if on) if stage else (),
    }
    found = {
        "stepper": facts.stepper, "ZeRO stage": facts.zero_stage, "workers": facts.world_size, "offloaded": facts.offload,
    }  # fmt: skip
    wrong = [f"{what} {asked[what]} (got {found[what]})" for what in asked if asked[what] != found[what]]
    if wrong:
        raise LfrayError(
            f"resources: the engine must be what the sweep asks for: {', '.join(wrong)}. Check DeepSpeed on the workers"
        )


def seen_precision(job: TrialJob, seen: str | None) -> str:
    """The precision that training really had; fp32 where nothing was trained (evaluation is), or all of it before a resume.

    Raises:
        LfrayError: It is another than the trial's.
    """
    train = job.config.train
    if train is None:
        return "fp32"
    if seen is not None and seen != train.precision:
        raise LfrayError(
            f"train.precision: must be what runs (asked {train.precision}, got {seen}). Check the GPU and its driver"
        )
    return train.precision


def _deepspeed_json(job: TrialJob, plan: FitPlan) -> dict[str, Any]:
    execution = job.execution
    fields = ZeroFields(
        zero_stage=execution.zero_stage,  # type: ignore[arg-type]  # checked to be 1, 2 or 3
        micro_batch=plan.micro_batch,
        accumulation=max(1, plan.effective_batch // (plan.micro_batch * execution.workers)),
        workers=execution.workers,
        max_grad_norm=plan.max_grad_norm,
        precision="bf16" if plan.precision == "bf16" else "fp32",
        offload_optimizer=execution.offload_optimizer,
        offload_parameters=execution.offload_parameters,
    )
    return deepspeed_config(fields, execution.deepspeed)


def smaller(job: TrialJob, error: BaseException) -> TrialJob | None:
    """The job with half the micro-batch, where `error` says that memory ran out and the sweep lets the micro-batch shrink."""
    execution = job.execution
    if not (execution.shrink_micro_batch and execution.micro_batch > 1 and out_of_memory(error)):
        return None
    return job.again(
        micro_batch=execution.micro_batch // 2, out_of_memory_at=(*execution.out_of_memory_at, execution.micro_batch)
    )


def explained(job: TrialJob, error: Exception) -> Exception:
    """The error; where memory ran out, one that says with which micro-batch and what can be done."""
    if not out_of_memory(error):
        return error
    rows = job.execution.micro_batch
    remedy = (
        "A larger machine, gradient_checkpointing, a ZeRO stage or a smaller max_tokens" if rows == 1 else "micro_batch: auto"
    )
    what = "1 row" if rows == 1 else f"{rows} rows"
    return CapacityError(f"resources.micro_batch: {what} must fit in a worker's memory ({error}). {remedy} would help")
