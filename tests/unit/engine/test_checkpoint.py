from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lfray.engine.batches import collate
from lfray.engine.checkpoint import Checkpoints, FitState
from lfray.engine.ddp import DdpStepper
from lfray.engine.single import SingleStepper
from lfray.record import CurvePoint
from tests.unit.engine.toy import Toy, ToyObjective, make_plan, make_rows

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = make_rows(16)


def make_stepper(seed: int = 0) -> SingleStepper:
    return SingleStepper(Toy(seed), ToyObjective(), make_plan(), device=torch.device("cpu"))


def saved(folder: Path, steps: int, **kept: int) -> SingleStepper:
    """A stepper after that many updates, with a checkpoint after each."""
    stepper, checkpoints = make_stepper(), Checkpoints(folder, **kept)
    for step in range(1, steps + 1):
        stepper.update([collate(ROWS, torch.arange(16).numpy(), pad_id=0, device=stepper.device)], 0.02, rows=16)
        checkpoints.save(
            stepper, FitState(step=step, curve=[CurvePoint(step, 0.5, 0.25, 0.02)], window=[0.1 + 0.2], spent={"tokens": 7})
        )
    return stepper


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def truncate(folder: Path) -> None:
    path = folder / "optimizer-0.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = folder / "weights-0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


SPOIL: dict[str, Callable[[Path], object]] = {
    "weights with a bit flipped": flip,
    "optimizer cut short": truncate,
    "a file is gone": lambda folder: (folder / "random-0.safetensors").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest cut short": lambda folder: (folder / "manifest.json").write_text('{"weights.'),
    "manifest of another kind": lambda folder: (folder / "manifest.json").write_text('["weights-0.safetensors"]'),
    "manifest lists nothing": lambda folder: (folder / "manifest.json").write_text("{}"),
}


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "absent")
    assert checkpoints.restore(make_stepper()) is None
    assert checkpoints.resumed_at is None


def test_a_checkpoint_holds_everything(tmp_path: Path) -> None:
    stepper, checkpoints = saved(tmp_path, 2), Checkpoints(tmp_path)
    drawn = torch.rand(3)
    other = make_stepper(seed=9)
    state = checkpoints.restore(other)
    assert state is not None
    assert (state.step, state.window, state.spent, state.best) == (2, [0.1 + 0.2], {"tokens": 7}, None)
    assert state.curve == [CurvePoint(2, 0.5, 0.25, 0.02)]
    assert checkpoints.resumed_at == 2
    assert torch.equal(torch.rand(3), drawn)
    for one, two in ((stepper.weights(), other.weights()), (stepper.optimizer_tensors(), other.optimizer_tensors())):
        assert all(torch.equal(one[name], two[name]) for name in one | two)


def test_the_best_weights_come_back(tmp_path: Path) -> None:
    stepper = make_stepper()
    best = {name: torch.full_like(weight, 0.5) for name, weight in stepper.weights().items()}
    stepper.update([collate(ROWS, torch.arange(16).numpy(), pad_id=0, device=stepper.device)], 0.02, rows=16)
    Checkpoints(tmp_path).save(stepper, FitState(step=1, best_value=-0.75, best=best))
    state = Checkpoints(tmp_path).restore(make_stepper())
    assert state is not None
    assert state.best is not None
    assert state.best_value == -0.75
    assert all(torch.equal(state.best[name], best[name]) for name in best)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    assert names(tmp_path) == ["step-000000004", "step-000000005"]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_are_asked_for(tmp_path: Path, keep: int) -> None:
    saved(tmp_path, 5, keep=keep)
    assert names(tmp_path) == [f"step-{step:09d}" for step in range(6 - keep, 6)]


def unlist(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["optimizer-0.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


REASONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (flip, "weights-0.safetensors is not what was written"),
    "short": (truncate, "optimizer-0.safetensors is not what was written"),
    "gone": (SPOIL["a file is gone"], "random-0.safetensors is missing"),
    "no manifest": (SPOIL["no manifest"], "manifest.json is missing"),
    "unlisted": (unlist, "a file is missing"),
    "torn manifest": (SPOIL["manifest cut short"], "unreadable"),
    "empty manifest": (SPOIL["manifest lists nothing"], "unreadable ('gang')"),
}


@pytest.mark.parametrize("how", REASONS)
def test_a_checkpoint_is_passed_over_with_its_reason_and_removed(tmp_path: Path, how: str) -> None:
    spoil, reason = REASONS[how]
    saved(tmp_path, 2)
    spoil(tmp_path / "step-000000002")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(make_stepper())
    (passed,) = checkpoints.passed_over
    assert passed.startswith(f"step-000000002: {reason}")
    assert names(tmp_path) == ["step-000000001"]


@pytest.mark.usefixtures("group_of_one")
def test_a_checkpoint_of_another_kind_of_gang_is_passed_over(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    gang = DdpStepper(Toy(), ToyObjective(), make_plan(), device=torch.device("cpu"))
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(gang) is None
    written = "written by ['single', 0, 1], this is ['ddp', 0, 1]"
    assert checkpoints.passed_over == [f"step-{step:09d}: {written}" for step in (2, 1)]
    assert checkpoints.resumed_at is None
    # A gang finds its own again.
    checkpoints.save(gang, FitState(step=4))
    again = Checkpoints(tmp_path)
    state = again.restore(DdpStepper(Toy(5), ToyObjective(), make_plan(), device=torch.device("cpu")))
    assert state is not None
    assert (state.step, again.passed_over) == (4, [])


@pytest.mark.parametrize("how", SPOIL)
def test_a_spoilt_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, how: str) -> None:
    saved(tmp_path, 3)
    SPOIL[how](tmp_path / "step-000000003")
    checkpoints = Checkpoints(tmp_path)
    state = checkpoints.restore(make_stepper())
    assert state is not None
    assert state.step == 2
    assert [name.split(":")[0] for name in checkpoints.passed_over] == ["step-000000003"]
    assert checkpoints.resumed_at == 2


def test_a_spoilt_checkpoint_does_not_crowd_out_the_good_ones(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    for name in names(tmp_path)[-1:]:
        truncate(tmp_path / name)
    stepper, checkpoints = make_stepper(), Checkpoints(tmp_path)
    checkpoints.restore(stepper)
    # Written while an older attempt's torn checkpoint of a later step may still stand there.
    (tmp_path / "step-000000008").mkdir()
    (tmp_path / "step-000000009").mkdir()
    Checkpoints(tmp_path).restore(stepper)
    checkpoints.save(stepper, FitState(step=5))
    found = Checkpoints(tmp_path).restore(make_stepper())
    assert found is not None
    assert found.step == 5


def test_when_all_are_spoilt_training_starts_anew(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    for name in names(tmp_path):
        flip(tmp_path / name)
    assert Checkpoints(tmp_path).restore(make_stepper()) is None


def test_the_same_step_may_be_saved_again(tmp_path: Path) -> None:
    stepper = saved(tmp_path, 2)
    Checkpoints(tmp_path).save(stepper, FitState(step=2, window=[1.0]))
    state = Checkpoints(tmp_path).restore(make_stepper())
    assert state is not None
    assert state.window == [1.0]


def test_a_recorded_trial_keeps_none(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint", 2)
    Checkpoints(tmp_path / "checkpoint").clear()
    assert names(tmp_path) == []
    Checkpoints(tmp_path / "checkpoint").clear()
