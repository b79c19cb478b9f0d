"""Which of the minority's training rows stay: nested subsets, equal for every method at one seed.

Definition. Let the minority have n training rows. Each gets the priority SHA-256("<seed>:<row id>"), and the
round-half-up(ratio x n) rows of lowest priority stay, at least one. Everybody else stays.

    The priority does not depend on the ratio   =>  rows(0.2) is a subset of rows(0.5) at the same seed.
    It depends on row ids, not on positions     =>  the order of rows and files does not matter.
    It does not depend on the method            =>  LoRA and full fine-tuning see the same rows.

Only the training rows come here; validation and test rows are never cut.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from lfray.data.values import round_half_up
from lfray.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kept_rows(ratio: float, count: int) -> int:
    """How many of `count` minority rows stay: round-half-up(ratio x count), at least one."""
    return max(1, round_half_up(ratio, count))


def priority(seed: int, row_id: str) -> bytes:
    """A row's place in the queue at one seed, 32 bytes: uniform, and the same on every machine."""
    return hashlib.sha256(f"{seed}:{row_id}".encode()).digest()


def downsample(row_ids: NDArray[np.str_], minority: NDArray[np.bool_], *, ratio: float, seed: int) -> NDArray[np.bool_]:
    """Keep a fraction of the minority's training rows.

    Args:
        row_ids: Ids of the training rows, [N], all different.
        minority: Which of them belong to the minority, bool [N].
        ratio: Fraction of the minority that stays, in (0, 1]. 1.0 leaves the data as it is.
        seed: The trial's seed: another seed keeps other rows, of the same number.

    Returns:
        bool [N]: True where the row stays. True for every row outside the minority.

    Raises:
        DataError: The ratio is outside (0, 1], or no row belongs to the minority.
    """
    if not 0 < ratio <= 1:
        raise DataError(f"downsampling_ratio: must be in (0, 1] (got {ratio}). 1.0 keeps every row")
    positions = np.flatnonzero(minority)
    if not len(positions):
        raise DataError("downsampling_ratio: the minority must have training rows (got 0). Name another group in data.minority")
    queue = sorted(positions.tolist(), key=lambda position: priority(seed, str(row_ids[position])))
    kept = ~minority
    kept[queue[: kept_rows(ratio, len(positions))]] = True
    return kept
