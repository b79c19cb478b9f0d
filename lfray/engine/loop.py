"""The training loop, to be read from top to bottom, and the scoring loop. No framework, no group, no name of a method.

`fit` is a generator: it hands control back at every point of the loss curve, so whoever drives it can show progress,
stop it or write a checkpoint; the numbers do not depend on who drives.

In a gang every rank runs this loop, over its own share of each update's rows. Whatever depends on a clock is rank 0's decision,
and whatever is averaged is put together over ranks first.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lfray.engine.batches import collate, dealt, epoch_batches, evaluation_batches, share, steps_per_epoch
from lfray.engine.checkpoint import FitState
from lfray.engine.schedule import learning_rate_at
from lfray.record import CurvePoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from lfray.engine.checkpoint import Checkpoints
    from lfray.engine.contract import Batch, FitPlan, Stepper
    from lfray.engine.meter import Meter
    from lfray.engine.ranks import Ranks
    from lfray.rows import TokenRows

CURVE_POINTS = 50
"""Points of a trial's loss curve: enough to see its shape, few enough that 1,000 trials make 50,000 rows of a database."""


RANK_SEED = 1_000_003
"""Distance of the ranks' dropout seeds: a prime beyond any seed that a person writes, so rank 1 of one trial is not rank 0 of another."""


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
    ranks = stepper.ranks
    state = checkpoints.restore(stepper) or FitState()
    if state.step == 0:
        # Dropout differs from rank to rank, and is rank 0's where there is one rank only.
        torch.manual_seed(plan.seed + RANK_SEED * ranks.rank)
    meter.carry(state.spent)
    yield from state.curve

    # The window is kept as whole losses; rank 0 carries them on, so that the parts still sum to the whole.
    window = [torch.tensor(value if ranks.rank == 0 else 0.0, device=stepper.device) for value in state.window]
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
            collate(rows, cut, pad_id=pad_id, device=stepper.device, real=real)
            for cut, real in share(index, plan.micro_batch, rank=ranks.rank, size=ranks.size)
        ]
        rate = learning_rate_at(
            state.step, total=total, peak=plan.learning_rate, schedule=plan.schedule, warmup_ratio=plan.warmup_ratio
        )
        window.append(stepper.update(micro_batches, rate, rows=len(index)))
        state.step += 1
        meter.count_update(state.step, rows.lengths[index])
        last = state.step == total
        epoch_end = state.step % per_epoch == 0 or last
        if state.step % every == 0 or epoch_end:
            loss = _mean_finite(_whole(window, ranks), state.step)
            window.clear()
            point = CurvePoint(state.step, state.step / per_epoch, loss, rate)
            if epoch_end and held is not None and plan.select != "last":
                point = _select(stepper, state, point, held, plan, pad_id)
            state.curve.append(point)
            yield point
        if not last and ranks.decide(time.monotonic() - saved_at >= plan.checkpoint_seconds):
            state.window = _whole(window, ranks).tolist()
            window = [torch.tensor(value if ranks.rank == 0 else 0.0, device=stepper.device) for value in state.window]
            state.spent = meter.spent()
            checkpoints.save(stepper, state)
            saved_at = time.monotonic()
    if plan.select != "last" and state.best is not None:
        stepper.load_weights(state.best)


def _whole(window: list[Tensor], ranks: Ranks) -> Tensor:
    """Losses of the window's updates over all ranks, [updates]; of float32's precision, so that a checkpoint on the way changes no bit."""
    return ranks.total(torch.stack(window)).float().double() if window else torch.zeros(0, dtype=torch.float64)


def _mean_finite(values: Tensor, step: int) -> float:
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise LossNotFiniteError(step - len(values) + first + 1, float(values[first]))
    return float(values.mean())


def _select(stepper: Stepper, state: FitState, point: CurvePoint, held: Held, plan: FitPlan, pad_id: int) -> CurvePoint:
    """Look at the validation rows and keep the weights if they are the best so far (first of equals)."""
    losses = _looked_at(stepper, stepper.losses, held.loss_rows, held.batch_rows, pad_id)
    loss = float(losses.astype(np.float64).mean())
    if not math.isfinite(loss):
        raise LossNotFiniteError(state.step, loss)
    scores = score(stepper, held.scoring_rows, batch_rows=held.batch_rows, pad_id=pad_id)
    accuracy = float(held.hits(scores).mean())
    value = -accuracy if plan.select == "validation_accuracy" else loss
    if state.best_value is None or value < state.best_value:
        state.best_value, state.best = value, stepper.weights()
    return replace(point, validation_loss=loss, validation_accuracy=accuracy)


def score(stepper: Stepper, rows: TokenRows, *, batch_rows: int, pad_id: int) -> NDArray[np.float32]:
    """Scores of every row in the order of `rows`, float32 [N, K], on every rank: the same bits however many ranks there are."""
    return _looked_at(stepper, stepper.scores, rows, batch_rows, pad_id)


def _looked_at(
    stepper: Stepper, look: Callable[[Batch], Tensor], rows: TokenRows, batch_rows: int, pad_id: int
) -> NDArray[np.float32]:
    """What `look` says of every row, in the order of `rows`. Ranks look at different batches; all rows come together here."""
    ranks = stepper.ranks
    batches = list(evaluation_batches(rows.lengths, batch_rows))
    mine: list[NDArray[np.float32]] = []
    for index, counts in dealt(batches, rank=ranks.rank, size=ranks.size):
        found = look(collate(rows, index, pad_id=pad_id, device=stepper.device)).cpu().numpy()
        if counts:
            mine.append(found)
    parts = ranks.everyone(mine)
    # Batch b was looked at by rank b % size, as its (b // size)-th.
    stacked = np.concatenate([parts[place % ranks.size][place // ranks.size] for place in range(len(batches))])
    restored = np.empty_like(stacked)
    restored[np.concatenate(batches)] = stacked
    return restored
