"""From a sweep and one of its trials to how that trial runs: `ExecutionRequest`, which stands outside the trial's identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.space.axes import assignments
from lfray.space.trial import ExecutionRequest
from lfray.spec.axis import resolve_axis

if TYPE_CHECKING:
    from lfray.space.axes import Assignment
    from lfray.space.trial import TrialConfig
    from lfray.spec.resources import Shape
    from lfray.spec.sweep import SweepSpec


def execution_request(spec: SweepSpec, trial: TrialConfig) -> ExecutionRequest:
    """How one trial of a sweep runs: its method's share of the machines, and its update cut into micro-batches.

    Args:
        spec: The checked sweep.
        trial: One of its planned trials.
    """
    resources = spec.resources
    shape = resources.of(trial.method.kind)
    return ExecutionRequest(
        micro_batch=_micro_batch(spec, trial, shape),
        evaluation_batch=spec.evaluation.batch_size,
        cpus=shape.cpus,
        gpus=shape.gpus,
        checkpoint_seconds=float(resources.checkpoint_seconds),
        keep_weights=spec.keep_full_models if trial.method.kind in ("full", "base") else spec.keep_adapters != "none",
        trust_remote_code=spec.model.trust_remote_code,
        workers=shape.workers,
        zero_stage=shape.zero_stage,
        offload_optimizer=shape.offload_optimizer,
        offload_parameters=shape.offload_parameters,
        deepspeed=dict(resources.deepspeed) if shape.zero_stage else {},
        shrink_micro_batch=shape.micro_batch == "auto",
        gradient_checkpointing=resources.gradient_checkpointing,
        attention=resources.attention,
        placement=resources.placement,
        placement_seconds=float(resources.placement_seconds),
        collective_seconds=float(resources.collective_seconds),
        environment={name: _text(value) for name, value in resources.nccl.items()},
        keep_checkpoints=resources.keep_checkpoints,
        max_failures=resources.max_failures,
    )


def _micro_batch(spec: SweepSpec, trial: TrialConfig, shape: Shape) -> int:
    """Rows of one forward pass of one worker; 1 for the untouched base, which is only scored."""
    if trial.train is None:
        return 1
    match shape.micro_batch:
        case int():
            return shape.micro_batch
        case "auto":
            return trial.train.effective_batch // shape.workers
        case _:
            return _batch_size(spec, trial.train.effective_batch) // shape.workers


def _batch_size(spec: SweepSpec, effective_batch: int) -> int:
    """`train.batch_size` behind an update of so many rows, where axes may move it, `gradient_accumulation`, or both.

    Two cuts of one update are one trial (its identity holds the product alone); it runs with the smaller batch, which fits
    wherever one of them does.
    """
    axes = {name: axis for name, axis in spec.axes.items() if _moves(name) is not None}
    cuts = [_cut(spec, assignment) for assignment in assignments(spec.model_copy(update={"axes": axes}), "full")]
    return min(batch for batch, passes in cuts if batch * passes == effective_batch)


def _moves(axis: str) -> str | None:
    """The field of the two that an axis moves, or None."""
    target = resolve_axis(axis)
    if target is None or target.path not in (("batch_size",), ("gradient_accumulation",)):
        return None
    return target.path[0]


def _cut(spec: SweepSpec, assignment: Assignment) -> tuple[int, int]:
    given = {_moves(name): int(value) for name, value in assignment.items()}
    return given.get("batch_size", spec.train.batch_size), given.get("gradient_accumulation", spec.train.gradient_accumulation)


def _text(value: str | float) -> str:
    """A variable's text: NCCL reads flags as 0 and 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)
