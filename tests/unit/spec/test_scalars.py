from __future__ import annotations

import pytest

from lfray.spec.scalars import expand, resolve_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4), ("1e3", 1000.0), ("-1.5E+2", -150.0), (".5", 0.5), ("1.", 1.0), ("+3", 3), ("-7", -7), ("010", 10),
        ("0o17", 15), ("0xFF", 255), ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    found = resolve_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["no", "on", "yes", "off", "y", "N", "1_000", "1:30", "2024-01-01", "0b1", "1e", "e5", ".", "+", "1.2.3", "tRue", "0x"],
)
def test_everything_else_is_text(text: str) -> None:
    assert resolve_scalar(text) == text


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 5000])
def test_numbers_must_be_finite_and_sane(text: str) -> None:
    with pytest.raises(ValueError, match="a number must"):
        resolve_scalar(text)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}", "one"), ("x${A}y${A}", "xoney" + "one"), ("${B:-two}", "two"), ("${A:-two}", "one"), ("${B:-}", ""),
        ("${EMPTY:-two}", "two"), ("${EMPTY}", ""), ("$${A}", "${A}"), ("$A", "$A"), ("${B:-a:b}", "a:b"), ("100%", "100%"),
    ],
)  # fmt: skip
def test_variables(text: str, expanded: str) -> None:
    assert expand(text, {"A": "one", "EMPTY": ""}) == expanded


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "x"}) == "${B}"


@pytest.mark.parametrize(
    ("text", "said"), [("${B}", "B is not set"), ("${1}", "must hold"), ("${", "must hold"), ("${A", "must hold")]
)
def test_unset_or_torn_references_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(text, {"A": "one"})
