"""`lab:` bases: a GPT-2-style and a BERT-style model, small enough to pre-train on two cores while one waits.

A base is made on first use from the unlabelled text of a planted world, which the caller hands over, and saved in Hugging
Face's layout, so the rest of the pipeline meets it as it meets any other model. The GPT-2-style base predicts the next word;
the BERT-style base predicts masked words, and from [CLS] the text's last word, which is left out: what next-sentence
prediction was for BERT, it makes the pooled vector worth reading.

Training runs on one thread whatever the caller's setting: sums then have one order, so the same machine makes the same bits
again, and at this size a second thread gains little.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lfray.errors import ModelError, did_you_mean
from lfray.fingerprint import fingerprint, lines_digest

# B rows, T tokens, V words of the vocabulary

LAB_BASES: Final = ("gpt2-tiny", "bert-tiny")
GENERATOR_VERSION: Final = 2
"""Raised whenever a change here changes any base: cached bases are then made anew."""

LAYERS, WIDTH, HEADS, POSITIONS = 2, 64, 4, 128
BATCH, FLOOR = 32, 0.02
"""Rows an update; share of the peak learning rate to which it falls, linearly after the warm-up."""


@dataclass(frozen=True)
class Recipe:
    """How a base is trained."""

    steps: int
    """Updates: well beyond what the slowest seed tried needed to read both communities' verdicts."""
    peak_rate: float
    warm_up: int
    """Updates."""


# Six seeds of gpt2-tiny were there after 600 updates, four of bert-tiny after 1200. BERT's norm behind each block wants the
# smaller rate and the longer warm-up: at gpt2-tiny's it learnt nothing.
RECIPES: Final = {"gpt2-tiny": Recipe(1200, 5e-3, 50), "bert-tiny": Recipe(2000, 3e-3, 200)}

MASKED: Final = 0.15
IGNORED: Final = -100
"""Target that `cross_entropy` leaves out."""

