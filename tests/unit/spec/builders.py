"""Sweep files for tests: a small one that is right, and any of its sections replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lfray.errors import Problem, SpecError
from lfray.spec.checks import check_sweep
from lfray.spec.load import LoadedSweep, load_sweep

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTIONS = {
    "version": "version: 1",
    "name": "name: small",
    "data": "data: {source: lab:reviews, groups: {community: {column: community, names: {a: first, b: second}}}}",
    "model": "model: {base: hub:someone/model}",
    "methods": "methods: {head: {}, lora: {}, full: {}}",
}


def sweep_text(**sections: str) -> str:
    """The file, one section a line; a keyword replaces or adds a section (its text after the colon), and "" removes it."""
    merged = SECTIONS | {name: f"{name}: {text}" if text else "" for name, text in sections.items()}
    return "".join(f"{line}\n" for line in merged.values() if line)


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, environ: Mapping[str, str] | None = None, /, **sections: str) -> LoadedSweep:
    return load_sweep(write(folder, sweep_text(**sections)), environ=environ or {})


def refused(folder: Path, environ: Mapping[str, str] | None = None, /, **sections: str) -> tuple[Problem, ...]:
    """What loading and checking refuse."""
    with pytest.raises(SpecError) as caught:
        check_sweep(load(folder, environ, **sections), environ=environ or {})
    return caught.value.problems


def accepted(folder: Path, environ: Mapping[str, str] | None = None, /, **sections: str) -> list[str]:
    """The warnings of a sweep that is right."""
    return check_sweep(load(folder, environ, **sections), environ=environ or {})
