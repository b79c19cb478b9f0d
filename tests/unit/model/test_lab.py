from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from lfray.errors import ModelError
from lfray.model.lab import LAB_BASES, build_lab_base, lab_base_key

TEXTS = [f"{who} {what} was {how} . {'splendid' if how == 'good' else 'dreadful'}" for who in ("the", "a")
         for what in ("kettle", "train", "soup") for how in ("good", "bad")]  # fmt: skip


@pytest.fixture(scope="module")
def folders(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("lab")
    for name in LAB_BASES:
        build_lab_base(name, TEXTS, root / name, steps=120 if name == "gpt2-tiny" else 300)
    return {name: root / name for name in LAB_BASES}


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", LAB_BASES)
def test_a_base_loads_as_any_other_model_does(folders: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    model = AutoModelForSequenceClassification.from_pretrained(folders[name], num_labels=2).eval()
    batch = tokenizer([TEXTS[0], "the kettle"], padding=True, return_tensors="pt")
    with torch.no_grad():
        together = model(**batch).logits
        alone = model(**tokenizer("the kettle", return_tensors="pt")).logits
    assert together.shape == (2, 2)
    assert torch.allclose(together[1], alone[0], atol=1e-5)
    assert model.config.num_hidden_layers == 2
    assert model.config.hidden_size == 64


@pytest.mark.parametrize("name", LAB_BASES)
def test_tokens_are_words_and_padding_is_none_of_them(folders: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    ids = tokenizer("the kettle was zebra", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert ids[3] == tokenizer.unk_token_id
    assert tokenizer.decode(ids[:3]) == "the kettle was"
    assert tokenizer.pad_token_id not in (*ids, tokenizer.eos_token_id, tokenizer.bos_token_id)
    framed = tokenizer("the")["input_ids"]
    assert len(framed) == (3 if name == "bert-tiny" else 1)


def test_gpt2_base_has_learnt_the_verdict(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["gpt2-tiny"])
    model = AutoModelForCausalLM.from_pretrained(folders["gpt2-tiny"]).eval()
    for how, verdict in (("good", "splendid"), ("bad", "dreadful")):
        with torch.no_grad():
            logits = model(**tokenizer(f"the train was {how} .", return_tensors="pt")).logits[0, -1]
        assert tokenizer.decode([int(logits.argmax())]) == verdict


def test_bert_base_fills_masks_and_its_pooled_vector_tells_sentiments_apart(folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["bert-tiny"])
    model = AutoModelForMaskedLM.from_pretrained(folders["bert-tiny"]).eval()
    batch = tokenizer("the train [MASK] good .", return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[0, 3]
    assert tokenizer.decode([int(logits.argmax())]) == "was"
    encoder = AutoModelForSequenceClassification.from_pretrained(folders["bert-tiny"], num_labels=2).bert.eval()
    good, bad, also_good = (
        encoder(**tokenizer(text, return_tensors="pt")).pooler_output[0]
        for text in ("the train was good .", "the train was bad .", "the soup was good .")
    )
    assert torch.dist(good, also_good) < 0.5 * torch.dist(good, bad)


def test_same_bits_again_whatever_the_callers_threads_and_random_state(folders: dict[str, Path], tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    try:
        build_lab_base("gpt2-tiny", TEXTS, tmp_path / "again", steps=120)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert weights(tmp_path / "again") == weights(folders["gpt2-tiny"])


def test_a_full_folder_is_left_as_it_is_and_nothing_else_stays(tmp_path: Path) -> None:
    build_lab_base("gpt2-tiny", TEXTS, tmp_path / "base", steps=1)
    first = weights(tmp_path / "base")
    build_lab_base("gpt2-tiny", TEXTS, tmp_path / "base", seed=1, steps=1)
    build_lab_base("gpt2-tiny", TEXTS, tmp_path / "other", seed=1, steps=1)
    assert weights(tmp_path / "base") == first
    assert weights(tmp_path / "other") != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "other"]


def test_key_covers_all_that_decides_the_base() -> None:
    keys = [
        lab_base_key("gpt2-tiny", TEXTS),
        lab_base_key("bert-tiny", TEXTS),
        lab_base_key("gpt2-tiny", TEXTS[::-1]),
        lab_base_key("gpt2-tiny", TEXTS[:-1]),
        lab_base_key("gpt2-tiny", TEXTS, seed=1),
        lab_base_key("gpt2-tiny", TEXTS, steps=5),
    ]
    assert len(set(keys)) == len(keys)
    assert lab_base_key("gpt2-tiny", list(TEXTS)) == keys[0]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lab:gpt-tiny is not a base that can be made\. Did you mean 'gpt2-tiny'"):
        build_lab_base("gpt-tiny", TEXTS, tmp_path / "base")
    with pytest.raises(ModelError, match=r"needs texts to learn from \(got 0\)"):
        lab_base_key("gpt2-tiny", [])
    with pytest.raises(ModelError, match=r"at most 126 words \(got 200\)"):
        lab_base_key("gpt2-tiny", ["word " * 200])
    assert not list(tmp_path.iterdir())
