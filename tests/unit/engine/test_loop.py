from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lfray.engine.batches import collate, steps_per_epoch
from lfray.engine.checkpoint import Checkpoints
from lfray.engine.loop import CURVE_POINTS, Held, LossNotFiniteError, fit, score
from lfray.engine.meter import Meter
from lfray.engine.schedule import learning_rate_at
from lfray.engine.single import SingleStepper
from lfray.record import CurvePoint
from tests.unit.engine.toy import Died, Toy, ToyObjective, make_plan, make_rows

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
ROWS = make_rows(50)
VALIDATION = make_rows(30, seed=1)
HELD = Held(VALIDATION, VALIDATION, lambda scores: scores.argmax(1) == VALIDATION.label, 7)


@dataclass
class Run:
    """What a training left behind."""

    curve: list[CurvePoint]
    weights: dict[str, torch.Tensor]
    meter: Meter
    checkpoints: Checkpoints
    stepper: SingleStepper


def train(
    folder: Path,
    *,
    model_seed: int = 0,
    dropout: float = 0.3,
    held: Held | None = None,
    objective: ToyObjective | None = None,
    **plan: Any,
) -> Run:
    """Train the toy to the end, or until its objective dies."""
    made = make_plan(**plan)
    stepper = SingleStepper(Toy(model_seed, dropout=dropout), objective or ToyObjective(), made, device=CPU)
    checkpoints, meter = Checkpoints(folder), Meter(CPU)
    with meter.stage("train"):
        curve = list(fit(stepper, ROWS, made, pad_id=0, checkpoints=checkpoints, meter=meter, held=held))
    return Run(curve, stepper.weights(), meter, checkpoints, stepper)


def assert_same_bits(one: Run, other: Run) -> None:
    assert one.curve == other.curve
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights | other.weights)
    assert (one.meter.tokens, one.meter.squared_tokens) == (other.meter.tokens, other.meter.squared_tokens)


def test_the_same_seed_is_the_same_training_to_the_bit(tmp_path: Path) -> None:
    one = train(tmp_path / "a")
    torch.rand(5)
    assert_same_bits(one, train(tmp_path / "b"))
    other = train(tmp_path / "c", seed=14)
    assert other.curve != one.curve


def test_it_learns(tmp_path: Path) -> None:
    run = train(tmp_path, dropout=0.0, epochs=40.0, held=HELD, select="validation_accuracy", learning_rate=0.05)
    assert run.curve[-1].loss < 0.5 * run.curve[0].loss


STEPS = 3 * 7


@pytest.mark.parametrize("select", ["last", "validation_loss", "validation_accuracy"])
@pytest.mark.parametrize("dies_at", [1, 2, 7, 8, 13, STEPS])
def test_resumed_is_undisturbed_to_the_bit(tmp_path: Path, dies_at: int, select: str) -> None:
    fields: dict[str, Any] = {"select": select, "held": HELD, "checkpoint_seconds": 0.0}
    undisturbed = train(tmp_path / "a", **fields)
    with pytest.raises(Died):
        train(tmp_path / "b", objective=ToyObjective(dies_at=dies_at), **fields)
    # A new process: another model's weights, another state of the generator.
    torch.manual_seed(999)
    resumed = train(tmp_path / "b", model_seed=5 if dies_at > 1 else 0, **fields)
    assert_same_bits(resumed, undisturbed)
    assert resumed.checkpoints.resumed_at == (dies_at - 1 or None)


def test_killed_again_and_again_it_still_arrives(tmp_path: Path) -> None:
    undisturbed, deaths = train(tmp_path / "a"), 0
    while True:
        try:
            resumed = train(tmp_path / "b", objective=ToyObjective(dies_at=3), checkpoint_seconds=0.0)
        except Died:
            deaths += 1
            continue
        break
    assert deaths == (STEPS - 1) // 2
    assert_same_bits(resumed, undisturbed)


def test_a_resume_in_the_middle_of_a_window_of_losses(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"epochs": 20.0, "checkpoint_seconds": 0.0}
    total = 20 * 7
    every = math.ceil(total / CURVE_POINTS)
    assert every == 3
    undisturbed = train(tmp_path / "a", **fields)
    with pytest.raises(Died):
        train(tmp_path / "b", objective=ToyObjective(dies_at=3 * every + 3), **fields)
    assert_same_bits(train(tmp_path / "b", **fields), undisturbed)


