"""Trial records for tests, built from the few things that a test cares about.

    make_record(method="lora", rank=8, ratio=0.2, seed=13, measures={"fair.worst_group_accuracy": 0.8})

`measures` maps flat keys to a value, or to a reason code where the value is undefined. A summary over groups without an
attribute in its key (`fair.*`) belongs to the minority attribute, as in a real record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lfray.names import Scope, parse_key
from lfray.record import Execution, Failure, Measure, TrialRecord, defined, undefined
from lfray.space.trial import (
    BaseMethod,
    DataConfig,
    EvaluationConfig,
    FullMethod,
    HeadMethod,
    LoraMethod,
    Method,
    ModelConfig,
    TaskConfig,
    TrainConfig,
    TrialConfig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTRIBUTE = "sentiment"
MINORITY = "negative"


def make_config(
    method: str = "lora",
    rank: int = 8,
    *,
    ratio: float = 1.0,
    seed: int = 13,
    minority: tuple[str, str] = (ATTRIBUTE, MINORITY),
    train: Mapping[str, Any] | None = None,
) -> TrialConfig:
    """A resolved trial. `method` is base, head, lora, dora or full; `train` overrides fields of `TrainConfig`."""
    is_base = method == "base"
    fields: dict[str, Any] = {
        "epochs": 1.0, "effective_batch": 16, "learning_rate": 2e-4, "schedule": "linear", "warmup_ratio": 0.0,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "adam_betas": (0.9, 0.999), "adam_epsilon": 1e-8,
        "precision": "fp32", "select": "last",
    }  # fmt: skip
    return TrialConfig(
        task=TaskConfig(head="sequence", class_names=("negative", "positive"), positive=1),
        data=DataConfig(
            fingerprint="0" * 16, max_tokens=128, min_group_rows=10, minority_attribute=minority[0], minority_group=minority[1]
        ),
        model=ModelConfig(fingerprint="1" * 16),
        method=_method(method, rank),
        train=None if is_base else TrainConfig(**(fields | dict(train or {}))),
        evaluation=EvaluationConfig(ece_bins=10),
        downsampling_ratio=None if is_base else ratio,
        seed=None if is_base else seed,
    )


def _method(method: str, rank: int) -> Method:
    match method:
        case "base":
            return BaseMethod()
        case "head":
            return HeadMethod()
        case "full":
            return FullMethod()
        case _:
            return LoraMethod(
                rank=rank, alpha=2.0 * rank, alpha_policy="proportional", targets="all-linear", dropout=0.0,
                variant="dora" if method == "dora" else "lora",
            )  # fmt: skip


def make_measure(key: str, value: float | str, *, minority_attribute: str = ATTRIBUTE, **fields: Any) -> Measure:
    """One measure from a flat key; a text value is the reason why it is undefined."""
    parsed = parse_key(key)
    attribute = parsed.attribute
    if attribute is None and parsed.metric.scope is Scope.ATTRIBUTE:
        attribute = minority_attribute
    address = {"split": parsed.split, "attribute": attribute, "group": parsed.group, "of_class": parsed.of_class}
    if isinstance(value, str):
        return undefined(parsed.metric, value, **address, **fields)
    return defined(parsed.metric, value, **address, **fields)


def make_execution(hardware_key: str = "cpu-test") -> Execution:
    """How a trial ran, on a machine of this kind."""
    return Execution(
        hardware_key=hardware_key, device="cpu", threads=2, world_size=1, stepper="single", kernel="torch", micro_batch=16,
        precision="fp32", evaluation_batch=64, warm=False, resumed_at_step=None, hostname="host",
        versions={"torch": "2.13.0", "lfray": "0.1.0"},
    )  # fmt: skip


def make_record(
    method: str = "lora",
    rank: int = 8,
    *,
    ratio: float = 1.0,
    seed: int = 13,
    measures: Mapping[str, float | str] | Sequence[Measure] = (),
    hardware_key: str = "cpu-test",
    config: TrialConfig | None = None,
    failure: Failure | None = None,
) -> TrialRecord:
    """A measured trial; with `failure` a FAILED one. `config` replaces method, rank, ratio and seed."""
    config = config or make_config(method, rank, ratio=ratio, seed=seed)
    attribute = config.data.minority_attribute
    if isinstance(measures, Mapping):
        measures = [make_measure(key, value, minority_attribute=attribute) for key, value in measures.items()]
    return TrialRecord(
        config=config,
        state="COMPLETED" if failure is None else "FAILED",
        measures=tuple(measures),
        curve=(),
        execution=make_execution(hardware_key),
        data={},
        context={"sweep": "test"},
        started_at="2026-01-01T00:00:00Z",
        seconds=1.0,
        failure=failure,
    )


def make_failure(message: str = "loss is NaN at step 7", stage: str = "train") -> Failure:
    """Why a trial failed."""
    return Failure(stage=stage, kind="TrialError", message=message, traceback="Traceback ...")
