"""Who belongs to which group: a column that partitions the rows, or flags that let groups overlap.

A row without a value goes to the group that `missing` names, or the data set is refused with the count; no row leaves for want
of a group. How several annotators' votes become one value is decided before lfray reads the column, by whoever wrote it:
one row a text, so that no annotator counts for being first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lfray.data.values import cell, counted, row_count, scalar_text, sorted_names
from lfray.errors import DataError
from lfray.record import GroupColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lfray.spec.rows import GroupSpec

Cells = list[str | None]
_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def read_groups(columns: Mapping[str, Cells], spec: GroupSpec, *, attribute: str) -> GroupColumn:
    """Membership of every row in the groups of one attribute.

    Args:
        columns: Column -> its cells as text, None where missing.
        spec: The attribute as written in the sweep file.
        attribute: Its name.

    Returns:
        Names and member matrix, bool [N, G]; `is_label` is still False (see `mark_label`). Groups stand in the order of
        `names` or `flags`, or sorted; the `missing` group comes last, and only where a row needs it.

    Raises:
        DataError: A value has no name, a flag is neither true nor false, or a value is missing and no group takes it.
    """
    if spec.flags is not None:
        return _overlapping(columns, spec, spec.flags, attribute=attribute)
    assert spec.column is not None, "GroupSpec holds column or flags"
    return _partition([cell(value) for value in columns[spec.column]], spec, attribute=attribute)


def _partition(values: Cells, spec: GroupSpec, *, attribute: str) -> GroupColumn:
    where = f"data.groups.{attribute}"
    _missing(sum(value is None for value in values), spec, where=where)
    known = _named_values(spec, (value for value in values if value is not None))
    strangers = [value for value in values if value is not None and value not in known]
    if strangers:
        raise DataError(
            f"{where}.names: every value of column {spec.column!r} needs a group (got {counted(strangers)}). "
            "Name these values, or give several values one name"
        )
    names = tuple(dict.fromkeys(known.values()))
    if spec.missing is not None and spec.missing not in names and None in values:
        names = (*names, spec.missing)
    number = {name: index for index, name in enumerate(names)}
    codes = [number[spec.missing or ""] if value is None else number[known[value]] for value in values]
    member = np.zeros((len(values), len(names)), dtype=bool)
    member[np.arange(len(values)), codes] = True
    return GroupColumn(attribute, names, member)


def _named_values(spec: GroupSpec, values: Iterable[str]) -> dict[str, str]:
    """Value as written -> group. A boolean key also stands for True, TRUE, ... of a csv file."""
    distinct = sorted_names(values)
    if spec.names is None:
        return {value: value for value in distinct}
    known = {str(scalar_text(key)): name for key, name in spec.names.items()}
    booleans = {str(scalar_text(key)) for key in spec.names if isinstance(key, bool)}
    known.update({value: known[value.lower()] for value in distinct if value not in known and value.lower() in booleans})
    return known


def _overlapping(columns: Mapping[str, Cells], spec: GroupSpec, flags: Mapping[str, str], *, attribute: str) -> GroupColumn:
    where = f"data.groups.{attribute}"
    read = {name: _flag(columns[column], where=f"{where}.flags.{name}", column=column) for name, column in flags.items()}
    blank = np.logical_or.reduce([flag.missing for flag in read.values()])
    _missing(int(blank.sum()), spec, where=where)
    member = {name: flag.member for name, flag in read.items()}
    if spec.missing is not None and blank.any():
        member[spec.missing] = member.get(spec.missing, np.zeros_like(blank)) | blank
    return GroupColumn(attribute, tuple(member), np.stack(list(member.values()), axis=1), overlapping=True)


@dataclass(frozen=True, eq=False)
class _Flag:
    member: NDArray[np.bool_]
    missing: NDArray[np.bool_]


def _flag(values: Sequence[str | None], *, where: str, column: str) -> _Flag:
    words = [None if value is None else (cell(value) or "").lower() or None for value in values]
    strangers = [word for word in words if word is not None and word not in _TRUE and word not in _FALSE]
    if strangers:
        raise DataError(
            f"{where}: column {column!r} must hold 0/1, true/false or yes/no (got {counted(strangers)}). "
            "Turn shares and votes into 0/1 by a rule that you can name (any, majority, at least half) and write that column"
        )
    return _Flag(np.array([word in _TRUE for word in words], dtype=bool), np.array([word is None for word in words], dtype=bool))


def _missing(count: int, spec: GroupSpec, *, where: str) -> None:
    if count and spec.missing is None:
        raise DataError(
            f"{where}: every row needs a value (got {row_count(count)} without). "
            f"Give them a group of their own ({where}.missing: unknown) or fill the column"
        )


def mark_label(group: GroupColumn, label: NDArray[np.int64], *, same_column: bool) -> GroupColumn:
    """Say whether the label determines the group.

    It does where the group is read from the label's column, or where all rows of a class have the same membership and not all
    classes the same one. Then measures that compare selection or error rates between groups have no meaning.
    """
    first = [group.member[label == index][0] for index in np.unique(label)]
    of_class = {int(index): row for index, row in zip(np.unique(label), first, strict=True)}
    expected = np.stack([of_class[int(index)] for index in label]) if len(label) else group.member
    determined = bool((expected == group.member).all()) and any((row != first[0]).any() for row in first)
    return replace(group, is_label=same_column or determined)
