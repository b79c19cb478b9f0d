"""What a run holds: the names of its tags, and a record as the metrics, tags and params that people search and compare.

One writing for every tracker, inside MLflow's limits: the alphabet of its keys, their length, the length of values. Pure.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import platform
import posixpath
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING, Any, Final

from lfray import names
from lfray.fingerprint import canonical_bytes
from lfray.record_json import record_to_json
from lfray.space.trial import LoraMethod
from lfray.tracking.contract import DatasetInfo, TrialInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lfray.record import CurvePoint, TrialRecord
    from lfray.space.trial import TrialConfig

KIND: Final = "lfray.kind"
"""`sweep` for a parent run, `trial` for a nested one."""
SWEEP: Final = "lfray.sweep"
TRIAL: Final = "lfray.trial_id"
LOGGED: Final = "lfray.record"
"""Digest of the record that is logged in whole; written last."""
STATE: Final = "lfray.state"
FAILURE: Final = "lfray.failure"
HARDWARE: Final = "lfray.hardware"
CONFIG: Final = "lfray.config_id"
NOW: Final = "lfray.now."
UNDEFINED: Final = "undefined."
TRACEBACK: Final = "traceback.txt"
ENVIRONMENT: Final = "environment.txt"

KEY_LIMIT: Final = 250
PARAM_LIMIT: Final = 6000
TAG_LIMIT: Final = 8000

_FOREIGN = re.compile(r"[^A-Za-z0-9_\-./ ]")


def shorten(key: str) -> str:
    """A key of at most 250 characters: a longer one keeps its start and ends in `..` and 16 hex digits of its hash."""
    if len(key) <= KEY_LIMIT:
        return key
    return f"{key[: KEY_LIMIT - 18]}..{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def safe_key(key: str) -> str:
    """A param's or tag's key in MLflow's alphabet: other bytes become `:hh:`, as in `names.escape`; never longer than 250."""
    text = _FOREIGN.sub(lambda found: names.escape(found.group()), key)
    if not text or posixpath.normpath(text) != text or text.startswith((".", "/")):
        # MLflow reads keys as paths and refuses `a//b`, `../a`, `/a`.
        text = names.escape(key)
    return shorten(text)


def clip(value: str, limit: int) -> str:
    """The text, cut to `limit` characters; a cut one ends in `...`."""
    return value if len(value) <= limit else f"{value[: limit - 3]}..."


def clean_params(params: Mapping[str, str]) -> dict[str, str]:
    """Params that MLflow takes."""
    return {safe_key(key): clip(value, PARAM_LIMIT) for key, value in params.items()}


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that MLflow takes. Keys built from metrics are in its alphabet already and only shortened."""
    return {shorten(key) if key.startswith(UNDEFINED) else safe_key(key): clip(value, TAG_LIMIT) for key, value in tags.items()}


def milliseconds(iso: str) -> int:
    """UTC milliseconds of an ISO 8601 time; one without a zone is UTC."""
    moment = datetime.fromisoformat(iso)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def curve_time(start_ms: int, step: int) -> int:
    """Timestamp of a step: one second a step after the run's start, so that a replay writes the same row again."""
    return start_ms + step * 1000


def end_time(start_ms: int, record: TrialRecord) -> int:
    """Timestamp of the final metrics and end of the run, from what is stored."""
    return start_ms + round(record.seconds * 1000)


def curve_values(point: CurvePoint) -> dict[str, float]:
    """Key -> value of what one point knows; values that are not finite are left out."""
    values = {
        names.CURVE_TRAIN_LOSS: point.loss,
        names.CURVE_LEARNING_RATE: point.learning_rate,
        names.CURVE_VALIDATION_LOSS: point.validation_loss,
        names.CURVE_VALIDATION_ACCURACY: point.validation_accuracy,
    }
    return {key: value for key, value in values.items() if value is not None and math.isfinite(value)}


CURVE_KEYS: Final = (
    names.CURVE_TRAIN_LOSS, names.CURVE_LEARNING_RATE, names.CURVE_VALIDATION_LOSS, names.CURVE_VALIDATION_ACCURACY,
)  # fmt: skip


def record_digest(record: TrialRecord) -> str:
    """16 hex digits over everything in the record."""
    return hashlib.sha256(canonical_bytes(record_to_json(record))).hexdigest()[:16]


