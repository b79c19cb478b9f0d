"""The parts that a report is made of, before it is HTML or Markdown: one content, two renderings that cannot drift apart.

Texts are plain and come from anywhere (data sets, error messages, file names); each renderer escapes all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MAX_ROWS: Final = 200
"""Of one table on the page; what is left out is counted under it, and stands in the records."""

ABSENT: Final = "-"


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Text:
    """One paragraph; `lead` is set larger, once, at the top."""

    text: str
    lead: bool = False


@dataclass(frozen=True)
class Points:
    """A list without order."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A few numbers to see first: (name, value)."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A figure: in the HTML embedded, in Markdown the file `<stem>.svg` beside the page."""

    stem: str
    alt: str
    """What the figure shows, for those who do not see it."""
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Grid:
    """A table of texts. Columns whose index is in `numeric` are set right, rows in `marked` stand out."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Source:
    """A file's text, word for word, folded away under its title."""

    title: str
    text: str


Block = Heading | Text | Points | Facts | Picture | Grid | Source


def grid(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    *,
    numeric: Collection[int] = (),
    marked: Collection[int] = (),
) -> list[Block]:
    """A table of at most MAX_ROWS rows, and below it how many were left out."""
    block = Grid(caption, tuple(columns), tuple(rows[:MAX_ROWS]), frozenset(numeric), frozenset(marked))
    left_out = len(rows) - MAX_ROWS
    return [block] if left_out <= 0 else [block, Text(f"{left_out:,} further rows are not shown.")]
