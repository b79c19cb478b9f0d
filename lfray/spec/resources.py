"""What a trial takes of the machines, and how its workers compute: nothing here changes what is learned, so no id covers it.

A trial of several workers is a gang: one process a worker, each with its own share of the rows of every update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lfray.spec.strict import Positive, Refusal, Scalar, Strict

ZeroStage = Literal[0, 1, 2, 3]
MethodKind = Literal["base", "head", "lora", "full"]


@dataclass(frozen=True)
class Shape:
    """What a trial of one method needs, resolved: its worker's share is `cpus` and `gpus` times `workers`."""

    workers: int
    cpus: int
    gpus: float
    zero_stage: ZeroStage
    offload_optimizer: bool
    offload_parameters: bool
    micro_batch: int | Literal["auto"] | None

    @property
    def gang(self) -> bool:
        """Whether it runs in processes of its own, with torch.distributed between them."""
        return self.workers > 1 or self.zero_stage > 0


class MethodResourcesSpec(Strict):
    """Where the trials of one method differ; what is not given is as for every method."""

    workers: Positive | None = None
    """Default: workers_per_trial."""
    cpus: Positive | None = None
    """Default: cpus_per_trial."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """Default: gpus_per_trial."""
    zero_stage: ZeroStage | None = None
    """Default: resources.zero_stage."""
    offload_optimizer: bool | None = None
    """Default: resources.offload_optimizer."""
    offload_parameters: bool | None = None
    """Default: resources.offload_parameters."""
    micro_batch: Positive | Literal["auto"] | None = None
    """Default: resources.micro_batch."""


class ResourcesSpec(Strict):
    """What one trial takes of the machines."""

    workers_per_trial: Positive = 1
    """Processes that train one trial together; each takes an equal share of every update's rows."""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """CPU cores, and threads, of each worker."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """GPU of each worker: 1, or a fraction, which lets trials share a GPU."""
    max_concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """auto: as many as the machines hold."""
    base: MethodResourcesSpec = MethodResourcesSpec()
    """Trials of the method base."""
    head: MethodResourcesSpec = MethodResourcesSpec()
    """Trials of the method head."""
    lora: MethodResourcesSpec = MethodResourcesSpec()
    """Trials of the method lora."""
    full: MethodResourcesSpec = MethodResourcesSpec()
    """Trials of the method full."""
    zero_stage: ZeroStage = 0
    """0: every worker holds everything. DeepSpeed ZeRO shares out the optimizer's state (1), gradients too (2), parameters too (3)."""
    offload_optimizer: bool = False
    """ZeRO: the optimizer's state lies in the worker's main memory, and its step runs there."""
    offload_parameters: bool = False
    """ZeRO-3: parameters lie in the worker's main memory while they are not in use."""
    deepspeed: dict[str, JsonValue] = Field(default_factory=dict)
    """Further options of DeepSpeed's JSON; one that contradicts the sweep's own fields is refused."""
    micro_batch: Positive | Literal["auto"] | None = None
    """Rows in one forward pass of one worker; null: batch_size / workers; auto: the most that fit in memory."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass: less memory, one more forward pass."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """Implementation of attention; auto: what transformers takes for the model."""
    placement: Literal["pack", "spread", "strict_pack"] = "pack"
    """Where a gang's workers go: on as few nodes as possible, on as many, or on one and no other."""
    placement_seconds: Annotated[float, Field(gt=0)] = 900.0
    """A trial that has had no place for so long fails; long enough for an autoscaler to bring nodes."""
    collective_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A worker that waits so long for the others ends the attempt: one of them hangs."""
    nccl: dict[str, Scalar] = Field(default_factory=dict)
    """NCCL_* (and GLOO_*) variables for every worker, e.g. NCCL_SOCKET_IFNAME."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0
    """A trial's state is written this often, so a killed trial loses at most so much work."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints of a running trial that are kept; a torn one falls back to the one before."""
    max_failures: Annotated[int, Field(ge=0)] = 1
    """How often a trial is tried again after its worker died. An error in the trial itself is final."""

    @model_validator(mode="after")
    def _variables(self) -> Self:
        for name in self.nccl:
            if not name.startswith(("NCCL_", "GLOO_", "TORCH_NCCL_")):
                raise Refusal("takes NCCL_*, TORCH_NCCL_* and GLOO_* variables only", at="nccl", got=name, remedy="Remove it")
        return self

    def of(self, kind: MethodKind) -> Shape:
        """What a trial of this method needs. `base` trains nothing, so it has no ZeRO stage."""
        own: MethodResourcesSpec = getattr(self, kind)

        def first(mine: object, everyones: object) -> object:
            return everyones if mine is None else mine

        trains = kind != "base"
        return Shape(
            workers=first(own.workers, self.workers_per_trial),  # type: ignore[arg-type]  # None is gone
            cpus=first(own.cpus, self.cpus_per_trial),  # type: ignore[arg-type]
            gpus=float(first(own.gpus, self.gpus_per_trial)),  # type: ignore[arg-type]
            zero_stage=first(own.zero_stage, self.zero_stage) if trains else 0,  # type: ignore[arg-type]
            offload_optimizer=trains and bool(first(own.offload_optimizer, self.offload_optimizer)),
            offload_parameters=trains and bool(first(own.offload_parameters, self.offload_parameters)),
            micro_batch=first(own.micro_batch, self.micro_batch),  # type: ignore[arg-type]
        )
