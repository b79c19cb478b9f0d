"""`Rows`: texts, labels and groups of every row in use, in content order.

A row is what it says, not where it stood: rows are sorted by a hash of text, label and groups before anything is decided about
them, so neither the order of files nor of rows in them can reach a split, a seed or a result.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lfray.data.groups import mark_label, read_groups
from lfray.data.values import cell, counted, row_count, scalar_text, sorted_names
from lfray.errors import DataError
from lfray.record import GroupColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import datasets
    from numpy.typing import NDArray

    from lfray.data.groups import Cells
    from lfray.spec.rows import DataSpec
    from lfray.spec.stages import TaskSpec

ROLES = ("train", "validation", "test")
"""The splits of every sweep; a text in two of them stays in the later one."""


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows. `role` is each row's split; `content` hashes text, label and groups, `text_key` the text (and pair) alone."""

    text: NDArray[np.object_]
    text_pair: NDArray[np.object_] | None
    label: NDArray[np.int64]
    role: NDArray[np.str_]
    groups: tuple[GroupColumn, ...]
    content: NDArray[np.str_]
    text_key: NDArray[np.str_]
    class_names: tuple[str, ...]
    positive: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.label)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """The rows at these positions, or where the mask holds."""
        return replace(
            self,
            text=self.text[index],
            text_pair=None if self.text_pair is None else self.text_pair[index],
            label=self.label[index],
            role=self.role[index],
            groups=tuple(replace(group, member=group.member[index]) for group in self.groups),
            content=self.content[index],
            text_key=self.text_key[index],
        )


def build_rows(splits: Mapping[str, datasets.Dataset], roles: Mapping[str, str], spec: DataSpec, task: TaskSpec) -> Rows:
    """Join the splits in use into rows in content order.

    Args:
        splits: Split of the source -> rows as text (`source.read_source`).
        roles: Split of the source -> train, validation or test; splits that are not named are left alone.
        spec: The sweep's data.
        task: Labels and which of them is positive.

    Returns:
        Rows sorted by content; `is_label` of every attribute is decided.

    Raises:
        DataError: A text is empty, a label is missing or unknown, fewer than two labels occur, or a group rule is broken.
    """
    used = [name for name in sorted(splits) if name in roles]
    table = _Table(
        {name: len(splits[name]) for name in used}, {column: _cells(splits, used, column) for column in _columns(spec)}
    )
    text = _texts(table, spec.columns.text)
    pair = None if spec.columns.text_pair is None else _stripped(table.columns[spec.columns.text_pair])
    labels = _labels(table, spec.columns.label, task)
    class_names, positive = _classes(labels, task)
    number = {name: index for index, name in enumerate(class_names)}
    label = np.array([number[name] for name in labels], dtype=np.int64)
    groups = tuple(
        mark_label(read_groups(table.columns, group, attribute=name), label, same_column=group.column == spec.columns.label)
        for name, group in spec.groups.items()
    )
    text_key, content = _hashes(text, pair, labels, groups)
    role = np.repeat([roles[name] for name in used], [len(splits[name]) for name in used])
    unsorted = Rows(_objects(text), None if pair is None else _objects(pair), label, role, groups, content, text_key,
                    class_names, positive)  # fmt: skip
    return unsorted.take(np.lexsort((role, content)))


@dataclass(frozen=True)
class _Table:
    sizes: Mapping[str, int]
    columns: Mapping[str, Cells]

    def place(self, index: int) -> str:
        """Where a row stood in the source: `split 'train' row 17`, counted from 1."""
        for name, size in self.sizes.items():
            if index < size:
                return f"split {name!r} row {index + 1:,}"
            index -= size
        raise AssertionError("index beyond the table")

    def some(self, wrong: Sequence[int]) -> str:
        """`3 rows: split 'train' row 17, ...`."""
        places = ", ".join(self.place(index) for index in wrong[:3])
        return f"{row_count(len(wrong))}: {places}" + (", ..." if len(wrong) > 3 else "")


def _columns(spec: DataSpec) -> set[str]:
    flags = {column for group in spec.groups.values() for column in (group.flags or {}).values()}
    columns = {group.column for group in spec.groups.values()} | flags | {spec.columns.text_pair}
    return {spec.columns.text, spec.columns.label} | {column for column in columns if column is not None}


def _cells(splits: Mapping[str, datasets.Dataset], used: Sequence[str], column: str) -> Cells:
    return [value for name in used for value in splits[name].data.column(column).to_pylist()]


