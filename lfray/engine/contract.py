"""What the engine asks of a task (`Objective`) and of a way to compute (`Stepper`): the seam for DDP and DeepSpeed.

Shapes: B rows of a micro-batch, T tokens, K scores a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from lfray.engine.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Batch:
    """One padded micro-batch on the device. `tokens` counts real tokens, padding left out.

    Only the first `real` rows count: where rows do not divide among ranks, a rank without one passes a row that counts nothing,
    because the others wait for it in their collectives.
    """

    inputs: Mapping[str, Tensor]
    """Keyword arguments of the model: input_ids [B, T], attention_mask [B, T], token_type_ids [B, T] where the model has them."""
    label: Tensor
    real: int
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: int = 0

    def counted(self, losses: Tensor) -> Tensor:
        """The losses, [B], of the rows that count."""
        return losses if self.real == len(losses) else losses[: self.real]


class Objective(Protocol):
    """What is learned, as two functions of a model and a batch."""

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of each row, [B], differentiable."""
        ...

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores of each row, float32 [B, K]."""
        ...


@dataclass(frozen=True)
class EngineFacts:
    """What computes the updates, read back from the objects that do it, never from what was asked for."""

    stepper: str
    kernel: str
    """Matrix products: `torch`, or `onednn` (see `kernels`)."""
    world_size: int
    zero_stage: int = 0
    offload: tuple[str, ...] = ()


class Stepper(Protocol):
    """One way to compute an update. Every implementation passes `tests/contract/test_stepper.py`.

    In a gang every rank has one, and calls the same methods in the same order.
    """

    ranks: Ranks
    sharded: bool
    """Whether ranks hold different parts of weights and optimizer; otherwise each holds all of it."""

    @property
    def facts(self) -> EngineFacts:
        """What really computes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where batches must be."""
        ...

    def update(self, micro_batches: Sequence[Batch], learning_rate: float, *, rows: int) -> Tensor:
        """One optimizer step on the mean loss of `rows` rows, those of all micro-batches of all ranks together.

        Returns:
            This rank's part of that mean, a 0-d tensor on the device: the parts sum to it.
        """
        ...

    def losses(self, batch: Batch) -> Tensor:
        """Loss of each row without gradient, evaluation mode, float32 [B]."""
        ...

    def scores(self, batch: Batch) -> Tensor:
        """Scores of each row without gradient, evaluation mode, float32 [B, K]."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Copies of this rank's part of the trainable parameters, on the CPU."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put this rank's part back."""
        ...

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """This rank's part of the optimizer's state: with `weights` of all ranks all that an exact resume needs."""
        ...

    def load_optimizer_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put this rank's part of the optimizer's state back."""
        ...

    def gathered(self) -> dict[str, Tensor]:
        """Copies of the whole trainable parameters on the CPU, by name; on rank 0 alone, empty elsewhere."""
        ...

    def close(self) -> None:
        """Let go of what would outlive the trial."""
        ...


@dataclass(frozen=True)
class FitPlan:
    """How to train: the engine's view of a trial's `train` block."""

    epochs: float
    effective_batch: int
    micro_batch: int
    """Rows in one forward pass of one rank."""
    learning_rate: float
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float | None
    adam_betas: tuple[float, float]
    adam_epsilon: float
    precision: str
    select: str
    seed: int
    checkpoint_seconds: float = 60.0
