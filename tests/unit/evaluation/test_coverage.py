from __future__ import annotations

import pytest

from lfray.evaluation.coverage import ACCURATE, FALSE_POSITIVE, TRUE_POSITIVE, coverage
from lfray.evaluation.rates import Confusion


def _of(n_pos: int, n_neg: int) -> Confusion:
    return Confusion(n=n_pos + n_neg, n_pos=n_pos, correct=0, true_positives=0, false_positives=0)


def test_enough_rows_everywhere() -> None:
    found = coverage({"a": _of(5, 5), "b": _of(9, 6)}, (TRUE_POSITIVE, FALSE_POSITIVE), 5)
    assert (found.covers, found.left_out, found.reason) == (("a", "b"), {}, None)


@pytest.mark.parametrize(
    ("counts", "code", "reason"),
    [
        (_of(0, 0), "empty_group", None),
        (_of(2, 2), "below_n_min", None),
        (_of(4, 20), "below_n_min", None),
        # No positives in a group too small to count: left out for its size, as any other.
        (_of(0, 4), "below_n_min", None),
        (_of(0, 20), "no_positives", "undefined_cell"),
    ],
)
def test_a_third_group_is_left_out_with_its_reason(counts: Confusion, code: str, reason: str | None) -> None:
    found = coverage({"a": _of(5, 5), "b": _of(5, 5), "c": counts}, (TRUE_POSITIVE,), 5)
    assert (found.covers, found.left_out, found.reason) == (("a", "b"), {"c": code}, reason)


def test_no_negatives_is_named_as_such() -> None:
    found = coverage({"a": _of(5, 5), "b": _of(5, 0)}, (TRUE_POSITIVE, FALSE_POSITIVE), 1)
    assert (found.left_out, found.reason) == ({"b": "no_negatives"}, "undefined_cell")
    assert coverage({"a": _of(5, 5), "b": _of(5, 0)}, (ACCURATE,), 1).reason is None


def test_fewer_than_two_groups() -> None:
    assert coverage({"a": _of(5, 5)}, (ACCURATE,), 1).reason == "single_group"
    assert coverage({"a": _of(5, 5), "b": _of(1, 1)}, (ACCURATE,), 5).reason == "single_group"
    assert coverage({"a": _of(0, 9)}, (TRUE_POSITIVE,), 1).reason == "single_group"
