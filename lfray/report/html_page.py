"""Blocks to one self-contained HTML page: no script, no request, nothing that a hostile text could turn into either.

MLflow serves artifacts from its own origin, so the page must be harmless there: every text is escaped, and the content security
policy allows embedded images and the page's own style and nothing else.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final, assert_never

from lfray.report.blocks import Block, Facts, Grid, Heading, Picture, Points, Source, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --page: #ffffff; --card: #f5f7f9;
  --accent: #0072b2; --mark: #e6f1f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3acb6; --line: #3a424b; --page: #14181c; --card: #1d2329;
  --accent: #6cb8e6; --mark: #1b3342; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p, ul { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
.under { color: var(--soft); margin: 0 0 1.25rem; }
.lead { font-size: 1.1rem; }
dl.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.25rem 0; }
dl.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem;
  min-width: 7rem; }
dl.facts dt { color: var(--soft); font-size: .8rem; }
dl.facts dd { margin: 0; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 1.25rem 0; }
figure .box { background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
figure img { display: block; width: 100%; min-width: 36rem; height: auto; }
figcaption, caption { color: var(--soft); font-size: .875rem; text-align: left; padding: .4rem 0; }
caption { padding: 0 .1rem .4rem; }
.box { overflow-x: auto; }
.box + .box { margin-top: 1.5rem; }
.box:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; min-width: 100%; margin: .25rem 0; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tr.marked > * { background: var(--mark); }
.long { min-width: 16rem; overflow-wrap: anywhere; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto;
  font: .8125rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media (max-width: 40rem) { main { padding: 1.25rem .9rem 3rem; } h1 { font-size: 1.4rem; } }
@media print { .box { overflow: visible; } figure img { min-width: 0; } h2 { break-after: avoid; } }
"""


def html_page(title: str, under: str, blocks: Sequence[Block]) -> str:
    """The page as text: a title, a line under it, the blocks in their order."""
    body = "\n".join(_block(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{_text(title)}</h1>\n<p class="under">{_text(under)}</p>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _text(text: str) -> str:
    """Escaped; control characters, which HTML does not allow, become visible."""
    return escape("".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text))


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_text(text)}</h2>"
        case Text(text, lead):
            return f'<p class="lead">{_text(text)}</p>' if lead else f"<p>{_text(text)}</p>"
        case Points(items):
            return "<ul>\n" + "\n".join(f"<li>{_text(item)}</li>" for item in items) + "\n</ul>"
        case Facts(items):
            cells = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in items)
            return f'<dl class="facts">{cells}</dl>'
        case Picture():
            return _picture(block)
        case Grid():
            return _grid(block)
        case Source(title, text):
            return f"<details><summary>{_text(title)}</summary>\n<pre>{_text(text)}</pre>\n</details>"
        case _:
            assert_never(block)


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode()
    image = f'<img alt="{_text(picture.alt)}" src="data:image/svg+xml;base64,{data}">'
    caption = _text(picture.caption)
    return (
        f'<figure><div class="box" tabindex="0" role="region" aria-label="{caption}">{image}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _grid(grid: Grid) -> str:
    head = "".join(
        f'<th scope="col"{_class(grid, index, column)}>{_text(column)}</th>' for index, column in enumerate(grid.columns)
    )
    rows = []
    for number, row in enumerate(grid.rows):
        cells = [
            f'<th scope="row">{_text(cell)}</th>' if index == 0 else f"<td{_class(grid, index, cell)}>{_text(cell)}</td>"
            for index, cell in enumerate(row)
        ]
        opening = '<tr class="marked">' if number in grid.marked else "<tr>"
        rows.append(f"{opening}{''.join(cells)}</tr>")
    caption = _text(grid.caption)
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _class(grid: Grid, index: int, cell: str) -> str:
    return ' class="number"' if index in grid.numeric else ' class="long"' if len(cell) > 40 else ""