def _stripped(values: Cells) -> list[str]:
    return [(value or "").strip() for value in values]


def _texts(table: _Table, column: str) -> list[str]:
    texts = _stripped(table.columns[column])
    empty = [index for index, text in enumerate(texts) if not text]
    if empty:
        raise DataError(
            f"data.columns.text: every row of column {column!r} must hold text (got none in {table.some(empty)}). "
            "Fill these rows or leave them out of the source; lfray drops no row unasked"
        )
    return texts


def _labels(table: _Table, column: str, task: TaskSpec) -> list[str]:
    """Labels as text; none is missing, all are among `task.labels`."""
    cells = [cell(value) for value in table.columns[column]]
    allowed = None if task.labels is None else {str(scalar_text(label)) for label in task.labels}
    start = 0
    for name, size in table.sizes.items():
        # Hub data sets hide a test split's labels behind -1.
        if size and set(cells[start : start + size]) == {"-1"} and (allowed is None or "-1" not in allowed):
            raise DataError(
                f"data.splits: split {name!r} must have labels (got -1 in all {row_count(size)}, which stands for hidden). "
                "Name the labelled splits in data.splits.train, .validation and .test"
            )
        start += size
    missing = [index for index, value in enumerate(cells) if value is None]
    if missing:
        raise DataError(
            f"data.columns.label: every row needs a label (got none in {table.some(missing)}). "
            f"Fill column {column!r} or leave these rows out of the source"
        )
    labels = [value for value in cells if value is not None]
    strangers = [label for label in labels if allowed is not None and label not in allowed]
    if strangers:
        raise DataError(f"task.labels: must list every label (got {counted(strangers)}). Add them or leave these rows out")
    return labels


def _classes(labels: Sequence[str], task: TaskSpec) -> tuple[tuple[str, ...], int]:
    """Class names in class order, and the index of the positive one."""
    names = sorted_names(labels) if task.labels is None else tuple(str(scalar_text(label)) for label in task.labels)
    if len(set(names)) < len(names) or len(set(labels)) < 2:
        raise DataError(
            f"task.labels: at least two labels must occur, all different (got {', '.join(names) or 'none'}). "
            "Check data.columns.label"
        )
    if task.positive is None:
        return names, 1
    positive = str(scalar_text(task.positive))
    if positive not in names:
        raise DataError(f"task.positive: must be a label (got {positive!r}). Labels: {', '.join(names[:12])}")
    return names, names.index(positive)


def _hashes(
    text: Sequence[str], pair: Sequence[str] | None, labels: Sequence[str], groups: Sequence[GroupColumn]
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """SHA-256 (hex) of text and pair, and of text, pair, label and groups, [N] each."""
    written = _membership(groups, len(text))
    keys, contents = [], []
    for index, label in enumerate(labels):
        key = json.dumps([text[index], None if pair is None else pair[index]])
        keys.append(hashlib.sha256(key.encode()).hexdigest())
        contents.append(hashlib.sha256(f"{key}{json.dumps(label)}{written(index)}".encode()).hexdigest())
    return np.array(keys, dtype=np.str_), np.array(contents, dtype=np.str_)


def _membership(groups: Sequence[GroupColumn], count: int) -> Callable[[int], str]:
    """Each row's groups in one written form, whatever the order of attributes and groups in the sweep file."""
    names = sorted((group.attribute, name) for group in groups for name in group.names)
    columns = {(group.attribute, name): group.member[:, i] for group in groups for i, name in enumerate(group.names)}
    member = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((count, 0), dtype=bool)
    patterns, inverse = np.unique(member, axis=0, return_inverse=True)
    written = [json.dumps([names[i] for i in np.flatnonzero(pattern)]) for pattern in patterns]
    number = inverse.reshape(-1).tolist()
    return lambda index: written[number[index]]


def _objects(values: Sequence[str]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def row_ids(content: NDArray[np.str_]) -> NDArray[np.str_]:
    """Ids of rows in content order, [N]: 16 hex digits of the content, and `-k` on its k-th exact repeat.

    Repeats are equal in everything but the suffix, so it does not matter which of them gets which.
    """
    seen: dict[str, int] = {}
    ids = []
    for digest in content.tolist():
        short = digest[:16]
        repeat = seen.get(short, 0)
        seen[short] = repeat + 1
        ids.append(short if not repeat else f"{short}-{repeat}")
    return np.array(ids, dtype=np.str_)