@pytest.mark.parametrize("select", ["last", "validation_loss"])
def test_a_torn_newest_checkpoint_costs_steps_not_bits(tmp_path: Path, select: str) -> None:
    fields: dict[str, Any] = {"select": select, "held": HELD, "checkpoint_seconds": 0.0}
    undisturbed = train(tmp_path / "a", **fields)
    with pytest.raises(Died):
        train(tmp_path / "b", objective=ToyObjective(dies_at=15), **fields)
    newest = max((tmp_path / "b").glob("step-*"))
    content = bytearray((newest / "weights-0.safetensors").read_bytes())
    content[-3] ^= 8
    (newest / "weights-0.safetensors").write_bytes(content)
    resumed = train(tmp_path / "b", **fields)
    assert_same_bits(resumed, undisturbed)
    assert [name.split(":")[0] for name in resumed.checkpoints.passed_over] == ["step-000000014"]
    assert resumed.checkpoints.resumed_at == 13


def test_a_resumed_training_reports_the_cost_of_all_of_it(tmp_path: Path) -> None:
    with pytest.raises(Died):
        train(tmp_path, objective=ToyObjective(dies_at=10), checkpoint_seconds=0.0)
    kept = tmp_path / "kept"
    shutil.copytree(max(tmp_path.glob("step-*")), kept / "step-000000009")
    state = Checkpoints(kept).restore(SingleStepper(Toy(), ToyObjective(), make_plan(), device=CPU))
    assert state is not None
    resumed = train(tmp_path)
    assert resumed.meter.tokens == 3 * int(ROWS.lengths.sum())
    assert resumed.meter.squared_tokens == 3 * int((ROWS.lengths**2).sum())
    assert 0 < state.spent["train_seconds"] < resumed.meter.seconds["train"]


@pytest.mark.parametrize("step", [1, 2, 57, 58, 60, 140])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_reported_with_its_step(tmp_path: Path, step: int, value: float) -> None:
    with pytest.raises(LossNotFiniteError, match=rf"got {value} at step {step}\)") as caught:
        train(tmp_path, epochs=20.0, objective=ToyObjective(spoilt=(step, value)), dropout=0.0)
    assert caught.value.step == step


def test_a_validation_loss_that_is_not_finite_is_reported_too(tmp_path: Path) -> None:
    class Spoilt(ToyObjective):
        def losses(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
            losses = super().losses(model, batch)
            return losses if torch.is_grad_enabled() else losses * math.nan

    with pytest.raises(LossNotFiniteError, match="at step 7"):
        train(tmp_path, objective=Spoilt(), held=HELD, select="validation_loss")


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (0.5, 4), (1.0, 7), (1.25, 9), (2.0, 14)])
def test_epochs_may_be_fractions(tmp_path: Path, epochs: float, steps: int) -> None:
    run = train(tmp_path, epochs=epochs)
    assert run.curve[-1].step == steps
    assert run.curve[-1].epoch == steps / 7


def test_a_shorter_training_sees_the_first_rows_of_a_longer_one(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"schedule": "constant", "warmup_ratio": 0.0}
    short, long = train(tmp_path / "a", epochs=1.25, **fields), train(tmp_path / "b", epochs=2.0, **fields)
    assert short.curve == long.curve[:9]


@pytest.mark.parametrize("epochs", [3.0, 20.0, 33.0])
def test_the_curve_is_short_and_names_step_epoch_and_rate(tmp_path: Path, epochs: float) -> None:
    run = train(tmp_path, epochs=epochs)
    total, per_epoch = round(epochs * 7), steps_per_epoch(len(ROWS), 8)
    steps = [point.step for point in run.curve]
    assert steps == sorted(set(steps))
    assert set(range(per_epoch, total + 1, per_epoch)) <= set(steps)
    assert len(steps) <= CURVE_POINTS + epochs
    for point in run.curve:
        assert point.epoch == point.step / per_epoch
        assert point.learning_rate == learning_rate_at(
            point.step - 1, total=total, peak=0.02, schedule="linear", warmup_ratio=0.1
        )
        assert (point.validation_loss, point.validation_accuracy) == (None, None)


