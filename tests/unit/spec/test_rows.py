from __future__ import annotations

import pytest
from pydantic import ValidationError

from lfray.spec.rows import GroupSpec, SplitsSpec
from lfray.spec.strict import Refusal


def refusal(error: ValidationError) -> Refusal:
    cause = error.errors()[0]["ctx"]["error"]
    assert isinstance(cause, Refusal)
    return cause


@pytest.mark.parametrize(
    "group",
    [{}, {"column": "a", "flags": {"x": "y"}}, {"flags": {"x": "y"}, "names": {1: "z"}}],
)
def test_a_group_is_of_one_kind(group: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        GroupSpec.model_validate(group)
    assert refusal(caught.value).remedy


def test_where_columns_are_named() -> None:
    assert GroupSpec(column="race").columns == {("column",): "race"}
    assert GroupSpec(flags={"men": "m", "women": "w"}).columns == {("flags", "men"): "m", ("flags", "women"): "w"}


def test_splits_that_are_named() -> None:
    splits = SplitsSpec(train=("a", "b"), validation=0.1, test="c")
    assert splits.named == [(("train", 0), "a"), (("train", 1), "b"), (("test",), "c")]


@pytest.mark.parametrize(
    "splits",
    [
        {"validation": "a", "test": "a"},
        {"train": ["a", "a"]},
        {"train": "a", "validation": "a"},
        {"validation": 0.9, "test": 0.1},
    ],
)
def test_rows_have_one_role(splits: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        SplitsSpec.model_validate(splits)
    assert refusal(caught.value).remedy
