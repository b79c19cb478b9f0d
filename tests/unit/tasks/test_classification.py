from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lfray.engine.batches import collate
from lfray.rows import TokenRows, from_lists
from lfray.space.trial import TaskConfig
from lfray.tasks.classification import SequenceObjective, VerbalizerObjective, make_objective
from tests.unit.model.tiny import loaded

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases

CPU = torch.device("cpu")
PROMPTS = [[10, 20, 30], [40], [50, 60, 70, 80, 90], [11, 12], [99, 98, 97]]
LABELS = np.array([0, 1, 2, 1, 0])


def rows() -> TokenRows:
    return from_lists([list(prompt) for prompt in PROMPTS], LABELS)


ANSWERS = [[200, 201], [210, 211, 212, 213], [1, 2, 3]]
SAID = [[200, 201], [5, 6], [210, 211, 212, 213], [200, 7], [210, 211, 212, 9]]
"""What the model is taught to continue each prompt with: two are answers, two almost are."""


@pytest.fixture(scope="module")
def model(bases: Bases) -> nn.Module:
    model = loaded(bases.gpt2, head="verbalizer").model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ids = torch.full((5, 9), 256)
    for row, (prompt, said) in enumerate(zip(PROMPTS, SAID, strict=True)):
        ids[row, : len(prompt) + len(said)] = torch.tensor(prompt + said)
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(input_ids=ids).logits[:, :-1]
        torch.autograd.backward(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))
        optimizer.step()
    model.eval()
    assert [greedy(model, prompt, len(said)) for prompt, said in zip(PROMPTS, SAID, strict=True)] == SAID
    return model


def greedy(model: nn.Module, prompt: list[int], count: int) -> list[int]:
    """Greedy decoding, one whole forward pass a token."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def log_likelihood(model: nn.Module, prompt: list[int], answer: list[int]) -> float:
    """Sum over the answer's tokens, each by a forward pass of its own."""
    total = 0.0
    with torch.inference_mode():
        for cut in range(len(answer)):
            last = model(input_ids=torch.tensor([prompt + answer[:cut]])).logits[0, -1].double()
            total += float(last.log_softmax(-1)[answer[cut]])
    return total


def scored(model: nn.Module, *, generate: bool, batch_rows: int = 100) -> Any:
    objective = VerbalizerObjective(ANSWERS, generate=generate)
    laid_out = objective.scoring_rows(rows())
    parts = []
    with torch.inference_mode():
        for start in range(0, len(laid_out), batch_rows):
            index = np.arange(start, min(start + batch_rows, len(laid_out)))
            parts.append(objective.scores(model, collate(laid_out, index, pad_id=256, device=CPU)).numpy())
    return objective.scored(np.concatenate(parts))


@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_scores_are_what_one_pass_an_option_gives(model: nn.Module, batch_rows: int) -> None:
    found = scored(model, generate=False, batch_rows=batch_rows)
    expected = [[log_likelihood(model, prompt, answer) for answer in ANSWERS] for prompt in PROMPTS]
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)
    assert found.logits.dtype == np.float32
    assert found.prediction.tolist() == np.argmax(expected, axis=1).tolist()


def test_a_row_is_parsed_when_greedy_decoding_says_exactly_one_answer(model: nn.Module) -> None:
    found = scored(model, generate=True)
    said = [[greedy(model, prompt, len(answer)) == answer for answer in ANSWERS] for prompt in PROMPTS]
    assert found.parsed.tolist() == [sum(row) == 1 for row in said]
    assert found.prediction.tolist() == [row.index(True) if sum(row) == 1 else -1 for row in said]
    assert found.prediction.tolist() == [0, -1, 1, -1, -1]


def test_comparing_answers_always_predicts(model: nn.Module) -> None:
    compared, generated = (scored(model, generate=generate) for generate in (False, True))
    assert (compared.prediction >= 0).all()
    np.testing.assert_array_equal(compared.parsed, generated.parsed)
    np.testing.assert_array_equal(compared.logits, generated.logits)