def test_a_point_is_the_mean_loss_since_the_point_before(tmp_path: Path) -> None:
    class Noted(ToyObjective):
        seen: list[float] = []

        def losses(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
            losses = super().losses(model, batch)
            self.seen.append(float(losses.detach().mean()))
            return losses

    objective = Noted()
    run = train(tmp_path, epochs=20.0, objective=objective)
    before = 0
    for point in run.curve:
        assert point.loss == pytest.approx(np.mean(objective.seen[before : point.step]), rel=1e-6)
        before = point.step


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path) -> None:
    whole, cut = (train(tmp_path / str(micro), micro_batch=micro, dropout=0.0) for micro in (8, 3))
    assert [point.step for point in whole.curve] == [point.step for point in cut.curve]
    assert [point.loss for point in whole.curve] == pytest.approx([point.loss for point in cut.curve], abs=1e-5)


@pytest.mark.parametrize("select", ["validation_loss", "validation_accuracy"])
def test_the_best_epoch_is_kept_the_first_of_equals(tmp_path: Path, select: str) -> None:
    # A rate at which the toy overshoots, so that the last epoch is not the best one.
    fields: dict[str, Any] = {
        "epochs": 8.0,
        "learning_rate": 0.2,
        "held": HELD,
        "schedule": "constant",
        "warmup_ratio": 0.0,
        "dropout": 0.0,
    }
    run = train(tmp_path / "a", select=select, **fields)
    looked = [point for point in run.curve if point.validation_loss is not None]
    assert [point.step for point in looked] == [7 * epoch for epoch in range(1, 9)]
    losses = [point.validation_loss for point in looked]
    hits = [-point.validation_accuracy for point in looked if point.validation_accuracy is not None]
    values: list[Any] = losses if select == "validation_loss" else hits
    best = looked[values.index(min(values))]
    assert best.step < run.curve[-1].step
    shorter = train(tmp_path / "b", select="last", **(fields | {"epochs": best.step / 7}))
    assert all(torch.equal(run.weights[name], shorter.weights[name]) for name in run.weights)


def test_selection_reports_loss_and_accuracy_of_the_validation_rows(tmp_path: Path) -> None:
    run = train(tmp_path, held=HELD, select="validation_loss", epochs=1.0)
    everything = collate(VALIDATION, np.arange(len(VALIDATION)), pad_id=0, device=CPU)
    point = run.curve[-1]
    assert point.validation_loss == pytest.approx(float(run.stepper.losses(everything).mean()), rel=1e-6)
    right = run.stepper.scores(everything).argmax(1) == everything.label
    assert point.validation_accuracy == pytest.approx(float(right.double().mean()))


def test_looking_at_validation_rows_does_not_change_training(tmp_path: Path) -> None:
    plain, looked = train(tmp_path / "a"), train(tmp_path / "b", held=HELD, select="validation_loss")
    assert [(p.step, p.epoch, p.loss, p.learning_rate) for p in looked.curve] == [
        (p.step, p.epoch, p.loss, p.learning_rate) for p in plain.curve
    ]


def test_what_drives_the_loop_cannot_change_its_numbers(tmp_path: Path) -> None:
    plan = make_plan()
    stepper = SingleStepper(Toy(dropout=0.3), ToyObjective(), plan, device=CPU)
    points = fit(stepper, ROWS, plan, pad_id=0, checkpoints=Checkpoints(tmp_path / "a"), meter=Meter(CPU))
    assert list(points) == train(tmp_path / "b").curve


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_scores_come_in_the_order_of_the_rows(batch_rows: int) -> None:
    model = Toy()
    stepper = SingleStepper(model, ToyObjective(), None, device=CPU)
    found = score(stepper, ROWS, batch_rows=batch_rows, pad_id=0)
    assert found.dtype == np.float32
    for index in range(len(ROWS)):
        alone = collate(ROWS, np.array([index]), pad_id=0, device=CPU)
        np.testing.assert_allclose(found[index], model(**alone.inputs).logits.detach()[0], rtol=1e-5, atol=1e-6)


def test_the_batch_does_not_change_a_meaningful_digit() -> None:
    stepper = SingleStepper(Toy(), ToyObjective(), None, device=CPU)
    one, other = (score(stepper, ROWS, batch_rows=size, pad_id=0) for size in (4, 50))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
