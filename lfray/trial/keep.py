"""The model of a trial, before and after training: built from the base and the seed, put together again, and saved."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch

from lfray.model.adapt import Adapted, adapt, save_adapted
from lfray.model.base import draw_head
from lfray.model.count import elements
from lfray.record import Predictions, write_predictions
from lfray.storage import replace_folder

if TYPE_CHECKING:
    from lfray.space.trial import TrialJob
    from lfray.storage import Storage
    from lfray.trial.bench import Bench


def adapted_model(job: TrialJob, bench: Bench) -> Adapted:
    """The base with its head drawn and its method applied: from the seed alone, so every rank has the same."""
    loaded, seed = bench.model(job), job.config.seed or 0
    draw_head(loaded, seed)
    torch.manual_seed(seed)
    return adapt(loaded, job.config.method)


def whole_model(job: TrialJob, bench: Bench, weights: dict[str, torch.Tensor]) -> Adapted:
    """The trained model in one piece again, on the CPU, from weights that were gathered from all ranks."""
    fresh = adapted_model(job, bench)
    named = dict(fresh.model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            named[name].copy_(weight)
    return fresh


def save(storage: Storage, job: TrialJob, adapted: Adapted, tables: list[Predictions]) -> int:
    """Predictions and, where wanted, weights, each put in place whole; returns the bytes that must be kept beside the base."""
    folder = storage.trial_folder(job.config.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "predictions.parquet.part"
    write_predictions(Predictions.concatenate(tables), part)
    part.replace(folder / "predictions.parquet")
    # Counted, not weighed: whether a full model is kept must not change its record.
    whole = sum(elements(p) * p.element_size() for p in adapted.model.parameters()) if job.config.train is not None else 0
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
