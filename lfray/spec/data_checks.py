"""What a sweep asks of its data that the first lines of the files can already deny."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lfray.errors import DataError, Problem, did_you_mean
from lfray.spec.files import SUFFIXES, column_names, source_files, split_of, suffix_of
from lfray.spec.stages import MinoritySpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lfray.spec.load import LoadedSweep
    from lfray.spec.yaml_text import Path as SpecPath

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[^@\s]+)?")


def data_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    """Problems of the `data` part."""
    scheme, _, name = loaded.spec.data.source.partition(":")
    yield from _minority(loaded)
    yield from _pairs(loaded)
    if scheme == "file":
        yield from _files(loaded, loaded.resolve(name))
    elif scheme == "hub" and not _HUB_ID.fullmatch(name):
        remedy = "For example hub:stanfordnlp/sst2@main"
        yield loaded.problem(
            ("data", "source"), "a hub data set is <name> or <owner>/<name>, with @revision or without", remedy=remedy
        )


def _minority(loaded: LoadedSweep) -> Iterator[Problem]:
    minority = loaded.spec.data.minority
    if not isinstance(minority, MinoritySpec) or minority.value == "auto":
        return
    group = loaded.spec.data.groups[minority.group]
    names = [*(group.flags or {}), *(group.names or {}).values()]
    if group.missing is not None and names:
        names.append(group.missing)
    if not names or str(minority.value) in names:
        return
    written = {str(value): name for value, name in (group.names or {}).items()}
    value = str(minority.value)
    remedy = f"Write the group's name: {written[value]}" if value in written else did_you_mean(value, names)
    yield loaded.problem(("data", "minority", "value"), f"must be a group of {minority.group}", remedy=remedy)


def _pairs(loaded: LoadedSweep) -> Iterator[Problem]:
    verbalizer, pair = loaded.spec.task.verbalizer, loaded.spec.data.columns.text_pair
    if verbalizer is None:
        return
    asked = "{text_pair}" in verbalizer.template
    if asked and pair is None:
        rule = "{text_pair} needs a column of second texts"
        yield loaded.problem(("task", "verbalizer", "template"), rule, remedy="Name it: data.columns.text_pair")
    if pair is not None and not asked:
        rule = "the template must hold {text_pair}, else the second text is never seen"
        yield loaded.problem(("task", "verbalizer", "template"), rule, got=verbalizer.template, remedy="Add {text_pair}")


def _files(loaded: LoadedSweep, path: Path) -> Iterator[Problem]:
    at: SpecPath = ("data", "source")
    files = source_files(path)
    if not files:
        remedy = f"Paths are relative to {loaded.folder}; formats: {' '.join(SUFFIXES)}, each also .gz"
        yield loaded.problem(at, "must name data files that exist", got=f"none at {path}", remedy=remedy)
        return
    unknown = [file.name for file in files if suffix_of(file) is None]
    if unknown:
        yield loaded.problem(
            at, "must be of a known format", got=unknown[0], remedy=f"Formats: {' '.join(SUFFIXES)}, each also .gz"
        )
        return
    yield from _columns(loaded, files)
    if loaded.spec.data.split_column is None:
        yield from _splits(loaded, sorted({split_of(file) for file in files}))


def _columns(loaded: LoadedSweep, files: list[Path]) -> Iterator[Problem]:
    needed = _needed(loaded)
    for file in files:
        try:
            present = column_names(file, quoting=loaded.spec.data.quoting)
        except DataError as error:
            remedy = "Mend the file; for quoted or unquoted fields see data.quoting"
            yield loaded.problem(
                ("data", "source"), f"{file.name} must be a readable {suffix_of(file)} file", got=str(error), remedy=remedy
            )
            continue
        if present is None:
            continue
        for at in [at for at, column in needed.items() if column not in present]:
            column = needed.pop(at)
            yield loaded.problem(at, f"{file.name} must have this column", got=repr(column), remedy=did_you_mean(column, present))


def _needed(loaded: LoadedSweep) -> dict[SpecPath, str]:
    """Where a column is named -> the column."""
    data = loaded.spec.data
    needed: dict[SpecPath, str] = {
        ("data", "columns", "text"): data.columns.text,
        ("data", "columns", "label"): data.columns.label,
    }
    if data.columns.text_pair is not None:
        needed["data", "columns", "text_pair"] = data.columns.text_pair
    if data.split_column is not None:
        needed["data", "split_column"] = data.split_column
    for attribute, group in data.groups.items():
        needed |= {("data", "groups", attribute, *below): column for below, column in group.columns.items()}
    return needed


def _splits(loaded: LoadedSweep, present: list[str]) -> Iterator[Problem]:
    splits = loaded.spec.data.splits
    for below, name in splits.named:
        if name not in present:
            remedy = did_you_mean(name, present)
            yield loaded.problem(("data", "splits", *below), "must be a split of the source", got=repr(name), remedy=remedy)
    held_out = {name for below, name in splits.named if below[0] != "train"}
    if splits.train is None and held_out and held_out >= set(present):
        rule = "validation and test take every split of the source, none is left to train on"
        yield loaded.problem(("data", "splits"), rule, got=", ".join(present), remedy="Give one of them as a fraction")
