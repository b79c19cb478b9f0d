"""What a tiny sweep is run on: a random base of two thin layers and planted rows, in a folder laid out as the hub's cache.

Both are decided by the tiny sweep and the base's model type alone, so the same sweep gets the same bits, the same commit and the
same trial ids again. A commit that stands is not written a second time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import ModelError
from lfray.fingerprint import fingerprint
from lfray.spec.model_checks import ENCODERS
from lfray.tiny_rows import planted, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.spec.sweep import SweepSpec

GENERATOR_VERSION = 1
"""Raised whenever a change here or in `tiny_rows` changes any base or row."""
HIDDEN, LAYERS, HEADS = 32, 2, 2
SPREAD = 0.1
"""Of the weights. At the families' 0.02, two layers as thin as these take twice the updates to read one word; so does dropout."""
VOCABULARY = 600
"""Bytes, special tokens and the commonest merges: any text can be written, the planted words are one token each."""
SPARE_POSITIONS = 8
"""Families that number positions from behind the padding token lose a few."""
MAX_PARAMETERS = 2_000_000
"""A family whose sizes are named otherwise would come out at its real size."""

_BEGINS = {"opt": "</s>", "llama": "<s>", "mistral": "<s>"}
"""Decoders that put this token before every text."""


def write_base(hub: Path, spec: SweepSpec, config: dict[str, Any]) -> None:
    """Put the tiny base of a sweep in the cache.

    Args:
        hub: The cache's folder.
        spec: The tiny sweep.
        config: What is known of the real base's config.json: `model_type` at least.

    Raises:
        ModelError: transformers does not know the model type, or it cannot be made small.
    """
    structure = _structure(config)
    texts = texts_of(spec)
    positions = spec.data.max_tokens + SPARE_POSITIONS
    commit = _commit([structure, texts, positions])
    with _snapshot(hub, "models", spec.model.base.removeprefix("hub:"), commit) as folder:
        if folder is not None:
            _save_base(folder, structure, texts, positions)


