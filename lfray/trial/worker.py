"""One trial, end to end: data -> groups -> downsample -> model -> adapt -> train -> predict -> measure -> record.

`run_trial` is a generator: it yields the points of the loss curve while it trains and, last, the record. Whatever goes
wrong inside becomes a FAILED record with the stage and the traceback; it never ends the sweep.
"""

from __future__ import annotations

import shutil
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lfray.data.downsample import downsample
from lfray.data.prepared import verify_manifest
from lfray.engine.checkpoint import Checkpoints
from lfray.engine.contract import FitPlan
from lfray.engine.loop import Held, fit, score
from lfray.engine.meter import Meter, hardware_key
from lfray.engine.single import SingleStepper
from lfray.errors import DataError
from lfray.evaluation.classification import MeasureSettings, measure_classification
from lfray.model.adapt import Adapted, adapt, save_adapted
from lfray.model.base import draw_head
from lfray.model.encode import answer_ids
from lfray.record import CurvePoint, Execution, Failure, Measure, Predictions, TrialRecord, write_predictions
from lfray.storage import Storage, replace_folder
from lfray.tasks.classification import make_objective
from lfray.trial.bench import Bench, hostname, versions
from lfray.trial.costs import cost_measures
from lfray.trial.failed import put_failure
from lfray.trial.rows import SplitTokens, predictions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.data.prepared import PreparedData, SplitRows
    from lfray.space.trial import TrialConfig, TrialJob

SPLITS = ("train", "validation", "test")


class Stage:
    """Where a trial stands, for the FAILED record."""

    now = "start"


def run_trial(job: TrialJob, bench: Bench) -> Iterator[CurvePoint | TrialRecord]:
    """Run one trial; yield its curve as it grows, then its record, which is already in storage.

    Args:
        job: The trial and where to find things.
        bench: This worker's caches.
    """
    stage, started, clock = Stage(), datetime.now(UTC), time.monotonic()
    storage = Storage(Path(job.where.storage))
    try:
        yield from _straight_line(job, bench, stage, storage, started, clock)
    except Exception as error:  # one failed trial is a record, whatever failed in it
        failure = Failure(stage.now, type(error).__name__, str(error), traceback.format_exc())
        yield put_failure(storage, job, failure, started=started, seconds=time.monotonic() - clock)


def _straight_line(
    job: TrialJob, bench: Bench, stage: Stage, storage: Storage, started: datetime, clock: float
) -> Iterator[CurvePoint | TrialRecord]:
    config, warm = job.config, bench.trials > 0
    device = bench.start(job)
    stage.now = "data"
    data = bench.data(job)
    kept, counts = _training_rows(data, job)
    held_out = {name: data.split(name) for name in ("validation", "test")}

    stage.now = "model"
    loaded = bench.model(job)
    meter = Meter(device, retained_gib=bench.retained_gib)
    tokenizer = bench.tokenizer(job)
    seed = 0 if config.seed is None else config.seed
    draw_head(loaded, seed)
    torch.manual_seed(seed)
    adapted = adapt(loaded, config.method)
    objective = make_objective(config.task, answer_ids(tokenizer, config.task) if config.task.answers else None)
    rows = SplitTokens(bench.tokens(job, data), objective, tokenizer.pad_token_id)

    stage.now = "train"
    checkpoints = Checkpoints(storage.trial_folder(config.trial_id) / "checkpoint")
    plan = _fit_plan(job, seed)
    curve: list[CurvePoint] = []
    with meter.watch():
        stepper = SingleStepper(adapted.model, objective, plan, device=device)
        if plan is not None:
            held = _held(rows, held_out["validation"], job.execution.evaluation_batch)
            points = fit(stepper, rows.training(kept), plan, pad_id=rows.pad_id, checkpoints=checkpoints, meter=meter, held=held)
            while (point := _timed_next(points, meter)) is not None:
                curve.append(point)
                yield point

    stage.now = "predict"
    tables = []
    with meter.stage("evaluation"):
        for name, split in held_out.items():
            verify_manifest(data, name, expected=job.split_manifests[name])
            scores = score(stepper, rows.scoring(split), batch_rows=job.execution.evaluation_batch, pad_id=rows.pad_id)
            tables.append(predictions(objective, scores, name, split, config))

    stage.now = "measure"
    measures = [m for table, name in zip(tables, held_out, strict=True) for m in _measure(table, name, config)]

    stage.now = "save"
    kept_bytes = _save(storage, job, adapted, tables)
    costs = cost_measures(meter, adapted, kept_bytes=kept_bytes, gpus=job.execution.gpus, trains=plan is not None)
    record = TrialRecord(
        config=config,
        state="COMPLETED",
        measures=(*measures, *costs),
        curve=tuple(curve),
        execution=_execution(job, stepper, checkpoints, warm=warm),
        data=counts,
        context=job.context,
        started_at=started.isoformat(timespec="milliseconds"),
        seconds=time.monotonic() - clock,
    )
    storage.write_record(record)
    checkpoints.clear()
    yield record


