from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torch import nn

from lfray.model.adapt import adapt
from lfray.model.flops import linear_parameters, training_flops
from lfray.space.trial import FullMethod, HeadMethod, LoraMethod, Method
from tests.unit.model.tiny import LAYERS, WIDTH, loaded

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases, Families

TOKENS, SQUARED = 1000, 50_000
BACKBONE = LAYERS * 12 * WIDTH**2
"""Of a GPT-2 layer: attention 3 d^2 + d^2, feed-forward 4 d^2 + 4 d^2."""
HEAD = 2 * WIDTH
ATTENTION = 4 * LAYERS * WIDTH * SQUARED
RANK = 4
LOW_RANK = RANK * LAYERS * (4 * WIDTH + 2 * WIDTH + 5 * WIDTH + 5 * WIDTH)


def flops(bases: Bases, method: Method) -> float | None:
    made = adapt(loaded(bases.gpt2), method)
    return training_flops(made.model, tokens=TOKENS, squared_tokens=SQUARED, backbone_learns=made.backbone_learns)


def test_full_fine_tuning_is_three_forward_passes(bases: Bases) -> None:
    forward = 2 * (BACKBONE + HEAD) * TOKENS + ATTENTION
    assert flops(bases, FullMethod()) == 2 * forward + 2 * (BACKBONE + HEAD) * TOKENS


def test_a_head_alone_costs_one_pass_and_its_own_gradient(bases: Bases) -> None:
    assert flops(bases, HeadMethod()) == 2 * (BACKBONE + HEAD) * TOKENS + ATTENTION + 2 * HEAD * TOKENS


def test_an_adapter_saves_the_gradients_of_the_base(bases: Bases) -> None:
    method = LoraMethod(rank=RANK, alpha=8.0, alpha_policy="proportional", targets="all-linear", dropout=0.0, variant="lora")
    forward = 2 * (BACKBONE + HEAD + LOW_RANK) * TOKENS + ATTENTION
    assert flops(bases, method) == 2 * forward + 2 * (LOW_RANK + HEAD) * TOKENS


def test_a_language_models_output_multiplies_though_its_weights_are_the_embeddings(bases: Bases) -> None:
    model = loaded(bases.gpt2, head="verbalizer").model
    assert linear_parameters(model) == BACKBONE + 257 * WIDTH


@pytest.mark.parametrize("trainable", [True, False])
def test_a_model_that_does_not_say_its_shape_has_no_estimate(trainable: bool) -> None:
    model = nn.Linear(3, 2)
    assert training_flops(model, tokens=1, squared_tokens=1, backbone_learns=trainable) is None
    assert linear_parameters(model) == 6


OPT = LAYERS * (4 * WIDTH**2 + 2 * WIDTH * 32)
LLAMA = LAYERS * (2 * WIDTH**2 + 2 * WIDTH * 8 + 3 * WIDTH * 24)


@pytest.mark.parametrize(("base", "multiplied"), [("opt", OPT), ("opt_projected", OPT + 2 * WIDTH * 8), ("llama", LLAMA)])
def test_opt_and_llama_have_an_estimate(families: Families, base: str, multiplied: int) -> None:
    head = 2 * (8 if base == "opt_projected" else WIDTH)
    made = adapt(loaded(getattr(families, base)), FullMethod())
    forward = 2 * (multiplied + head) * TOKENS + ATTENTION
    found = training_flops(made.model, tokens=TOKENS, squared_tokens=SQUARED, backbone_learns=True)
    assert found == 2 * forward + 2 * (multiplied + head) * TOKENS
