"""One contract for every stepper: whatever computes the update, it is AdamW's on the mean loss of all rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lfray.engine.batches import collate, share
from lfray.engine.single import SingleStepper
from tests.unit.engine.toy import Toy, ToyObjective, make_plan, make_rows

if TYPE_CHECKING:
    from lfray.engine.contract import Batch, FitPlan, Stepper

ROWS = make_rows(64)


def batch_of(stepper: Stepper, start: int, stop: int) -> Batch:
    return collate(ROWS, np.arange(start, stop), pad_id=0, device=stepper.device)


def step(stepper: Stepper, cuts: list[tuple[int, int]], rate: float) -> torch.Tensor:
    """One update on the rows of all cuts, each dealt out among the ranks; the mean loss of all of them."""
    ranks = stepper.ranks
    batches = []
    for start, stop in cuts:
        index = np.arange(start, stop)
        for mine, real in share(index, len(index), rank=ranks.rank, size=ranks.size):
            batches.append(collate(ROWS, mine, pad_id=0, device=stepper.device, real=real))
    part = stepper.update(batches, rate, rows=sum(stop - start for start, stop in cuts))
    assert part.ndim == 0
    return ranks.total(part)


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bits, not numbers: ZeRO-3 pads a parameter that does not divide among ranks, and what nobody wrote there may be NaN."""
    bits = [
        {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in part.items()} for part in (one, other)
    ]
    return bits[0] == bits[1]


class AdamWByHand:
    """The update as the paper writes it (Loshchilov and Hutter 2019, Algorithm 2), in double precision."""

    def __init__(self, model: Toy, plan: FitPlan) -> None:
        self.model, self.plan, self.step = model.double(), plan, 0
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.first = {name: torch.zeros_like(p) for name, p in self.named.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.named.items()}

    def update(self, batch: Batch, rate: float) -> float:
        loss = ToyObjective().losses(self.model, batch).mean()
        grads = dict(zip(self.named, torch.autograd.grad(loss, list(self.named.values())), strict=True))
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
        limit, (beta1, beta2) = self.plan.max_grad_norm, self.plan.adam_betas
        factor = 1.0 if limit is None or norm <= limit else limit / norm
        self.step += 1
        with torch.no_grad():
            for name, parameter in self.named.items():
                grad = grads[name] * factor
                self.first[name] = beta1 * self.first[name] + (1 - beta1) * grad
                self.second[name] = beta2 * self.second[name] + (1 - beta2) * grad**2
                mean = self.first[name] / (1 - beta1**self.step)
                spread = (self.second[name] / (1 - beta2**self.step)).sqrt() + self.plan.adam_epsilon
                decay = self.plan.weight_decay if parameter.ndim >= 2 else 0.0
                parameter.sub_(rate * (mean / spread + decay * parameter))
        return float(loss.detach())


