from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from lfray.errors import ModelError
from lfray.model.folder import load_tokenizer, model_facts, resolve_folder, weight_files
from lfray.spec.stages import ModelSpec
from tests.unit.model.tiny import LAYERS, POSITIONS, WIDTH, copied, edit_config

if TYPE_CHECKING:
    from tests.unit.model.tiny import Bases


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


def test_settings_of_the_tokenizer_are_part_of_the_identity(bases: Bases, tmp_path: Path) -> None:
    folder = copied(bases.bert, tmp_path / "folded")
    before = model_facts(folder).fingerprint
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"name_or_path": "elsewhere"}))
    assert model_facts(folder).fingerprint == before
    path.write_text(json.dumps(settings | {"do_lower_case": True}))
    assert model_facts(folder).fingerprint != before
