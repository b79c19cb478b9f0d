"""From `data.source` to rows by split, as Hugging Face datasets whose cells are all text.

Only the columns that the sweep names are taken, and a name that no column bears is refused with the nearest one. The order of
files and of rows means nothing here or later: `rows` sorts by content.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import pyarrow as pa
import pyarrow.compute

from lfray.data import hub
from lfray.data.files import KINDS, base_name, kind_of, read_file, text_column
from lfray.data.lab import lab_world
from lfray.data.values import row_count
from lfray.errors import DataError, did_you_mean
from lfray.fingerprint import file_digest, lines_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.spec.rows import DataSpec

_LAB_SPLIT = "split"
"""The column in which a lab world names each row's split."""


@dataclass(frozen=True, eq=False)
class Source:
    """Rows by split of the source; `bayes_accuracy` is filled where the generator is known (lab)."""

    splits: Mapping[str, datasets.Dataset]
    bayes_accuracy: Mapping[str, float]


def needed_columns(spec: DataSpec) -> dict[str, str]:
    """Column that must exist -> the field of the sweep file that names it."""
    needed = {spec.columns.text: "data.columns.text", spec.columns.label: "data.columns.label"}
    if spec.columns.text_pair is not None:
        needed.setdefault(spec.columns.text_pair, "data.columns.text_pair")
    if spec.split_column is not None:
        needed.setdefault(spec.split_column, "data.split_column")
    for attribute, group in spec.groups.items():
        if group.column is not None:
            needed.setdefault(group.column, f"data.groups.{attribute}.column")
        for name, column in (group.flags or {}).items():
            needed.setdefault(column, f"data.groups.{attribute}.flags.{name}")
    return needed


@dataclass(frozen=True)
class Located:
    """Where the rows are, found but not read: files, a hub commit, or neither (a lab world is made)."""

    files: tuple[Path, ...] = ()
    commit: hub.HubCommit | None = None

    def identity(self) -> str | None:
        """Hash of the raw rows: of file contents with their splits, or of the commit. None where nothing says what they are.

        A lab world has none and is made anew each time: it takes less than a second, and its code may have changed.
        """
        if self.commit is not None:
            return lines_digest([self.commit.repository, self.commit.commit])
        found = [f"{split_of(path)} {kind_of(path)} {file_digest(path)}" for path in self.files]
        return lines_digest(sorted(found)) if found else None


def locate(spec: DataSpec, *, folder: Path) -> Located:
    """Find the source.

    Args:
        spec: The sweep's data.
        folder: What a relative `file:` path is relative to: the sweep file's folder.

    Raises:
        DataError: No file, or no such data set.
    """
    scheme, _, name = spec.source.partition(":")
    match scheme:
        case "file":
            return Located(files=tuple(find_files(name, folder=folder)))
        case "hub":
            return Located(commit=hub.resolve(name))
        case _:
            return Located()


def read_source(spec: DataSpec, located: Located) -> Source:
    """Read every split of the source.

    Returns:
        Split -> rows, with the needed columns only, all text, missing as null.

    Raises:
        DataError: A file is torn, a needed column is absent, files of one source differ in their columns, a row names no split,
            or there are no rows.
    """
    bayes: Mapping[str, float] = {}
    if located.files:
        tables = _read_files(spec, located.files)
    elif located.commit is not None:
        loaded = hub.load(located.commit, spec.config)
        tables = {split: _text_table(part.data.table, spec, where=spec.source) for split, part in loaded.items()}
    else:
        world = lab_world(spec.source.removeprefix("lab:"), spec.options)
        bayes = world.bayes_accuracy
        whole = _text_table(pa.table(world.rows), spec, where=spec.source, also=_LAB_SPLIT)
        tables = _by_column(whole, _LAB_SPLIT)
    if spec.split_column is not None:
        tables = _by_column(pa.concat_tables(tables.values()), spec.split_column)
    if not sum(table.num_rows for table in tables.values()):
        raise DataError(f"data.source: must hold rows (got none in {spec.source}). Check the path and the file's header")
    return Source({split: datasets.Dataset(tables[split]) for split in sorted(tables)}, bayes)


def find_files(pattern: str, *, folder: Path) -> list[Path]:
    """The data files that a path, folder or glob stands for, sorted by name.

    Raises:
        DataError: None is found, a named file has a format that lfray does not read, or two hold one part of the data.
    """
    pattern = str(Path(pattern).expanduser())
    path = folder / pattern
    if path.is_dir():
        found = [file for file in path.iterdir() if file.is_file() and kind_of(file) and not file.name.startswith(".")]
    elif path.is_file():
        found = [path]
    else:
        found = [folder / file for file in glob.glob(pattern, root_dir=folder, recursive=True) if (folder / file).is_file()]
    formats = ", ".join(sorted(KINDS))
    if not found:
        raise DataError(f"data.source: must name data files (got none at {path}). Formats: {formats}, each also .gz")
    for file in found:
        if kind_of(file) is None:
            raise DataError(f"data.source: {file.name} has no known format. Formats: {formats}, each also .gz")
    seen: dict[tuple[str, str], Path] = {}
    for file in sorted(found, key=lambda file: (file.name, str(file))):
        other = seen.setdefault((str(file.parent), base_name(file)), file)
        if other != file:
            raise DataError(
                f"data.source: {other.name} and {file.name} look like one part of the data in two formats, whose rows "
                "would count twice. Name one of them, or a glob that matches one"
            )
    return list(seen.values())


def split_of(path: Path) -> str:
    """The split that a file holds: its name up to the first dot."""
    return path.name.split(".", 1)[0]


def _read_files(spec: DataSpec, paths: Sequence[Path]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {}
    first: tuple[Path, set[str]] | None = None
    for path in paths:
        table = read_file(path, quoting=spec.quoting)
        columns = set(table.column_names)
        parts.setdefault(split_of(path), []).append(_text_table(table, spec, where=path.name))
        if first is None:
            first = (path, columns)
        elif columns != first[1]:
            odd = sorted(columns ^ first[1])[0]
            has, lacks = (path, first[0]) if odd in columns else (first[0], path)
            raise DataError(
                f"data.source: files of one source must have the same columns (got {odd!r} in {has.name}, not in {lacks.name}). "
                "Name fewer files with a glob, or add the column"
            )
    return {split: pa.concat_tables(tables) for split, tables in parts.items()}


def _text_table(table: pa.Table, spec: DataSpec, *, where: str, also: str | None = None) -> pa.Table:
    needed = needed_columns(spec) | ({also: spec.source} if also else {})
    for column, field in needed.items():
        if column not in table.column_names:
            raise DataError(
                f"{field}: {where} must have this column (got {column!r}). {did_you_mean(column, table.column_names)}"
            )
    return pa.table({column: text_column(table.column(column), where=f"{where}: {column}") for column in needed})


def _by_column(table: pa.Table, column: str) -> dict[str, pa.Table]:
    names = pa.compute.utf8_trim_whitespace(table.column(column))
    blank = sum(not name for name in names.to_pylist())
    if blank:
        raise DataError(
            f"data.split_column: column {column!r} must name a split in every row (got {row_count(blank)} without). "
            "Fill it, or leave those rows out of the file"
        )
    return {name: table.filter(pa.compute.equal(names, name)) for name in sorted(set(names.to_pylist()))}
