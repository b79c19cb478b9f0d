"""A tiny world for whole sweeps: a few hundred rows, a two-layer BERT and GPT-2 drawn at random, saved as a user would have them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = [f"w{index}" for index in range(40)]


def write_rows(path: Path, *, rows: int, seed: int) -> None:
    """Rows whose label hangs on one word, for two communities that use different words for it."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label", "community", "tall", "loud"])
        for index in range(rows):
            label = int(generator.integers(2))
            community = "south" if generator.random() < 0.3 else "north"
            cue = (0 if community == "north" else 2) + label
            words = [
                f"id{seed}x{index}",
                WORDS[cue],
                *(WORDS[4 + i] for i in generator.integers(0, 36, size=int(generator.integers(2, 12)))),
            ]
            writer.writerow([" ".join(words), label, community, int(generator.random() < 0.4), int(generator.random() < 0.5)])


def save_tokenizer(folder: Path, *, causal: bool) -> int:
    """A word-level tokenizer; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "Answer", ":", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token=None if causal else "[PAD]", eos_token="[SEP]"
    )
    fast.save_pretrained(folder)
    return len(names)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    size = save_tokenizer(folder, causal=False)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("tiny-gpt2")
    size = save_tokenizer(folder, causal=True)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=3, eos_token_id=3)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-data")
    write_rows(folder / "train.csv", rows=400, seed=1)
    write_rows(folder / "test.csv", rows=200, seed=2)
    return folder


SWEEP = """\
version: 1
name: {name}
data:
  source: file:{data}/*.csv
  groups: {{community: {{column: community}}}}
  minority: {{group: community, value: south}}
  splits: {{train: train, validation: 0.1, test: test}}
  max_tokens: 32
model: {{base: "file:{base}"}}
methods:
  head: {{}}
  lora: {{}}
  full: {{}}
axes:
  method: [head, lora, full]
  rank: [2]
  downsampling_ratio: [1.0, 0.2]
  seed: [1]
train: {{epochs: 2, batch_size: 16, learning_rate: {{head: 1e-2, lora: 5e-3, full: 1e-3}}}}
objectives: [fair.worst_group_accuracy, cost.trainable_parameters]
storage: ./runs
"""


@pytest.fixture
def sweep(tmp_path: Path, tiny_bert: Path, tiny_data: Path) -> Callable[..., Path]:
    """Writes a sweep file into the test's folder, with some of its text replaced."""

    def write(name: str = "tiny", **replaced: str) -> Path:
        text = SWEEP.format(name=name, data=tiny_data, base=tiny_bert)
        for old, new in replaced.items():
            pattern = {line.split(":")[0].strip(): line for line in text.splitlines()}[old]
            text = text.replace(pattern, new)
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


def environment(folder: Path) -> dict[str, str]:
    """The process' environment without a user's own lfray settings, with a state folder of the test's."""
    kept = {key: value for key, value in os.environ.items() if key not in ("LFRAY_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return kept | {"XDG_STATE_HOME": str(folder / "state")}


def lfray(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lfray", *map(str, arguments)],
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        **options,
    )
