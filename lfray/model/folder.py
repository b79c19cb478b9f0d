"""The base model as files: found, fingerprinted, counted; and its tokenizer. Free of torch, since the driver of a sweep needs it.

Weights are read from safetensors only: a pickle from a hub could run code.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import ModelError
from lfray.fingerprint import file_digest, fingerprint
from lfray.space.facts import ModelFacts

if TYPE_CHECKING:
    from lfray.spec.stages import ModelSpec

VOLATILE = ("_name_or_path", "name_or_path", "tokenizer_file", "transformers_version", "torch_dtype", "dtype", "architectures")
"""Keys of config.json that say where and by what it was written, not what it computes (architectures counts apart)."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def resolve_folder(spec: ModelSpec, *, folder: Path) -> Path:
    """Local folder of a `file:` or `hub:` base.

    Args:
        spec: The model block.
        folder: What a relative `file:` path is relative to.

    Raises:
        ModelError: The folder is absent, or the hub neither answers nor has the model in its cache.
    """
    scheme, _, name = spec.base.partition(":")
    if scheme == "file":
        path = (folder / Path(name).expanduser()).resolve()
        if not (path / "config.json").is_file():
            raise ModelError(f"model.base: must be a folder with config.json (got {path}). Save it with save_pretrained")
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        try:
            return Path(snapshot_download(name, revision=spec.revision, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(snapshot_download(name, revision=spec.revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model.base: {name}@{spec.revision} is neither in the hub's cache nor to be fetched ({type(error).__name__}). "
            "Check the name and the network, or use file:<folder>"
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Safetensors of a model folder, sorted.

    Raises:
        ModelError: There are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"model.base: {folder} must hold safetensors (got {', '.join(sorted(p.name for p in folder.iterdir())) or 'nothing'}). "
            "Convert it with save_pretrained; pickled weights are not loaded"
        )
    return files


def model_facts(folder: Path) -> ModelFacts:
    """Fingerprint and size of a model folder.

    The fingerprint covers configuration, architecture, weights and tokenizer, by content: neither the folder's name nor its age counts.
    """
    config = json.loads((folder / "config.json").read_text())
    files = weight_files(folder)
    tokenizer = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not tokenizer:
        raise ModelError(f"model.base: {folder} must hold a tokenizer (one of {', '.join(TOKENIZER_FILES)})")
    shapes = {name: shape for path in files for name, shape in _shapes(path).items()}
    identity = {
        "config": {key: value for key, value in config.items() if key not in VOLATILE},
        "architectures": config.get("architectures") or [],
        "files": [[path.name, file_digest(path)] for path in [*files, *tokenizer]],
        "tokenizer": [_settings(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json")],
    }
    return ModelFacts(
        fingerprint=fingerprint(identity),
        folder=str(folder),
        trained_head=any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        weight_bytes=sum(path.stat().st_size for path in files),
        linear_extent=sum(sum(shape) for name, shape in shapes.items() if len(shape) == 2 and not _is_embedding(name)),
        max_positions=next((config[key] for key in ("max_position_embeddings", "n_positions") if config.get(key)), None),
    )


def _settings(path: Path) -> dict[str, Any]:
    """A tokenizer's settings (case folding, special tokens), without where and by what they were written; {} where absent."""
    if not path.is_file():
        return {}
    return {key: value for key, value in json.loads(path.read_text()).items() if key not in VOLATILE}


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed", "wte", "wpe", "lm_head", "predictions"))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor shapes of one safetensors file, from its header alone."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as handle:
        return {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118 - no mapping


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer, with a pad token: its end-of-text token stands in where it has none (GPT-2, Llama)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if tokenizer.pad_token_id is None:
        stand_in = tokenizer.eos_token or tokenizer.unk_token
        if stand_in is None:
            raise ModelError(f"model.base: the tokenizer of {folder} must have a pad, end-of-text or unknown token")
        tokenizer.pad_token = stand_in
    tokenizer.padding_side = "right"
    return tokenizer
