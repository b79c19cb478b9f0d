from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.data.values import cell, counted, round_half_up, row_count, scalar_text, sorted_names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), (float("nan"), None), (True, "true"), (False, "false"), (0, "0"), (0.0, "0"), (-1.0, "-1"), (0.25, "0.25"),
        ("NA", "NA"), ("", ""), (" x ", " x "),
    ],
)  # fmt: skip
def test_one_written_form_for_a_scalar(value: object, text: str | None) -> None:
    assert scalar_text(value) == text


def test_lists_have_no_written_form() -> None:
    with pytest.raises(TypeError, match="list is not text"):
        scalar_text(["a"])


def test_a_blank_cell_is_missing() -> None:
    assert [cell(value) for value in (None, "", "  \t", " a b ")] == [None, None, None, "a b"]


def test_names_sort_by_number_only_where_all_are_numbers() -> None:
    assert sorted_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sorted_names(["10", "9", "b"]) == ("10", "9", "b")


def test_counts_in_words() -> None:
    assert counted(["b", "a", "b"]) == "'b' in 2 rows, 'a' in 1 row"
    assert counted("abcdef") == "'a' in 1 row, 'b' in 1 row, 'c' in 1 row, 'd' in 1 row, and 2 more values"
    assert row_count(12345) == "12,345 rows"


@given(st.integers(1, 9999), st.integers(0, 10**6))
def test_rounding_is_exact_in_the_decimals_as_written(ten_thousandths: int, count: int) -> None:
    exact = Fraction(ten_thousandths, 10_000) * count
    assert round_half_up(ten_thousandths / 10_000, count) == int(exact + Fraction(1, 2))


def test_rounding_where_floats_err() -> None:
    assert 0.29 * 50 < 14.5
    assert round_half_up(0.29, 50) == 15
