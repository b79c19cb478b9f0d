"""`TrialConfig`: one trial, resolved. Its id is the hash of every field here, so nothing may stand here that cannot change the result.

No path, address, machine, thread count or name of a sweep; those travel beside it in a `TrialJob`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lfray.fingerprint import fingerprint

CODE_SCHEMA = 1
"""Raised whenever a change to the code changes any trial's numbers: old records then stop standing for new trials."""


class Frozen(BaseModel):
    """Closed and frozen; built from checked values."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BaseMethod(Frozen):
    """The untouched model."""

    kind: Literal["base"] = "base"


class HeadMethod(Frozen):
    """Only the head learns."""

    kind: Literal["head"] = "head"


class LoraMethod(Frozen):
    """Low-rank adaptation: W' = W + scale B A with A [r, in], B [out, r]."""

    kind: Literal["lora"] = "lora"
    rank: int
    alpha: float
    alpha_policy: Literal["constant", "proportional", "rslora"]
    targets: str | tuple[str, ...]
    dropout: float
    variant: Literal["lora", "dora", "qlora"]

    @property
    def quantized(self) -> bool:
        """Whether the base is held in 4 bits."""
        return self.variant == "qlora"

    @property
    def scale(self) -> float:
        """Factor of B A: alpha/sqrt(r) for rslora, alpha/r otherwise."""
        return self.alpha / (self.rank**0.5 if self.alpha_policy == "rslora" else self.rank)


class FullMethod(Frozen):
    """Every parameter learns."""

    kind: Literal["full"] = "full"


Method = Annotated[BaseMethod | HeadMethod | LoraMethod | FullMethod, Field(discriminator="kind")]


class TaskConfig(Frozen):
    """What is learned. `class_names` in class order; `positive` is an index into it."""

    kind: Literal["classification"] = "classification"
    head: Literal["sequence", "verbalizer"]
    class_names: tuple[str, ...]
    positive: int
    template: str | None = None
    answers: tuple[str, ...] | None = None
    scoring: Literal["compare", "generate"] | None = None


class DataConfig(Frozen):
    """Which rows, by fingerprint: ids, texts, labels, groups and splits are inside the hash."""

    fingerprint: str
    max_tokens: int
    min_group_rows: int
    minority_attribute: str
    minority_group: str


class ModelConfig(Frozen):
    """Which base, by fingerprint of its configuration, weights and tokenizer."""

    fingerprint: str


class TrainConfig(Frozen):
    """How it trains. `effective_batch` rows an update, however they are cut into micro-batches."""

    epochs: float
    effective_batch: int
    learning_rate: float
    schedule: Literal["linear", "cosine", "constant"]
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float | None
    adam_betas: tuple[float, float]
    adam_epsilon: float
    precision: Literal["fp32", "bf16"]
    select: Literal["last", "validation_loss", "validation_accuracy"]


class EvaluationConfig(Frozen):
    """How predictions become measures."""

    ece_bins: int


class TrialConfig(Frozen):
    """One resolved trial. `train`, `downsampling_ratio` and `seed` are None for the method `base`, which has none of them."""

    code_schema: int = CODE_SCHEMA
    task: TaskConfig
    data: DataConfig
    model: ModelConfig
    method: Method
    train: TrainConfig | None
    evaluation: EvaluationConfig
    downsampling_ratio: float | None
    seed: int | None

    @cached_property
    def trial_id(self) -> str:
        """16 hex digits over every field."""
        return fingerprint(self.model_dump(mode="json"))

    @cached_property
    def config_id(self) -> str:
        """16 hex digits over every field but the seed: replicates share it."""
        return fingerprint(self.model_dump(mode="json", exclude={"seed"}))

    @property
    def method_label(self) -> str:
        """`lora-r8`, `dora-r8`, `qlora-r8`, `head`, ..."""
        method = self.method
        return f"{method.variant}-r{method.rank}" if isinstance(method, LoraMethod) else method.kind

    @property
    def label(self) -> str:
        """Readable name: `lora-r8 ratio-0.2 seed-13`."""
        ratio = "" if self.downsampling_ratio is None else f" ratio-{self.downsampling_ratio:g}"
        seed = "" if self.seed is None else f" seed-{self.seed}"
        return f"{self.method_label}{ratio}{seed}"

    @property
    def rank(self) -> int | None:
        """LoRA's rank; 0 for `head`; None for `base` and `full`."""
        match self.method:
            case LoraMethod(rank=rank):
                return rank
            case HeadMethod():
                return 0
            case _:
                return None


class Locations(Frozen):
    """Where a worker finds things: paths, outside every identity."""

    storage: str
    data: str
    """Folder of the prepared data."""
    model: str
    """Local folder of the base model."""


class ExecutionRequest(Frozen):
    """How a trial runs; may change bits, never meaning. What really ran is the record's `execution` block."""

    micro_batch: int
    """Rows in one forward pass of one worker."""
    evaluation_batch: int
    cpus: int
    """Of each worker; so are `gpus`."""
    gpus: float
    checkpoint_seconds: float
    keep_weights: bool
    trust_remote_code: bool = False
    workers: int = 1
    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_parameters: bool = False
    deepspeed: dict[str, JsonValue] = Field(default_factory=dict)
    """DeepSpeed options that the sweep adds to ours."""
    shrink_micro_batch: bool = False
    """Halve the micro-batch when memory runs out, instead of failing."""
    gradient_checkpointing: bool = False
    attention: str = "auto"
    placement: Literal["pack", "spread", "strict_pack"] = "pack"
    placement_seconds: float = 900.0
    collective_seconds: float = 600.0
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables for every worker of a gang (NCCL_*, GLOO_*)."""
    keep_checkpoints: int = 2
    max_failures: int = 1
    out_of_memory_at: tuple[int, ...] = ()
    """Micro-batches of earlier attempts, which did not fit."""
    restarts: int = 0
    """Earlier attempts that ended with a worker's death."""

    @property
    def gang(self) -> bool:
        """Whether the trial runs in processes of its own, with torch.distributed between them."""
        return self.workers > 1 or self.zero_stage > 0


class TrialJob(Frozen):
    """A trial and how to run it here: what Ray Tune hands to a worker."""

    config: TrialConfig
    where: Locations
    execution: ExecutionRequest
    split_manifests: dict[str, str]
    """Split -> hash of its sorted row ids when the sweep was planned: checked again before training and at evaluation."""
    preparation: dict[str, int]
    """What preparing the data counted for this sweep."""
    context: dict[str, str]
    """Names for people (base model, data source, sweep): stored in the record, outside its identity."""

    def again(self, **execution: object) -> TrialJob:
        """The same trial, to be run with these fields of `execution` changed."""
        return self.model_copy(update={"execution": self.execution.model_copy(update=execution)})
