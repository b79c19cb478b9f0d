"""`--tiny`: a sweep made small enough to run to its end on a laptop, without a network, before a cluster is paid for.

The graph stays: architecture, head, methods, variants, target modules, gangs, ZeRO stages, objectives. Sizes go: a hub or local
base becomes one of two thin layers with random weights, hub data become a few hundred planted rows, both in a folder laid out as the
hub's cache, from which the real loading code takes them. What comes out says that the sweep runs, and nothing about people.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.app import check, storage_of
from lfray.errors import LfrayError
from lfray.tiny_spec import shrink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.spec.load import LoadedSweep


@dataclass(frozen=True)
class TinySweep:
    """A tiny sweep, written: an ordinary sweep file, which any command takes."""

    path: Path
    notes: tuple[str, ...]
    """What became smaller or was left out, one sentence each."""


def check_tiny(path: Path | str) -> tuple[LoadedSweep, list[str]]:
    """Check a sweep file, then its tiny form; leaves nothing behind.

    Returns:
        The tiny sweep, and warnings about the file itself followed by what `--tiny` changes.

    Raises:
        SpecError: The file is refused.
        ModelError: The base's architecture is not known here.
    """
    loaded, warnings = check(path)
    shrunk = shrink(loaded)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{shrunk.document['name']}.yaml"
        target.write_text(sweep_text(shrunk.document))
        small, _ = check(target)
    return small, [*warnings, *(f"--tiny: {note}" for note in shrunk.notes)]


def make_tiny(path: Path | str, *, storage: str | None = None) -> TinySweep:
    """Check a sweep file and write its tiny form, with base and data, under `tiny/<name>-tiny` in the sweep's storage.

    From then on this process, and those it starts, look for hub repositories in that folder only, and never in the network.

    Args:
        path: The sweep file.
        storage: Storage that goes before LFRAY_STORAGE and the file's.

    Raises:
        SpecError: The file is refused.
        ModelError: The base's architecture is not known here, or transformers cannot build it small.
        LfrayError: huggingface_hub was imported before, with another cache.
    """
    loaded, _ = check(path)
    shrunk = shrink(loaded)
    place = storage_of(loaded, storage)
    place.ensure()
    folder = place.root / "tiny" / str(shrunk.document["name"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "sweep.yaml"
    target.write_text(f"# Made by --tiny from {Path(path).name}.\n{sweep_text(shrunk.document)}")
    small, _ = check(target)
    _look_only_in(folder)
    from lfray.tiny_hub import write_base, write_data

    if shrunk.config is not None:
        write_base(folder / "hub", small.spec, shrunk.config)
    if small.spec.data.source.startswith("hub:"):
        write_data(folder / "hub", small.spec)
    return TinySweep(target, shrunk.notes)


def _look_only_in(folder: Path) -> None:
    """Point the hub's and datasets' caches into the folder, and forbid the network, for this process and its children."""
    known = sys.modules.get("huggingface_hub.constants")
    if known is not None and Path(known.HF_HUB_CACHE) != folder / "hub":
        raise LfrayError("--tiny: huggingface_hub was imported before, with another cache. Use it in a process of its own")
    os.environ.pop("HUGGINGFACE_HUB_CACHE", None)
    os.environ |= {
        "HF_HOME": str(folder),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "HF_HUB_OFFLINE": "1",
    }


_PLAIN = re.compile(r"[A-Za-z$./~]([^\s#]*[^\s#:])?")
"""Text that needs no quotes in block YAML."""
_WORD = re.compile(r"(?!(?:true|false|null)$)[a-z_]+(\.[a-z_]+)*")
"""A key that needs none either: a field of a sweep file."""


def sweep_text(document: dict[str, Any]) -> str:
    """Plain values as YAML that `load_sweep` reads back as the same values, `${VAR}` included."""
    return "\n".join(_block(document, 0)) + "\n"


def _block(value: Any, depth: int) -> Iterator[str]:
    items = [(f"{_key(key)}:", item) for key, item in value.items()] if isinstance(value, dict) else [("-", v) for v in value]
    for lead, item in items:
        if isinstance(item, dict | list | tuple) and item:
            yield "  " * depth + lead
            yield from _block(item, depth + 1)
        else:
            yield "  " * depth + f"{lead} {_scalar(item)}"


def _key(key: Any) -> str:
    return key if isinstance(key, str) and _WORD.fullmatch(key) else _scalar(key)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and "${" in value and _PLAIN.fullmatch(value):
        # Plain, so that a variable that holds a number is one.
        return value
    return json.dumps(value, ensure_ascii=False)
