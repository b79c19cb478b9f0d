"""A model of a few hundred parameters, its objective and its rows: enough for the engine, which knows no more of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lfray.engine.contract import FitPlan
from lfray.rows import TokenRows, from_lists

if TYPE_CHECKING:
    from lfray.engine.contract import Batch

VOCABULARY, WIDTH, CLASSES = 20, 6, 3


class Output(dict[str, torch.Tensor]):
    """A mapping with attributes, like transformers' outputs: DDP and DeepSpeed look into mappings for the tensors that they hook."""

    @property
    def logits(self) -> torch.Tensor:
        return self["logits"]


class Toy(nn.Module):
    """Mean of embeddings, dropout, norm, linear; a frozen scale that must never move."""

    def __init__(self, seed: int = 0, *, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embed = nn.Embedding(VOCABULARY, WIDTH)
            self.norm = nn.LayerNorm(WIDTH)
            self.dropout = nn.Dropout(dropout)
            self.out = nn.Linear(WIDTH, CLASSES)
            self.scale = nn.Parameter(torch.full((WIDTH,), 1.5), requires_grad=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Output:
        mask = attention_mask[..., None].float()
        mean = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        return Output(logits=self.out(self.dropout(self.norm(mean * self.scale))))


class Died(Exception):
    """What stands for a killed process."""


class ToyObjective:
    """Cross-entropy. It may die in, or spoil the loss of, the `n`-th training call (1-based)."""

    def __init__(self, *, dies_at: int | None = None, spoilt: tuple[int, float] | None = None) -> None:
        self._dies_at, self._spoilt, self._calls = dies_at, spoilt, 0

    def losses(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        losses = functional.cross_entropy(model(**batch.inputs).logits.float(), batch.label, reduction="none")
        if torch.is_grad_enabled():
            self._calls += 1
            if self._calls == self._dies_at:
                raise Died
            if self._spoilt is not None and self._calls == self._spoilt[0]:
                losses = losses + self._spoilt[1]
        return losses

    def scores(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        logits: torch.Tensor = model(**batch.inputs).logits
        return logits


def make_rows(count: int, *, seed: int = 0) -> TokenRows:
    """Rows of 1 to 9 tokens whose label is their first token modulo the classes, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    lists = [generator.integers(1, VOCABULARY, generator.integers(1, 10)).tolist() for _ in range(count)]
    return from_lists(lists, np.array([row[0] % CLASSES for row in lists], dtype=np.int64))


def make_plan(**fields: Any) -> FitPlan:
    plain: dict[str, Any] = {
        "epochs": 3.0, "effective_batch": 8, "micro_batch": 8, "learning_rate": 0.02, "schedule": "linear", "warmup_ratio": 0.1,
        "weight_decay": 0.1, "max_grad_norm": 1.0, "adam_betas": (0.9, 0.999), "adam_epsilon": 1e-8, "precision": "fp32",
        "select": "last", "seed": 13, "checkpoint_seconds": 1e9,
    }  # fmt: skip
    return FitPlan(**(plain | fields))
