"""Which groups a summary covers: those with enough rows in every denominator it needs, the others named with the reason.

A group of few rows is left out, since its rate is mostly luck; a group of enough rows whose rate is undefined is not, since the
value over the rest would pass for the value over all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lfray.evaluation.rates import Confusion
from lfray.names import ACCURACY, ERROR_RATE, FALSE_POSITIVE_RATE, SELECTION_RATE, TRUE_POSITIVE_RATE


@dataclass(frozen=True)
class Kind:
    """A rate as hits over support, and the reason that an empty support gives."""

    name: str
    hits: Callable[[Confusion], int]
    support: Callable[[Confusion], int]
    absent: str = "empty_group"

    def of(self, counts: Confusion) -> float:
        """The rate; the support must not be empty."""
        return self.hits(counts) / self.support(counts)


ACCURATE: Final = Kind(ACCURACY.key, lambda c: c.correct, lambda c: c.n)
WRONG: Final = Kind(ERROR_RATE.key, lambda c: c.n - c.correct, lambda c: c.n)
SELECTED: Final = Kind(SELECTION_RATE.key, lambda c: c.selected, lambda c: c.n)
TRUE_POSITIVE: Final = Kind(TRUE_POSITIVE_RATE.key, lambda c: c.true_positives, lambda c: c.n_pos, "no_positives")
FALSE_POSITIVE: Final = Kind(FALSE_POSITIVE_RATE.key, lambda c: c.false_positives, lambda c: c.n_neg, "no_negatives")


@dataclass(frozen=True)
class Coverage:
    """Which groups a summary covers, why others are left out, and why it has no value (None: it has one)."""

    covers: tuple[str, ...]
    left_out: Mapping[str, str]
    reason: str | None


def coverage(groups: Mapping[str, Confusion], kinds: tuple[Kind, ...], min_rows: int) -> Coverage:
    """Sort the groups into those with enough rows in every denominator, those with too few, and those with a rate undefined.

    Two groups or more must have enough rows (`single_group`), and none of those an undefined rate (`undefined_cell`).
    """
    covers: list[str] = []
    left_out: dict[str, str] = {}
    undefined_cells = 0
    for name, counts in groups.items():
        absent = next((kind.absent for kind in kinds if kind.support(counts) == 0), None)
        if counts.n == 0:
            left_out[name] = "empty_group"
        elif counts.n < min_rows:
            left_out[name] = "below_n_min"
        elif absent is not None:
            left_out[name] = absent
            undefined_cells += 1
        elif min(kind.support(counts) for kind in kinds) < min_rows:
            left_out[name] = "below_n_min"
        else:
            covers.append(name)
    if len(covers) + undefined_cells < 2:
        return Coverage(tuple(covers), left_out, "single_group")
    return Coverage(tuple(covers), left_out, "undefined_cell" if undefined_cells else None)
