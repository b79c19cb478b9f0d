"""Trials and records for the tracker's contract, small and written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lfray import names
from lfray.record import CurvePoint, Execution, Failure, Measure, TrialRecord, defined, undefined
from lfray.space.trial import (
    DataConfig,
    EvaluationConfig,
    FullMethod,
    HeadMethod,
    LoraMethod,
    ModelConfig,
    TaskConfig,
    TrainConfig,
    TrialConfig,
)
from lfray.tracking.contract import DatasetInfo, SweepInfo, TrialInfo
from lfray.tracking.layout import describe_trial

START = "2026-03-01T12:00:00+00:00"
START_MS = 1_772_366_400_000
DATASET = DatasetInfo("reviews", "0123456789abcdef", "lab:reviews", {"train": 200, "test": 100})
CONTEXT = {"base": "lab:gpt2", "source": "lab:reviews"}
RATES = {"lora": 2e-4, "head": 1e-3, "full": 2e-5}


def make_config(*, seed: int = 13, rank: int | None = 8, ratio: float = 0.2) -> TrialConfig:
    """Rank 0 is head-only, None full fine-tuning."""
    method: LoraMethod | HeadMethod | FullMethod
    match rank:
        case None:
            method = FullMethod()
        case 0:
            method = HeadMethod()
        case _:
            method = LoraMethod(
                rank=rank, alpha=2.0 * rank, alpha_policy="proportional", targets="all-linear", dropout=0.0, variant="lora"
            )
    return TrialConfig(
        task=TaskConfig(head="sequence", class_names=("negative", "positive"), positive=1),
        data=DataConfig(
            fingerprint="d" * 16, max_tokens=64, min_group_rows=10, minority_attribute="community", minority_group="b"
        ),
        model=ModelConfig(fingerprint="m" * 16),
        method=method,
        train=TrainConfig(
            epochs=3.0, effective_batch=16, learning_rate=RATES[method.kind], schedule="linear", warmup_ratio=0.0,
            weight_decay=0.0, max_grad_norm=1.0, adam_betas=(0.9, 0.999), adam_epsilon=1e-8, precision="fp32", select="last",
        ),
        evaluation=EvaluationConfig(ece_bins=10),
        downsampling_ratio=ratio,
        seed=seed,
    )  # fmt: skip


def make_trial(
    config: TrialConfig, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
) -> TrialInfo:
    info = describe_trial(config, CONTEXT, started_at=START, dataset=DATASET, tags=tags or {})
    return info if params is None else TrialInfo(info.trial_id, info.label, START, params, info.tags, DATASET)


def make_sweep(**fields: object) -> SweepInfo:
    values: dict[str, object] = {"name": "quick", "experiment": "lab quickstart", "started_at": START}
    return SweepInfo(**(values | fields))  # type: ignore[arg-type]


def make_curve(points: int = 20) -> tuple[CurvePoint, ...]:
    """A falling loss with a validation every tenth step."""
    return tuple(
        CurvePoint(
            step=step * 5,
            epoch=step / points * 3,
            loss=0.7 * math.exp(-step / points),
            learning_rate=2e-4 * (1 - step / points),
            validation_loss=0.5 if step % 10 == 9 else None,
            validation_accuracy=0.8 if step % 10 == 9 else None,
        )
        for step in range(points)
    )


def make_measures(groups: tuple[str, ...] = ("a", "b"), *, quality: float = 0.8) -> tuple[Measure, ...]:
    """About 60 measures; what depends on the label is undefined, as where the label is the group."""
    measures = [defined(metric, quality + index / 100) for index, metric in enumerate(names.RATES)]
    for number, group in enumerate(groups):
        measures += [
            defined(metric, quality - 0.1 * number + index / 100, attribute="community", group=group)
            for index, metric in enumerate(names.RATES)
        ]
    measures += [
        defined(names.WORST_GROUP_ACCURACY, quality - 0.1, attribute="community"),
        defined(names.ACCURACY_GAP, 0.1, attribute="community"),
        undefined(names.EQUALIZED_ODDS_DIFFERENCE, "group_is_label", attribute="community"),
        undefined(names.DEMOGRAPHIC_PARITY_DIFFERENCE, "group_is_label", attribute="community"),
        defined(names.TRAINABLE_PARAMETERS, 1024.0),
        defined(names.TRAIN_SECONDS, 12.5),
        undefined(names.GPU_SECONDS, "no_gpu"),
    ]
    return tuple(measures)


def make_record(
    config: TrialConfig,
    *,
    measures: tuple[Measure, ...] | None = None,
    curve: tuple[CurvePoint, ...] | None = None,
    failure: Failure | None = None,
) -> TrialRecord:
    return TrialRecord(
        config=config,
        state="COMPLETED" if failure is None else "FAILED",
        measures=make_measures() if measures is None else measures,
        curve=make_curve() if curve is None else curve,
        execution=Execution(
            "cpu-2", "cpu", 1, 1, "single", "torch", 16, "fp32", 64, False, None, "host", {"torch": "2.13.0"}
        ) if failure is None else None,
        data={"rows": {"train": 200}},
        context=CONTEXT,
        started_at="2026-03-01T12:00:01+00:00",
        seconds=30.5,
        failure=failure,
    )  # fmt: skip


def make_failure() -> Failure:
    return Failure("train", "NonFiniteLoss", "loss became NaN at step 40", "Traceback (most recent call last):\n  boom\n")
