"""Base models of some thousand parameters with their tokenizers, saved as a user would have them on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from lfray.model.base import LoadedModel

WIDTH, LAYERS, POSITIONS = 16, 2, 64
TEXTS = ["a good film", "bad", "the plot is not so good , and the end is bad", "ok"]
CLASSES = ("neg", "pos")


@dataclass(frozen=True)
class Bases:
    """Folders."""

    gpt2: Path
    """A causal model without a pad token."""
    bert: Path
    """An encoder with a pooler, no head."""
    bert_mlm: Path
    """A masked-language checkpoint: no pooler, no classification head."""
    bert_trained: Path
    """With a trained head of two classes."""


def make_bases(root: Path) -> Bases:
    """Save them all under `root`; weights come from a fixed seed."""
    import torch
    import transformers as tf

    with torch.random.fork_rng():
        torch.manual_seed(0)
        gpt2 = tf.GPT2Config(
            vocab_size=257, n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=2, bos_token_id=256, eos_token_id=256,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.3,
        )  # fmt: skip
        bert = tf.BertConfig(
            vocab_size=40, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=POSITIONS, initializer_range=0.3,
        )  # fmt: skip
        folders = Bases(*(root / name for name in ("gpt2", "bert", "bert-mlm", "bert-trained")))
        _save(tf.GPT2LMHeadModel(gpt2), byte_tokenizer(), folders.gpt2)
        _save(tf.BertModel(bert), word_tokenizer(), folders.bert)
        _save(tf.BertForMaskedLM(bert), word_tokenizer(), folders.bert_mlm)
        _save(tf.BertForSequenceClassification(bert), word_tokenizer(), folders.bert_trained)
    return folders


@dataclass(frozen=True)
class Families:
    """Folders of causal models."""

    opt: Path
    """With a pad token, as OPT-1.3B."""
    opt_projected: Path
    """Embeddings narrower than the layers, norms behind the blocks: as OPT-350m."""
    llama: Path
    """Grouped queries, no pad token."""


def make_families(root: Path) -> Families:
    """Save them all under `root`; weights come from a fixed seed."""
    import torch
    import transformers as tf

    opt = {
        "vocab_size": 258, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "ffn_dim": 32,
        "max_position_embeddings": POSITIONS, "pad_token_id": 257, "bos_token_id": 256, "eos_token_id": 256, "dropout": 0.0,
        "init_std": 0.3,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        llama = tf.LlamaConfig(
            vocab_size=257, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=24, max_position_embeddings=POSITIONS, bos_token_id=256, eos_token_id=256, initializer_range=0.3,
        )  # fmt: skip
        folders = Families(*(root / name for name in ("opt", "opt-projected", "llama")))
        padded = byte_tokenizer()
        padded.add_special_tokens({"pad_token": "<pad>"})
        _save(tf.OPTForCausalLM(tf.OPTConfig(**opt, word_embed_proj_dim=WIDTH)), padded, folders.opt)
        projected = tf.OPTConfig(**opt, word_embed_proj_dim=8, do_layer_norm_before=False)
        _save(tf.OPTForCausalLM(projected), padded, folders.opt_projected)
        _save(tf.LlamaForCausalLM(llama), byte_tokenizer(), folders.llama)
    return folders


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer() -> Any:
    """GPT-2's scheme without a merge: one token a byte, then an end-of-text token; no pad token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary | {"<|endoftext|>": 256}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def word_tokenizer() -> Any:
    """BERT's scheme over the words of TEXTS."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def copied(folder: Path, target: Path) -> Path:
    """A copy of a base, to be changed."""
    shutil.copytree(folder, target)
    return target


def edit_config(folder: Path, **fields: Any) -> None:
    """Other values in a config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def loaded(folder: Path, *, seed: int = 13, head: str = "sequence", classes: tuple[str, ...] = CLASSES) -> LoadedModel:
    """A base in memory, its fresh head drawn, in evaluation mode."""
    from lfray.model.base import draw_head, load_model
    from lfray.model.folder import load_tokenizer

    tokenizer = load_tokenizer(folder)
    model = load_model(folder, head=head, class_names=classes, pad_id=tokenizer.pad_token_id)
    draw_head(model, seed)
    model.model.eval()
    return model


def inputs(folder: Path, texts: list[str] | None = None) -> dict[str, Any]:
    """TEXTS as padded tensors."""
    from lfray.model.folder import load_tokenizer

    return dict(load_tokenizer(folder)(texts or TEXTS, padding=True, return_tensors="pt"))


def logits(model: nn.Module, folder: Path) -> Any:
    """Logits of TEXTS in evaluation mode."""
    import torch

    model.eval()
    with torch.inference_mode():
        return model(**inputs(folder)).logits


def train_a_little(model: nn.Module, folder: Path, *, steps: int = 3) -> None:
    """A few large steps on what requires gradients."""
    import torch
    from torch.nn import functional

    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.5)
    model.train()
    for _ in range(steps):
        torch.autograd.backward(functional.cross_entropy(model(**inputs(folder)).logits, torch.tensor([1, 0, 0, 1])))
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
