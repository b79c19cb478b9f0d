from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import XLNetConfig, XLNetForSequenceClassification

from lfray.errors import ModelError
from lfray.model.adapt import adapt
from lfray.model.execution import PrecisionSeen, attention_of, check_attention, checkpoint_activations, evaluate_with
from lfray.space.trial import FullMethod, HeadMethod, LoraMethod, Method
from tests.unit.model.tiny import LAYERS, copied, edit_config, inputs, loaded, logits

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tests.unit.model.tiny import Bases, Families

LORA = LoraMethod(rank=4, alpha=8.0, alpha_policy="proportional", targets="all-linear", dropout=0.1, variant="lora")
METHODS: dict[str, Method] = {
    "head": HeadMethod(), "lora": LORA, "dora": LORA.model_copy(update={"variant": "dora"}), "full": FullMethod(),
}  # fmt: skip
DROPOUTS = {
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "opt": ("dropout", "attention_dropout"),
    "llama": ("attention_dropout",),
}


def gradients(model: nn.Module, folder: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Of two batches, one after the other, so the second starts where the first left the random numbers."""
    torch.manual_seed(7)
    model.train()
    for _ in range(2):
        torch.autograd.backward(cross_entropy(model(**inputs(folder)).logits, torch.tensor([1, 0, 0, 1])))
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, torch.rand(1)


@pytest.fixture(params=DROPOUTS)
def folder(request: pytest.FixtureRequest, bases: Bases, families: Families) -> Path:
    found: Path = getattr(bases if request.param in ("gpt2", "bert") else families, request.param)
    return found


def with_dropout(folder: Path, tmp_path: Path, share: float) -> Path:
    changed = copied(folder, tmp_path / folder.name)
    edit_config(changed, **dict.fromkeys(DROPOUTS[folder.name], share))
    return changed


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("method", METHODS)
def test_activations_computed_again_give_the_same_gradients(folder: Path, tmp_path: Path, method: str, dropout: float) -> None:
    changed = with_dropout(folder, tmp_path, dropout)
    torch.manual_seed(13)
    plain = adapt(loaded(changed), METHODS[method]).model
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "lora_B" in name:  # 0 at first, which would hide the gradients of A
                parameter.normal_()
    spared = copy.deepcopy(plain)
    checkpoint_activations(spared)
    (expected, after), (found, after_too) = gradients(plain, changed), gradients(spared, changed)
    assert found.keys() == expected.keys() == {name for name, p in plain.named_parameters() if p.requires_grad}
    if dropout == 0:
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    else:  # attention with dropout leaves torch's fused kernel; other random numbers would be off by far more than this
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(after, after_too)
    assert torch.equal(logits(spared, changed), logits(plain, changed))


@pytest.mark.parametrize(("method", "passes"), [("full", 2), ("lora", 2), ("head", 1)])
def test_layers_run_again_where_their_gradients_are_needed(folder: Path, method: str, passes: int) -> None:
    model: Any = adapt(loaded(folder), METHODS[method]).model
    checkpoint_activations(model)
    layers = [
        module
        for module in model.modules()
        if hasattr(module, "gradient_checkpointing") and hasattr(module, "_forward_pre_hooks")
    ]
    layers = [module for module in layers if type(module).__name__.endswith(("Layer", "Block"))]
    calls: list[str] = []
    inner = [
        next(child for child in layer.modules() if isinstance(child, torch.nn.LayerNorm) or "Norm" in type(child).__name__)
        for layer in layers
    ]
    for module in inner:
        module.register_forward_hook(lambda *_: calls.append("run"))
    model.train()
    torch.autograd.backward(cross_entropy(model(**inputs(folder)).logits, torch.tensor([1, 0, 0, 1])))
    assert (len(layers), len(calls)) == (LAYERS, passes * LAYERS)
    calls.clear()
    logits(model, folder)
    assert len(calls) == LAYERS


def xlnet() -> nn.Module:
    model: nn.Module = XLNetForSequenceClassification(XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=16))
    return model


def test_a_model_whose_layers_cannot_run_again_is_refused() -> None:
    with pytest.raises(ModelError, match=r"must be supported by the model \(got XLNetForSequenceClassification\)"):
        checkpoint_activations(xlnet())


def test_a_model_names_the_attentions_it_has(bases: Bases) -> None:
    check_attention(loaded(bases.gpt2).model, "sdpa")
    check_attention(xlnet(), "eager")
    with pytest.raises(ModelError, match=r"XLNetForSequenceClassification has \(eager; got flash_attention_2\)"):
        check_attention(xlnet(), "flash_attention_2")


def test_the_attention_is_read_through_an_adapter(bases: Bases) -> None:
    assert attention_of(adapt(loaded(bases.bert), LORA).model) == attention_of(loaded(bases.bert).model) == "sdpa"
    assert attention_of(torch.nn.Linear(2, 2)) == "unknown"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_evaluation_can_run_another_attention_than_training(folder: Path, method: str) -> None:
    base = loaded(folder)
    evaluate_with(base.model, "eager")
    model = copy.deepcopy(adapt(base, METHODS[method]).model)  # a trial works on a copy
    seen: list[str] = []
    last: Any = [module for module in model.modules() if "Attention" in type(module).__name__][-1]
    last.register_forward_pre_hook(lambda *_: seen.append(attention_of(model)))
    for training in (True, False, True):
        model.train(training)(**inputs(folder))
        assert attention_of(model) == "sdpa"
    assert seen == ["sdpa", "eager", "sdpa"]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("base", ["bert", "gpt2"])
def test_the_precision_of_training_is_seen(bases: Bases, base: str, bf16: bool) -> None:
    made = adapt(loaded(getattr(bases, base)), FullMethod())
    seen = PrecisionSeen(made.model)
    inputs = torch.ones((2, 4), dtype=torch.int64)
    made.model.eval()
    made.model(inputs)
    assert seen.name is None
    made.model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made.model(inputs)
    assert seen.name == ("bf16" if bf16 else "fp32")
