from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfray.data.rows import Rows
from lfray.data.split import check_splits, cut, given_roles, hash_order, limit
from lfray.errors import DataError
from lfray.spec.rows import LimitSpec, SplitsSpec
from tests.unit.data.builders import Row, built, data_spec, people


def splits(**fields: Any) -> SplitsSpec:
    return SplitsSpec.model_validate(fields)


def sides(rows: Rows) -> dict[str, str]:
    return dict(zip(rows.text, rows.role, strict=True))


def of_role(rows: Rows, role: str) -> set[str]:
    return set(rows.text[rows.role == role])


def test_roles_of_given_splits() -> None:
    assert given_roles(["a", "b", "c"], splits()) == {"a": "train", "b": "train", "c": "train"}
    assert given_roles(["a", "b", "c"], splits(test="b")) == {"a": "train", "b": "test", "c": "train"}
    assert given_roles(["a", "b", "c"], splits(train="a", validation="c")) == {"a": "train", "c": "validation"}
    assert given_roles(["a", "b", "c"], splits(train=["a", "b"])) == {"a": "train", "b": "train"}


def test_unknown_and_used_up_splits_are_refused() -> None:
    with pytest.raises(DataError, match=r"data.splits.test: must be a split of the source \(got 'tset'\). Did you mean 'test'\?"):
        given_roles(["train", "test"], splits(test="tset"))
    with pytest.raises(DataError, match=r"data.splits.train: a split must be left to train on \(got dev, test"):
        given_roles(["test", "dev"], splits(test="test", validation="dev"))


def test_fractions_are_cut_to_the_row_and_stratified() -> None:
    rows = cut(built({"x": people(1200)}), splits(validation=0.1, test=0.25), seed=0)
    assert [int((rows.role == role).sum()) for role in ("train", "validation", "test")] == [780, 120, 300]
    group = rows.groups[0].member[:, 1]
    for label in (0, 1):
        for member in (False, True):
            cell = (rows.label == label) & (group == member)
            for role, share in (("validation", 0.1), ("test", 0.25)):
                assert abs((rows.role[cell] == role).sum() - share * cell.sum()) <= 1


def test_order_does_not_matter_and_the_seed_does() -> None:
    rows = people(300)
    shuffled = random.Random(0).sample(rows, len(rows))
    first = sides(cut(built({"x": rows}), splits(), seed=0))
    assert first == sides(cut(built({"b": shuffled[:99], "a": shuffled[99:]}), splits(), seed=0))
    assert first != sides(cut(built({"x": rows}), splits(), seed=1))


def test_test_rows_do_not_move_with_the_validation_fraction_or_a_groups_name() -> None:
    rows = people(300)
    one = cut(built({"x": rows}), splits(validation=0.1), seed=0)
    two = cut(built({"x": rows}), splits(validation=0.4), seed=0)
    assert of_role(one, "test") == of_role(two, "test")
    assert of_role(one, "validation") < of_role(two, "validation")
    renamed = cut(built({"x": [{**row, "group": "z" + row["group"]} for row in rows]}), splits(validation=0.1), seed=0)
    assert sides(renamed) == sides(one)


def test_given_splits_are_kept_as_they_are() -> None:
    spec = data_spec(splits={"test": "held", "validation": 0.2})
    rows = cut(built({"x": people(100), "held": people(30, prefix="held")}, spec), spec.splits, seed=3)
    assert of_role(rows, "test") == {row["text"] for row in people(30, prefix="held")}
    assert len(of_role(rows, "validation")) == 20


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.sampled_from(["columns", "none"]))
def test_rows_of_one_text_land_on_one_side(seed: int, mode: str) -> None:
    rng = np.random.default_rng(seed)
    rows: list[Row] = [
        {"text": f"text {text}", "label": int(text % 2), "group": "ab"[rng.integers(2)]} for text in rng.integers(0, 60, size=200)
    ]
    done = cut(built({"x": rows}, data_spec(deduplicate=mode)), splits(), seed=seed)
    assert set(done.role) == {"train", "validation", "test"}
    for text in set(done.text):
        assert len(set(done.role[done.text == text])) == 1


def overlapping_rows(count: int) -> tuple[list[Row], list[str]]:
    rng = np.random.default_rng(4)
    names = [f"f{i}" for i in range(8)]
    shares = rng.uniform(0.01, 0.3, size=len(names))
    rows: list[Row] = [
        {
            "text": f"t{i}",
            "label": int(rng.random() < 0.3),
            **{n: int(rng.random() < s) for n, s in zip(names, shares, strict=True)},
        }
        for i in range(count)
    ]
    return rows, names


def test_overlapping_groups_keep_their_share_by_label() -> None:
    rows, names = overlapping_rows(2000)
    spec = data_spec(groups={"target": {"flags": {name: name for name in names}}})
    done = cut(built({"x": rows}, spec), splits(validation=0.1, test=0.2), seed=0)
    for role, share in (("test", 0.2), ("validation", 0.1)):
        inside = done.role == role
        assert abs(inside.mean() - share) < 0.005
        for label in (0, 1):
            cell = done.groups[0].member & (done.label == label)[:, None]
            assert np.abs(cell[inside].sum(axis=0) - share * cell.sum(axis=0)).max() <= 2.5


def test_limits_keep_the_proportions_and_the_rows() -> None:
    rows = cut(built({"x": people(1200)}), splits(), seed=0)
    small = limit(rows, LimitSpec(train=100, test=48), seed=0)
    assert [int((small.role == role).sum()) for role in ("train", "validation", "test")] == [100, 120, 48]
    group = small.groups[0].member[:, 1]
    assert group[small.role == "train"].sum() == 25
    assert group[small.role == "test"].sum() == 12
    again = limit(cut(built({"x": people(1200)[::-1]}), splits(), seed=0), LimitSpec(train=100, test=48), seed=0)
    assert again.content.tolist() == small.content.tolist()
    assert of_role(small, "test") < of_role(rows, "test")
    assert len(limit(rows, LimitSpec(train=10**6), seed=0)) == len(rows)


def test_limits_hold_for_overlapping_groups() -> None:
    rows, names = overlapping_rows(500)
    spec = data_spec(groups={"target": {"flags": {name: name for name in names}}})
    small = limit(cut(built({"x": rows}, spec), splits(), seed=0), LimitSpec(train=50), seed=0)
    assert 46 <= (small.role == "train").sum() <= 50


def test_empty_splits_and_single_classes_are_refused() -> None:
    spec = data_spec(splits={"validation": 0.01})
    with pytest.raises(DataError, match=r"data.splits.validation: must hold rows \(got none from 0.01 of 12 rows\)"):
        check_splits(cut(built({"x": people(12)}, spec), spec.splits, seed=0), spec)
    spec = data_spec(splits={"test": "held", "validation": 0.1})
    held = {"x": [{**row, "label": 1} for row in people(20)], "held": people(9, prefix="h")}
    with pytest.raises(DataError, match=r"must show at least two classes \(got only 1\)"):
        check_splits(cut(built(held, spec), spec.splits, seed=0), spec)
    spec = data_spec()
    check_splits(cut(built({"x": people(40)}), spec.splits, seed=0), spec)


def test_hash_order_is_a_permutation_by_salt() -> None:
    keys = np.array(["a", "b", "c", "d", "e"])
    assert sorted(hash_order(keys, salt="0").tolist()) == [0, 1, 2, 3, 4]
    assert keys[hash_order(keys, salt="0")].tolist() == keys[::-1][hash_order(keys[::-1], salt="0")].tolist()
    assert hash_order(keys, salt="0").tolist() != hash_order(keys, salt="1").tolist()
