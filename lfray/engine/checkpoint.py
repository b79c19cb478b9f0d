"""Checkpoints of a running trial, for an exact resume: weights, optimizer, random state, curve.

Tensors go to safetensors, the rest to JSON: nothing is unpickled from storage. A checkpoint is a folder `step-<n>` that is
complete only with its `manifest.json`, which is written last and holds the size and SHA-256 of every file; a folder
without one, or whose files do not match, is passed over for the one before. The newest two are kept.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from lfray.fingerprint import file_digest
from lfray.record import CurvePoint

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lfray.engine.contract import Stepper

KEEP = 2
_PARTS = {"weights.safetensors", "optimizer.safetensors", "random.safetensors", "progress.json"}


@dataclass
class FitState:
    """Where training stands.

    `window` are losses since the last point of the curve; `batches` is derived from (seed, epoch); `spent` is what the meter
    counted until here, so that a resumed trial reports the cost of the whole training.
    """

    step: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    best_value: float | None = None
    best: dict[str, Tensor] | None = None
    batches: list[NDArray[np.int64]] = field(default_factory=list)
    order_epoch: int = -1

    def order_is(self, epoch: int) -> bool:
        """Whether `batches` is the order of this epoch."""
        return self.order_epoch == epoch


class Checkpoints:
    """The checkpoints of one trial under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.resumed_at: int | None = None
        """Step of the checkpoint that was restored."""
        self.passed_over: list[str] = []
        """Torn or corrupt checkpoints that were not used."""

    def save(self, stepper: Stepper, state: FitState) -> None:
        """Write one checkpoint, manifest last; then drop all but the newest two."""
        target = self._folder / f"step-{state.step:09d}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        save_file(stepper.weights(), target / "weights.safetensors")
        save_file(stepper.optimizer_tensors(), target / "optimizer.safetensors")
        save_file(_random_state(stepper.device), target / "random.safetensors")
        if state.best is not None:
            save_file(state.best, target / "best.safetensors")
        progress = {
            "step": state.step,
            "curve": [asdict(point) for point in state.curve],
            "window": state.window,
            "spent": state.spent,
            "best_value": state.best_value,
        }
        (target / "progress.json").write_text(json.dumps(progress))
        manifest = {path.name: [path.stat().st_size, file_digest(path)] for path in sorted(target.iterdir())}
        temporary = target / "manifest.json.part"
        temporary.write_text(json.dumps(manifest))
        os.replace(temporary, target / "manifest.json")
        for old in sorted(self._folder.glob("step-*"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, stepper: Stepper) -> FitState | None:
        """Load the newest valid checkpoint into the stepper and torch's generators; None where there is none.

        Torn and corrupt ones are removed: left standing they would count among the newest two that `save` keeps.
        """
        for folder in sorted(self._folder.glob("step-*"), reverse=True):
            if not _valid(folder):
                self.passed_over.append(folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            stepper.load_weights(load_file(folder / "weights.safetensors"))
            stepper.load_optimizer_tensors(load_file(folder / "optimizer.safetensors"))
            _set_random_state(load_file(folder / "random.safetensors"), stepper.device)
            progress = json.loads((folder / "progress.json").read_text())
            best = folder / "best.safetensors"
            self.resumed_at = int(progress["step"])
            return FitState(
                step=progress["step"],
                curve=[CurvePoint(**point) for point in progress["curve"]],
                window=progress["window"],
                spent=progress["spent"],
                best_value=progress["best_value"],
                best=load_file(best) if best.exists() else None,
            )
        return None

    def clear(self) -> None:
        """Remove every checkpoint: the trial is recorded."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _valid(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return (
            isinstance(manifest, dict)
            and manifest.keys() >= _PARTS
            and all(
                (folder / name).stat().st_size == size and file_digest(folder / name) == digest
                for name, (size, digest) in manifest.items()
            )
        )
    except (OSError, ValueError):
        return False


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
