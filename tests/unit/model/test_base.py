from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lfray.errors import ModelError
from lfray.model.base import draw_head, load_model
from lfray.model.folder import load_tokenizer, model_facts, resolve_folder, weight_files
from lfray.spec.stages import ModelSpec
from tests.unit.model.tiny import CLASSES, LAYERS, POSITIONS, WIDTH, loaded, logits

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def drop_weights(folder: Path, part: str) -> None:
    path = folder / "model.safetensors"
    save_file({name: w for name, w in load_file(path).items() if part not in name}, path, metadata={"format": "pt"})


def test_a_folder_is_found_relative_to_the_sweep_file(bases: Bases) -> None:
    root = bases.gpt2.parent
    assert resolve_folder(ModelSpec(base="file:gpt2"), folder=root) == bases.gpt2.resolve()
    assert resolve_folder(ModelSpec(base=f"file:{bases.gpt2}"), folder=Path("/")) == bases.gpt2.resolve()


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must be a folder with config\.json"):
        resolve_folder(ModelSpec(base="file:absent"), folder=tmp_path)


def test_pickled_weights_are_refused(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "bin")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"must hold safetensors \(got .*pytorch_model\.bin"):
        weight_files(folder)
    with pytest.raises(ModelError, match="must hold safetensors"):
        model_facts(folder)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, head="sequence", class_names=CLASSES, pad_id=0)


def test_facts_of_a_base(bases: Bases) -> None:
    facts = model_facts(bases.gpt2)
    per_layer = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    vectors = 3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH + 4 * WIDTH
    in_layers = LAYERS * (sum(a * b for a, b in per_layer) + vectors)
    assert facts.parameters == 257 * WIDTH + POSITIONS * WIDTH + in_layers + 2 * WIDTH
    assert facts.linear_extent == LAYERS * sum(a + b for a, b in per_layer)
    assert facts.weight_bytes == (bases.gpt2 / "model.safetensors").stat().st_size
    assert (facts.folder, facts.max_positions, facts.trained_head) == (str(bases.gpt2), POSITIONS, False)


def test_a_trained_head_is_seen(bases: Bases) -> None:
    found = {folder.name: model_facts(folder).trained_head for folder in (bases.bert, bases.bert_mlm, bases.bert_trained)}
    assert found == {"bert": False, "bert-mlm": False, "bert-trained": True}


def test_the_fingerprint_is_of_the_content(bases: Bases, tmp_path: Path) -> None:
    original = model_facts(bases.bert).fingerprint
    same = copied(bases.bert, tmp_path / "elsewhere")
    edit_config(same, _name_or_path="me/other", transformers_version="5.0.0", dtype="float16")
    (same / "README.md").write_text("words")
    assert model_facts(same).fingerprint == original

    def moved(name: str, change: Any) -> str:
        folder = copied(bases.bert, tmp_path / name)
        change(folder)
        return model_facts(folder).fingerprint

    def flip(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    def reword(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace('"film"', '"fifi"'))

    others = [
        moved("weights", flip),
        moved("config", lambda folder: edit_config(folder, hidden_act="relu")),
        moved("architecture", lambda folder: edit_config(folder, architectures=["BertForSequenceClassification"])),
        moved("tokenizer", reword),
    ]
    assert len({original, *others}) == 5


def test_a_base_without_a_tokenizer_is_refused(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "b")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="must hold a tokenizer"):
        model_facts(folder)


def test_end_of_text_stands_in_for_a_pad_token(bases: Bases) -> None:
    tokenizer = load_tokenizer(bases.gpt2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.padding_side) == ("<|endoftext|>", 256, "right")
    assert load_tokenizer(bases.bert).pad_token == "[PAD]"


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