def test_the_loss_is_the_mean_over_the_answers_tokens(model: nn.Module) -> None:
    objective = VerbalizerObjective(ANSWERS, generate=False)
    laid_out = objective.training_rows(rows())
    with torch.inference_mode():
        losses = objective.losses(model, collate(laid_out, np.arange(5), pad_id=256, device=CPU))
    expected = [
        -log_likelihood(model, prompt, ANSWERS[label]) / len(ANSWERS[label])
        for prompt, label in zip(PROMPTS, LABELS, strict=True)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_only_the_answers_tokens_are_learnt_from() -> None:
    objective = VerbalizerObjective([[1, 2], [3]], generate=False)
    laid_out = objective.training_rows(from_lists([[7, 7, 7], [8]], np.array([0, 1])))
    batch = collate(laid_out, np.arange(2), pad_id=0, device=CPU)
    assert batch.inputs["input_ids"].tolist() == [[7, 7, 7, 1, 2], [8, 3, 0, 0, 0]]
    free = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()

    class Fixed(nn.Module):
        def forward(self, **_: Any) -> Any:
            return SimpleNamespace(logits=free)

    losses = objective.losses(Fixed(), batch)
    torch.autograd.backward(losses.sum())
    assert free.grad is not None
    # The token at place t is predicted at place t - 1.
    assert (free.grad.abs().sum(-1) > 0).int().tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 0]]
    by_hand = (
        functional.cross_entropy(free[0, 2:4], torch.tensor([1, 2])),
        functional.cross_entropy(free[1, :1], torch.tensor([3])),
    )
    torch.testing.assert_close(losses, torch.stack(by_hand))


def test_every_row_stands_once_an_answer() -> None:
    objective = VerbalizerObjective([[1, 2], [3]], generate=False)
    laid_out = objective.scoring_rows(from_lists([[7, 7], [8]], np.array([1, 0])))
    found = [laid_out.tokens[s : s + n].tolist() for s, n in zip(laid_out.starts, laid_out.lengths, strict=True)]
    assert found == [[7, 7, 1, 2], [7, 7, 3], [8, 1, 2], [8, 3]]
    assert laid_out.extra["prompt"].tolist() == [2, 2, 1, 1]
    assert laid_out.label.tolist() == [0, 1, 0, 1]


def test_two_greedy_answers_or_none_are_not_parsed() -> None:
    objective = VerbalizerObjective([[1], [2]], generate=True)
    scores = np.array([[-1, 1], [-2, 0], [-1, 0], [-2, 0], [-3, 1], [-2, 1]], dtype=np.float32)
    found = objective.scored(scores)
    assert found.parsed is not None
    assert found.parsed.tolist() == [True, False, False]
    assert found.prediction.tolist() == [0, -1, -1]
    assert VerbalizerObjective([[1], [2]], generate=False).scored(scores).prediction.tolist() == [0, 0, 1]


def test_a_classification_head_is_cross_entropy_and_argmax(bases: Bases) -> None:
    made, objective = loaded(bases.gpt2).model, SequenceObjective()
    data = from_lists([[1, 2], [3]], np.array([1, 0]))
    assert objective.training_rows(data) is data
    assert objective.scoring_rows(data) is data
    batch = collate(data, np.arange(2), pad_id=256, device=CPU)
    with torch.inference_mode():
        scores, losses = objective.scores(made, batch), objective.losses(made, batch)
    expected = -scores.double().log_softmax(1)[[0, 1], [1, 0]]
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)
    found = objective.scored(np.array([[1, 2], [3, 3]], dtype=np.float32))
    assert found.prediction.tolist() == [1, 0]
    assert found.parsed is None


def test_a_task_has_its_objective() -> None:
    head = TaskConfig(head="sequence", class_names=("a", "b"), positive=1)
    assert isinstance(make_objective(head, None), SequenceObjective)
    asked = TaskConfig(
        head="verbalizer", class_names=("a", "b"), positive=1, template="{text}", answers=("x", "y"), scoring="generate"
    )
    assert isinstance(make_objective(asked, [[1], [2]]), VerbalizerObjective)
