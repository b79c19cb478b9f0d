"""Learning rate as a function of the step: warm-up, then linear, cosine or constant."""

from __future__ import annotations

import math


def learning_rate_at(step: int, *, total: int, peak: float, schedule: str, warmup_ratio: float) -> float:
    """Rate of update `step` (0-based) of `total`.

    Linear warm-up over w = ceil(warmup_ratio x total) updates, which ends at the peak; then linear or cosine decay towards 0,
    or constant. From update w on these are transformers' schedules; during warm-up they are transformers' shifted by one, so
    that no update is wasted at rate 0.

    Raises:
        ValueError: Unknown schedule.
    """
    warmup = math.ceil(warmup_ratio * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    match schedule:
        case "constant":
            return peak
        case "linear":
            return peak * (1.0 - progress)
        case "cosine":
            return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
        case _:
            raise ValueError(f"schedule: must be linear, cosine or constant (got {schedule})")
