"""The tiny base and rows are what the hub's own loading code takes for a repository, and real models of their family."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lfray.errors import ModelError
from lfray.model.base import load_model
from lfray.model.folder import load_tokenizer, model_facts
from lfray.spec.sweep import SweepSpec
from lfray.tiny_hub import write_base, write_data

if TYPE_CHECKING:
    from pathlib import Path


def spec(**fields: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "version": 1,
            "name": "x",
            "data": {
                "source": "hub:lfray-tiny/rows",
                "config": "some",
                "groups": {"community": {"column": "community"}},
                "splits": {"train": "train", "test": "held"},
            },
            "model": {"base": "hub:lfray-tiny/base"},
            "methods": {"head": {}},
        }
        | fields
    )


def snapshot(hub: Path, kind: str, name: str) -> Path:
    repository = hub / f"{kind}s--lfray-tiny--{name}"
    return repository / "snapshots" / (repository / "refs" / "main").read_text()


@pytest.mark.parametrize(
    ("config", "head", "wanted"),
    [
        ({"model_type": "gpt2"}, "sequence", "GPT2LMHeadModel"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "sequence", "BertForMaskedLM"),
        ({"model_type": "opt"}, "verbalizer", "OPTForCausalLM"),
        ({"model_type": "llama"}, "verbalizer", "LlamaForCausalLM"),
        ({"model_type": "mistral"}, "sequence", "MistralForCausalLM"),
        ({"model_type": "roberta"}, "sequence", "RobertaForMaskedLM"),
        ({"model_type": "qwen2", "num_attention_heads": 14, "num_key_value_heads": 2}, "sequence", "Qwen2ForCausalLM"),
    ],
    ids=lambda value: value.get("model_type") if isinstance(value, dict) else None,
)
def test_a_base_is_a_small_model_of_its_family(
    config: dict[str, Any], head: str, wanted: str, tmp_path: Path, one_thread: None
) -> None:
    write_base(tmp_path, spec(), config)
    folder = snapshot(tmp_path, "model", "base")
    saved = json.loads((folder / "config.json").read_text())
    assert saved["model_type"] == config["model_type"]
    assert saved["architectures"] == [wanted]
    facts = model_facts(folder)
    assert facts.parameters < 100_000
    tokenizer = load_tokenizer(folder)
    loaded = load_model(folder, head=head, class_names=["0", "1"], pad_id=tokenizer.pad_token_id)
    assert sum("layers.1." in name or "layer.1." in name or ".h.1." in name for name, _ in loaded.model.named_parameters()) > 3
    ids = tokenizer("grim river, Ünïcode and all", return_tensors="pt")
    assert loaded.model(**ids).logits.isfinite().all()
    assert tokenizer.decode(ids["input_ids"][0], skip_special_tokens=True).strip() == "grim river, Ünïcode and all"


def test_the_same_sweep_gets_the_same_bits(tmp_path: Path, one_thread: None) -> None:
    found = []
    for place in (tmp_path / "one", tmp_path / "two"):
        write_base(place, spec(), {"model_type": "llama"})
        write_data(place, spec())
        folders = (snapshot(place, "model", "base"), snapshot(place, "dataset", "rows"))
        found.append(
            [(path.parent.name, path.name, path.read_bytes()) for folder in folders for path in sorted(folder.iterdir())]
        )
    assert found[0] == found[1]
    assert all(len(commit) == 40 and int(commit, 16) >= 0 for commit, _, _ in found[0])


def test_switches_of_the_real_configuration_stay(tmp_path: Path, one_thread: None) -> None:
    real = {
        "model_type": "opt", "do_layer_norm_before": False, "activation_function": "gelu", "hidden_size": 1024, "num_hidden_layers": 24,
        "word_embed_proj_dim": 512, "vocab_size": 50272, "id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1},
        "architectures": ["OPTForSequenceClassification"],
    }  # fmt: skip
    write_base(tmp_path, spec(), real)
    folder = snapshot(tmp_path, "model", "base")
    saved = json.loads((folder / "config.json").read_text())
    assert saved["do_layer_norm_before"] is False
    assert saved["activation_function"] == "gelu"
    assert saved["hidden_size"] < 100
    assert saved["id2label"] == {"0": "no", "1": "yes"}
    assert model_facts(folder).trained_head


def test_a_family_that_cannot_be_made_small_is_refused(tmp_path: Path, one_thread: None) -> None:
    with pytest.raises(ModelError, match="--tiny cannot make a small no-such-family"):
        write_base(tmp_path, spec(), {"model_type": "no-such-family"})
    assert not list(tmp_path.rglob("snapshots/*"))


def test_rows_are_read_by_the_real_loader(tmp_path: Path) -> None:
    import datasets

    write_data(tmp_path, spec())
    folder = snapshot(tmp_path, "dataset", "rows")
    loaded = datasets.load_dataset(str(folder), "some", cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "held"}
    assert set(loaded["held"].column_names) == {"text", "label", "community"}
    assert set(loaded["held"]["label"]) == {0, 1}
