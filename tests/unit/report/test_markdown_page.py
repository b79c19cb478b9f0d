"""The Markdown renders to what it was given as text: read back by a CommonMark parser with tables."""

from __future__ import annotations

from markdown_it import MarkdownIt

from lfray.report.blocks import Block, Facts, Grid, Heading, Picture, Points, Source, Text
from lfray.report.markdown_page import markdown_page
from tests.unit.report.sweep import HOSTILE

BLOCKS: list[Block] = [
    Heading(HOSTILE),
    Text(HOSTILE),
    Points((HOSTILE,)),
    Facts(((HOSTILE, HOSTILE),)),
    Picture("front", HOSTILE, HOSTILE, b""),
    Grid(HOSTILE, (HOSTILE, "b"), ((HOSTILE, "1"),), frozenset({1}), frozenset({0})),
]


def render(page: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(page))


def test_hostile_text_stays_text() -> None:
    html = render(markdown_page(HOSTILE, HOSTILE, BLOCKS))
    assert html.count("<img") == 1
    assert '<img src="front.svg"' in html
    assert "<a" not in html
    assert "<script" not in html
    assert "<code" not in html
    assert "<em" not in html
    assert html.count("&lt;script&gt;alert('x')") == 12
    assert html.count("<td") == 2


def test_a_web_address_is_no_link_on_github() -> None:
    page = markdown_page("t", "see http://evil.example and www.evil.example", [])
    assert "http://" not in page
    assert "www.e" not in page


def test_a_source_cannot_close_its_fence() -> None:
    html = render(markdown_page("t", "u", [Source("file", "a\n```\n<script>\n`````\nb")]))
    assert html.count("<pre>") == 1
    assert "<script>" not in html


def test_line_breaks_do_not_start_a_block() -> None:
    html = render(markdown_page("t", "u", [Text("a\n# b\n\n- c")]))
    assert html.count("<h1>") == 1
    assert "<li>" not in html
