"""Checkpoints of a running trial, for an exact resume: weights, optimizer, random state, curve.

Tensors go to safetensors, the rest to JSON: nothing is unpickled from storage. A checkpoint is a folder `step-<n>`. Every rank
writes its own files (`<what>-<rank>`): its random state always, weights and optimizer where ranks hold different parts of them,
else rank 0 alone. The manifest is written last, by rank 0, with size and SHA-256 of every file and what the gang was; a folder
without one, whose files do not match, or of another kind of gang, is passed over for the one before.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from lfray.fingerprint import file_digest
from lfray.record import CurvePoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lfray.engine.contract import Stepper


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
    """This rank's part of the best weights so far."""
    batches: list[NDArray[np.int64]] = field(default_factory=list)
    order_epoch: int = -1

    def order_is(self, epoch: int) -> bool:
        """Whether `batches` is the order of this epoch."""
        return self.order_epoch == epoch


class Checkpoints:
    """The checkpoints of one trial under `folder`, as one rank sees them. `save` and `restore` are collective."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """The newest `keep` stay: a torn one falls back to the one before."""
        self._folder = folder
        self._keep = keep
        self.resumed_at: int | None = None
        """Step of the checkpoint that was restored."""
        self.passed_over: list[str] = []
        """Checkpoints that were not used, and why."""

    def save(self, stepper: Stepper, state: FitState) -> None:
        """Write one checkpoint, manifest last; then drop all but the newest."""
        ranks = stepper.ranks
        target = self._folder / f"step-{state.step:09d}"
        if ranks.rank == 0:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
        spent = ranks.everyone(state.spent)
        parts = {"random": _random_state(stepper.device)}
        if stepper.sharded or ranks.rank == 0:
            parts |= {"weights": stepper.weights(), "optimizer": stepper.optimizer_tensors()}
            if state.best is not None:
                parts["best"] = state.best
        mine = [target / f"{what}-{ranks.rank}.safetensors" for what in parts]
        for path, tensors in zip(mine, parts.values(), strict=True):
            save_file(tensors, path)
        if ranks.rank == 0:
            mine.append(target / "progress.json")
            mine[-1].write_text(json.dumps(_progress(state, spent)))
        written = {path.name: [path.stat().st_size, file_digest(path)] for path in mine}
        files = {name: entry for part in ranks.everyone(written) for name, entry in part.items()}
        if ranks.rank != 0:
            return
        temporary = target / "manifest.json.part"
        temporary.write_text(json.dumps({"gang": _gang(stepper), "files": files}))
        os.replace(temporary, target / "manifest.json")
        for old in sorted(self._folder.glob("step-*"))[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, stepper: Stepper) -> FitState | None:
        """Load the newest valid checkpoint into the stepper and torch's generators; None where there is none.

        The others are removed: left standing they would count among the newest that `save` keeps.
        """
        ranks = stepper.ranks
        # Rank 0's list: a network file system may show another rank an older one.
        newest = ranks.everyone(sorted((path.name for path in self._folder.glob("step-*")), reverse=True))[0]
        for name in newest:
            folder = self._folder / name
            # Each rank reads its own files only: a gang's checkpoint can be hundreds of GB.
            found = ranks.everyone(_fault(folder, stepper))
            fault = next((fault for fault in found if fault is not None), None)
            if fault is None:
                return self._load(folder, stepper)
            self.passed_over.append(f"{name}: {fault}")
            if ranks.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def _load(self, folder: Path, stepper: Stepper) -> FitState:
        rank = stepper.ranks.rank
        owner = rank if stepper.sharded else 0
        stepper.load_weights(load_file(folder / f"weights-{owner}.safetensors"))
        stepper.load_optimizer_tensors(load_file(folder / f"optimizer-{owner}.safetensors"))
        _set_random_state(load_file(folder / f"random-{rank}.safetensors"), stepper.device)
        progress = json.loads((folder / "progress.json").read_text())
        best = folder / f"best-{owner}.safetensors"
        self.resumed_at = int(progress["step"])
        return FitState(
            step=progress["step"],
            curve=[CurvePoint(**point) for point in progress["curve"]],
            window=progress["window"],
            spent=progress["spent"][rank],
            best_value=progress["best_value"],
            best=load_file(best) if best.exists() else None,
        )

    def clear(self) -> None:
        """Remove every checkpoint: the trial is recorded."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _progress(state: FitState, spent: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "step": state.step,
        "curve": [asdict(point) for point in state.curve],
        "window": state.window,
        "spent": spent,
        "best_value": state.best_value,
    }


def _gang(stepper: Stepper) -> list[Any]:
    """What must be equal for a checkpoint to fit: parts of ZeRO-2 at four ranks mean nothing to ZeRO-3 or to two."""
    facts = stepper.facts
    return [facts.stepper, facts.zero_stage, facts.world_size]


def _fault(folder: Path, stepper: Stepper) -> str | None:
    """Why this rank cannot use the checkpoint; None where it can."""
    rank = stepper.ranks.rank
    owner = rank if stepper.sharded else 0
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        gang, files = manifest["gang"], manifest["files"]
        if gang != _gang(stepper):
            return f"written by {gang}, this is {_gang(stepper)}"
        needed = {f"weights-{owner}.safetensors", f"optimizer-{owner}.safetensors", f"random-{rank}.safetensors", "progress.json"}
        if not files.keys() >= needed:
            return "a file is missing"
        for name in needed | (files.keys() & {f"best-{owner}.safetensors"}):
            size, digest = files[name]
            if (folder / name).stat().st_size != size or file_digest(folder / name) != digest:
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable ({error})"
    return None


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
