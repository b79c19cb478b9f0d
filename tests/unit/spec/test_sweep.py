from __future__ import annotations

import pytest
from pydantic import ValidationError

from lfray.spec.sweep import RangeAxis


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        ({"uniform": [0, 1]}, ("uniform", (0, 1))),
        ({"log_uniform": [1e-5, 1e-3]}, ("log_uniform", (1e-5, 1e-3))),
        ({"int": [2, 8]}, ("int", (2, 8))),
    ],
)
def test_forms(raw: dict[str, object], form: tuple[str, tuple[float, float]]) -> None:
    assert RangeAxis.model_validate(raw).form == form


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"uniform": [1, 1]},
        {"uniform": [1]},
        {"uniform": [1, 2, 3]},
        {"log_uniform": [0, 1]},
        {"int": [1, 2], "uniform": [1, 2]},
    ],
)
def test_ranges_that_are_none(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RangeAxis.model_validate(raw)
