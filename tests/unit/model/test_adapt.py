from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from lfray.errors import ModelError
from lfray.model.adapt import adapt, head_modules, linear_modules, load_adapter, save_adapted
from lfray.space.trial import BaseMethod, FullMethod, HeadMethod, LoraMethod, Method
from tests.unit.model.tiny import CLASSES, loaded, logits, train_a_little

if TYPE_CHECKING:
    from lfray.model.adapt import Adapted
    from tests.unit.model.tiny import Bases, Families

# Plain peft 0.21, which one test calls as a user would, reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

HEADS = {"gpt2": 2 * 16, "bert": 2 * 16 + 2, "bert_mlm": 2 * 16 + 2 + 16 * 16 + 16}
"""Parameters of the head of two classes; the masked-language checkpoint's includes the pooler."""


def lora(rank: int = 4, **fields: Any) -> LoraMethod:
    plain: dict[str, Any] = {
        "alpha": 2.0 * rank, "alpha_policy": "proportional", "targets": "all-linear", "dropout": 0.0, "variant": "lora",
    }  # fmt: skip
    return LoraMethod(rank=rank, **(plain | fields))


METHODS: dict[str, Method] = {"head": HeadMethod(), "lora": lora(), "dora": lora(variant="dora"), "full": FullMethod()}


def adapted(bases: Bases, base: str, method: Method, *, seed: int = 13) -> Adapted:
    made = loaded(getattr(bases, base), seed=seed)
    torch.manual_seed(seed)
    return adapt(made, method)


def extents(bases: Bases, base: str) -> dict[str, int]:
    """Inputs plus outputs of each linear module outside the head."""
    found: dict[str, Any] = dict(linear_modules(loaded(getattr(bases, base))))
    return {
        name: sum(module.weight.shape) if isinstance(module, Conv1D) else module.in_features + module.out_features
        for name, module in found.items()
    }


