"""One trial, end to end: data -> groups -> downsample -> model -> adapt -> train -> predict -> measure -> record.

Both are generators: they yield the points of the loss curve while the trial trains and, last, the record. `run_trial` is a trial of
one worker; whatever goes wrong in it becomes a FAILED record with the stage and the traceback, and never ends the sweep.
`run_rank` is one worker of a gang: rank 0 alone saves, measures and yields the record; what goes wrong is the gang's business.
"""

from __future__ import annotations

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
from lfray.engine.loop import Held, fit, score
from lfray.engine.meter import Meter, hardware_key
from lfray.errors import DataError
from lfray.evaluation.classification import MeasureSettings, measure_classification
from lfray.model.encode import answer_ids
from lfray.model.execution import PrecisionSeen, attention_of
from lfray.record import CurvePoint, Execution, Failure, Measure, Predictions, TrialRecord
from lfray.storage import Storage
from lfray.tasks.classification import make_objective
from lfray.trial.bench import Bench, hostname, versions
from lfray.trial.costs import cost_measures, gang_costs
from lfray.trial.failed import put_failure
from lfray.trial.keep import adapted_model, save, whole_model
from lfray.trial.rows import SplitTokens, predictions
from lfray.trial.training import explained, fit_plan, make_stepper, seen_precision, smaller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lfray.data.prepared import PreparedData, SplitRows
    from lfray.engine.contract import Stepper
    from lfray.model.adapt import Adapted
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
    while True:
        try:
            yield from _straight_line(job, bench, stage, started, clock)
            return
        except Exception as error:  # one failed trial is a record, whatever failed in it
            halved = smaller(job, error)
            if halved is None:
                shown = explained(job, error)
                failure = Failure(stage.now, type(shown).__name__, str(shown), traceback.format_exc())
                yield put_failure(storage, job, failure, started=started, seconds=time.monotonic() - clock)
                return
            job = halved


def run_rank(job: TrialJob, bench: Bench, stage: Stage, on_update: Callable[[int], None]) -> Iterator[CurvePoint | TrialRecord]:
    """Run one trial as one worker of its gang, whose process group stands.

    Args:
        job: The trial and where to find things.
        bench: This worker's caches.
        stage: Told where the trial stands.
        on_update: Told the number of every update that is done.
    """
    yield from _straight_line(job, bench, stage, datetime.now(UTC), time.monotonic(), on_update=on_update)


def _straight_line(
    job: TrialJob,
    bench: Bench,
    stage: Stage,
    started: datetime,
    clock: float,
    *,
    on_update: Callable[[int], None] = lambda step: None,
) -> Iterator[CurvePoint | TrialRecord]:
    config, warm = job.config, bench.trials > 0
    storage = Storage(Path(job.where.storage))
    device = bench.start(job)
    stage.now = "data"
    data = bench.data(job)
    kept, counts = _training_rows(data, job)
    held_out = {name: data.split(name) for name in ("validation", "test")}

    stage.now = "model"
    adapted = adapted_model(job, bench)
    meter = Meter(device, retained_gib=bench.retained_gib, on_update=on_update)
    tokenizer = bench.tokenizer(job)
    objective = make_objective(config.task, answer_ids(tokenizer, config.task) if config.task.answers else None)
    rows = SplitTokens(bench.tokens(job, data), objective, tokenizer.pad_token_id)

    stage.now = "train"
    checkpoints = Checkpoints(storage.trial_folder(config.trial_id) / "checkpoint", keep=job.execution.keep_checkpoints)
    plan = fit_plan(job)
    curve: list[CurvePoint] = []
    with meter.watch():
        stepper = make_stepper(job, adapted, objective, plan, device=device)
        seen = PrecisionSeen(adapted.model)
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

    # The last that all ranks do together; rank 0 goes on alone.
    spent = stepper.ranks.everyone(meter.account(hostname()))
    weights = stepper.gathered() if stepper.sharded and (adapted.peft or job.execution.keep_weights) else None
    execution = _execution(job, adapted, stepper, checkpoints, precision=seen_precision(job, seen.name), warm=warm)
    stepper.close()
    if stepper.ranks.rank != 0:
        return

    stage.now = "measure"
    measures = [m for table, name in zip(tables, held_out, strict=True) for m in _measure(table, name, config)]

    stage.now = "save"
    kept_bytes = save(storage, job, adapted if weights is None else whole_model(job, bench, weights), tables)
    costs = cost_measures(gang_costs(spent), adapted, kept_bytes=kept_bytes, gpus=job.execution.gpus, trains=plan is not None)
    record = TrialRecord(
        config=config,
        state="COMPLETED",
        measures=(*measures, *costs),
        curve=tuple(curve),
        execution=execution,
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


def _measure(table: Predictions, name: str, config: TrialConfig) -> tuple[Measure, ...]:
    settings = MeasureSettings(
        min_group_rows=config.data.min_group_rows,
        minority_attribute=config.data.minority_attribute,
        minority_group=config.data.minority_group,
        ece_bins=config.evaluation.ece_bins,
        split=name,
    )
    return measure_classification(table, settings)


def _execution(
    job: TrialJob, adapted: Adapted, stepper: Stepper, checkpoints: Checkpoints, *, precision: str, warm: bool
) -> Execution:
    """What really ran: of the engine and the model what they say themselves. Collective."""
    train, facts, asked = job.config.train, stepper.facts, job.execution
    hosts = stepper.ranks.everyone((hostname(), hardware_key(stepper.device, asked.cpus)))
    return Execution(
        hardware_key=" + ".join(sorted({key for _, key in hosts})),
        device=str(stepper.device),
        threads=torch.get_num_threads(),
        world_size=facts.world_size,
        stepper=facts.stepper,
        kernel=facts.kernel,
        micro_batch=asked.micro_batch,
        precision=precision,
        evaluation_batch=asked.evaluation_batch,
        warm=warm,
        resumed_at_step=checkpoints.resumed_at,
        hostname=hostname(),
        versions=versions(),
        zero_stage=facts.zero_stage,
        offload=facts.offload,
        attention=attention_of(adapted.model),
        gradient_checkpointing=train is not None and asked.gradient_checkpointing,
        hosts=tuple(host for host, _ in hosts) if facts.world_size > 1 else (),
        out_of_memory_at=asked.out_of_memory_at,
        checkpoints_passed_over=tuple(checkpoints.passed_over),
        restarts=asked.restarts,
        deepspeed=asked.deepspeed if facts.zero_stage else {},
    )
