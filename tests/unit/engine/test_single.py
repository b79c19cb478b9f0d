from __future__ import annotations

import pytest
import torch

from lfray.engine.batches import collate
from lfray.engine.single import SingleStepper, parameter_groups
from tests.unit.engine.toy import Toy, ToyObjective, make_plan, make_rows


def test_matrices_decay_and_vectors_do_not() -> None:
    model = Toy()
    groups = parameter_groups(model, 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    found = [{name for name, p in model.named_parameters() for q in group["params"] if p is q} for group in groups]  # type: ignore[attr-defined]  # a torch group is a plain dict
    assert found == [{"embed.weight", "out.weight"}, {"norm.weight", "norm.bias", "out.bias"}]


def test_a_group_without_parameters_is_left_out() -> None:
    model = Toy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "out.weight")
    assert len(parameter_groups(model, 0.1)) == 1
    model.requires_grad_(False)
    assert parameter_groups(model, 0.1) == []


def test_a_stepper_that_cannot_learn_refuses_to() -> None:
    stepper = SingleStepper(Toy(), ToyObjective(), None, device=torch.device("cpu"))
    with pytest.raises(AssertionError, match="without a plan"):
        stepper.update([], 0.1, rows=1)


def test_gradients_are_gone_after_an_update() -> None:
    model = Toy()
    stepper = SingleStepper(model, ToyObjective(), make_plan(), device=torch.device("cpu"))
    rows = make_rows(8)
    stepper.update([collate(rows, torch.arange(8).numpy(), pad_id=0, device=stepper.device)], 0.01, rows=8)
    assert all(parameter.grad is None for parameter in model.parameters())
