from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lfray.data.groups import mark_label, read_groups
from lfray.errors import DataError
from lfray.record import GroupColumn
from lfray.spec.rows import GroupSpec


def read(columns: dict[str, list[str | None]], **fields: Any) -> GroupColumn:
    return read_groups(columns, GroupSpec.model_validate(fields), attribute="g")


def members(group: GroupColumn) -> list[list[str]]:
    return [[group.names[i] for i in np.flatnonzero(row)] for row in group.member]


def test_partition_names_groups_after_their_values() -> None:
    group = read({"c": ["10", " 9", "10"]}, column="c")
    assert group.names == ("9", "10")
    assert members(group) == [["10"], ["9"], ["10"]]
    assert not group.overlapping


def test_partition_with_names_keeps_their_order_and_merges() -> None:
    group = read({"c": ["2", "0", "1"]}, column="c", names={1: "other", 2: "other", 0: "first", 7: "nobody"})
    assert group.names == ("other", "first", "nobody")
    assert members(group) == [["other"], ["first"], ["other"]]


def test_boolean_names_take_every_spelling_of_true() -> None:
    group = read({"c": ["True", "false", "TRUE"]}, column="c", names={True: "yes", False: "no"})
    assert members(group) == [["yes"], ["no"], ["yes"]]


def test_values_without_a_name_are_refused_with_examples() -> None:
    with pytest.raises(DataError, match=r"data.groups.g.names: every value .*'x' in 2 rows, 'y' in 1 row.*Name these values"):
        read({"c": ["0", "x", "y", "x"]}, column="c", names={0: "zero"})


def test_missing_values_are_refused_with_their_count() -> None:
    with pytest.raises(DataError, match=r"every row needs a value \(got 2 rows without\).*missing: unknown"):
        read({"c": ["a", None, " "]}, column="c")


def test_missing_values_go_to_the_group_named_for_them() -> None:
    group = read({"c": ["a", None, " ", "b"]}, column="c", missing="unknown")
    assert group.names == ("a", "b", "unknown")
    assert members(group) == [["a"], ["unknown"], ["unknown"], ["b"]]
    assert read({"c": ["a", "b"]}, column="c", missing="unknown").names == ("a", "b")
    assert members(read({"c": ["a", None]}, column="c", missing="a")) == [["a"], ["a"]]


def test_flags_may_overlap_and_leave_rows_outside() -> None:
    columns: dict[str, list[str | None]] = {"m": ["1", "True", "no", "0"], "j": ["yes", "0", "false", "NO"]}
    group = read(columns, flags={"muslim": "m", "jewish": "j"})
    assert group.overlapping
    assert group.names == ("muslim", "jewish")
    assert members(group) == [["muslim", "jewish"], ["muslim"], [], []]


@pytest.mark.parametrize("value", ["0.67", "2", "maybe"])
def test_flags_other_than_true_and_false_are_refused(value: str) -> None:
    with pytest.raises(DataError, match=rf"data.groups.g.flags.m: column 'c' must hold 0/1.*'{value}' in 1 row"):
        read({"c": ["1", value]}, flags={"m": "c"})


def test_missing_flags_are_refused_or_a_group_of_their_own() -> None:
    columns: dict[str, list[str | None]] = {"m": ["1", None, "0"], "j": ["0", "1", ""]}
    with pytest.raises(DataError, match=r"got 2 rows without"):
        read(columns, flags={"muslim": "m", "jewish": "j"})
    group = read(columns, flags={"muslim": "m", "jewish": "j"}, missing="unsure")
    assert members(group) == [["muslim"], ["jewish", "unsure"], ["unsure"]]


@pytest.mark.parametrize(
    ("codes", "same_column", "is_label"),
    [
        ([0, 0, 1, 1], False, True), ([1, 1, 0, 0], False, True), ([0, 1, 1, 1], False, False), ([0, 0, 0, 0], False, False),
        ([0, 0, 0, 0], True, True),
    ],
)  # fmt: skip
def test_the_label_determines_the_group(codes: list[int], same_column: bool, is_label: bool) -> None:
    group = GroupColumn("g", ("a", "b"), np.eye(2, dtype=bool)[codes])
    assert mark_label(group, np.array([0, 0, 1, 1]), same_column=same_column).is_label is is_label


def test_the_label_may_determine_overlapping_groups() -> None:
    member = np.array([[1, 1], [1, 1], [0, 1]], dtype=bool)
    assert mark_label(GroupColumn("g", ("a", "b"), member, overlapping=True), np.array([0, 0, 1]), same_column=False).is_label
