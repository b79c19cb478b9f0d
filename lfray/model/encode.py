"""Texts to token ids: for a classification head as the tokenizer would, for a verbalizer inside its template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lfray.errors import ModelError
from lfray.fingerprint import fingerprint

if TYPE_CHECKING:
    from lfray.space.trial import TaskConfig


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of some texts. `truncated` marks texts that were longer than allowed."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    truncated: list[bool]


class TextEncoder:
    """Encodes texts, or pairs of texts, to at most `max_tokens` ids."""

    def __init__(self, tokenizer: Any, task: TaskConfig, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._task = task
        self._max = max_tokens
        self._answers = [] if task.answers is None else answer_ids(tokenizer, task)

    def __call__(self, texts: list[str], pairs: list[str] | None) -> EncodedTexts:
        """Encode; a text that has no token becomes the one token that stands for nothing (end of text or unknown)."""
        if self._task.head == "verbalizer":
            return self._prompts(texts, pairs)
        full = self._tokenizer(texts, pairs, truncation=False, padding=False, verbose=False)
        lengths = [len(ids) for ids in full["input_ids"]]
        cut = (
            self._tokenizer(texts, pairs, truncation=True, max_length=self._max, padding=False)
            if max(lengths) > self._max
            else full
        )
        types = cut.get("token_type_ids")
        filler = self._filler()
        ids = [row or [filler] for row in cut["input_ids"]]
        if types is not None:
            types = [row or [0] for row in types]
        return EncodedTexts(ids, types, [length > self._max for length in lengths])

    def _prompts(self, texts: list[str], pairs: list[str] | None) -> EncodedTexts:
        """Fill the template; where it is too long the text is shortened, never the template or the answer."""
        template = self._task.template or "{text}"
        filler = self._filler()
        room = self._max - max(len(answer) for answer in self._answers)
        rows, truncated = [], []
        for index, text in enumerate(texts):
            pair = pairs[index] if pairs is not None else ""
            ids = self._fill(template, text, pair)
            over = len(ids) - room
            truncated.append(over > 0)
            while over > 0 and text:
                text = self._shorter(text, over)
                ids = self._fill(template, text, pair)
                over = len(ids) - room
            if over > 0:
                raise ModelError(
                    f"data.max_tokens: the template alone needs {len(ids)} tokens (room for {room}). Raise max_tokens"
                )
            rows.append(ids or [filler])
        return EncodedTexts(rows, None, truncated)

    def _shorter(self, text: str, over: int) -> str:
        """The text without its last `over` tokens, and always shorter than before."""
        kept = self._tokenizer(text, add_special_tokens=False)["input_ids"][:-over]
        # A cut inside a character decodes to U+FFFD, which may take as many tokens as were cut: without this it never ends.
        shorter = str(self._tokenizer.decode(kept)).rstrip("\ufffd") if kept else ""
        return shorter if len(shorter) < len(text) else text[:-1]

    def _fill(self, template: str, text: str, pair: str) -> list[int]:
        parts = {"{text}": text, "{text_pair}": pair}
        # One pass: braces inside a row's own text are not the template's.
        filled = re.sub(r"\{text(?:_pair)?\}", lambda found: parts[found.group()], template)
        ids: list[int] = self._tokenizer(filled, verbose=False)["input_ids"]
        eos = self._tokenizer.eos_token_id
        # An end-of-text token that the tokenizer adds would stand between the prompt and its answer.
        return ids[:-1] if len(ids) > 1 and eos is not None and ids[-1] == eos else ids

    def _filler(self) -> int:
        for token in (self._tokenizer.eos_token_id, self._tokenizer.unk_token_id, self._tokenizer.pad_token_id):
            if token is not None:
                return int(token)
        return 0


def answer_ids(tokenizer: Any, task: TaskConfig) -> list[list[int]]:
    """Token ids of each answer as it continues a prompt: without special tokens, after one space unless the template ends in one.

    Raises:
        ModelError: Two answers have the same tokens, or one starts another.
    """
    template = task.template or ""
    lead = "" if template.endswith((" ", "\n")) else " "
    ids: list[list[int]] = [
        tokenizer(lead + answer.strip(), add_special_tokens=False)["input_ids"] for answer in task.answers or ()
    ]
    for i, one in enumerate(ids):
        for j, other in enumerate(ids):
            if i != j and other[: len(one)] == one:
                raise ModelError(f"task.verbalizer.answers: tokens of {task.answers} must not start one another (got {ids})")
    return ids


def encoding_key(model_fingerprint: str, task: TaskConfig, max_tokens: int) -> str:
    """Identity of a tokenised table: the same rows under another model, template or length are another table."""
    return fingerprint([model_fingerprint, max_tokens, task.head, task.template, list(task.answers or ())])
