"""The sets of rows that get a value of their own, and the checks that a predictions table must pass before it is measured.

A cell is all rows, one group of one attribute, or, where an attribute's groups overlap, also the rows outside a group: no
partition is pretended where there is none, so each group is set against its own non-members.

Shapes: N rows, C classes, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax

from lfray.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lfray.record import GroupColumn, Predictions


@dataclass(frozen=True, eq=False)
class Cell:
    """Some of the rows; attribute and group are None where it is all of them. `mask` is bool [N]."""

    attribute: str | None
    group: str | None
    mask: NDArray[np.bool_]


def nonmember_name(group: str) -> str:
    """What the rows outside an overlapping group are called."""
    return f"not {group}"


def cells(table: Predictions) -> tuple[Cell, ...]:
    """All rows, then each attribute's groups; for overlapping attributes each group is followed by its non-members."""
    found = [Cell(None, None, np.ones(len(table), dtype=bool))]
    for column in table.groups:
        for index, name in enumerate(column.names):
            member = column.member[:, index]
            found.append(Cell(column.attribute, name, member))
            if column.overlapping:
                found.append(Cell(column.attribute, nonmember_name(name), ~member))
    return tuple(found)


def canonical(table: Predictions) -> Predictions:
    """The same rows in the order of their ids, so that sums and seeded draws do not depend on the order they came in."""
    order = np.argsort(table.row_id, kind="stable")
    return replace(
        table,
        row_id=table.row_id[order],
        split=table.split[order],
        label=table.label[order],
        prediction=table.prediction[order],
        logits=table.logits[order],
        parsed=None if table.parsed is None else table.parsed[order],
        groups=tuple(replace(column, member=column.member[order]) for column in table.groups),
    )


def log_probabilities(table: Predictions) -> NDArray[np.float64] | None:
    """Logarithms of the class probabilities, float64 [N, C]; None where the model gives labels without scores (C = 0 logits)."""
    if table.logits.shape[1] == 0:
        return None
    return np.asarray(log_softmax(table.logits.astype(np.float64), axis=1), dtype=np.float64)


def check_table(table: Predictions) -> None:
    """Refuse a table that cannot be measured.

    Raises:
        DataError: Lengths differ, a label, prediction or score is out of range, a partition's rows are not in exactly one group,
            or a group bears the name of another's non-members.
    """
    num_classes = len(table.class_names)
    _check_lengths(table)
    if num_classes < 2 or not 0 <= table.positive < num_classes:
        raise DataError(f"predictions: need two classes or more and a positive one (got {table.class_names}, {table.positive})")
    _check_range("label", table.label, 0, num_classes)
    _check_range("prediction", table.prediction, -1, num_classes)
    if table.logits.ndim != 2 or table.logits.shape[1] not in (0, num_classes):
        raise DataError(f"predictions: logits must be [rows, {num_classes}] or [rows, 0] (got {list(table.logits.shape)})")
    bad = len(table) - int(np.isfinite(table.logits).all(axis=1).sum())
    if bad:
        raise DataError(f"predictions: scores must be finite (got {bad} rows with NaN or infinity). The model diverged")
    for column in table.groups:
        _check_column(column)


def _check_lengths(table: Predictions) -> None:
    lengths = {
        "split": len(table.split),
        "label": len(table.label),
        "prediction": len(table.prediction),
        "logits": len(table.logits),
        "parsed": len(table) if table.parsed is None else len(table.parsed),
    } | {f"group {column.attribute}": len(column.member) for column in table.groups}
    for name, length in lengths.items():
        if length != len(table):
            raise DataError(f"predictions: {name} must have one entry a row (got {length} for {len(table)} rows)")


def _check_range(name: str, values: NDArray[np.int64], low: int, high: int) -> None:
    bad = values[(values < low) | (values >= high)]
    if len(bad):
        raise DataError(
            f"predictions: {name} must lie in {low}..{high - 1} (got {sorted(set(bad.tolist()))[:5]}). Map it to a class"
        )


def _check_column(column: GroupColumn) -> None:
    where = f"predictions: attribute {column.attribute!r}"
    if column.member.ndim != 2 or column.member.shape[1] != len(column.names):
        raise DataError(f"{where}: member must be [rows, {len(column.names)}] (got {list(column.member.shape)})")
    if len(set(column.names)) != len(column.names):
        raise DataError(f"{where}: group names must differ (got {', '.join(column.names)})")
    if column.overlapping:
        clash = sorted({nonmember_name(name) for name in column.names} & set(column.names))
        if clash:
            raise DataError(f"{where}: {clash[0]!r} already names the non-members of another group. Rename the group")
        return
    odd = int((column.member.sum(axis=1) != 1).sum())
    if odd:
        raise DataError(
            f"{where}: each row must be in exactly one group (got {odd} rows that are not). Declare the attribute overlapping"
        )
