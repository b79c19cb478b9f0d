"""A trial's costs as measures: from the accounts of its workers and the adapted model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfray import names
from lfray.model.flops import FORMULA, training_flops
from lfray.record import defined, undefined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lfray.engine.meter import Account
    from lfray.model.adapt import Adapted
    from lfray.record import Measure


@dataclass(frozen=True)
class Costs:
    """What a trial cost, over all its workers."""

    train_seconds: float
    """Wall time of the slowest worker; so is `evaluation_seconds`."""
    evaluation_seconds: float
    worker_seconds: float
    """Training and evaluation, summed over workers."""
    tokens: int
    squared_tokens: int
    peak_memory_gib: float | None
    """The largest of the workers'."""
    energy_joules: float | None
    """Summed over GPUs; on CPUs, whose counter is the machine's, over machines."""


def gang_costs(accounts: Sequence[Account]) -> Costs:
    """Put the accounts of a trial's workers together; what one worker cannot tell is not known of the trial."""
    peaks = [account.peak_memory_gib for account in accounts]
    by_counter: dict[object, list[float | None]] = {}
    for rank, account in enumerate(accounts):
        by_counter.setdefault(rank if account.device == "cuda" else account.host, []).append(account.energy_joules)
    energy = [max((joules for joules in counted if joules is not None), default=None) for counted in by_counter.values()]
    return Costs(
        train_seconds=max(account.train_seconds for account in accounts),
        evaluation_seconds=max(account.evaluation_seconds for account in accounts),
        worker_seconds=sum(account.train_seconds + account.evaluation_seconds for account in accounts),
        tokens=accounts[0].tokens,
        squared_tokens=accounts[0].squared_tokens,
        peak_memory_gib=_all_known(max, peaks),
        energy_joules=_all_known(sum, energy),
    )


def _all_known(together: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return together(known) if len(known) == len(values) else None


def cost_measures(costs: Costs, adapted: Adapted, *, kept_bytes: int, gpus: float, trains: bool) -> tuple[Measure, ...]:
    """Every `cost.*` measure; what the machine cannot tell is undefined with its reason.

    Args:
        costs: Seconds, tokens, memory and energy of this trial.
        adapted: The model, for its parameter counts.
        kept_bytes: Size of what must be kept beside the base.
        gpus: GPUs (or the share of one) that each worker held.
        trains: False for the method `base`.
    """
    train, worker = costs.train_seconds, costs.worker_seconds
    flops = training_flops(
        adapted.model, tokens=costs.tokens, squared_tokens=costs.squared_tokens, backbone_learns=adapted.backbone_learns
    )
    found = [
        defined(names.TRAINABLE_PARAMETERS, adapted.trainable_parameters),
        defined(names.TOTAL_PARAMETERS, adapted.total_parameters),
        defined(names.ADAPTER_PARAMETERS, adapted.adapter_parameters),
        defined(names.ADAPTER_BYTES, kept_bytes),
        defined(names.TRAIN_SECONDS, train),
        defined(names.EVALUATION_SECONDS, costs.evaluation_seconds),
        defined(names.WORKER_SECONDS, worker),
        defined(names.GPU_SECONDS, worker * gpus) if gpus > 0 else undefined(names.GPU_SECONDS, "no_gpu"),
        _or_reason(names.PEAK_MEMORY_GIB, costs.peak_memory_gib, "no_training" if not trains else "not_measured"),
        _or_reason(names.TOKENS_PER_SECOND, costs.tokens / train if trains and train > 0 else None, "no_training"),
        _or_reason(names.ENERGY_JOULES, costs.energy_joules, "no_energy_counter" if trains else "no_training"),
    ]
    if flops is None:
        return (*found, undefined(names.TRAINING_FLOPS, "unknown_formula"))
    return (*found, defined(names.TRAINING_FLOPS, flops if trains else 0.0, options={"formula": FORMULA}))


def _or_reason(metric: names.Metric, value: float | None, reason: str) -> Measure:
    return undefined(metric, reason) if value is None else defined(metric, value)
