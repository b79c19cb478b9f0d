"""Classification, by a head or by generated answers, as two functions of a model and a batch (the engine's `Objective`).

Shapes: B rows, T tokens, C classes, V vocabulary, K answers (= C).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch.nn import functional

from lfray.rows import TokenRows, from_lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from lfray.space.trial import TaskConfig


class InputBatch(Protocol):
    """What a batch must offer."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Keyword arguments of the model."""
        ...

    @property
    def label(self) -> Tensor:
        """Class of each row, [B]."""
        ...

    @property
    def extra(self) -> Mapping[str, Tensor]:
        """Further columns that this module asked for, [B] each."""
        ...


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of rows as predictions: logits float32 [N, C], prediction [N] (-1: unparsed), parsed bool [N] or None."""

    logits: NDArray[np.float32]
    prediction: NDArray[np.int64]
    parsed: NDArray[np.bool_] | None


class SequenceObjective:
    """A classification head: cross-entropy of its C logits."""

    def training_rows(self, rows: TokenRows) -> TokenRows:
        """Rows as they are."""
        return rows

    def scoring_rows(self, rows: TokenRows) -> TokenRows:
        """Rows as they are."""
        return rows

    def losses(self, model: nn.Module, batch: InputBatch) -> Tensor:
        """Cross-entropy of each row, [B]."""
        return functional.cross_entropy(model(**batch.inputs).logits.float(), batch.label, reduction="none")

    def scores(self, model: nn.Module, batch: InputBatch) -> Tensor:
        """Logits, [B, C]."""
        logits: Tensor = model(**batch.inputs).logits
        return logits

    def scored(self, scores: NDArray[np.float32]) -> Scored:
        """The class of the largest logit; the first of equals."""
        return Scored(scores, scores.argmax(axis=1).astype(np.int64), None)


class VerbalizerObjective:
    """A causal model that generates the label: loss on the answer's tokens; every answer's likelihood is compared.

    Scoring lays each row out once an answer: its score is the answer's log-likelihood given the prompt, and `greedy` tells
    whether greedy decoding would have produced exactly this answer. A row is parsed when exactly one answer is greedy.
    """

    def __init__(self, answers: Sequence[Sequence[int]], *, generate: bool) -> None:
        self._answers = [list(answer) for answer in answers]
        self._generate = generate

    def training_rows(self, rows: TokenRows) -> TokenRows:
        """Prompt and right answer."""
        return self._joined(rows, np.arange(len(rows)), rows.label)

    def scoring_rows(self, rows: TokenRows) -> TokenRows:
        """Every row once an answer: N x K rows, answers of one row side by side."""
        count = len(self._answers)
        return self._joined(rows, np.repeat(np.arange(len(rows)), count), np.tile(np.arange(count), len(rows)))

    def _joined(self, rows: TokenRows, index: NDArray[np.int64], answer: NDArray[np.int64]) -> TokenRows:
        lists = [
            rows.tokens[rows.starts[i] : rows.starts[i] + rows.lengths[i]].tolist() + self._answers[k]
            for i, k in zip(index.tolist(), answer.tolist(), strict=True)
        ]
        prompt = rows.lengths[index].astype(np.int64)
        return from_lists(lists, answer.astype(np.int64), {"prompt": prompt})

    def _answer_tokens(self, model: nn.Module, batch: InputBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-likelihood [B, T-1] of each token given those before, whether it is the arg-max, and which tokens are the answer's."""
        logits: Tensor = model(**batch.inputs).logits[:, :-1].float()
        target = batch.inputs["input_ids"][:, 1:]
        likelihood = logits.log_softmax(-1).gather(-1, target[..., None]).squeeze(-1)
        place = torch.arange(1, target.shape[1] + 1, device=target.device)
        answer = (place >= batch.extra["prompt"][:, None]) & batch.inputs["attention_mask"][:, 1:].bool()
        return likelihood, logits.argmax(-1) == target, answer

    def losses(self, model: nn.Module, batch: InputBatch) -> Tensor:
        """Mean negative log-likelihood of the answer's tokens, [B]."""
        likelihood, _, answer = self._answer_tokens(model, batch)
        return -(likelihood * answer).sum(1) / answer.sum(1)

    def scores(self, model: nn.Module, batch: InputBatch) -> Tensor:
        """[B, 2]: the answer's log-likelihood (sum over its tokens), and 1 where it is the greedy answer."""
        likelihood, greedy, answer = self._answer_tokens(model, batch)
        return torch.stack([(likelihood * answer).sum(1), (greedy | ~answer).all(1).float()], dim=1)

    def scored(self, scores: NDArray[np.float32]) -> Scored:
        """Back to one row an example."""
        count = len(self._answers)
        table = scores.reshape(-1, count, 2)
        logits, greedy = table[:, :, 0], table[:, :, 1] > 0.5
        parsed = greedy.sum(axis=1) == 1
        best = logits.argmax(axis=1).astype(np.int64)
        prediction = np.where(parsed, greedy.argmax(axis=1), -1).astype(np.int64) if self._generate else best
        return Scored(np.ascontiguousarray(logits), prediction, parsed)


def make_objective(task: TaskConfig, answers: Sequence[Sequence[int]] | None) -> SequenceObjective | VerbalizerObjective:
    """The objective that a task asks for; `answers` are the verbalizer's token ids."""
    if task.head == "sequence":
        return SequenceObjective()
    assert answers is not None
    return VerbalizerObjective(answers, generate=task.scoring == "generate")
