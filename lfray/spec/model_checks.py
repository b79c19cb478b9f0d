"""What a sweep asks of its base model that the base's config.json can already deny."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.spec.method_checks import methods_in_use, where_method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lfray.errors import Problem
    from lfray.spec.load import LoadedSweep

# fmt: off
ENCODERS = frozenset({
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm", "flaubert", "funnel",
    "layoutlm", "longformer", "mobilebert", "modernbert", "mpnet", "nomic_bert", "roberta", "roformer", "squeezebert", "xlm",
    "xlm-roberta", "xlm-roberta-xl",
})
# fmt: on
"""`model_type` of families that read both ways and so cannot generate a label token by token."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_AT = ("model", "base")


def model_problems(loaded: LoadedSweep, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of the `model` part, and of methods that the base has nothing for."""
    scheme, _, name = loaded.spec.model.base.partition(":")
    if scheme == "file" and not (loaded.resolve(name) / "config.json").is_file():
        folder = loaded.resolve(name)
        got = f"no such folder: {folder}" if not folder.exists() else f"{folder}"
        yield loaded.problem(
            _AT, "must be a folder that holds config.json", got=got, remedy="Save the model with save_pretrained"
        )
        return
    if scheme == "hub" and not _HUB_ID.fullmatch(name):
        remedy = "For example hub:openai-community/gpt2"
        yield loaded.problem(_AT, "a hub base is <name> or <owner>/<name>", remedy=remedy)
        return
    config = read_config(loaded, environ)
    head = loaded.spec.task.head
    if (
        "base" in methods_in_use(loaded.spec)
        and head == "sequence"
        and (scheme == "lab" or (config and not _trained_head(config)))
    ):
        got = f"{loaded.spec.model.base} has none"
        rule = "the untouched model needs a trained classification head, or task.head: verbalizer"
        yield loaded.problem(where_method(loaded, "base"), rule, got=got, remedy="Use the method head, which trains one")
    if head == "verbalizer" and config and not generates(config):
        rule = "head: verbalizer needs a model that generates text"
        got = f"{loaded.spec.model.base} is of the family {config.get('model_type')}, an encoder"
        yield loaded.problem(("task", "head"), rule, got=got, remedy="Use head: sequence, or a causal base")


def model_warnings(loaded: LoadedSweep, environ: Mapping[str, str]) -> Iterator[Problem]:
    """What cannot be known yet, because the base is not on this machine."""
    if not loaded.spec.model.base.startswith("hub:") or read_config(loaded, environ) is not None:
        return
    if "base" in methods_in_use(loaded.spec) and loaded.spec.task.head == "sequence":
        rule = "the base is not in the hub's local cache: whether its head is trained is checked when the sweep is planned"
        yield loaded.problem(where_method(loaded, "base"), rule, got=loaded.spec.model.base)


def read_config(loaded: LoadedSweep, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The base's config.json, from its folder or from the hub's local cache; None where neither has a readable one."""
    scheme, _, name = loaded.spec.model.base.partition(":")
    folder = (
        loaded.resolve(name)
        if scheme == "file"
        else _cached(name, loaded.spec.model.revision, environ)
        if scheme == "hub"
        else None
    )
    if folder is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def generates(config: Mapping[str, Any]) -> bool:
    """Whether the family can be loaded as a causal model; unknown families are taken to."""
    return config.get("model_type") not in ENCODERS or bool(config.get("is_decoder"))


def _trained_head(config: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def _cached(name: str, revision: str, environ: Mapping[str, str]) -> Path | None:
    """Snapshot folder in the hub's cache (its layout is public: refs/<revision> holds the commit), or None."""
    home = environ.get("HF_HOME") or str(Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    root = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or str(Path(home) / "hub")
    repository = Path(root).expanduser() / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None