_SPECIAL: Final = {
    "gpt2-tiny": {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>"},
    "bert-tiny": {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    },
}  # fmt: skip


def lab_base_key(name: str, texts: Sequence[str], *, seed: int = 0, steps: int | None = None) -> str:
    """16 hex digits over all that decides the base: name, texts in their order, seed, recipe, generator version.

    Raises:
        ModelError: No such base.
    """
    recipe = _recipe(name, texts, steps)
    return fingerprint([GENERATOR_VERSION, name, lines_digest(texts), len(texts), seed, asdict(recipe)])


def build_lab_base(name: str, texts: Sequence[str], folder: Path, *, seed: int = 0, steps: int | None = None) -> None:
    """Pre-train a base on `texts` and save it, with its tokenizer, in `folder`.

    The folder appears whole or not at all; where another process was faster, its folder stays. On one core gpt2-tiny takes
    about 15 s, bert-tiny 24 s. The caller's random state and thread count are as before afterwards.

    Args:
        name: One of `LAB_BASES`.
        texts: Words separated by spaces; every word becomes one token.
        folder: Where the Hugging Face files go; its parents are made. A folder that holds files is left as it is.
        seed: Of the initial weights, the order and the masking.
        steps: Updates of `BATCH` texts; None: the recipe's.

    Raises:
        ModelError: No such base, or no texts, or one longer than the model's positions.
    """
    recipe = _recipe(name, texts, steps)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = _tokenizer(name, texts)
            model = _model(name, tokenizer)
            _train(model, tokenizer, [tokenizer.encode(text, add_special_tokens=False) for text in texts], recipe)
        # It imports accelerate, that deepspeed, and that logs to what is stdout at the moment: a command's JSON goes there.
        with contextlib.redirect_stdout(sys.stderr):
            model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        if not (folder.is_dir() and any(folder.iterdir())):
            _move(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(scratch: Path, folder: Path) -> None:
    """Rename, unless another process has filled `folder` in the meantime."""
    try:
        scratch.rename(folder)
    except OSError:
        if not folder.is_dir() or not any(folder.iterdir()):
            raise


def _recipe(name: str, texts: Sequence[str], steps: int | None) -> Recipe:
    """The base's recipe with `steps` in it, once name and texts are found to be in order."""
    if name not in LAB_BASES:
        raise ModelError(f"model.base: lab:{name} is not a base that can be made. {did_you_mean(name, LAB_BASES)}")
    if not texts:
        raise ModelError("model.base: a lab base needs texts to learn from (got 0)")
    longest = max(len(text.split()) for text in texts)
    if longest + 2 > POSITIONS:
        raise ModelError(f"model.base: texts for a lab base hold at most {POSITIONS - 2} words (got {longest})")
    return RECIPES[name] if steps is None else replace(RECIPES[name], steps=steps)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tokenizer(name: str, texts: Sequence[str]) -> Any:
    """One token a word, special tokens first; `Any` because transformers has no types."""
    special = _SPECIAL[name]
    words = sorted({word for text in texts for word in text.split()} - set(special.values()))
    ids = {word: index for index, word in enumerate([*special.values(), *words])}
    backend = Tokenizer(WordLevel(ids, unk_token=special["unk_token"]))
    backend.pre_tokenizer = WhitespaceSplit()
    inputs = ["input_ids", "attention_mask"]
    if name == "bert-tiny":
        ends = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
        backend.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
        inputs.append("token_type_ids")
    # Without model_input_names a GPT-2 would be handed token types, which it adds as if they were words.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=POSITIONS, padding_side="right", model_input_names=inputs,
        clean_up_tokenization_spaces=False, **special,
    )  # fmt: skip


def _model(name: str, tokenizer: Any) -> Any:
    """Fresh weights. No dropout: at this size it costs accuracy and makes two short trainings harder to compare."""
    if name == "gpt2-tiny":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            )
        )  # fmt: skip
    return BertForPreTraining(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH, max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def _train(model: Any, tokenizer: Any, rows: list[list[int]], recipe: Recipe) -> None:
    """AdamW over the recipe's batches, epoch after epoch in new order; leaves the model in evaluation mode."""
    loss_of = _causal_loss if isinstance(model, GPT2LMHeadModel) else _masked_loss
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.peak_rate, weight_decay=0.01)
    model.train()
    order: list[int] = []
    for step in range(recipe.steps):
        while len(order) < min(BATCH, len(rows)):
            order += torch.randperm(len(rows)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        rate = recipe.peak_rate * min((step + 1) / recipe.warm_up, max(FLOOR, 1 - step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, tokenizer, [rows[index] for index in chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def _pad(rows: list[list[int]], value: int) -> torch.Tensor:
    """[B, T] with `value` behind the shorter rows."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def _causal_loss(model: Any, tokenizer: Any, rows: list[list[int]]) -> torch.Tensor:
    """Mean of -log p(next word); the end token is a word like another."""
    ended = [[*row, tokenizer.eos_token_id] for row in rows]
    targets_BT = _pad(ended, IGNORED)
    mask_BT = (targets_BT != IGNORED).long()
    logits_BTV = model(input_ids=_pad(ended, tokenizer.pad_token_id), attention_mask=mask_BT).logits
    return cross_entropy(logits_BTV[:, :-1].transpose(1, 2), targets_BT[:, 1:], ignore_index=IGNORED)


def _masked_loss(model: Any, tokenizer: Any, rows: list[list[int]]) -> torch.Tensor:
    """Mean of -log p(masked word) plus mean of -log p(last word | pooled [CLS])."""
    framed = [[tokenizer.cls_token_id, *row[:-1], tokenizer.sep_token_id] for row in rows]
    ids_BT = _pad(framed, tokenizer.pad_token_id)
    words_BT = (ids_BT != tokenizer.pad_token_id) & (ids_BT != tokenizer.cls_token_id) & (ids_BT != tokenizer.sep_token_id)
    hidden_BT = words_BT & (torch.rand(ids_BT.shape) < MASKED)
    encoded = model.bert(
        input_ids=ids_BT.masked_fill(hidden_BT, tokenizer.mask_token_id), attention_mask=(ids_BT != tokenizer.pad_token_id).long()
    )
    last_B = torch.tensor([row[-1] for row in rows])
    loss = cross_entropy(model.cls.predictions(encoded.pooler_output), last_B)
    if hidden_BT.any():
        loss = loss + cross_entropy(model.cls.predictions(encoded.last_hidden_state[hidden_BT]), ids_BT[hidden_BT])
    return loss
