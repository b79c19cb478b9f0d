from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.space.axes import assignments, draw, methods_of, put
from lfray.spec.sweep import RangeAxis
from tests.unit.space.world import make_spec

FORMS: list[dict[str, Any]] = [{"int": [1, 4]}, {"uniform": [0.25, 0.75]}, {"log_uniform": [1e-5, 1e-2]}]


def draws(form: dict[str, Any], count: int, *, name: str = "x", seed: int = 0) -> list[float]:
    axis = RangeAxis.model_validate(form)
    return [draw(axis, name=name, index=index, seed=seed) for index in range(count)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: next(iter(form)))
def test_draws_are_a_function_of_seed_name_and_index(form: dict[str, Any]) -> None:
    assert draws(form, 40) == draws(form, 40)
    assert draws(form, 40, seed=1) != draws(form, 40)
    assert draws(form, 40, name="y") != draws(form, 40)


def test_draws_are_what_they_always_were() -> None:
    assert [draws(form, 3) for form in FORMS] == GOLDEN


GOLDEN: list[list[float]] = [[1, 1, 1], [0.252474, 0.33792, 0.306442], [1.03477e-05, 3.36914e-05, 2.18099e-05]]
"""Frozen: a draw that moved would train every drawn trial anew."""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: next(iter(form)))
def test_draws_fill_their_range_evenly(form: dict[str, Any]) -> None:
    (name, (low, high)), values = next(iter(form.items())), draws(form, 4000)
    assert low <= min(values) <= max(values) <= high
    if name == "int":
        assert {values.count(value) // 100 for value in range(1, 5)} <= {9, 10}
        assert all(isinstance(value, int) for value in values)
    else:
        scaled = [(math.log(value), math.log(low), math.log(high)) if "log" in name else (value, low, high) for value in values]
        places = sorted((value - bottom) / (top - bottom) for value, bottom, top in scaled)
        # Kolmogorov-Smirnov distance of 4000 draws: 0.0257 at the 1 % level.
        assert max(abs(place - index / 4000) for index, place in enumerate(places)) < 0.0257


def test_axes_are_crossed_in_the_order_written() -> None:
    spec = make_spec(axes={"rank": [2, 8], "seed": [1, 2]})
    assert list(assignments(spec, "lora")) == [
        {"rank": 2, "seed": 1}, {"rank": 2, "seed": 2}, {"rank": 8, "seed": 1}, {"rank": 8, "seed": 2},
    ]  # fmt: skip


def test_an_axis_that_a_method_lacks_does_not_multiply_it() -> None:
    spec = make_spec(axes={"rank": [2, 8], "lora.dropout": [0.0, 0.1], "learning_rate.lora": [1e-4, 2e-4], "seed": [1, 2, 3]})
    assert {method: len(list(assignments(spec, method))) for method in ("lora", "head", "full", "base")} == {
        "lora": 24, "head": 3, "full": 3, "base": 1,
    }  # fmt: skip


def test_each_draw_is_crossed_with_the_lists_and_more_samples_keep_the_first() -> None:
    axes = {"rank": {"int": [1, 64]}, "learning_rate": {"log_uniform": [1e-5, 1e-3]}, "seed": [1, 2]}
    three = list(assignments(make_spec(axes=axes, search={"samples": 3}), "lora"))
    five = list(assignments(make_spec(axes=axes, search={"samples": 5}), "lora"))
    assert len(three) == 6
    assert [a for a in five if a in three] == three
    drawn = [{name: a[name] for name in ("rank", "learning_rate")} for a in three]
    assert drawn[:3] == drawn[3:]
    # The rate's draws are the same for a method without the rank.
    assert [a["learning_rate"] for a in assignments(make_spec(axes=axes, search={"samples": 3}), "full")][:3] == [
        a["learning_rate"] for a in three[:3]
    ]


def test_a_method_without_a_ranged_axis_is_not_sampled() -> None:
    spec = make_spec(axes={"rank": {"int": [1, 64]}}, search={"samples": 7})
    assert [len(list(assignments(spec, method))) for method in ("lora", "full")] == [7, 1]


def test_methods_are_the_axis_or_all_that_are_declared() -> None:
    assert methods_of(make_spec()) == ("head", "lora", "full")
    assert methods_of(make_spec(axes={"method": ["full", "head"]})) == ("full", "head")


trees = st.dictionaries(st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("abc"), st.integers()))


@given(trees, st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple), st.integers())
def test_put_sets_one_path_in_a_copy(tree: dict[str, Any], path: tuple[str, ...], value: int) -> None:
    before = repr(tree)
    after: Any = put(tree, path, value)
    assert repr(tree) == before
    assert {key: after[key] for key in after if key != path[0]} == {key: tree[key] for key in tree if key != path[0]}
    for key in path:
        after = after[key]
    assert after == value
