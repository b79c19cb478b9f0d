"""The base model: found, fingerprinted, loaded, with a head that every method starts from alike.

Weights are read from safetensors only: a pickle from a hub could run code. A checkpoint without a trained head gets one
drawn here, from the trial's seed and a generator of its own, so the head is the same for every method at one seed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lfray.errors import ModelError
from lfray.fingerprint import file_digest, fingerprint
from lfray.space.facts import ModelFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.spec.stages import ModelSpec

VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
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


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A base in memory. `head_keys` are the parameters that make up the classification head, freshly drawn ones included."""

    model: nn.Module
    head_keys: tuple[str, ...]
    fresh_keys: tuple[str, ...]
    """Head parameters that the checkpoint does not bring: drawn from the seed."""


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


def load_model(
    folder: Path, *, head: str, class_names: Sequence[str], pad_id: int, trust_remote_code: bool = False
) -> LoadedModel:
    """The base with the task's head, fp32, on the CPU.

    Args:
        folder: Model folder.
        head: `sequence` (classification head of len(class_names) outputs) or `verbalizer` (language-model head).
        class_names: Names of the classes.
        pad_id: Padding token, set in the model's configuration: GPT-2-like heads look for the last token that is not padding.
        trust_remote_code: Whether the checkpoint's own code may run.

    Raises:
        ModelError: transformers cannot build it, or weights other than the head's are absent.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    options: dict[str, Any] = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": trust_remote_code,
        "output_loading_info": True,
    }
    try:
        if head == "verbalizer":
            model, info = AutoModelForCausalLM.from_pretrained(folder, **options)
            _complete(folder, sorted(map(str, info["missing_keys"])))
            return LoadedModel(model, (), ())
        names = list(class_names)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            ignore_mismatched_sizes=True,
            **options,
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"model.base: {folder} cannot be loaded with head: {head} ({error}). Check model.base and task.head"
        ) from error
    model.config.pad_token_id = pad_id
    mismatched = {str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]}
    fresh = {str(key) for key in info["missing_keys"]} | mismatched
    outside = {name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")}
    known = {name for name, _ in model.named_parameters()}
    # A pooler may be drawn: masked-language checkpoints have none, and classification reads it (BERT).
    _complete(folder, sorted(key for key in (fresh & known) - outside if "pooler" not in key.split(".")))
    head_keys = tuple(sorted((fresh | outside) & known))
    return LoadedModel(model, head_keys, tuple(sorted(fresh & known)))


def _complete(folder: Path, missing: Sequence[str]) -> None:
    """Refuse a checkpoint that lacks weights of the backbone or of the language model's output: they would be random.

    Raises:
        ModelError: Names the first three.
    """
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(
            f"model.base: {folder} must bring every weight of the base in the size that config.json says (missing {shown}). "
            "Save it whole with save_pretrained, or use a model made for this task.head"
        )


def draw_head(loaded: LoadedModel, seed: int) -> None:
    """Draw the fresh head parameters: matrices from N(0, initializer_range), biases 0, norm weights 1.

    From a generator of its own, in the order of their names: the head depends on the seed alone, not on the method,
    nor on what was drawn before.
    """
    generator = torch.Generator().manual_seed(seed)
    config = getattr(loaded.model, "config", None)
    spread = float(getattr(config, "initializer_range", 0.02))
    parameters = dict(loaded.model.named_parameters())
    with torch.no_grad():
        for key in loaded.fresh_keys:
            parameter = parameters[key]
            if parameter.ndim >= 2:
                parameter.normal_(0.0, spread, generator=generator)
            elif key.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)
