"""Housekeeping of a storage: how much a sweep will take, what may be removed, and removing it. Records are never removed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfray.space.trial import FullMethod, LoraMethod

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lfray.app import Plan
    from lfray.space.trial import TrialConfig
    from lfray.storage import Storage

KINDS = ("checkpoints", "predictions", "adapters")
_PARTS = {"checkpoints": "checkpoint", "predictions": "predictions.parquet", "adapters": "adapter"}
RECORD_BYTES = 60_000
"""A record.json with 150 measures and 50 points of the curve (measured: 40 to 55 kB)."""
BYTES_PER_PREDICTION = 32
"""Row id, labels, logits of two classes and group flags after compression (measured on SST-2: 28)."""


@dataclass(frozen=True)
class DiskEstimate:
    """Bytes that a sweep will take beside the prepared data, by what they are."""

    records: int
    predictions: int
    adapters: int
    checkpoints: int
    """At the worst moment: the running trials' checkpoints."""

    @property
    def total(self) -> int:
        """Their sum."""
        return self.records + self.predictions + self.adapters + self.checkpoints


def estimate_disk(made: Plan) -> DiskEstimate:
    """What the trials that have no record yet will write."""
    todo = [trial for trial in made.trials if trial.trial_id not in made.recorded]
    rows = made.data.split_rows.get("validation", 0) + made.data.split_rows.get("test", 0)
    spec = made.loaded.spec
    learnt = [_learnt_bytes(trial, made.model.parameters, made.model.linear_extent) for trial in todo]
    kept = sum(
        size
        for trial, size in zip(todo, learnt, strict=True)
        if (spec.keep_full_models if isinstance(trial.method, FullMethod) else spec.keep_adapters != "none")
    )
    # Weights and AdamW's two moments, in each checkpoint that is kept.
    checkpoints = sum(sorted(learnt, reverse=True)[: made.concurrency]) * 3 * spec.resources.keep_checkpoints
    return DiskEstimate(RECORD_BYTES * len(todo), rows * BYTES_PER_PREDICTION * len(todo), kept, checkpoints)


def _learnt_bytes(trial: TrialConfig, parameters: int, linear_extent: int) -> int:
    """Weights are trained and saved in fp32, whatever the checkpoint is stored in."""
    match trial.method:
        case FullMethod():
            return 4 * parameters
        case LoraMethod(rank=rank):
            return 4 * rank * linear_extent
        case _:
            return 8_192


@dataclass(frozen=True)
class Removal:
    """One thing that `gc` would remove."""

    kind: str
    path: Path
    size: int


def removable(
    storage: Storage, trial_ids: Iterable[str], kinds: Sequence[str], *, keep: frozenset[str] = frozenset()
) -> list[Removal]:
    """What may go: of recorded trials only (a running trial needs its checkpoint), and not of those in `keep`."""
    found = []
    for trial_id in trial_ids:
        folder = storage.trial_folder(trial_id)
        if trial_id in keep or not (folder / "record.json").exists():
            continue
        for kind in kinds:
            path = folder / _PARTS[kind]
            if path.exists():
                found.append(Removal(kind, path, size_of(path)))
    return found


def remove(removals: Iterable[Removal]) -> int:
    """Remove them; returns the bytes freed."""
    freed = 0
    for removal in removals:
        if removal.path.is_dir():
            shutil.rmtree(removal.path)
        else:
            removal.path.unlink()
        freed += removal.size
    return freed


def size_of(path: Path) -> int:
    """Bytes of a file or of everything in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())


def readable(size: float) -> str:
    """`3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
