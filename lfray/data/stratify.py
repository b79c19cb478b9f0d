"""Choosing rows so that every group keeps its share, without a random generator's state.

Rows come with an `order` (positions sorted by a hash of their content), so what is chosen depends on the rows and the seed and
on nothing else. Where groups partition the rows, each group x label cell gives its share, rounded by largest remainder.
Where groups overlap, cells would be as many as rows, and iterative stratification takes over.

Shapes: N rows, L strata labels, K subsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lfray.record import GroupColumn


def choose(label: NDArray[np.int64], groups: Sequence[GroupColumn], *, count: int, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose `count` of the rows, stratified by group x label.

    Args:
        label: Class index, [N].
        groups: Membership of the same rows.
        count: How many, 0..N. Met exactly where groups partition the rows, within a few rows where they overlap.
        order: The rows' positions in the order of preference, [N].

    Returns:
        bool [N]: True where chosen.
    """
    if any(group.overlapping for group in groups):
        share = count / max(1, len(label))
        dealt = iterative_stratification(crossed(label, groups), shares=(share, 1 - share), order=order)
        return np.asarray(dealt == 0, dtype=np.bool_)
    return largest_remainder(cells(label, groups), count=count, order=order)


def cells(label: NDArray[np.int64], groups: Sequence[GroupColumn]) -> NDArray[np.int64]:
    """Number of each row's cell in the cross of label and every partitioning attribute, [N]."""
    keys = np.stack([label, *(group.member.argmax(axis=1) for group in groups)], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def crossed(label: NDArray[np.int64], groups: Sequence[GroupColumn]) -> NDArray[np.bool_]:
    """Each class, and each group within each class, as one column: bool [N, L]. Columns without rows are left out."""
    classes = np.unique(label)
    of_class = label[:, None] == classes[None, :]
    columns = [of_class]
    for group in groups:
        columns.append((group.member[:, :, None] & of_class[:, None, :]).reshape(len(label), -1))
    table = np.concatenate(columns, axis=1)
    return np.asarray(table[:, table.any(axis=0)], dtype=np.bool_)


def largest_remainder(cell: NDArray[np.int64], *, count: int, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """From each cell its share of `count`, rounded so that the shares add up to it (Hamilton's method), [N].

    A tie between remainders goes to the smaller cell, so that a rounding never empties a small group first.
    """
    chosen = np.zeros(len(cell), dtype=bool)
    if not len(cell):
        return chosen
    sizes = np.bincount(cell)
    quota, remainder = sizes * count // len(cell), sizes * count % len(cell)
    extra = np.lexsort((np.arange(len(sizes)), sizes, -remainder))[: count - quota.sum()]
    quota[extra] += 1
    left = quota.tolist()
    for position in order.tolist():
        if left[cell[position]] > 0:
            left[cell[position]] -= 1
            chosen[position] = True
    return chosen


def iterative_stratification(
    member: NDArray[np.bool_], *, shares: Sequence[float], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Deal rows to subsets so that every label keeps its share in each, rarest label first.

    Ties that the paper breaks at random go to the subset that wants more rows, then to the first.

    Args:
        member: Labels of each row, bool [N, L]; a row may have several or none.
        shares: Share of the rows that each of the K subsets shall have; they add up to 1.
        order: The rows' positions in the order in which they are dealt, [N].

    Returns:
        Number of each row's subset, int64 [N].

    Source: Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label Data", Algorithm 1.
    """
    subset = np.full(len(member), -1, dtype=np.int64)
    wanted = np.asarray(shares, dtype=float) * len(member)
    wanted_of = np.outer(shares, member.sum(axis=0))
    waiting = member.sum(axis=0)

    def deal(position: int, wishes: NDArray[np.float64]) -> None:
        first = np.flatnonzero(wishes == wishes.max())
        target = first[wanted[first].argmax()]
        labels = np.flatnonzero(member[position])
        subset[position] = target
        wanted[target] -= 1
        wanted_of[target, labels] -= 1
        waiting[labels] -= 1

    while waiting.any():
        rarest = int(np.where(waiting > 0, waiting, len(member) + 1).argmin())
        for position in order[member[order, rarest]].tolist():
            if subset[position] < 0:
                deal(position, wanted_of[:, rarest])
    for position in order[subset[order] < 0].tolist():
        deal(position, wanted)
    return subset
