from __future__ import annotations

import pytest

from lfray.spec.axis import AxisTarget, axis_names, resolve_axis
from lfray.spec.stages import LoraMethodSpec, TrainSpec


@pytest.mark.parametrize(
    ("names", "target"),
    [
        (("epochs", "train.epochs"), AxisTarget("train", ("head", "lora", "full"), ("epochs",))),
        (("learning_rate.full", "train.learning_rate.full"), AxisTarget("train", ("full",), ("learning_rate", "full"))),
        (("dropout", "lora.dropout", "methods.lora.dropout"), AxisTarget("method_field", ("lora",), ("dropout",))),
        (("alpha.factor", "methods.lora.alpha.factor"), AxisTarget("method_field", ("lora",), ("alpha", "factor"))),
        (("rank", "lora.rank"), AxisTarget("rank", ("lora",))),
    ],
)
def test_short_and_long_names_mean_one_field(names: tuple[str, ...], target: AxisTarget) -> None:
    assert {resolve_axis(name) for name in names} == {target}


@pytest.mark.parametrize(
    "name", ["", "x", "train", "train.x", "lora", "full.dropout", "alpha.x", "epochs.x", "learning_rate.base", "a.b.c"]
)
def test_what_is_no_axis(name: str) -> None:
    assert resolve_axis(name) is None


def test_every_field_may_be_an_axis() -> None:
    assert all(resolve_axis(name) is not None for name in axis_names())
    assert {*TrainSpec.model_fields} <= set(axis_names())
    assert {f"lora.{name}" for name in LoraMethodSpec.model_fields} - {"lora.rank"} <= set(axis_names())
