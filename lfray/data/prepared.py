"""Prepared rows on disk: written once by whoever comes first, memory-mapped by every trial.

`<root>/<fingerprint>/` appears whole or not at all: it is written under another name and renamed. Two preparers of the same rows
write the same bytes' worth; the second finds the folder there and drops its own. Nothing in it changes afterwards.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pyarrow as pa

from lfray.data.hub import quiet
from lfray.errors import DataError, StorageError, did_you_mean
from lfray.fingerprint import lines_digest
from lfray.record import GroupColumn
from lfray.space.facts import DataFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lfray.data.rows import Rows


@dataclass(frozen=True, eq=False)
class SplitRows:
    """The rows of one split: `index` int64 [n] into all rows, `row_id` [n], `label` int64 [n], membership of these rows."""

    index: NDArray[np.int64]
    row_id: NDArray[np.str_]
    label: NDArray[np.int64]
    groups: tuple[GroupColumn, ...]

    def __len__(self) -> int:
        """Rows."""
        return len(self.index)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A prepared folder. `dataset` is memory-mapped: row_id, text, [text_pair], label, split, group.<attribute>.<name>."""

    facts: DataFacts
    folder: Path
    dataset: datasets.Dataset

    def __len__(self) -> int:
        """Rows of all splits."""
        return len(self.dataset)

    def split(self, name: str) -> SplitRows:
        """One split's rows, in content order.

        Raises:
            DataError: No such split.
        """
        if name not in self.facts.split_rows:
            raise DataError(f"data: no split {name!r}. {did_you_mean(name, self.facts.split_rows)}")
        index = np.flatnonzero(self._splits == name)
        return SplitRows(index, self._row_ids[index], self._labels[index], self._groups(index))

    def _groups(self, index: NDArray[np.int64]) -> tuple[GroupColumn, ...]:
        return tuple(
            GroupColumn(
                facts.attribute,
                facts.groups,
                np.stack([self._column(group_column(facts.attribute, name))[index] for name in facts.groups], axis=1).astype(
                    bool
                ),
                facts.overlapping,
                facts.is_label,
            )
            for facts in self.facts.attributes
        )

    def _column(self, name: str) -> NDArray[np.generic]:
        column: NDArray[np.generic] = self.dataset.data.column(name).to_numpy()
        return column

    @cached_property
    def _splits(self) -> NDArray[np.str_]:
        return self._column("split").astype(np.str_)

    @cached_property
    def _row_ids(self) -> NDArray[np.str_]:
        return self._column("row_id").astype(np.str_)

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return self._column("label").astype(np.int64)


def group_column(attribute: str, name: str) -> str:
    """Name of the column that says who belongs to a group."""
    return f"group.{attribute}.{name}"


def manifest(row_ids: NDArray[np.str_]) -> str:
    """Hash of a set of rows: over their sorted ids, so order does not matter."""
    return lines_digest(sorted(row_ids.tolist()))


def verify_manifest(prepared: PreparedData, split: str, *, expected: str) -> None:
    """Hold that a split still has the rows that it had when the sweep was planned.

    Raises:
        DataError: It has not: a number measured now would not be about the rows on record.
    """
    found = manifest(prepared.split(split).row_id)
    if found != expected:
        raise DataError(
            f"{prepared.folder}: split {split!r} must hold the rows on record (got manifest {found}, recorded {expected}). "
            "The folder was changed or belongs to another sweep: delete it and run again"
        )


def open_data(folder: Path) -> PreparedData:
    """Map a prepared folder.

    The minority in its facts is that of the sweep that prepared it first; another sweep may cut another group of the same
    rows, and a trial's configuration says which.

    Raises:
        StorageError: The folder is absent or torn.
    """
    try:
        facts = DataFacts.model_validate_json((folder / "facts.json").read_bytes())
        dataset = datasets.load_from_disk(str(folder / "rows"))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StorageError(f"{folder}: holds no prepared rows ({error}). Delete it and run `lfray run` again") from error
    return PreparedData(facts, folder, dataset)


def write_rows(rows: Rows, row_ids: NDArray[np.str_], facts: DataFacts, *, root: Path) -> Path:
    """Write prepared rows to `<root>/<fingerprint>/`, unless they are there.

    Returns:
        The folder.

    Raises:
        DataError: Two groups would share a column's name.
    """
    columns = {"row_id": pa.array(row_ids.tolist(), pa.string()), "text": pa.array(rows.text, pa.string())}
    if rows.text_pair is not None:
        columns["text_pair"] = pa.array(rows.text_pair, pa.string())
    columns |= {"label": pa.array(rows.label, pa.int64()), "split": pa.array(rows.role.tolist(), pa.string())}
    for group in rows.groups:
        for number, name in enumerate(group.names):
            column = group_column(group.attribute, name)
            if column in columns:
                raise DataError(
                    f"data.groups: attribute and group names must tell columns apart (got {column!r} twice). Rename one"
                )
            columns[column] = pa.array(group.member[:, number], pa.bool_())
    folder = root / facts.fingerprint
    with new_folder(folder) as temporary:
        if temporary is not None:
            with quiet():
                datasets.Dataset(pa.table(columns)).save_to_disk(str(temporary / "rows"))
            (temporary / "facts.json").write_text(facts.model_dump_json(indent=1))
    return folder


@contextmanager
def new_folder(target: Path) -> Iterator[Path | None]:
    """A folder to fill, renamed to `target` at the end; None where `target` is there already.

    Who is second to rename drops what was written: equal names hold equal content.
    """
    if target.is_dir():
        yield None
        return
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, target: Path) -> None:
    try:
        os.replace(temporary, target)
    except OSError:
        if not target.is_dir():
            raise