def record_metrics(record: TrialRecord) -> dict[str, float]:
    """The defined metrics, keys shortened where they must be."""
    return {shorten(key): value for key, value in record.metrics().items() if math.isfinite(value)}


def record_tags(record: TrialRecord) -> dict[str, str]:
    """State, hardware, failure, and why each undefined metric is undefined."""
    tags = {STATE: record.state, CONFIG: record.config.config_id}
    if record.execution is not None:
        tags[HARDWARE] = record.execution.hardware_key
    if record.failure is not None:
        tags[FAILURE] = f"{record.failure.stage}: {record.failure.kind}: {record.failure.message}"
    tags |= {f"{UNDEFINED}{key}": reason for key, reason in record.undefined().items()}
    if any(not math.isfinite(point.loss) for point in record.curve):
        tags[f"{UNDEFINED}{names.CURVE_TRAIN_LOSS}"] = "non_finite"
    return clean_tags(tags)


def is_outcome(key: str) -> bool:
    """Whether a tag tells how the trial came out, so that another record of the trial replaces it."""
    return key.startswith(UNDEFINED) or key in {STATE, FAILURE, HARDWARE, LOGGED}


def plain(value: object) -> str:
    """A value as a param: numbers without decoration (`3`, `0.2`, `2e-05`), so that MLflow's plots take them for numbers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def flatten(tree: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """A tree of settings as `a.b.c` -> text; lists become one value, None and empty branches are left out."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        match value:
            case None:
                continue
            case dict():
                flat |= flatten(value, prefix=f"{prefix}{key}.")
            case list() | tuple():
                flat[f"{prefix}{key}"] = ", ".join(plain(item) for item in value)
            case _:
                flat[f"{prefix}{key}"] = plain(value)
    return flat


def trial_params(config: TrialConfig, context: Mapping[str, str]) -> dict[str, str]:
    """What a person compares trials by: axes first, then the rest of the recipe. What a method has not is left out.

    Args:
        config: The trial.
        context: Names for people (base model, data source, sweep).
    """
    values: dict[str, object] = {
        "method": config.method.kind,
        "method_label": config.method_label,
        "rank": config.rank,
        "downsampling_ratio": config.downsampling_ratio,
        "seed": config.seed,
    }
    if isinstance(config.method, LoraMethod):
        values |= config.method.model_dump(exclude={"kind", "rank"}) | {"scale": config.method.scale}
    if config.train is not None:
        values |= config.train.model_dump()
    values |= {
        "head": config.task.head,
        "max_tokens": config.data.max_tokens,
        "minority": f"{config.data.minority_attribute}={config.data.minority_group}",
        "ece_bins": config.evaluation.ece_bins,
    }
    return flatten(values) | {f"context.{key}": value for key, value in context.items()}


def describe_trial(
    config: TrialConfig, context: Mapping[str, str], *, started_at: str, dataset: DatasetInfo | None, tags: Mapping[str, str]
) -> TrialInfo:
    """The run of a trial, as every sweep writes it."""
    return TrialInfo(
        trial_id=config.trial_id,
        label=config.label,
        started_at=started_at,
        params=trial_params(config, context),
        tags={CONFIG: config.config_id, **tags},
        dataset=dataset,
    )


def dataset_source(source: str) -> tuple[str, str]:
    """MLflow's kind and JSON of a source, so that a hub data set becomes a link in its page."""
    scheme, _, place = source.partition(":")
    if scheme != "hub":
        return "lfray", json.dumps({"uri": source})
    path, _, revision = place.partition("@")
    return "hugging_face", json.dumps({"path": path, "revision": revision or "main"})


def origin_tags() -> dict[str, str]:
    """Who runs what code where: user, git commit of the working folder, versions. What cannot be known is left out."""
    tags = {"lfray.python": platform.python_version(), "lfray.platform": platform.platform(), "mlflow.source.name": "lfray"}
    with suppress(PackageNotFoundError):
        tags["lfray.version"] = version("lfray")
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["lfray.git_dirty"] = "true" if _git("status", "--porcelain", "--untracked-files=no") else "false"
    return tags


def environment_text() -> str:
    """Every installed package with its version, one a line, sorted."""
    found = {f"{item.metadata['Name']}=={item.version}" for item in distributions() if item.metadata["Name"]}
    return f"python=={platform.python_version()}\n" + "\n".join(sorted(found, key=str.lower)) + "\n"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