def learning(made: Adapted) -> dict[str, torch.Tensor]:
    return {name: p for name, p in made.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("base", ["gpt2", "bert", "bert_mlm"])
@pytest.mark.parametrize("rank", [1, 8, 20])
def test_lora_adds_rank_times_inputs_and_outputs(bases: Bases, base: str, rank: int) -> None:
    made, plain = adapted(bases, base, lora(rank)), loaded(getattr(bases, base))
    base_parameters = sum(p.numel() for p in plain.model.parameters())
    low_rank = rank * sum(extents(bases, base).values())
    assert made.adapter_parameters == low_rank
    assert made.trainable_parameters == low_rank + HEADS[base] == sum(p.numel() for p in learning(made).values())
    assert made.total_parameters == base_parameters + low_rank
    assert (made.peft, made.backbone_learns) == (True, True)


def test_dora_adds_a_magnitude_an_output(bases: Bases) -> None:
    made = adapted(bases, "bert", lora(4, variant="dora"))
    found: dict[str, Any] = dict(linear_modules(loaded(bases.bert)))
    outputs = sum(module.out_features for module in found.values())
    assert made.adapter_parameters == 4 * sum(extents(bases, "bert").values()) + outputs


@pytest.mark.parametrize("base", ["gpt2", "bert", "bert_mlm"])
def test_head_and_full_and_base_are_what_they_say(bases: Bases, base: str) -> None:
    head, full = adapted(bases, base, HeadMethod()), adapted(bases, base, FullMethod())
    assert (head.trainable_parameters, head.adapter_parameters, head.backbone_learns) == (HEADS[base], 0, False)
    assert full.trainable_parameters == full.total_parameters == head.total_parameters
    assert (full.peft, full.backbone_learns) == (False, True)


def test_the_untouched_base_learns_nothing(bases: Bases) -> None:
    made = adapted(bases, "bert_trained", BaseMethod())
    assert (made.trainable_parameters, made.adapter_parameters, made.peft, made.backbone_learns) == (0, 0, False, False)
    assert learning(made) == {}


def test_the_untouched_base_with_a_drawn_head_is_refused(bases: Bases) -> None:
    with pytest.raises(ModelError, match=r"head must be trained for these classes \(got classifier\.bias, classifier\.weight"):
        adapted(bases, "bert", BaseMethod())
    with pytest.raises(ModelError, match="head must be trained"):
        adapt(loaded(bases.bert_trained, classes=("a", "b", "c")), BaseMethod())


@pytest.mark.parametrize("base", ["gpt2", "bert", "bert_mlm"])
@pytest.mark.parametrize("method", METHODS)
def test_before_training_the_adapted_model_is_the_base(bases: Bases, base: str, method: str) -> None:
    folder = getattr(bases, base)
    plain, made = logits(loaded(folder).model, folder), logits(adapted(bases, base, METHODS[method]).model, folder)
    if method == "dora":
        # DoRA renormalises: W / |W| x |W| is W up to rounding.
        torch.testing.assert_close(made, plain, rtol=1e-4, atol=1e-5)
    else:
        assert torch.equal(made, plain)


@pytest.mark.parametrize("base", ["gpt2", "bert_mlm"])
def test_the_head_is_the_same_for_every_method_at_one_seed(bases: Bases, base: str) -> None:
    def head(method: Method, seed: int) -> list[torch.Tensor]:
        model: Any = adapted(bases, base, method, seed=seed).model
        state = {
            name.replace("base_model.model.", "").replace("modules_to_save.default.", ""): w
            for name, w in model.state_dict().items()
        }
        return [state[key] for key in loaded(getattr(bases, base)).head_keys]

    expected = head(FullMethod(), 13)
    for method in METHODS.values():
        assert all(torch.equal(one, other) for one, other in zip(head(method, 13), expected, strict=True))
    assert not torch.equal(head(HeadMethod(), 14)[-1], expected[-1])


@pytest.mark.parametrize("base", ["gpt2", "bert", "bert_mlm"])
@pytest.mark.parametrize("method", ["head", "lora", "dora"])
def test_the_base_keeps_its_bits_while_the_rest_learns(bases: Bases, base: str, method: str) -> None:
    folder = getattr(bases, base)
    made = adapted(bases, base, METHODS[method])
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    train_a_little(made.model, folder)
    moved = {name for name, p in made.model.named_parameters() if not torch.equal(p, before[name])}
    # B starts at 0, so A gets its first gradient in the second step: after three all have moved.
    assert moved == set(learning(made))
    assert not any("original_module" in name for name in moved)
    backbone = {name for name in moved if "lora_" not in name and "modules_to_save" not in name}
    assert backbone == set()


def carriers(made: Adapted) -> set[str]:
    return {n.removeprefix("base_model.model.") for n, module in made.model.named_modules() if hasattr(module, "lora_A")}


def test_low_rank_layers_stand_where_they_were_asked_for(bases: Bases) -> None:
    assert carriers(adapted(bases, "gpt2", lora(targets=("c_attn",)))) == {f"transformer.h.{i}.attn.c_attn" for i in (0, 1)}
    assert carriers(adapted(bases, "bert", lora(targets="query"))) == {
        f"bert.encoder.layer.{i}.attention.self.query" for i in (0, 1)
    }
    one = "bert.encoder.layer.1.attention.self.value"
    assert carriers(adapted(bases, "bert", lora(targets=(one,)))) == {one}
    assert carriers(adapted(bases, "gpt2", lora())) == set(linear_modules(loaded(bases.gpt2)))


def test_a_fresh_pooler_trains_whole_and_gets_no_low_rank_layer(bases: Bases) -> None:
    made = adapted(bases, "bert_mlm", lora())
    assert not any("pooler" in name for name in carriers(made))
    assert {name for name in learning(made) if "pooler" in name} == {
        f"base_model.model.bert.pooler.dense.modules_to_save.default.{part}" for part in ("weight", "bias")
    }
    assert head_modules(loaded(bases.bert_mlm)) == ("bert.pooler.dense", "classifier")


def test_a_pooler_of_the_checkpoint_is_a_linear_module_like_another(bases: Bases) -> None:
    assert "bert.pooler.dense" in carriers(adapted(bases, "bert", lora()))


@pytest.mark.parametrize("target", ["c_atn", "score", "wte", "h.0", ""])
def test_a_target_that_matches_nothing_is_refused_with_what_there_is(bases: Bases, target: str) -> None:
    with pytest.raises(ModelError, match=rf"got '{target}'\).*The model has: c_attn, c_fc, c_proj"):
        adapted(bases, "gpt2", lora(targets=("c_fc", target)))


def test_a_head_that_is_not_there_cannot_train(bases: Bases) -> None:
    with pytest.raises(ModelError, match="no classification head"):
        adapt(loaded(bases.gpt2, head="verbalizer"), HeadMethod())


def test_a_language_models_output_gets_no_low_rank_layer(bases: Bases) -> None:
    made = adapt(loaded(bases.gpt2, head="verbalizer"), lora())
    assert "lm_head" not in carriers(made)
    assert made.trainable_parameters == made.adapter_parameters


@pytest.mark.parametrize(
    ("alpha", "policy", "rank", "scale"),
    [
        (16.0, "constant", 8, 2.0),
        (16.0, "constant", 64, 0.25),
        (8.0, "proportional", 4, 2.0),
        (16.0, "rslora", 16, 4.0),
        (0.5, "constant", 4, 0.125),
    ],
)
def test_the_update_is_scaled_as_the_policy_says(bases: Bases, alpha: float, policy: str, rank: int, scale: float) -> None:
    method = lora(rank, alpha=alpha, alpha_policy=policy)
    made = adapted(bases, "bert", method)
    modules: list[Any] = list(made.model.modules())
    scales = {module.scaling["default"] for module in modules if hasattr(module, "lora_A")}
    assert scales == {scale} == {method.scale}


def test_low_rank_is_a_full_update_of_low_rank(bases: Bases) -> None:
    made = adapted(bases, "bert", lora(2, targets=("query",)))
    train_a_little(made.model, bases.bert)
    name = "base_model.model.bert.encoder.layer.0.attention.self.query"
    layer: Any = made.model.get_submodule(name)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert int(torch.linalg.matrix_rank(product)) == 2
    before = logits(made.model, bases.bert)
    merged: Any = made.model
    torch.testing.assert_close(logits(merged.merge_and_unload(), bases.bert), before, rtol=1e-4, atol=1e-5)


def plainly_loaded(folder: Path, adapter: Path, pad_id: int) -> Any:
    """What the README shows: plain transformers and peft."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(CLASSES), dtype=torch.float32)
    model.config.pad_token_id = pad_id
    return peft.PeftModel.from_pretrained(model, adapter)


@pytest.mark.parametrize("base", ["gpt2", "bert", "bert_mlm"])
@pytest.mark.parametrize("method", ["head", "lora", "dora"])
def test_a_saved_adapter_loads_with_plain_peft_to_the_bit(bases: Bases, tmp_path: Path, base: str, method: str) -> None:
    folder = getattr(bases, base)
    made = adapted(bases, base, METHODS[method])
    train_a_little(made.model, folder)
    size = save_adapted(made, tmp_path / "adapter", base_name=str(folder))
    assert size == (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    expected = logits(made.model, folder)
    pad = {"gpt2": 256}.get(base, 0)
    assert torch.equal(logits(plainly_loaded(folder, tmp_path / "adapter", pad), folder), expected)
    assert torch.equal(logits(load_adapter(loaded(folder, seed=99).model, tmp_path / "adapter"), folder), expected)
    config = peft.PeftConfig.from_pretrained(tmp_path / "adapter")
    assert (config.base_model_name_or_path, str(config.task_type)) == (str(folder), "SEQ_CLS")


@pytest.mark.parametrize("base", ["gpt2", "bert_mlm"])
def test_a_saved_full_model_loads_with_plain_transformers_to_the_bit(bases: Bases, tmp_path: Path, base: str) -> None:
    folder = getattr(bases, base)
    made = adapted(bases, base, FullMethod())
    train_a_little(made.model, folder, steps=1)
    size = save_adapted(made, tmp_path / "model", base_name=str(folder))
    assert size > 4 * made.total_parameters * 0.99
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(logits(model, folder), logits(made.model, folder))
    assert model.config.id2label == {0: "neg", 1: "pos"}


def test_an_adapter_of_a_causal_model_loads_again(bases: Bases, tmp_path: Path) -> None:
    made = adapt(loaded(bases.gpt2, head="verbalizer"), lora())
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_adapted(made, tmp_path, base_name=str(bases.gpt2))
    again = load_adapter(loaded(bases.gpt2, head="verbalizer").model, tmp_path)
    assert torch.equal(logits(again, bases.gpt2), logits(made.model, bases.gpt2))


OPT_NAMES = {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"}
FAMILIES = {
    "opt": (OPT_NAMES, 2 * (4 * (16 + 16) + 2 * (16 + 32))),
    "opt_projected": (OPT_NAMES | {"project_in", "project_out"}, 2 * (4 * (16 + 16) + 2 * (16 + 32)) + 2 * (8 + 16)),
    "llama": (
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        2 * (2 * (16 + 16) + 2 * (16 + 8) + 3 * (16 + 24)),
    ),
}
"""Names of the linear modules, and the sum of their inputs and outputs, from the configurations in tiny.py by hand."""


@pytest.mark.parametrize("base", FAMILIES)
@pytest.mark.parametrize("head", ["sequence", "verbalizer"])
def test_all_linear_finds_the_layers_of_opt_and_llama(families: Families, base: str, head: str) -> None:
    names, extent = FAMILIES[base]
    made = adapt(loaded(getattr(families, base), head=head), lora(4))
    assert {name.rpartition(".")[2] for name in carriers(made)} == names
    assert made.adapter_parameters == 4 * extent
    # OPT's classification head reads what project_out narrows.
    head_inputs = 8 if base == "opt_projected" else 16
    assert made.trainable_parameters == 4 * extent + (2 * head_inputs if head == "sequence" else 0)


@pytest.mark.parametrize("base", FAMILIES)
@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_opt_and_llama_learn_what_the_method_says_and_load_again(
    families: Families, tmp_path: Path, base: str, method: str
) -> None:
    folder = getattr(families, base)
    plain = loaded(folder)
    assert plain.head_keys == plain.fresh_keys == ("score.weight",)
    torch.manual_seed(13)
    made = adapt(plain, METHODS[method])
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    train_a_little(made.model, folder, steps=3)
    moved = {name for name, p in made.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(learning(made))
    save_adapted(made, tmp_path / "kept", base_name=str(folder))
    expected = logits(made.model, folder)
    if method == "full":
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "kept", dtype=torch.float32)
        assert torch.equal(logits(model, folder), expected)
    else:
        assert torch.equal(logits(load_adapter(loaded(folder, seed=99).model, tmp_path / "kept"), folder), expected)
