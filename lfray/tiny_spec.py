"""What `--tiny` makes of a sweep file's content: the same graph with small numbers. Reads no rows and no weights, writes nothing.

Values from `${VAR}` stay as they were written, so that the tiny file holds no secret that the real one does not.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import ModelError
from lfray.names import GPU_SECONDS, WORKER_SECONDS
from lfray.spec.axis import resolve_axis
from lfray.spec.model_checks import read_config

if TYPE_CHECKING:
    from lfray.spec.load import LoadedSweep
    from lfray.spec.sweep import SweepSpec

OWNER = "lfray-tiny"
"""Owner of every tiny repository: `base` and `data` in a record begin with it, so that none is taken for the real one."""
SUFFIX = "-tiny"
NAME_LENGTH = 80
MODEL_TYPES = {
    "facebook/opt-1.3b": "opt",
    "google-bert/bert-base-uncased": "bert",
    "meta-llama/Llama-2-7b-chat-hf": "llama",
    "meta-llama/Llama-2-7b-hf": "llama",
    "mistralai/Mistral-7B-Instruct-v0.2": "mistral",
    "mistralai/Mistral-7B-v0.1": "mistral",
    "openai-community/gpt2": "gpt2",
}
"""Bases of the two papers -> architecture, for machines that have never fetched them."""

ROWS = {"train": 400, "validation": 100, "test": 200}
"""Rows of a split, at most."""
MAX_TOKENS, MIN_GROUP_ROWS = 128, 5
EPOCHS, BATCH, ACCUMULATION = 4, 16, 2
RATES = {"head": 1e-2, "lora": 1e-2, "full": 3e-3}
"""Random weights of this size learn the planted signal at these in 50 to 100 updates; a real model's rates would not move them."""
MAX_WORKERS, MICRO_BATCH, DRAWS, VALUES = 2, 4, 2, 2
_FIXED = ("epochs", "batch_size", "gradient_accumulation", "learning_rate", "precision")
"""Fields of `train` that have one value here, so an axis of theirs is left out."""
_KINDS = ("targets", "variant", "alpha")
"""Fields of LoRA whose values are other graphs or policies, not sizes: every value of their axes stays."""


@dataclass(frozen=True)
class Shrunk:
    """A sweep file's content, made small; nothing is written yet."""

    document: dict[str, Any]
    """As a sweep file holds it, `${VAR}` as written."""
    config: dict[str, Any] | None
    """What is known of the real base's config.json, `model_type` at least; None where the base stays (lab)."""
    notes: tuple[str, ...]


def shrink(loaded: LoadedSweep) -> Shrunk:
    """The tiny form of a checked sweep.

    Raises:
        ModelError: The base's architecture is not known here.
    """
    spec, notes = loaded.spec, list[str]()
    document = {key: value for key, value in loaded.document.items() if key not in ("axes", "search", "storage", "tracking")}
    document["name"] = spec.name[: NAME_LENGTH - len(SUFFIX)] + SUFFIX
    document["data"] = _data(loaded, notes)
    config = None if spec.model.base.startswith("lab:") else _config(loaded)
    if config is not None:
        document["model"] = {"base": f"hub:{OWNER}/{_plain(_written(loaded, 'model', 'base'))}"}
        notes.append(f"the base is a random {config['model_type']} of two layers instead of {_written(loaded, 'model', 'base')}")
    document["methods"] = _methods(loaded, notes)
    axes, dropped = _axes(spec, loaded.document.get("axes") or {}, notes)
    if axes:
        document["axes"] = axes
    if spec.search is not None and any(isinstance(axis, dict) for axis in axes.values()):
        document["search"] = {**loaded.document["search"], "samples": min(DRAWS, spec.search.samples)}
    document["train"] = _train(spec, loaded.document.get("train") or {})
    notes.append(f"{EPOCHS} epochs of {BATCH}-row updates at rates for random weights{_left(dropped)}")
    document["resources"] = _resources(spec, loaded.document.get("resources") or {}, notes)
    document["objectives"] = _objectives(spec, notes)
    if spec.storage is not None:
        document["storage"] = _absolute(loaded, str(loaded.document["storage"]), spec.storage)
    document["tracking"] = {"uri": "none" if spec.tracking.uri == "none" else "auto"}
    return Shrunk(document, config, tuple(notes))


def _config(loaded: LoadedSweep) -> dict[str, Any]:
    """What is known of the base's config.json without a network."""
    found = read_config(loaded, os.environ)
    if found is not None and found.get("model_type"):
        return found
    name = loaded.spec.model.base.partition(":")[2]
    if name not in MODEL_TYPES:
        raise ModelError(
            f"model.base: --tiny must know the base's architecture (got {name}, which is neither in the hub's cache here nor one of "
            f"{', '.join(MODEL_TYPES)}). Where there is a network: hf download {name} config.json"
        )
    return {"model_type": MODEL_TYPES[name]}


def _plain(written: str) -> str:
    """A repository's name from `hub:<owner>/<name>@<revision>` or `file:<folder>`; what a variable holds is not named."""
    last = written.partition("@")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return (
        "from-a-variable" if "$" in last else re.sub(r"[^A-Za-z0-9.]+", "-", re.sub(r"\.+", ".", last)).strip(".-")[:60] or "base"
    )


def _written(loaded: LoadedSweep, *path: str) -> str:
    value: Any = loaded.document
    for key in path:
        value = value[key]
    return str(value)


