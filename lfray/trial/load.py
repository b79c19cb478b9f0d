"""A finished trial, back in memory: its model, and its predictions scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lfray.data.prepared import verify_manifest
from lfray.engine.loop import score
from lfray.engine.single import SingleStepper
from lfray.errors import ModelError, StorageError
from lfray.model.adapt import load_adapter
from lfray.model.base import draw_head, load_model
from lfray.model.encode import answer_ids
from lfray.model.folder import load_tokenizer, model_facts
from lfray.model.quantized import four_bit_obstacle
from lfray.record import Predictions
from lfray.space.trial import BaseMethod, ExecutionRequest, FullMethod, Locations, LoraMethod, TrialJob
from lfray.tasks.classification import make_objective
from lfray.trial.bench import Bench
from lfray.trial.rows import SplitTokens, predictions

if TYPE_CHECKING:
    from lfray.record import TrialRecord
    from lfray.storage import Storage


def load_trial(storage: Storage, trial_id: str) -> tuple[Any, Any]:
    """The model as it was evaluated, on the CPU, and its tokenizer; one with a 4-bit base on the GPU.

    Raises:
        StorageError: No such trial, it failed, or its weights were not kept.
        ModelError: The base's folder now holds another model, or the base is a 4-bit one and there is no GPU or no bitsandbytes.
    """
    record = _completed(storage, trial_id)
    config, weights = record.config, storage.trial_folder(trial_id) / "adapter"
    base = Path(record.context["model_folder"])
    if not isinstance(config.method, BaseMethod) and not weights.is_dir():
        raise StorageError(
            f"trial {trial_id}: its weights were not kept. Set keep_adapters: all (and keep_full_models: true for full), and run it again"
        )
    if isinstance(config.method, FullMethod):
        base = weights
    elif model_facts(base).fingerprint != config.model.fingerprint:
        raise ModelError(f"trial {trial_id}: {base} must hold the base it was trained on. Restore that folder")
    quantized = isinstance(config.method, LoraMethod) and config.method.quantized
    if quantized:
        _four_bit(trial_id)
    tokenizer = load_tokenizer(Path(record.context["model_folder"]))
    names = config.task.class_names
    # eager differs from sdpa in the last bits; flash attention trained only, and sdpa evaluated then.
    attention = "eager" if record.execution is not None and record.execution.attention == "eager" else "auto"
    loaded = load_model(
        base,
        head=config.task.head,
        class_names=names,
        pad_id=tokenizer.pad_token_id,
        quantized=quantized,
        attention=attention,
    )
    draw_head(loaded, config.seed or 0)
    model = loaded.model if isinstance(config.method, BaseMethod | FullMethod) else load_adapter(loaded.model, weights)
    return model.eval(), tokenizer


def _four_bit(trial_id: str) -> None:
    """Refuse to put a qlora adapter on anything but its 4-bit base on a GPU: that would be another model than the evaluated one.

    Raises:
        ModelError: What is missing.
    """
    obstacle = four_bit_obstacle() or (None if torch.cuda.is_available() else "this process sees no GPU")
    if obstacle is not None:
        raise ModelError(
            f"trial {trial_id}: the model that was evaluated has a 4-bit base, which needs bitsandbytes and a GPU ({obstacle}). "
            "Load it on a machine with both; the adapter alone is in the trial's folder"
        )


def rescore_trial(storage: Storage, trial_id: str) -> Predictions:
    """Validation and test rows scored again, with the threads and batches on record."""
    record = _completed(storage, trial_id)
    execution = record.execution
    assert execution is not None, "a completed trial has an execution block"
    model, tokenizer = load_trial(storage, trial_id)
    job = TrialJob(
        config=record.config,
        where=Locations(storage=str(storage.root), data=record.context["data_folder"], model=record.context["model_folder"]),
        execution=ExecutionRequest(
            micro_batch=execution.micro_batch,
            evaluation_batch=execution.evaluation_batch,
            cpus=execution.threads,
            gpus=0.0,
            checkpoint_seconds=60.0,
            keep_weights=False,
        ),
        split_manifests=record.data["split_manifests"],
        preparation=record.data["preparation"],
        context=dict(record.context),
    )
    bench = Bench()
    bench.start(job)
    data = bench.data(job)
    config = record.config
    objective = make_objective(config.task, answer_ids(tokenizer, config.task) if config.task.answers else None)
    rows = SplitTokens(bench.tokens(job, data), objective, tokenizer.pad_token_id)
    stepper = SingleStepper(model, objective, None, device=next(model.parameters()).device)
    tables = []
    for name in ("validation", "test"):
        verify_manifest(data, name, expected=job.split_manifests[name])
        split = data.split(name)
        scores = score(stepper, rows.scoring(split), batch_rows=execution.evaluation_batch, pad_id=rows.pad_id)
        tables.append(predictions(objective, scores, name, split, config))
    return Predictions.concatenate(tables)


def _completed(storage: Storage, trial_id: str) -> TrialRecord:
    record = storage.read_record(trial_id)
    if record is None:
        raise StorageError(f"trial {trial_id}: no record in {storage.root}. `lfray list` names the trials")
    if record.state != "COMPLETED":
        raise StorageError(f"trial {trial_id}: it failed, so there is no model. `lfray show {trial_id}` says why")
    return record


def same_bits(one: Predictions, other: Predictions) -> bool:
    """Whether two tables have the same rows and the same scores, bit for bit."""
    return bool(
        np.array_equal(one.row_id, other.row_id)
        and np.array_equal(one.logits.view(np.uint32), other.logits.view(np.uint32))
        and np.array_equal(one.prediction, other.prediction)
    )
