"""Repeats and contradictions leave before the split, each kind counted, none unasked.

In this order: (1) texts whose copies contradict each other, which are refused or dropped as `data.conflicts` says; (2) copies
of a text in an earlier split than its last (train before validation before test), because a test text must never be trained
on; (3) repeats within a split, as `data.deduplicate` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lfray.data.rows import ROLES, Rows
from lfray.data.values import row_count
from lfray.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lfray.spec.rows import DataSpec


def clean(rows: Rows, spec: DataSpec) -> tuple[Rows, dict[str, int]]:
    """Drop what may not stay.

    Two copies contradict each other where they have different labels; under `deduplicate: text` also where they have different
    groups, because keeping either copy would choose a person's group by chance.

    Args:
        rows: In content order.
        spec: `deduplicate` and `conflicts` are read.

    Returns:
        The rows that stay, in the same order, and the counts `conflicts_dropped`, `group_conflicts_dropped`,
        `cross_split_dropped`, `duplicates_dropped`.

    Raises:
        DataError: Copies contradict each other and `conflicts` is `refuse`.
    """
    by_label = _differs(rows.text_key, rows.label)
    by_group = np.zeros(len(rows), dtype=bool)
    if spec.deduplicate == "text":
        by_group = _differs(rows.text_key, np.unique(rows.content, return_inverse=True)[1]) & ~by_label
    if spec.conflicts == "refuse":
        _refuse(rows, by_label, by_group)
    rows = rows.take(~(by_label | by_group))
    later = rows.take(_in_last_split(rows))
    kept = later.take(_first_copies(later, spec))
    return kept, {
        "conflicts_dropped": int(by_label.sum()),
        "group_conflicts_dropped": int(by_group.sum()),
        "cross_split_dropped": len(rows) - len(later),
        "duplicates_dropped": len(later) - len(kept),
    }


def _differs(key: NDArray[np.str_], value: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where rows of one key have different values, [N]."""
    number = np.unique(key, return_inverse=True)[1].reshape(-1)
    low, high = np.full(len(key), np.iinfo(np.int64).max), np.full(len(key), -1)
    np.minimum.at(low, number, value)
    np.maximum.at(high, number, value)
    return np.asarray((low != high)[number], dtype=np.bool_)


def _refuse(rows: Rows, by_label: NDArray[np.bool_], by_group: NDArray[np.bool_]) -> None:
    if by_label.any():
        raise DataError(
            f"data.conflicts: copies of one text must have one label (got {_texts(rows, by_label)}). "
            "`data.conflicts: drop` leaves all copies out and counts them"
        )
    if by_group.any():
        raise DataError(
            f"data.conflicts: under deduplicate text, copies of one text must have one group (got {_texts(rows, by_group)}). "
            "`data.deduplicate: columns` keeps one row for each label and group; `data.conflicts: drop` leaves all copies out"
        )


def _texts(rows: Rows, wrong: NDArray[np.bool_]) -> str:
    """`2 texts in 5 rows: 'a' as 0 and 1, ...`, with two examples."""
    shown = []
    keys = list(dict.fromkeys(rows.text_key[wrong].tolist()))
    for key in keys[:2]:
        copies = rows.take(rows.text_key == key)
        text = str(copies.text[0])
        kinds = sorted({rows.class_names[label] for label in copies.label.tolist()} if len(set(copies.label.tolist())) > 1
                       else {_groups(copies, index) for index in range(len(copies))})  # fmt: skip
        shown.append(f"{text[:60] + ('...' if len(text) > 60 else '')!r} as {' and '.join(kinds)}")
    count = f"{len(keys):,} text" + ("" if len(keys) == 1 else "s")
    return f"{count} in {row_count(int(wrong.sum()))}: {'; '.join(shown)}"


def _groups(rows: Rows, index: int) -> str:
    names = [name for group in rows.groups for name, member in zip(group.names, group.member[index], strict=True) if member]
    return "+".join(names) or "no group"


def _in_last_split(rows: Rows) -> NDArray[np.bool_]:
    """True where no copy of the row's text stands in a later split, [N]."""
    rank = np.select([rows.role == role for role in ROLES], range(len(ROLES)))
    number = np.unique(rows.text_key, return_inverse=True)[1].reshape(-1)
    last = np.zeros(len(rows), dtype=np.int64)
    np.maximum.at(last, number, rank)
    return np.asarray(rank == last[number], dtype=np.bool_)


def _first_copies(rows: Rows, spec: DataSpec) -> NDArray[np.int64]:
    """Positions of the rows that stay, the first of their kind in content order."""
    if spec.deduplicate == "none":
        return np.arange(len(rows), dtype=np.int64)
    kind = rows.text_key if spec.deduplicate == "text" else rows.content
    return np.sort(np.unique(kind, return_index=True)[1]).astype(np.int64)
