"""`TrialRecord` (measured), `Derived` (needs other trials) and the predictions table: what is stored of a trial.

Every fairness number is computed from the predictions table, so a new metric or group definition needs no second training.
An undefined value is NaN with a reason in Python and null with a reason in JSON, never 0. `docs/record.md` documents both
schemas; `SCHEMA_VERSION` goes up when either changes.

Shapes: N rows, C classes, G groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from lfray.names import METRICS, REASONS, Metric, MetricKey
from lfray.predictions import GroupColumn, Predictions, read_predictions, write_predictions
from lfray.space.trial import TrialConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CurvePoint", "Derived", "Execution", "Failure", "GroupColumn", "Measure", "Predictions", "TrialRecord", "defined",
    "index_measures", "read_predictions", "undefined", "write_predictions",
]  # fmt: skip

SCHEMA_VERSION = 1

State = Literal["COMPLETED", "FAILED"]


@dataclass(frozen=True)
class Measure:
    """One measured value, with what is needed to judge it.

    `value` is NaN exactly when `undefined_reason` (a code of `names.REASONS`) is set. `n`, `n_pos`, `n_neg` are the rows, positive
    and negative rows behind it. `options` names the choices that change the number (bins, variant, covered groups, ...).
    """

    measure: str
    value: float
    split: str = "test"
    attribute: str | None = None
    group: str | None = None
    of_class: str | None = None
    n: int | None = None
    n_pos: int | None = None
    n_neg: int | None = None
    interval: tuple[float, float] | None = None
    interval_kind: str | None = None
    undefined_reason: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the invariant between value and reason."""
        assert self.measure in METRICS, self.measure
        assert math.isnan(self.value) == (self.undefined_reason is not None), self
        assert self.undefined_reason is None or self.undefined_reason in REASONS, self.undefined_reason

    @property
    def key(self) -> str:
        """Flat key (see `names`), with the attribute always spelled out."""
        return MetricKey(METRICS[self.measure], self.split, self.attribute, self.group, self.of_class).text()


def defined(metric: Metric, value: float, **fields: Any) -> Measure:
    """A measure of a finite value; a value that is not finite becomes undefined (`non_finite`)."""
    if not math.isfinite(value):
        return undefined(metric, "non_finite", **fields)
    return Measure(metric.key, float(value), **fields)


def undefined(metric: Metric, reason: str, **fields: Any) -> Measure:
    """A measure that has no value, and why."""
    return Measure(metric.key, math.nan, undefined_reason=reason, **fields)


@dataclass(frozen=True)
class CurvePoint:
    """Training as it went: one point of the loss curve. `validation_*` are None where no validation was run at this step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Execution:
    """How the trial really ran: may change bits, never meaning, so it stands outside the identity."""

    hardware_key: str
    """Trials of different keys are not compared on hardware-dependent metrics."""
    device: str
    threads: int
    world_size: int
    stepper: str
    kernel: str
    """Matrix products: `torch`, or `onednn` on AMD processors."""
    micro_batch: int
    precision: str
    evaluation_batch: int
    warm: bool
    """The worker had run a trial before."""
    resumed_at_step: int | None
    hostname: str
    versions: Mapping[str, str]
    zero_stage: int = 0
    """Read back from the engine that ran, as are `stepper`, `world_size`, `precision` and `attention`."""
    offload: tuple[str, ...] = ()
    """What lay in main memory: `optimizer`, `parameters`."""
    attention: str = "unknown"
    """Implementation of attention that ran. `unknown` in records of lfray 0.1.0."""
    gradient_checkpointing: bool = False
    hosts: tuple[str, ...] = ()
    """Node of each rank; empty for a trial of one worker."""
    out_of_memory_at: tuple[int, ...] = ()
    """Micro-batches that did not fit and were halved."""
    checkpoints_passed_over: tuple[str, ...] = ()
    """Torn or foreign checkpoints that were not resumed from, and why."""
    restarts: int = 0
    """How often a dead worker made the trial start again from its checkpoint."""
    deepspeed: Mapping[str, Any] = field(default_factory=dict)
    """Options of DeepSpeed that the sweep added."""


@dataclass(frozen=True)
class Failure:
    """Why a trial failed."""

    stage: str
    kind: str
    message: str
    traceback: str


@dataclass(frozen=True)
class TrialRecord:
    """One trial, measured. Nothing is filled in later."""

    config: TrialConfig
    state: State
    measures: tuple[Measure, ...]
    curve: tuple[CurvePoint, ...]
    execution: Execution | None
    data: Mapping[str, Any]
    """Row counts of each split and group, what downsampling kept, and the manifest hash of every split."""
    context: Mapping[str, str]
    started_at: str
    """UTC, ISO 8601."""
    seconds: float
    failure: Failure | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def trial_id(self) -> str:
        """The trial's identity."""
        return self.config.trial_id

    def metrics(self) -> dict[str, float]:
        """Flat key -> value, NaN where undefined; the minority attribute's summaries also under their bare key."""
        return {key: measure.value for key, measure in self.by_key().items()}

    def undefined(self) -> dict[str, str]:
        """Flat key -> reason, for every undefined value."""
        return {key: m.undefined_reason for key, m in self.by_key().items() if m.undefined_reason is not None}

    def by_key(self) -> dict[str, Measure]:
        """Flat key -> measure. Bare `fair.*` keys are aliases of the minority attribute's."""
        return index_measures(self.measures, self.config.data.minority_attribute)


def index_measures(measures: Iterable[Measure], minority_attribute: str) -> dict[str, Measure]:
    """Flat key -> measure, with bare aliases for the minority attribute's summaries."""
    table: dict[str, Measure] = {}
    for measure in measures:
        table[measure.key] = measure
        if measure.attribute == minority_attribute and measure.group is None:
            table[replace(measure, attribute=None).key] = measure
    return table


@dataclass(frozen=True)
class Derived:
    """A value of one trial that needed others: computed after the trials, stored under `analysis/`, never inside a record."""

    trial_id: str
    against: tuple[str, ...]
    measure: Measure
    provenance: str
