"""Which rows form a batch, and how a batch becomes padded tensors.

Training: each epoch is shuffled, cut into pools of 32 batches, each pool sorted by length, cut into batches, and the batches
shuffled again: rows of one batch have nearly one length, so little is padded, yet order stays random. Order is a
function of (seed, epoch) alone, so a resumed trial sees what an undisturbed one sees.
Evaluation: sorted by length, original order restored by the caller.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from lfray.engine.contract import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lfray.rows import TokenRows

POOL_BATCHES = 32
"""Batches whose rows are sorted together: with 16 rows a batch, 512 rows are still mixed at random (benchmarks/LOG.md: padding)."""


def steps_per_epoch(num_rows: int, batch_rows: int) -> int:
    """Updates that pass over every row once; the last may be smaller."""
    return math.ceil(num_rows / batch_rows)


def epoch_batches(lengths: NDArray[np.int64], batch_rows: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Row indices of each update of one epoch: every row exactly once."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = generator.permutation(len(lengths))
    pool = POOL_BATCHES * batch_rows
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[cut : cut + batch_rows] for cut in range(0, len(rows), batch_rows)]
    return [batches[index] for index in generator.permutation(len(batches))]


def evaluation_batches(lengths: NDArray[np.int64], batch_rows: int) -> Iterator[NDArray[np.int64]]:
    """Row indices by length, longest first: memory's peak comes first, and an out-of-memory at once."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_rows):
        yield order[start : start + batch_rows]


def share(index: NDArray[np.int64], micro_batch: int, *, rank: int, size: int) -> list[tuple[NDArray[np.int64], int]]:
    """One rank's micro-batches of an update, each with how many of its rows count.

    Rows are dealt out one by one, so that ranks get equal lengths (`index` is sorted by length). Every rank passes equally often:
    one that has run out of rows passes the update's first row and counts nothing of it.
    """
    mine = index[rank::size]
    passes = math.ceil(math.ceil(len(index) / size) / micro_batch)
    cuts = [mine[cut : cut + micro_batch] for cut in range(0, passes * micro_batch, micro_batch)]
    return [(cut, len(cut)) if len(cut) else (index[:1], 0) for cut in cuts]


def dealt(batches: list[NDArray[np.int64]], *, rank: int, size: int) -> list[tuple[NDArray[np.int64], bool]]:
    """One rank's batches to look at, equally many for every rank; the flag is False on one that only keeps the others company.

    Whole batches are dealt out: a row is padded and computed with the same neighbours as in one process, to the same bits.
    """
    passes = math.ceil(len(batches) / size)
    places = [rank + turn * size for turn in range(passes)]
    return [(batches[place], True) if place < len(batches) else (batches[0][:1], False) for place in places]


def collate(rows: TokenRows, index: NDArray[np.int64], *, pad_id: int, device: torch.device, real: int | None = None) -> Batch:
    """Pad the rows at `index` on the right to the longest of them; the first `real` count (default: all)."""
    lengths = rows.lengths[index]
    width = int(lengths.max())
    column = np.arange(width)
    token = column < lengths[:, None]
    place = np.where(token, rows.starts[index][:, None] + column, 0)
    input_ids = np.where(token, rows.tokens[place], pad_id).astype(np.int64)
    inputs = {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(token.astype(np.int64))}
    if rows.token_types is not None:
        inputs["token_type_ids"] = torch.from_numpy(np.where(token, rows.token_types[place], 0).astype(np.int64))
    extra = {name: torch.from_numpy(values[index]) for name, values in rows.extra.items()}
    return Batch(
        {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()},
        torch.from_numpy(rows.label[index]).to(device, non_blocking=True),
        len(index) if real is None else real,
        {name: tensor.to(device, non_blocking=True) for name, tensor in extra.items()},
        int(lengths.sum()),
    )
