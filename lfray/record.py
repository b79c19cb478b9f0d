"""`TrialRecord` (measured), `Derived` (needs other trials) and the predictions table: what is stored of a trial.

Every fairness number is computed from the predictions table, so a new metric or group definition needs no second training.
An undefined value is NaN with a reason in Python and null with a reason in JSON, never 0. `docs/record.md` documents both
schemas; `SCHEMA_VERSION` goes up when either changes.

Shapes: N rows, C classes, G groups.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lfray.errors import StorageError
from lfray.names import METRICS, REASONS, Metric, MetricKey
from lfray.space.trial import TrialConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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


@dataclass(frozen=True, eq=False)
class GroupColumn:
    """Membership of rows in the groups of one attribute.

    `member` is bool [N, G], columns in the order of `names`. Where `overlapping` is False each row is in exactly one group.
    `is_label`: the label determines the group, so measures that compare selection or error rates by label have no meaning.
    """

    attribute: str
    names: tuple[str, ...]
    member: NDArray[np.bool_]
    overlapping: bool = False
    is_label: bool = False


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions table: one row an evaluated example.

    `logits` is float32 [N, C] (for a verbalizer: log-likelihood of each answer); `prediction` is the class index, or -1 where a
    generated label could not be parsed; `parsed` says whether the greedy answer was exactly one of the options (None: not a
    generating task).
    """

    row_id: NDArray[np.str_]
    split: NDArray[np.str_]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    logits: NDArray[np.float32]
    class_names: tuple[str, ...]
    positive: int
    groups: tuple[GroupColumn, ...]
    parsed: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.row_id)

    def rows(self, mask: NDArray[np.bool_]) -> Predictions:
        """The rows where `mask` (bool [N]) holds."""
        return replace(
            self,
            row_id=self.row_id[mask],
            split=self.split[mask],
            label=self.label[mask],
            prediction=self.prediction[mask],
            logits=self.logits[mask],
            parsed=None if self.parsed is None else self.parsed[mask],
            groups=tuple(replace(group, member=group.member[mask]) for group in self.groups),
        )

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return self.rows(self.split == split)

    @classmethod
    def concatenate(cls, tables: Sequence[Predictions]) -> Predictions:
        """Tables of the same trial (validation, test) one below the other."""
        first = tables[0]
        return replace(
            first,
            row_id=np.concatenate([table.row_id for table in tables]),
            split=np.concatenate([table.split for table in tables]),
            label=np.concatenate([table.label for table in tables]),
            prediction=np.concatenate([table.prediction for table in tables]),
            logits=np.concatenate([table.logits for table in tables]),
            parsed=None if first.parsed is None else np.concatenate([t.parsed for t in tables if t.parsed is not None]),
            groups=tuple(
                replace(group, member=np.concatenate([table.groups[index].member for table in tables]))
                for index, group in enumerate(first.groups)
            ),
        )

    def attribute(self, name: str) -> GroupColumn:
        """One attribute's membership."""
        for group in self.groups:
            if group.attribute == name:
                return group
        raise StorageError(f"predictions: no attribute {name!r}. Known: {', '.join(g.attribute for g in self.groups)}")


def write_predictions(table: Predictions, path: Path) -> None:
    """Write the table as parquet; the schema's metadata carries class names, attributes and version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "row_id": pa.array(table.row_id.tolist(), pa.string()),
        "split": pa.array(table.split.tolist(), pa.string()),
        "label": pa.array(table.label, pa.int32()),
        "prediction": pa.array(table.prediction, pa.int32()),
    }
    if table.parsed is not None:
        columns["parsed"] = pa.array(table.parsed, pa.bool_())
    for index in range(table.logits.shape[1]):
        columns[f"logit.{index}"] = pa.array(table.logits[:, index], pa.float32())
    for group in table.groups:
        for index, name in enumerate(group.names):
            columns[f"group.{group.attribute}.{name}"] = pa.array(group.member[:, index], pa.bool_())
    meta = {
        "schema_version": SCHEMA_VERSION,
        "class_names": table.class_names,
        "positive": table.positive,
        "attributes": [
            {"attribute": g.attribute, "names": g.names, "overlapping": g.overlapping, "is_label": g.is_label} for g in table.groups
        ],
    }
    arrow = pa.table(columns).replace_schema_metadata({b"lfray": json.dumps(meta).encode()})
    pq.write_table(arrow, path, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """Read a table that `write_predictions` wrote.

    Raises:
        StorageError: The file is absent, torn, or of another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: predictions cannot be read ({error}). Run the trial again") from error
    meta = json.loads((arrow.schema.metadata or {}).get(b"lfray", b"{}"))
    if meta.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(f"{path}: predictions have schema {meta.get('schema_version')}, this lfray reads {SCHEMA_VERSION}")
    columns = {name: arrow.column(name).to_numpy(zero_copy_only=False) for name in arrow.column_names}
    groups = tuple(
        GroupColumn(
            spec["attribute"],
            tuple(spec["names"]),
            np.stack([columns[f"group.{spec['attribute']}.{name}"] for name in spec["names"]], axis=1).astype(bool),
            spec["overlapping"],
            spec["is_label"],
        )
        for spec in meta["attributes"]
    )
    num_classes = len(meta["class_names"])
    return Predictions(
        row_id=columns["row_id"].astype(str),
        split=columns["split"].astype(str),
        label=columns["label"].astype(np.int64),
        prediction=columns["prediction"].astype(np.int64),
        logits=np.stack([columns[f"logit.{index}"] for index in range(num_classes)], axis=1).astype(np.float32),
        class_names=tuple(meta["class_names"]),
        positive=int(meta["positive"]),
        groups=groups,
        parsed=columns["parsed"].astype(bool) if "parsed" in columns else None,
    )


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
    micro_batch: int
    precision: str
    evaluation_batch: int
    warm: bool
    """The worker had run a trial before."""
    resumed_at_step: int | None
    hostname: str
    versions: Mapping[str, str]


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


