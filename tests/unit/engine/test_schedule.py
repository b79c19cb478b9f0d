from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lfray.engine.schedule import learning_rate_at

SHAPES = [(10, 0.0), (10, 0.1), (37, 0.25), (3, 0.9), (1, 0.0), (1, 0.5)]
"""Updates, and the share that warms up; in the last three it is all of them or none."""


def rates(total: int, warmup_ratio: float, schedule: str) -> list[float]:
    return [learning_rate_at(s, total=total, peak=2.0, schedule=schedule, warmup_ratio=warmup_ratio) for s in range(total)]


@pytest.mark.parametrize(("total", "warmup_ratio"), SHAPES[:3])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rates_are_transformers_shifted_by_one_while_warming_up(total: int, warmup_ratio: float, schedule: str) -> None:
    from transformers import optimization

    warmup = math.ceil(warmup_ratio * total)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    made: dict[str, Any] = {
        "linear": lambda: optimization.get_linear_schedule_with_warmup(optimizer, warmup, total),
        "cosine": lambda: optimization.get_cosine_schedule_with_warmup(optimizer, warmup, total),
        "constant": lambda: optimization.get_constant_schedule_with_warmup(optimizer, warmup),
    }
    factor = made[schedule]().lr_lambdas[0]
    expected = [2.0 * factor(step + 1 if step < warmup else step) for step in range(total)]
    assert rates(total, warmup_ratio, schedule) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("total", "warmup_ratio"), SHAPES)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_no_update_is_wasted(total: int, warmup_ratio: float, schedule: str) -> None:
    found = rates(total, warmup_ratio, schedule)
    assert min(found) > 0
    assert max(found) == 2.0
    peak = found.index(2.0)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_closed_forms() -> None:
    assert rates(4, 0.0, "linear") == [2.0, 1.5, 1.0, 0.5]
    assert rates(4, 0.5, "linear") == [1.0, 2.0, 2.0, 1.0]
    assert rates(4, 0.0, "cosine") == pytest.approx([2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)])
    assert rates(3, 0.0, "constant") == [2.0, 2.0, 2.0]


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="linear, cosine or constant"):
        learning_rate_at(0, total=1, peak=1.0, schedule="step", warmup_ratio=0.0)
