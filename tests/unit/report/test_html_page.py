"""The HTML holds what it was given as text, asks for nothing, and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from lfray.report.blocks import Block, Facts, Grid, Heading, Picture, Points, Source, Text
from lfray.report.html_page import html_page
from tests.unit.report.sweep import HOSTILE

BLOCKS: list[Block] = [
    Heading(HOSTILE),
    Text(HOSTILE, lead=True),
    Text(HOSTILE),
    Points((HOSTILE,)),
    Facts(((HOSTILE, HOSTILE),)),
    Picture("front", HOSTILE, HOSTILE, b"<svg/>"),
    Grid(HOSTILE, (HOSTILE, HOSTILE), ((HOSTILE, HOSTILE),), frozenset({1}), frozenset({0})),
    Source(HOSTILE, HOSTILE),
]


class Reader(HTMLParser):
    """Collects tags, attributes that could load something, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "style")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_hostile_text_stays_text() -> None:
    reader = read(html_page(HOSTILE, HOSTILE, BLOCKS))
    assert set(reader.tags) <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul", "li", "dl", "div", "dt", "dd", "figure",
        "img", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre",
    }  # fmt: skip
    assert reader.tags.count("img") == 1
    assert reader.handlers == []
    assert [load[:26] for load in reader.loads] == ["data:image/svg+xml;base64,"]
    assert reader.text.count(HOSTILE) == 17


def test_the_policy_allows_nothing_but_images_and_style() -> None:
    page = html_page("a", "b", [])
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src &#x27;none&#x27;; img-src data:; style-src &#x27;unsafe-inline&#x27;")
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page


def test_control_characters_are_made_visible() -> None:
    assert "a\\x00b\\x1bc" in html_page("t", "u", [Text("a\0b\x1bc")])


def test_tables_name_their_header_cells_and_mark_rows() -> None:
    page = html_page("t", "u", [Grid("caption", ("a", "b"), (("x", "1"), ("y", "2")), frozenset({1}), frozenset({1}))])
    assert '<th scope="col">a</th><th scope="col" class="number">b</th>' in page
    assert '<tr><th scope="row">x</th><td class="number">1</td></tr>' in page
    assert '<tr class="marked"><th scope="row">y</th>' in page
