"""Tables are cut at a fixed length, and say so."""

from __future__ import annotations

from lfray.report.blocks import MAX_ROWS, Grid, Text, grid


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = [(str(row),) for row in range(MAX_ROWS + 7)]
    table, note = grid("caption", ["a"], rows)
    assert isinstance(table, Grid)
    assert len(table.rows) == MAX_ROWS
    assert note == Text("7 further rows are not shown.")


def test_a_short_table_is_whole() -> None:
    assert grid("caption", ["a"], [("x",)], numeric={0}) == [Grid("caption", ("a",), (("x",),), frozenset({0}))]
