"""The training loop, to be read from top to bottom, and the scoring loop. No framework, no group, no name of a method.

`fit` is a generator: it hands control back at every point of the loss curve, so whoever drives it can show progress,
stop it or write a checkpoint; the numbers do not depend on who drives.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lfray.engine.batches import collate, epoch_batches, evaluation_batches, steps_per_epoch
from lfray.engine.checkpoint import FitState
from lfray.engine.schedule import learning_rate_at
from lfray.record import CurvePoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from lfray.engine.checkpoint import Checkpoints
    from lfray.engine.contract import FitPlan, Stepper
    from lfray.engine.meter import Meter
    from lfray.rows import TokenRows

CURVE_POINTS = 50
"""Points of a trial's loss curve: enough to see its shape, few enough that 1,000 trials make 50,000 rows of a database."""


class LossNotFiniteError(ArithmeticError):
    """The loss became NaN or infinite at `step`."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__(f"loss must be finite (got {value} at step {step}). Lower the learning rate or check the data")
        self.step = step


class Held(NamedTuple):
    """Rows held out for selection.

    `loss_rows` are laid out as for training, `scoring_rows` as for scoring (a task may score one row several times); `hits`
    tells from the scores of all scoring rows which examples are right, bool [N].
    """

    loss_rows: TokenRows
    scoring_rows: TokenRows
    hits: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    batch_rows: int


def fit(
    stepper: Stepper,
    rows: TokenRows,
    plan: FitPlan,
    *,
    pad_id: int,
    checkpoints: Checkpoints,
    meter: Meter,
    held: Held | None = None,
) -> Iterator[CurvePoint]:
    """Train; yield the points of the loss curve.

    Resumes from the newest valid checkpoint and yields the points that lie before it first, so that a consumer sees the
    whole curve either way. The weights that `plan.select` names are in the stepper when the generator ends.

    Raises:
        LossNotFiniteError: The loss is NaN or infinite; names the step.
    """
    per_epoch = steps_per_epoch(len(rows), plan.effective_batch)
    total = math.ceil(plan.epochs * per_epoch)
    every = max(1, math.ceil(total / CURVE_POINTS))
    state = checkpoints.restore(stepper) or FitState()
    if state.step == 0:
        torch.manual_seed(plan.seed)
    meter.carry(state.spent)
    yield from state.curve

    window: list[Tensor] = [torch.tensor(value, device=stepper.device) for value in state.window]
    saved_at = time.monotonic()
    while state.step < total:
        epoch, offset = divmod(state.step, per_epoch)
        if offset == 0 or not state.order_is(epoch):
            state.batches, state.order_epoch = (
                epoch_batches(rows.lengths, plan.effective_batch, seed=plan.seed, epoch=epoch),
                epoch,
            )
        index = state.batches[offset]
        micro_batches = [
            collate(rows, index[cut : cut + plan.micro_batch], pad_id=pad_id, device=stepper.device)
            for cut in range(0, len(index), plan.micro_batch)
        ]
        rate = learning_rate_at(
            state.step, total=total, peak=plan.learning_rate, schedule=plan.schedule, warmup_ratio=plan.warmup_ratio
        )
        window.append(stepper.update(micro_batches, rate))
        meter.count_tokens(rows.lengths[index])
        state.step += 1
        last = state.step == total
        epoch_end = state.step % per_epoch == 0 or last
        if state.step % every == 0 or epoch_end:
            loss = _mean_finite(window, state.step)
            window.clear()
            point = CurvePoint(state.step, state.step / per_epoch, loss, rate)
            if epoch_end and held is not None and plan.select != "last":
                point = _select(stepper, state, point, held, plan, pad_id)
            state.curve.append(point)
            yield point
        if not last and time.monotonic() - saved_at >= plan.checkpoint_seconds:
            state.window = [float(value) for value in window]
            state.spent = meter.spent()
            checkpoints.save(stepper, state)
            saved_at = time.monotonic()
    if plan.select != "last" and state.best is not None:
        stepper.load_weights(state.best)


def _mean_finite(window: list[Tensor], step: int) -> float:
    values = torch.stack(window).double().cpu()
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise LossNotFiniteError(step - len(window) + first + 1, float(values[first]))
    return float(values.mean())


def _select(stepper: Stepper, state: FitState, point: CurvePoint, held: Held, plan: FitPlan, pad_id: int) -> CurvePoint:
    """Look at the validation rows and keep the weights if they are the best so far (first of equals)."""
    losses = []
    for index in evaluation_batches(held.loss_rows.lengths, held.batch_rows):
        losses.append(stepper.losses(collate(held.loss_rows, index, pad_id=pad_id, device=stepper.device)).cpu())
    loss = float(torch.cat(losses).double().mean())
    if not math.isfinite(loss):
        raise LossNotFiniteError(state.step, loss)
    scores = score(stepper, held.scoring_rows, batch_rows=held.batch_rows, pad_id=pad_id)
    accuracy = float(held.hits(scores).mean())
    value = -accuracy if plan.select == "validation_accuracy" else loss
    if state.best_value is None or value < state.best_value:
        state.best_value, state.best = value, stepper.weights()
    return replace(point, validation_loss=loss, validation_accuracy=accuracy)


def score(stepper: Stepper, rows: TokenRows, *, batch_rows: int, pad_id: int) -> NDArray[np.float32]:
    """Scores of every row in the order of `rows`, float32 [N, K]."""
    parts: list[NDArray[np.float32]] = []
    order: list[NDArray[np.int64]] = []
    for index in evaluation_batches(rows.lengths, batch_rows):
        batch = collate(rows, index, pad_id=pad_id, device=stepper.device)
        parts.append(stepper.scores(batch).cpu().numpy())
        order.append(index)
    stacked = np.concatenate(parts)
    restored = np.empty_like(stacked)
    restored[np.concatenate(order)] = stacked
    return restored