def _plain(value: Any) -> Any:
    """JSON form: NaN and infinities become null."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.generic():
            return _plain(value.item())
        case _:
            return value


def measure_to_json(measure: Measure) -> dict[str, Any]:
    """JSON object of a measure, without empty fields except `value`."""
    raw = asdict(measure)
    return {"key": measure.key} | {k: _plain(v) for k, v in raw.items() if k == "value" or v not in (None, {})}


def measure_from_json(raw: Mapping[str, Any]) -> Measure:
    """Inverse of `measure_to_json`."""
    fields = {key: value for key, value in raw.items() if key != "key"}
    fields["value"] = math.nan if fields["value"] is None else float(fields["value"])
    if fields.get("interval") is not None:
        low, high = fields["interval"]
        fields["interval"] = (math.nan if low is None else low, math.nan if high is None else high)
    return Measure(**fields)


def record_to_json(record: TrialRecord) -> dict[str, Any]:
    """The documented JSON object of a record."""
    return {
        "schema_version": record.schema_version,
        "trial_id": record.trial_id,
        "config_id": record.config.config_id,
        "label": record.config.label,
        "state": record.state,
        "started_at": record.started_at,
        "seconds": record.seconds,
        "config": record.config.model_dump(mode="json"),
        "context": dict(record.context),
        "data": _plain(dict(record.data)),
        "execution": None if record.execution is None else _plain(asdict(record.execution)),
        "failure": None if record.failure is None else asdict(record.failure),
        "curve": [_plain(asdict(point)) for point in record.curve],
        "measures": [measure_to_json(measure) for measure in record.measures],
    }


def record_from_json(raw: Mapping[str, Any], *, source: str = "record") -> TrialRecord:
    """Inverse of `record_to_json`.

    Raises:
        StorageError: Another schema version, a missing field, or an id that its configuration does not hash to.
    """
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(f"{source}: has schema {raw.get('schema_version')}, this lfray reads {SCHEMA_VERSION}")
    try:
        record = TrialRecord(
            config=TrialConfig.model_validate(raw["config"]),
            state=raw["state"],
            measures=tuple(measure_from_json(item) for item in raw["measures"]),
            curve=tuple(CurvePoint(**_loss_back(point)) for point in raw["curve"]),
            execution=None if raw["execution"] is None else Execution(**raw["execution"]),
            data=raw["data"],
            context=raw["context"],
            started_at=raw["started_at"],
            seconds=raw["seconds"],
            failure=None if raw["failure"] is None else Failure(**raw["failure"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{source}: not a record of schema {SCHEMA_VERSION} ({error}). Remove it and run again") from error
    if record.trial_id != raw["trial_id"]:
        raise StorageError(f"{source}: holds trial {raw['trial_id']}, its configuration is {record.trial_id}. Remove it and run again")
    return record


def _loss_back(point: Mapping[str, Any]) -> dict[str, Any]:
    return {**point, "loss": math.nan if point["loss"] is None else point["loss"]}


def covered(measures: Sequence[Measure], key: str) -> tuple[str, ...]:
    """The groups that a summary covers (its option `covers`), or () where it names none."""
    return next((tuple(m.options.get("covers", ())) for m in measures if m.key == key), ())
