from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lfray.errors import DataError
from lfray.evaluation.cells import canonical, cells, check_table, log_probabilities
from lfray.record import GroupColumn, Predictions


def test_overlapping_groups_are_followed_by_their_non_members(random_table: Callable[..., Predictions]) -> None:
    table = random_table(0, 30, 2, overlapping=True)
    found = cells(table)
    assert [(cell.attribute, cell.group) for cell in found] == [
        (None, None), ("g", "g0"), ("g", "not g0"), ("g", "g1"), ("g", "not g1"),
    ]  # fmt: skip
    assert (found[1].mask ^ found[2].mask).all()


def test_canonical_undoes_any_order(random_table: Callable[..., Predictions]) -> None:
    table = random_table(0, 30)
    order = np.random.default_rng(1).permutation(30)
    shuffled = replace(
        table, row_id=table.row_id[order], label=table.label[order], prediction=table.prediction[order],
        logits=table.logits[order], groups=(replace(table.groups[0], member=table.groups[0].member[order]),),
    )  # fmt: skip
    back = canonical(shuffled)
    assert back.row_id.tolist() == table.row_id.tolist()
    assert (back.logits == table.logits).all()
    assert (back.groups[0].member == table.groups[0].member).all()


def test_log_probabilities_do_not_saturate(build: Callable[..., Predictions]) -> None:
    found = log_probabilities(build([1], [1], logits=[[0.0, 300.0]]))
    assert found is not None
    assert found[0].tolist() == [-300.0, 0.0]


def _two_of(member: list[list[bool]], overlapping: bool = False, names: tuple[str, ...] = ("a", "b")) -> GroupColumn:
    return GroupColumn("g", names, np.array(member), overlapping)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"label": np.array([0, 2])}, "label must lie in 0..1"),
        ({"label": np.array([0, -1])}, "label must lie in 0..1"),
        ({"prediction": np.array([-2, 0])}, "prediction must lie in -1..1"),
        ({"label": np.array([0])}, "label must have one entry a row"),
        ({"logits": np.zeros((2, 3), np.float32)}, r"logits must be \[rows, 2\]"),
        ({"logits": np.array([[0, np.nan], [0, 1]], np.float32)}, "scores must be finite .got 1 rows"),
        ({"logits": np.array([[0, np.inf], [0, 1]], np.float32)}, "scores must be finite"),
        ({"positive": 2}, "a positive one"),
        ({"class_names": ("only",)}, "two classes or more"),
        ({"groups": (_two_of([[True, True], [True, False]]),)}, "exactly one group .got 1 rows"),
        ({"groups": (_two_of([[True], [True]]),)}, "member must be"),
        ({"groups": (_two_of([[True, False]]),)}, "group g must have one entry a row"),
        ({"groups": (_two_of([[True, False]] * 2, names=("a", "a")),)}, "names must differ"),
        ({"groups": (_two_of([[True, False]] * 2, True, ("a", "not a")),)}, "already names the non-members"),
    ],
)
def test_broken_tables_are_refused(change: dict[str, Any], rule: str, build: Callable[..., Predictions]) -> None:
    table = build([0, 1], [0, 1])
    check_table(table)
    with pytest.raises(DataError, match=rule):
        check_table(replace(table, **change))