def _training_rows(data: PreparedData, job: TrialJob) -> tuple[SplitRows, dict[str, Any]]:
    """The training rows that stay, and the counts for the record.

    Raises:
        DataError: A held-out row stands among them, or the prepared rows changed.
    """
    config = job.config
    for name in SPLITS:
        verify_manifest(data, name, expected=job.split_manifests[name])
    train = data.split("train")
    column = next(group for group in train.groups if group.attribute == config.data.minority_attribute)
    minority = column.member[:, column.names.index(config.data.minority_group)]
    ratio = 1.0 if config.downsampling_ratio is None else config.downsampling_ratio
    keep = downsample(train.row_id, minority, ratio=ratio, seed=config.seed or 0)
    kept = replace(
        train,
        index=train.index[keep],
        row_id=train.row_id[keep],
        label=train.label[keep],
        groups=tuple(replace(group, member=group.member[keep]) for group in train.groups),
    )
    held_out = np.concatenate([data.split("validation").row_id, data.split("test").row_id])
    leaked = np.intersect1d(kept.row_id, held_out)
    if len(leaked):
        raise DataError(f"split: no held-out row may train (got {len(leaked)}, first {leaked[0]}). Prepare the data again")
    minority_kept, minority_all = int((keep & minority).sum()), int(minority.sum())
    majority = int((~minority).sum())
    return kept, {
        "split_rows": {name: data.facts.split_rows[name] for name in SPLITS},
        "split_manifests": {name: job.split_manifests[name] for name in SPLITS},
        "train_rows_used": len(kept.row_id),
        "train_groups_used": {
            group.attribute: dict(zip(group.names, group.member.sum(axis=0).tolist(), strict=True)) for group in kept.groups
        },
        "minority_rows": minority_all,
        "minority_rows_kept": minority_kept,
        "minority_fraction_kept": minority_kept / minority_all if minority_all else None,
        "minority_to_majority": minority_kept / majority if majority else None,
        "preparation": job.preparation,
    }


def _held(rows: SplitTokens, validation: SplitRows, batch_rows: int) -> Held:
    """The validation rows, as selection looks at them."""
    scored = rows.objective.scored
    return Held(
        rows.training(validation),
        rows.scoring(validation),
        lambda scores: scored(scores).prediction == validation.label,
        batch_rows,
    )


def _timed_next(points: Iterator[CurvePoint], meter: Meter) -> CurvePoint | None:
    """The next point; only the time spent training counts, not what the driver does between two points."""
    with meter.stage("train"):
        return next(points, None)


def _fit_plan(job: TrialJob, seed: int) -> FitPlan | None:
    train = job.config.train
    if train is None:
        return None
    fields = train.model_dump()
    return FitPlan(
        **fields,
        micro_batch=min(job.execution.micro_batch, train.effective_batch),
        seed=seed,
        checkpoint_seconds=job.execution.checkpoint_seconds,
    )


def _measure(table: Predictions, name: str, config: TrialConfig) -> tuple[Measure, ...]:
    settings = MeasureSettings(
        min_group_rows=config.data.min_group_rows,
        minority_attribute=config.data.minority_attribute,
        minority_group=config.data.minority_group,
        ece_bins=config.evaluation.ece_bins,
        split=name,
    )
    return measure_classification(table, settings)


def _save(storage: Storage, job: TrialJob, adapted: Adapted, tables: list[Predictions]) -> int:
    """Predictions and, where wanted, weights, each put in place whole; returns the bytes that must be kept beside the base."""
    folder = storage.trial_folder(job.config.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "predictions.parquet.part"
    write_predictions(Predictions.concatenate(tables), part)
    part.replace(folder / "predictions.parquet")
    # Counted, not weighed: whether a full model is kept must not change its record.
    whole = sum(p.numel() * p.element_size() for p in adapted.model.parameters()) if job.config.train is not None else 0
    if not adapted.peft and not (job.execution.keep_weights and whole):
        return whole
    temporary = folder / "adapter.part"
    shutil.rmtree(temporary, ignore_errors=True)
    size = save_adapted(adapted, temporary, base_name=job.context.get("base_folder", job.where.model))
    if job.execution.keep_weights:
        replace_folder(temporary, folder / "adapter")
    else:
        shutil.rmtree(temporary)
    return size if adapted.peft else whole


def _execution(job: TrialJob, stepper: SingleStepper, checkpoints: Checkpoints, *, warm: bool) -> Execution:
    train = job.config.train
    return Execution(
        hardware_key=hardware_key(stepper.device, job.execution.cpus),
        device=str(stepper.device),
        threads=torch.get_num_threads(),
        world_size=1,
        stepper=stepper.name,
        kernel=stepper.kernel,
        micro_batch=job.execution.micro_batch,
        precision="fp32" if train is None else train.precision,
        evaluation_batch=job.execution.evaluation_batch,
        warm=warm,
        resumed_at_step=checkpoints.resumed_at,
        hostname=hostname(),
        versions=versions(),
    )
