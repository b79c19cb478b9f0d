from __future__ import annotations

import pytest

from lfray.spec.fields import field_at, fields_of, keys_at, places
from lfray.spec.sweep import RangeAxis, SweepSpec


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), list(SweepSpec.model_fields)),
        (("data", "minority"), ["group", "value"]),
        (("data", "groups"), []),
        (("data", "groups", "anything"), ["column", "names", "flags", "missing"]),
        (("methods", "lora", "alpha"), ["policy", "factor", "value"]),
        (("train", "learning_rate"), ["head", "lora", "full"]),
        (("axes", "rank"), ["uniform", "log_uniform", "int"]),
        (("train", "epochs"), []),
        (("no", "where"), []),
    ],
)
def test_keys(path: tuple[str | int, ...], keys: list[str]) -> None:
    assert keys_at(path) == keys


def test_fields() -> None:
    assert "int" in fields_of(RangeAxis)
    field = field_at(("train", "epochs"))
    assert field is not None
    assert field.default == 3
    assert field_at(()) is None
    assert field_at(("task", "labels", 0)) is None


def test_places() -> None:
    assert places()["epochs"] == ("train",)
    assert places()["batch_size"] == ("train", "evaluation")
    assert places()["column"] == ("data.groups.<name>",)
    assert places()["version"] == ("",)
