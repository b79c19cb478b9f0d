"""One written form for a cell, whatever file it came from.

csv knows text only, parquet knows numbers, json knows both: label 0, 0.0 and "0" must be one label, or the same rows in
another file format would be other rows. So every cell becomes text here, once, and missing is None everywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_INTEGER = re.compile(r"-?[0-9]+")


def scalar_text(value: object) -> str | None:
    """A scalar's written form, or None where it is missing (None, NaN).

    Integral floats lose their point (a nullable integer column arrives as floats); booleans are `true` and `false`.

    Raises:
        TypeError: The value is not text, a number or a boolean.
    """
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case float():
            if math.isnan(value):
                return None
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            raise TypeError(f"{type(value).__name__} is not text, a number or a boolean")


def cell(value: str | None) -> str | None:
    """A label's or group's cell without surrounding white space; None where nothing is left."""
    return (value.strip() or None) if value is not None else None


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in a stable order: by number where all are whole numbers, else as text."""
    distinct = set(names)
    if all(_INTEGER.fullmatch(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def counted(values: Iterable[str], *, shown: int = 4) -> str:
    """`'a' in 3 rows, 'b' in 1 row, ...`: the commonest values, for an error's `got`."""
    tally = Counter(values)
    common = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{value!r} in {row_count(count)}" for value, count in common[:shown])
    return text + (f", and {len(common) - shown} more values" if len(common) > shown else "")


def row_count(count: int) -> str:
    """`1 row`, `12,345 rows`."""
    return f"{count:,} row" + ("" if count == 1 else "s")


def round_half_up(share: float, count: int) -> int:
    """`share x count` to the nearest whole number, halves up, in the decimals that were written.

    Exact where floats are not: 0.29 x 50 is 14.499999999999998 as floats, 14.5 as written.
    """
    return int((Decimal(repr(share)) * count).quantize(Decimal(1), rounding=ROUND_HALF_UP))
