"""A trial's costs as measures: from the meter and the adapted model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray import names
from lfray.model.flops import FORMULA, training_flops
from lfray.record import defined, undefined

if TYPE_CHECKING:
    from lfray.engine.meter import Meter
    from lfray.model.adapt import Adapted
    from lfray.record import Measure


def cost_measures(meter: Meter, adapted: Adapted, *, kept_bytes: int, gpus: float, trains: bool) -> tuple[Measure, ...]:
    """Every `cost.*` measure; what the machine cannot tell is undefined with its reason.

    Args:
        meter: Seconds, tokens, memory and energy of this trial.
        adapted: The model, for its parameter counts.
        kept_bytes: Size of what must be kept beside the base.
        gpus: GPUs (or the share of one) the trial held.
        trains: False for the method `base`.
    """
    train, evaluation = meter.seconds.get("train", 0.0), meter.seconds.get("evaluation", 0.0)
    worker = train + evaluation
    flops = training_flops(
        adapted.model, tokens=meter.tokens, squared_tokens=meter.squared_tokens, backbone_learns=adapted.backbone_learns
    )
    found = [
        defined(names.TRAINABLE_PARAMETERS, adapted.trainable_parameters),
        defined(names.TOTAL_PARAMETERS, adapted.total_parameters),
        defined(names.ADAPTER_PARAMETERS, adapted.adapter_parameters),
        defined(names.ADAPTER_BYTES, kept_bytes),
        defined(names.TRAIN_SECONDS, train),
        defined(names.EVALUATION_SECONDS, evaluation),
        defined(names.WORKER_SECONDS, worker),
        defined(names.GPU_SECONDS, worker * gpus) if gpus > 0 else undefined(names.GPU_SECONDS, "no_gpu"),
        _or_reason(names.PEAK_MEMORY_GIB, meter.peak_memory_gib, "no_training" if not trains else "not_measured"),
        _or_reason(names.TOKENS_PER_SECOND, meter.tokens / train if trains and train > 0 else None, "no_training"),
        _or_reason(names.ENERGY_JOULES, meter.energy_joules, "no_energy_counter" if trains else "no_training"),
    ]
    if flops is None:
        return (*found, undefined(names.TRAINING_FLOPS, "unknown_formula"))
    return (*found, defined(names.TRAINING_FLOPS, flops if trains else 0.0, options={"formula": FORMULA}))


def _or_reason(metric: names.Metric, value: float | None, reason: str) -> Measure:
    return undefined(metric, reason) if value is None else defined(metric, value)
