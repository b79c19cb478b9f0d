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


@dataclass(frozen=True, eq=False)
class Batch:
    """One padded micro-batch on the device. `tokens` counts real tokens, padding left out."""

    inputs: Mapping[str, Tensor]
    """Keyword arguments of the model: input_ids [B, T], attention_mask [B, T], token_type_ids [B, T] where the model has them."""
    label: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: int = 0


class Objective(Protocol):
    """What is learned, as two functions of a model and a batch."""

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of each row, [B], differentiable."""
        ...

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """Scores of each row, float32 [B, K]."""
        ...


class Stepper(Protocol):
    """One way to compute an update. Every implementation passes `tests/contract/test_stepper.py`."""

    name: str
    kernel: str
    """Which matrix products it uses: `torch`, or `onednn` (see `kernels`)."""

    @property
    def device(self) -> torch.device:
        """Where batches must be."""
        ...

    def update(self, micro_batches: Sequence[Batch], learning_rate: float) -> Tensor:
        """One optimizer step on the rows of all micro-batches together; returns their mean loss, a 0-d tensor on the device."""
        ...

    def losses(self, batch: Batch) -> Tensor:
        """Loss of each row without gradient, evaluation mode, float32 [B]."""
        ...

    def scores(self, batch: Batch) -> Tensor:
        """Scores of each row without gradient, evaluation mode, float32 [B, K]."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Copies of the trainable parameters on the CPU, by name."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Put trainable parameters back."""
        ...

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state as flat tensors: with `weights` all that an exact resume needs."""
        ...

    def load_optimizer_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the optimizer's state back."""
        ...


@dataclass(frozen=True)
class FitPlan:
    """How to train: the engine's view of a trial's `train` block."""

    epochs: float
    effective_batch: int
    micro_batch: int
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