def _absolute(loaded: LoadedSweep, written: str, expanded: str) -> str:
    """A path of the sweep file as the tiny file, which stands elsewhere, must write it: `${VAR}` stays unexpanded."""
    if "://" in expanded or Path(expanded).expanduser().is_absolute():
        return written
    return str(loaded.folder).replace("${", "$${") + "/" + written


def _data(loaded: LoadedSweep, notes: list[str]) -> dict[str, Any]:
    data, written = loaded.spec.data, dict(loaded.document["data"])
    scheme, _, rest = data.source.partition(":")
    if scheme == "hub":
        written["source"] = f"hub:{OWNER}/{_plain(_written(loaded, 'data', 'source'))}"
        notes.append(f"a few hundred planted rows instead of {_written(loaded, 'data', 'source')}")
    elif scheme == "file":
        path = str(written["source"])
        # A variable may hold the scheme as well; the path is then absolute, or lfray would not know from where it starts.
        written["source"] = f"file:{_absolute(loaded, path.removeprefix('file:'), rest)}" if path.startswith("file:") else path
    if scheme != "hub":
        notes.append(f"at most {ROWS['train']} training and {ROWS['test']} test rows of {_written(loaded, 'data', 'source')}")
    written["limit"] = {role: min(rows, getattr(data.limit, role) or rows) for role, rows in ROWS.items()}
    written["max_tokens"] = min(MAX_TOKENS, data.max_tokens)
    written["min_group_rows"] = min(MIN_GROUP_ROWS, data.min_group_rows)
    return written


def _methods(loaded: LoadedSweep, notes: list[str]) -> dict[str, Any]:
    methods, lora = dict(loaded.document["methods"]), loaded.spec.methods.lora
    if lora is not None and lora.variant == "qlora":
        methods["lora"] = {**methods["lora"], "variant": "lora"}
        notes.append("lora instead of qlora, which needs a GPU")
    return methods


def _axes(spec: SweepSpec, written: dict[str, Any], notes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The axes that stay, and the names of those that do not."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, values in written.items():
        target, axis = resolve_axis(name), spec.axes[name]
        assert target is not None, "the sweep was checked"
        if target.kind == "train" and target.path[0] in _FIXED:
            dropped.append(name)
        elif not isinstance(axis, tuple) or target.kind == "method":
            kept[name] = values
        elif target.kind == "rank":
            positive = sorted(rank for rank in axis if rank > 0)
            kept[name] = [rank for rank in axis if rank == 0] + positive[:VALUES]
        elif target.kind == "downsampling_ratio":
            kept[name] = sorted(axis, reverse=True)[:VALUES]
        elif target.path[:1] == ("variant",):
            kept[name] = [value for value in axis if value != "qlora"] or ["lora"]
            if "qlora" in axis:
                notes.append("no qlora, which needs a GPU")
        elif target.kind == "method_field" and target.path[0] in _KINDS and target.path[-1] not in ("factor", "value"):
            kept[name] = values
        else:
            kept[name] = values[:1]
        if name in kept and isinstance(kept[name], list) and len(kept[name]) < len(values):
            notes.append(f"{name}: {', '.join(map(str, kept[name]))} of {len(values)} values")
    return kept, dropped


def _left(names: list[str]) -> str:
    return f"; left out: the axes {', '.join(names)}" if names else ""


def _train(spec: SweepSpec, written: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in written.items() if key not in _FIXED},
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "gradient_accumulation": min(ACCUMULATION, spec.train.gradient_accumulation),
        "learning_rate": dict(RATES),
    }


def _resources(spec: SweepSpec, written: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The same shapes with at most two workers, one core each and no GPU."""
    left = {"offload_optimizer", "offload_parameters", "nccl"}
    if spec.resources.attention == "flash_attention_2":
        left.add("attention")
    gone = sorted(left & written.keys())
    kept: dict[str, Any] = {}
    for key, value in written.items():
        if key in left:
            continue
        if isinstance(value, dict) and key != "deepspeed":
            block = getattr(spec.resources, key)
            kept[key] = {name: _smaller(name, getattr(block, name), item) for name, item in value.items() if name not in left}
            gone += sorted(f"{key}.{name}" for name in left & value.keys())
        else:
            kept[key] = _smaller(key, getattr(spec.resources, key), value)
    if gone:
        notes.append(f"left out, since there is no GPU: resources.{', resources.'.join(gone)}")
    return kept


def _smaller(name: str, value: Any, written: Any) -> Any:
    match name:
        case "workers" | "workers_per_trial" if value is not None:
            return min(MAX_WORKERS, value)
        case "cpus" | "cpus_per_trial" if value is not None:
            return 1
        case "gpus" | "gpus_per_trial" if value is not None:
            return 0
        case "micro_batch" if isinstance(value, int):
            # A power of two divides the 8 or 16 rows that a worker has of each batch.
            return 1 << (min(MICRO_BATCH, value).bit_length() - 1)
        case _:
            return written


def _objectives(spec: SweepSpec, notes: list[str]) -> list[str]:
    if GPU_SECONDS.key not in spec.objectives:
        return list(spec.objectives)
    notes.append(f"{WORKER_SECONDS.key} instead of {GPU_SECONDS.key}")
    return list(dict.fromkeys(WORKER_SECONDS.key if key == GPU_SECONDS.key else key for key in spec.objectives))
