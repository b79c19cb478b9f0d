"""Blocks to Markdown (GitHub's flavour), for a repository or a pull request; figures are the files beside it."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final, assert_never

from lfray.report.blocks import Block, Facts, Grid, Heading, Picture, Points, Source, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARKS: Final = re.compile(r"([\\`*_\[\]|!#~$])")


def markdown_page(title: str, under: str, blocks: Sequence[Block]) -> str:
    """The page as text: a title, a line under it, the blocks in their order."""
    parts = [f"# {_text(title)}", _text(under), *(_block(block) for block in blocks)]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """One line in which no character is markup: HTML as entities, Markdown's own marks behind a backslash."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    # A web address would be turned into a link; a zero-width entity after the colon keeps it text.
    return _MARKS.sub(r"\\\1", escape(line, quote=False)).replace("://", ":&#8203;//").replace("www.", "www&#46;")


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_text(text)}"
        case Text(text):
            return _text(text)
        case Points(items):
            return "\n".join(f"- {_text(item)}" for item in items)
        case Facts(items):
            return " · ".join(f"{_text(name)}: **{_text(value)}**" for name, value in items)
        case Picture(stem, alt, caption):
            return f"![{_text(alt)}]({stem}.svg)\n\n{_text(caption)}"
        case Grid():
            return _grid(block)
        case Source(title, text):
            # A fence longer than any run of backticks inside cannot be closed by the text.
            fence = "`" * (3 + max((len(run) for run in re.findall(r"`+", text)), default=0))
            return f"{_text(title)}:\n\n{fence}yaml\n{text.rstrip()}\n{fence}"
        case _:
            assert_never(block)


def _grid(grid: Grid) -> str:
    ruler = ["--:" if index in grid.numeric else ":--" for index in range(len(grid.columns))]
    bold = [
        tuple(f"**{_text(cell)}**" if cell and n in grid.marked else _text(cell) for cell in row)
        for n, row in enumerate(grid.rows)
    ]
    lines = [tuple(_text(column) for column in grid.columns), tuple(ruler), *bold]
    return f"{_text(grid.caption)}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
