"""What a sweep's trials share, made once before any of them starts: prepared rows, the base model's folder, tokens.

Nothing here trains or measures. A second call with the same inputs finds everything in place.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lfray.data.prepare import prepare_data
from lfray.data.text import encode_rows
from lfray.errors import ModelError, did_you_mean
from lfray.model.encode import EncodedTexts, TextEncoder, encoding_key
from lfray.model.folder import load_tokenizer, model_facts, resolve_folder

if TYPE_CHECKING:
    from lfray.data.prepared import PreparedData
    from lfray.space.facts import ModelFacts
    from lfray.space.trial import TaskConfig
    from lfray.spec.sweep import SweepSpec
    from lfray.storage import Storage


LAB_TEXTS = 15_000
"""Reviews that a lab base is pre-trained on."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data and base model of a sweep, found and in numbers."""

    data: PreparedData
    model: ModelFacts


def prepare(spec: SweepSpec, *, folder: Path, storage: Storage) -> Prepared:
    """Prepare the rows and find (or, for the lab, make) the base model.

    Args:
        spec: The checked sweep.
        folder: The sweep file's folder: relative paths start there.
        storage: Where prepared data and lab bases are kept.

    Raises:
        DataError: The rows break a rule.
        ModelError: The base model is absent or does not fit.
    """
    data = prepare_data(spec.data, spec.task, folder=folder, root=storage.data_root)
    base = _lab_base(spec, storage) if spec.model.base.startswith("lab:") else resolve_folder(spec.model, folder=folder)
    return Prepared(data, model_facts(base))


def tokenize(prepared: Prepared, task: TaskConfig, *, max_tokens: int, trust_remote_code: bool = False) -> int:
    """Tokenise the prepared rows for this base, once; returns how many were truncated."""

    def encoder(texts: list[str], pairs: list[str] | None) -> EncodedTexts:
        return made()(texts, pairs)

    @cache
    def made() -> TextEncoder:
        # Made only where tokens are missing: a tokenizer costs the import of transformers, 2 s.
        tokenizer = load_tokenizer(Path(prepared.model.folder), trust_remote_code=trust_remote_code)
        return TextEncoder(tokenizer, task, max_tokens)

    rows = encode_rows(prepared.data, encoder, key=encoding_key(prepared.model.fingerprint, task, max_tokens))
    return int(rows.truncated.sum())


def _lab_base(spec: SweepSpec, storage: Storage) -> Path:
    """Folder of a lab base, pre-trained on first use; the key covers its text, so another world gets another base."""
    from lfray.data.lab import lab_world
    from lfray.model.lab import LAB_BASES, build_lab_base, lab_base_key

    name = spec.model.base.removeprefix("lab:")
    if name not in LAB_BASES:
        raise ModelError(f"model.base: no such lab base (got {spec.model.base}). {did_you_mean(name, LAB_BASES)}")
    if spec.model.options:
        raise ModelError(f"model.options: {spec.model.base} takes none (got {', '.join(spec.model.options)}). Remove them")
    source = spec.data.source.removeprefix("lab:") if spec.data.source.startswith("lab:") else "reviews"
    texts = lab_world(source, spec.data.options).unlabelled(LAB_TEXTS, seed=0)
    target: Path = storage.model_root / lab_base_key(name, texts)
    if not (target / "config.json").exists():
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        build_lab_base(name, texts, temporary)
        # rename refuses a full folder: whoever came first has made the same base
        try:
            os.replace(temporary, target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
    return target