class StepperContract(ABC):
    """Inherit and say how to build one."""

    @abstractmethod
    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        """A stepper of this kind around the model."""

    def built(self, *, seed: int = 0, dropout: float = 0.0, **plan: Any) -> Stepper:
        return self.make(Toy(seed, dropout=dropout), make_plan(**plan), ToyObjective())

    @pytest.mark.parametrize(
        "plan", [{}, {"max_grad_norm": 0.05}, {"max_grad_norm": None, "weight_decay": 0.0}, {"adam_betas": (0.5, 0.7)}]
    )
    def test_an_update_is_adamws(self, plan: dict[str, Any]) -> None:
        stepper, by_hand = self.built(**plan), AdamWByHand(Toy(), make_plan(**plan))
        for turn, rate in enumerate((0.02, 0.01, 0.03, 0.005)):
            loss = step(stepper, [(16 * turn, 16 * turn + 16)], rate)
            expected = by_hand.update(
                collate(ROWS, np.arange(16 * turn, 16 * turn + 16), pad_id=0, device=torch.device("cpu")), rate
            )
            assert float(loss) == pytest.approx(expected, rel=1e-5)
        for name, weight in stepper.gathered().items():
            torch.testing.assert_close(weight, by_hand.named[name].detach().float(), rtol=2e-5, atol=2e-6)

    @pytest.mark.parametrize("cuts", [[0, 8, 16], [0, 10, 16], [0, 1, 2, 16]])
    def test_micro_batches_do_not_change_the_update(self, cuts: list[int]) -> None:
        whole, cut = self.built(), self.built()
        for _ in range(3):
            one = step(whole, [(0, 16)], 0.01)
            other = step(cut, list(pairwise(cuts)), 0.01)
            # The mean over rows, not over micro-batches.
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        other_weights = cut.gathered()
        for name, weight in whole.gathered().items():
            torch.testing.assert_close(weight, other_weights[name], rtol=0, atol=1e-6)

    @pytest.mark.parametrize("updates", [1, 3])
    def test_weights_and_optimizer_carry_over_to_the_bit(self, updates: int) -> None:
        first, second = self.built(), self.built(seed=99)
        for turn in range(updates):
            step(first, [(8 * turn, 8 * turn + 8)], 0.02)
        second.load_weights(first.weights())
        second.load_optimizer_tensors(first.optimizer_tensors())
        assert same_bits(second.weights(), first.weights())
        assert same_bits(second.optimizer_tensors(), first.optimizer_tensors())
        for turn in range(3):
            losses = [float(step(s, [(32 + 8 * turn, 40 + 8 * turn)], 0.01)) for s in (first, second)]
            assert losses[0] == losses[1]
        assert same_bits(second.gathered(), first.gathered())
        assert same_bits(second.optimizer_tensors(), first.optimizer_tensors())

    def test_before_the_first_update_the_optimizer_remembers_nothing(self) -> None:
        assert not any(tensor.any() for tensor in self.built().optimizer_tensors().values())

    def test_what_is_handed_out_is_a_copy_on_the_cpu(self) -> None:
        stepper = self.built()
        step(stepper, [(0, 8)], 0.02)
        weights, state = stepper.weights(), stepper.optimizer_tensors()
        kept = {name: tensor.clone() for name, tensor in (weights | state).items()}
        step(stepper, [(8, 16)], 0.02)
        assert same_bits(weights | state, kept)
        assert {tensor.device.type for tensor in kept.values()} == {"cpu"}
        assert not any(tensor.requires_grad for tensor in kept.values())

    def test_what_is_loaded_is_copied(self) -> None:
        stepper = self.built()
        step(stepper, [(0, 8)], 0.02)
        weights, state = stepper.weights(), stepper.optimizer_tensors()
        kept = {name: tensor.clone() for name, tensor in (weights | state).items()}
        stepper.load_weights(weights)
        stepper.load_optimizer_tensors(state)
        step(stepper, [(8, 16)], 0.02)
        assert same_bits(weights | state, kept)

    def test_only_what_learns_is_handed_out_and_moves(self) -> None:
        model = Toy()
        stepper = self.make(model, make_plan(), ToyObjective())
        before = stepper.gathered()
        assert stepper.ranks.rank > 0 or before.keys() == {"embed.weight", "norm.weight", "norm.bias", "out.weight", "out.bias"}
        step(stepper, [(0, 16)], 0.02)
        after = stepper.gathered()
        assert not any(torch.equal(before[name], after[name]) for name in before)
        # Where it is shared out among ranks, this rank may hold nothing of it.
        assert torch.equal(model.scale.detach().cpu(), torch.full_like(model.scale, 1.5).cpu())

    def test_at_rate_zero_nothing_moves(self) -> None:
        stepper = self.built()
        before = stepper.weights()
        step(stepper, [(0, 16)], 0.0)
        assert same_bits(stepper.weights(), before)

    def test_looking_leaves_no_trace(self) -> None:
        """Losses and scores between two updates: no gradient, no random number, no weight changes; training goes on as before."""
        looked, plain = self.built(dropout=0.5), self.built(dropout=0.5)
        results = []
        for stepper in (looked, plain):
            torch.manual_seed(7)
            for turn in range(3):
                step(stepper, [(8 * turn, 8 * turn + 8)], 0.02)
                if stepper is looked:
                    losses, scores = stepper.losses(batch_of(stepper, 0, 8)), stepper.scores(batch_of(stepper, 0, 8))
                    assert not losses.requires_grad
                    assert not scores.requires_grad
            results.append(stepper.gathered())
        assert same_bits(*results)

    def test_looking_is_without_dropout_and_training_with_it(self) -> None:
        stepper = self.built(dropout=0.5)
        batch = batch_of(stepper, 0, 16)
        assert torch.equal(stepper.scores(batch), stepper.scores(batch))
        assert torch.equal(stepper.losses(batch), stepper.losses(batch))
        assert stepper.losses(batch).shape == (16,)
        assert stepper.scores(batch).shape == (16, 3)
        evaluated = float(stepper.losses(batch).mean())
        trained = {float(step(stepper, [(0, 16)], 0.0)) for _ in range(4)}
        assert len(trained) == 4
        assert evaluated not in trained

    def test_scores_and_losses_are_fp32_under_bf16_and_so_are_the_weights(self) -> None:
        half, full = self.built(precision="bf16"), self.built()
        for stepper in (half, full):
            for turn in range(3):
                step(stepper, [(8 * turn, 8 * turn + 8)], 0.01)
        assert half.scores(batch_of(half, 0, 8)).dtype == torch.float32
        full_weights = full.gathered()
        for name, weight in half.gathered().items():
            assert weight.dtype == torch.float32
            torch.testing.assert_close(weight, full_weights[name], rtol=0, atol=0.05)

    def test_without_a_plan_it_scores_as_with_one(self) -> None:
        with_plan, without = self.built(), self.make(Toy(), None, ToyObjective())
        assert torch.equal(with_plan.scores(batch_of(with_plan, 0, 8)), without.scores(batch_of(without, 0, 8)))


class TestSingleStepper(StepperContract):
    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        return SingleStepper(model, objective, plan, device=torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
class TestSingleStepperOnGpu(StepperContract):
    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        return SingleStepper(model, objective, plan, device=torch.device("cuda"))
