from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import XLNetConfig, XLNetForSequenceClassification

from lfray.errors import CapacityError, ModelError
from lfray.model.base import draw_head, load_model
from lfray.model.execution import attention_of
from lfray.model.folder import load_tokenizer, model_facts
from tests.unit.model.tiny import CLASSES, POSITIONS, copied, edit_config, inputs, loaded, logits

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases, Families


def drop_weights(folder: Path, part: str) -> None:
    path = folder / "model.safetensors"
    save_file({name: w for name, w in load_file(path).items() if part not in name}, path, metadata={"format": "pt"})


def test_pickled_weights_are_not_loaded(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "bin")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


def test_padding_does_not_change_what_a_causal_head_reads(bases: Bases) -> None:
    model: Any = loaded(bases.gpt2)
    assert model.model.config.pad_token_id == 256
    together = logits(model.model, bases.gpt2)
    tokenizer = load_tokenizer(bases.gpt2)
    for text, row in zip(["a good film", "bad"], together, strict=False):
        with torch.inference_mode():
            alone = model.model(**tokenizer([text], return_tensors="pt")).logits[0]
        torch.testing.assert_close(alone, row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("base", "head", "fresh"),
    [
        ("gpt2", {"score.weight"}, {"score.weight"}),
        ("bert", {"classifier.weight", "classifier.bias"}, {"classifier.weight", "classifier.bias"}),
        (
            "bert_mlm",
            {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"},
            {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"},
        ),
        ("bert_trained", {"classifier.weight", "classifier.bias"}, set()),
    ],
)
def test_the_head_is_what_the_checkpoint_lacks_or_keeps_outside_the_backbone(
    bases: Bases, base: str, head: set[str], fresh: set[str]
) -> None:
    model: Any = loaded(getattr(bases, base))
    assert (set(model.head_keys), set(model.fresh_keys)) == (head, fresh)
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float32}
    assert model.model.config.id2label == {0: "neg", 1: "pos"}


def test_a_trained_head_of_other_classes_is_drawn_anew(bases: Bases) -> None:
    model = loaded(bases.bert_trained, classes=("a", "b", "c"))
    assert set(model.fresh_keys) == {"classifier.weight", "classifier.bias"}
    assert logits(model.model, bases.bert_trained).shape == (4, 3)


def test_a_trained_head_keeps_its_weights(bases: Bases) -> None:
    stored = load_file(bases.bert_trained / "model.safetensors")["classifier.weight"]
    assert torch.equal(loaded(bases.bert_trained).model.state_dict()["classifier.weight"], stored)


def test_the_head_is_a_function_of_the_seed_alone(bases: Bases) -> None:
    first = loaded(bases.bert_mlm, seed=13).model.state_dict()
    torch.rand(3)
    again, other = loaded(bases.bert_mlm, seed=13).model.state_dict(), loaded(bases.bert_mlm, seed=14).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    differ = {name for name in first if not torch.equal(first[name], other[name])}
    assert differ == {"classifier.weight", "bert.pooler.dense.weight"}


def test_drawing_leaves_torchs_own_generator_alone(bases: Bases) -> None:
    model = loaded(bases.bert)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draw_head(model, 13)
    assert torch.equal(torch.rand(2), expected)


def test_the_head_has_the_spread_that_the_configuration_names(bases: Bases) -> None:
    state = loaded(bases.bert_mlm).model.state_dict()
    assert float(state["bert.pooler.dense.weight"].std()) == pytest.approx(0.3, rel=0.15)
    assert not state["classifier.bias"].any()
    assert not state["bert.pooler.dense.bias"].any()


@pytest.mark.parametrize("part", ["layer.1.output", "embeddings.word"])
def test_a_backbone_with_holes_is_refused(bases: Bases, tmp_path: Path, part: str) -> None:
    folder = copied(bases.bert, tmp_path / "b")
    drop_weights(folder, part)
    with pytest.raises(ModelError, match=f"must bring every weight of the base.*{part}"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


def test_weights_of_another_size_than_the_configuration_are_refused(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "b")
    edit_config(folder, vocab_size=41)
    with pytest.raises(ModelError, match=r"word_embeddings"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


def test_a_verbalizer_needs_a_language_model(bases: Bases) -> None:
    model = loaded(bases.gpt2, head="verbalizer")
    assert (model.head_keys, model.fresh_keys) == ((), ())
    assert logits(model.model, bases.gpt2).shape[-1] == 257
    with pytest.raises(ModelError, match="must bring every weight"):
        loaded(bases.bert, head="verbalizer")


def test_what_transformers_cannot_build_is_refused(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "b")
    edit_config(folder, model_type="no-such-model")
    with pytest.raises(ModelError, match="cannot be loaded with head: sequence"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


def test_a_trained_head_with_the_same_classes_in_another_order_is_refused(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "swapped")
    edit_config(folder, id2label={str(index): name for index, name in enumerate(reversed(CLASSES))})
    with pytest.raises(ModelError, match="must be in the order"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


@pytest.mark.parametrize("base", ["opt", "opt_projected", "llama"])
def test_the_head_of_opt_and_llama_reads_the_last_token_that_is_not_padding(families: Families, base: str) -> None:
    folder = getattr(families, base)
    model: Any = loaded(folder).model
    together, given = logits(model, folder), inputs(folder)
    with torch.inference_mode():
        scored = model.score(model.model(**given).last_hidden_state)
    for row, mask in enumerate(given["attention_mask"]):
        last = int(mask.sum()) - 1
        torch.testing.assert_close(together[row], scored[row, last], rtol=1e-5, atol=1e-6)
        with torch.inference_mode():
            alone = model(input_ids=given["input_ids"][row : row + 1, : last + 1]).logits[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", ["opt", "llama"])
def test_opt_and_llama_take_as_many_tokens_as_their_facts_say(families: Families, base: str) -> None:
    folder = getattr(families, base)
    facts = model_facts(folder)
    assert facts.max_positions == POSITIONS
    with torch.inference_mode():
        full = loaded(folder).model(input_ids=torch.full((1, facts.max_positions), 5)).logits
    assert torch.isfinite(full).all()
    if base == "opt":  # learned positions, the first two of which OPT leaves out; Llama's are computed
        with pytest.raises(IndexError), torch.inference_mode():
            loaded(folder).model(input_ids=torch.full((1, facts.max_positions + 1), 5))


def test_the_head_of_opt_has_the_spread_that_the_configuration_names(families: Families) -> None:
    state = loaded(families.opt, classes=tuple("abcdefghijklmnop")).model.state_dict()
    assert float(state["score.weight"].std()) == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("head", ["sequence", "verbalizer"])
def test_the_attention_that_was_asked_for_runs(bases: Bases, attention: str, head: str) -> None:
    model = load_model(bases.gpt2, head=head, class_names=CLASSES, pad_id=256, attention=attention)
    assert attention_of(model.model) == attention


def test_an_attention_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "xlnet"
    config = XLNetConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_inner=16)
    XLNetForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"XLNetForSequenceClassification has \(eager; got sdpa\)"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=5, attention="sdpa")
    found = load_model(folder, head="sequence", class_names=CLASSES, pad_id=5, attention="eager")
    assert attention_of(found.model) == "eager"


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash_attn is installed")
def test_flash_attention_without_its_package_is_refused(bases: Bases) -> None:
    with pytest.raises(CapacityError, match=r"needs the package flash_attn and a GPU .*Install flash-attn"):
        load_model(bases.gpt2, head="sequence", class_names=CLASSES, pad_id=256, attention="flash_attention_2")
