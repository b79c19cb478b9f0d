"""Records as JSON and back: the documented form of `record.json`. NaN becomes null beside its reason."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lfray.errors import StorageError
from lfray.record import SCHEMA_VERSION, CurvePoint, Execution, Failure, Measure, TrialRecord
from lfray.space.trial import TrialConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


ASIDE = "Set it aside (or update lfray, if a newer one wrote it) and run again"


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
    if not isinstance(raw, dict):
        raise StorageError(f"{source}: not a record (got {type(raw).__name__}). {ASIDE}")
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(f"{source}: has schema {raw.get('schema_version')}, this lfray reads {SCHEMA_VERSION}")
    try:
        record = TrialRecord(
            config=TrialConfig.model_validate(raw["config"]),
            state=raw["state"],
            measures=tuple(measure_from_json(item) for item in raw["measures"]),
            curve=tuple(CurvePoint(**_loss_back(point)) for point in raw["curve"]),
            execution=None if raw["execution"] is None else _execution_back(raw["execution"]),
            data=raw["data"],
            context=raw["context"],
            started_at=raw["started_at"],
            seconds=raw["seconds"],
            failure=None if raw["failure"] is None else Failure(**raw["failure"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise StorageError(f"{source}: not a record of schema {SCHEMA_VERSION} ({error}). {ASIDE}") from error
    if record.trial_id != raw.get("trial_id"):
        raise StorageError(f"{source}: holds trial {raw.get('trial_id')}, its configuration is {record.trial_id}. {ASIDE}")
    return record


def _loss_back(point: Mapping[str, Any]) -> dict[str, Any]:
    return {**point, "loss": math.nan if point["loss"] is None else point["loss"]}


def _execution_back(raw: Mapping[str, Any]) -> Execution:
    """JSON has lists only. Fields that a record of an older lfray has not take their defaults."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    return Execution(**fields)
