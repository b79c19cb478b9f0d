from __future__ import annotations

import numpy as np

from lfray.rows import TokenRows, from_lists

ROWS = [[5, 6, 7], [8], [9, 10]]


def lists(rows: TokenRows) -> list[list[int]]:
    return [rows.tokens[s : s + n].tolist() for s, n in zip(rows.starts, rows.lengths, strict=True)]


def test_rows_come_back_as_they_went_in() -> None:
    rows = from_lists(ROWS, np.array([0, 1, 0]), {"prompt": np.array([1, 1, 2])})
    assert lists(rows) == ROWS
    assert len(rows) == 3


def test_taken_rows_share_their_tokens_and_carry_their_columns() -> None:
    rows = from_lists(ROWS, np.array([0, 1, 0]), {"prompt": np.array([1, 2, 3])})
    taken = rows.take(np.array([2, 0, 2]))
    assert lists(taken) == [[9, 10], [5, 6, 7], [9, 10]]
    assert taken.label.tolist() == [0, 0, 0]
    assert taken.extra["prompt"].tolist() == [3, 1, 3]
    assert taken.tokens is rows.tokens


def test_no_rows_are_rows_too() -> None:
    rows = from_lists([], np.zeros(0, np.int64))
    assert (len(rows), len(rows.tokens)) == (0, 0)
    assert len(from_lists(ROWS, np.zeros(3, np.int64)).take(np.zeros(0, np.int64))) == 0


def test_a_row_may_be_empty() -> None:
    assert lists(from_lists([[], [1], []], np.zeros(3, np.int64))) == [[], [1], []]