def write_data(hub: Path, spec: SweepSpec) -> None:
    """Put the planted rows of a sweep in the cache, one parquet file a split, named in a README as the hub has it."""
    import pyarrow as pa
    import pyarrow.parquet

    tables = planted(spec)
    commit = _commit([spec.data.config, {split: {name: list(cells) for name, cells in t.items()} for split, t in tables.items()}])
    with _snapshot(hub, "datasets", spec.data.source.removeprefix("hub:"), commit) as folder:
        if folder is None:
            return
        files = [{"split": split, "path": f"{split}.parquet"} for split in tables]
        card = {"configs": [{"config_name": spec.data.config or "default", "data_files": files}]}
        (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\nMade by lfray --tiny.\n")
        for split, columns in tables.items():
            pa.parquet.write_table(pa.table(columns), folder / f"{split}.parquet")


def _commit(content: Any) -> str:
    """40 hex digits, as a commit of the hub has."""
    digits = fingerprint([GENERATOR_VERSION, json.loads(json.dumps(content))])
    return (digits * 3)[:40]


@contextmanager
def _snapshot(hub: Path, kind: str, name: str, commit: str) -> Iterator[Path | None]:
    """A folder that becomes the repository's snapshot at `commit` when the block ends well; None where that stands already."""
    repository = hub / f"{kind}--{name.replace('/', '--')}"
    target = repository / "snapshots" / commit
    if target.is_dir():
        yield None
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=repository))
        try:
            yield scratch
            # rename refuses a full folder: whoever came first has made the same files
            try:
                os.replace(scratch, target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def _structure(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config.json is structure: words and switches, and classes of a trained head. Numbers are sizes."""
    kept = {
        key: value
        for key, value in config.items()
        if isinstance(value, str | bool) and key not in ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
    }
    for key in ("architectures", "id2label", "label2id"):
        if config.get(key):
            kept[key] = config[key]
    kept["grouped_heads"] = config.get("num_key_value_heads", HEADS) < config.get("num_attention_heads", HEADS)
    if config["model_type"] == "mistral":
        kept["grouped_heads"] = True
    return kept


def _save_base(folder: Path, structure: dict[str, Any], texts: list[str], positions: int) -> None:
    """Draw the weights on one thread from a fixed seed, and save model and tokenizer."""
    import torch
    import transformers

    tokenizer = _tokenizer(structure["model_type"], texts, positions)
    try:
        config = _small(structure, tokenizer, positions)
        named = (structure.get("architectures") or [None])[0]
        causal = structure["model_type"] not in ENCODERS
        maker = getattr(transformers, str(named), None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if maker is not None:
                model = maker(config)
            else:
                auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
                model = auto.from_config(config)
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(
            f"model.base: --tiny cannot make a small {structure['model_type']} ({error}). Use another base"
        ) from error
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_PARAMETERS:
        raise ModelError(
            f"model.base: --tiny must make a small {structure['model_type']} (got {count:,} parameters: the family names its sizes "
            "otherwise). Use another base"
        )
    _save_weights(folder, model)
    tokenizer.save_pretrained(folder)


def _save_weights(folder: Path, model: Any) -> None:
    """config.json and safetensors, a tied tensor once, as save_pretrained has them.

    That would import deepspeed where it is installed, which takes seconds and writes to stdout, where --json has its value.
    """
    from safetensors.torch import save_file

    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tensors = {tensor.data_ptr(): (name, tensor) for name, tensor in reversed(model.state_dict().items())}
    save_file({name: tensor.contiguous() for name, tensor in tensors.values()}, folder / "model.safetensors", {"format": "pt"})


def _small(structure: dict[str, Any], tokenizer: Any, positions: int) -> Any:
    """The family's configuration with the real base's switches and our sizes; what the family does not have is left out."""
    from transformers import AutoConfig

    own = ("model_type", "architectures", "grouped_heads")
    config = AutoConfig.for_model(structure["model_type"], **{k: v for k, v in structure.items() if k not in own})
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": 1 if structure["grouped_heads"] else HEADS, "head_dim": HIDDEN // HEADS,
        "intermediate_size": 2 * HIDDEN, "ffn_dim": 2 * HIDDEN, "word_embed_proj_dim": HIDDEN, "embedding_size": HIDDEN,
        "max_position_embeddings": positions, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, "initializer_range": SPREAD, "init_std": SPREAD,
    }  # fmt: skip
    for name, size in sizes.items():
        if hasattr(config, name):
            setattr(config, name, size)
    for name, value in list(vars(config).items()):
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:LAYERS]
    return config


def _tokenizer(model_type: str, texts: list[str], positions: int) -> Any:
    """Byte-level BPE with the family's special tokens, where it puts them."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.processors import TemplateProcessing
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    encoder, begin = model_type in ENCODERS, _BEGINS.get(model_type)
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    if encoder:
        special = {name: f"[{name[:-6].upper()}]" for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")}
    elif begin is not None:
        special = {"bos_token": begin, "eos_token": "</s>", "unk_token": "<unk>"}
        if model_type == "opt":
            special["pad_token"] = "<pad>"
    backend = Tokenizer(BPE(unk_token=special["unk_token"]))
    backend.pre_tokenizer, backend.decoder = ByteLevel(add_prefix_space=False), Decoder()
    words = list(dict.fromkeys(special.values()))
    trainer = BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=words, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    ids = {word: backend.token_to_id(word) for word in words}
    inputs = ["input_ids", "attention_mask"]
    if encoder:
        backend.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[(w, ids[w]) for w in ("[CLS]", "[SEP]")]
        )
        if model_type == "bert":
            inputs.append("token_type_ids")
    elif begin is not None:
        backend.post_processor = TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, ids[begin])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=positions, padding_side="right", model_input_names=inputs,
        clean_up_tokenization_spaces=False, **special,
    )  # fmt: skip
