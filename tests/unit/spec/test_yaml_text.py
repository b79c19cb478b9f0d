from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import SpecError
from lfray.spec.yaml_text import MAX_DEPTH, Document, dotted, read_yaml

TEXTS = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


def read(text: str, **environ: str) -> Document:
    return read_yaml(text, file="x.yaml", environ=environ)


def refused(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(text)
    return str(caught.value)


@given(TREES)
def test_json_is_read_as_json_reads_it(tree: object) -> None:
    """Every JSON text is YAML 1.2, and json shares no code with this reader."""
    text = json.dumps(tree, ensure_ascii=False).replace("${", "$ {")
    assert repr(read(text).value) == repr(json.loads(text))


def test_lines_are_those_of_keys_and_items() -> None:
    document = read("a: 1\nb:\n  c: [x,\n    y]\n  d:\n    - 5\n")
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
    }


def test_quotes_make_text_and_plain_scalars_are_resolved_after_expansion() -> None:
    document = read('a: ${N}\nb: "${N}"\nc: ${N}e-1\nd: |\n  ${N}\n', N="5")
    assert document.value == {"a": 5, "b": "5", "c": 0.5, "d": "5\n"}
    assert document.written == {"a": "${N}", "b": "${N}", "c": "${N}e-1", "d": "${N}\n"}
    assert document.references[("a",)] == "${N}"


def test_keys_and_comments_are_not_expanded() -> None:
    assert read("${A}: 1 # ${B}\n").value == {"${A}": 1}


def test_what_a_variable_holds_is_not_yaml() -> None:
    assert read("a: ${A}\nb: x\n", A="x\nb: {y: [").value == {"a": "x\nb: {y: [", "b": "x"}


def test_anchors() -> None:
    document = read("a: &x {k: [1, 2]}\nb: *x\n")
    assert document.value["b"] == {"k": [1, 2]}
    assert document.lines[("b",)] == 2


def test_duplicates_and_unset_variables_are_gathered() -> None:
    document = read('a: 1\nb: ${X}\na: {c: "${Y}"}\nd: ${Z}\n')
    assert [(problem.path, problem.line) for _, problem in document.problems] == [
        ("b", 2), ("a", 3), ("a (again).c", 3), ("d", 4),
    ]  # fmt: skip
    assert document.value["a"] == 1


def test_duplicates_by_value() -> None:
    """1, 0x1 and true are one key for Python; the second would silently win."""
    assert len(read("{1: a, 0x1: b}").problems) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [*x]\n", "x.yaml:1: a[0]: an alias must follow"),
        ("? [1]\n: 2\n", "a key must be one word"),
        ("*x : 1\n", "a key must be one word"),
        ("a: !local 1\n", "tags have no meaning"),
        ("[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5), "levels may be nested"),
        ("[" * 200_000, "levels may be nested"),
        ("a: [1, 2\nb: 3\n", "is not YAML"),
        ("1e999: 1\n", "a number must be finite"),
        ("a: 'x\n\n\n", "x.yaml:1:"),
        ("", "holds nothing"),
        ("# only this\n", "holds nothing"),
    ],
)
def test_refusals(text: str, said: str) -> None:
    assert said in refused(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_at_a_line(text: str) -> None:
    try:
        lines = [problem.line for _, problem in read(text).problems]
    except SpecError as error:
        lines = [problem.line for problem in error.problems]
    assert None not in lines


def test_dotted() -> None:
    assert dotted(("axes", "rank", 1)) == "axes.rank[1]"
    assert dotted(()) == ""
