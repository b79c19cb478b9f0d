"""The contract of the steppers of several processes; run by every rank (see `test_gang_steppers.py`), not collected by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed as dist

from lfray.engine.ddp import DdpStepper
from lfray.engine.zero import ZeroStepper
from lfray.spec.deepspeed import ZeroFields, deepspeed_config
from tests.contract.test_stepper import StepperContract

if TYPE_CHECKING:
    from lfray.engine.contract import FitPlan, Stepper
    from tests.unit.engine.toy import Toy, ToyObjective

CPU = torch.device("cpu")


class TestDdp(StepperContract):
    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        stepper = DdpStepper(model, objective, plan, device=CPU)
        assert (stepper.facts.stepper, stepper.facts.world_size, stepper.facts.zero_stage) == ("ddp", dist.get_world_size(), 0)
        return stepper


class ZeroContract(StepperContract):
    stage = 0
    offload = False

    @pytest.fixture(autouse=True)
    def closed(self) -> object:
        self.opened: list[Stepper] = []
        yield
        for stepper in self.opened:
            stepper.close()

    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        if plan is None:
            return DdpStepper(model, objective, None, device=CPU)
        fields = ZeroFields(
            zero_stage=self.stage, micro_batch=plan.micro_batch, accumulation=1, workers=dist.get_world_size(),
            max_grad_norm=plan.max_grad_norm, precision=plan.precision, offload_optimizer=self.offload,
            offload_parameters=self.offload and self.stage == 3,
        )  # fmt: skip
        stepper = ZeroStepper(model, objective, plan, deepspeed_config(fields, {}), device=CPU)
        self.opened.append(stepper)
        facts = stepper.facts
        assert (facts.stepper, facts.world_size, facts.zero_stage) == ("deepspeed", dist.get_world_size(), self.stage)
        return stepper


class TestZero1(ZeroContract):
    stage = 1


class TestZero2(ZeroContract):
    stage = 2


class TestZero3(ZeroContract):
    stage = 3


class TestZero2Offload(ZeroContract):
    stage, offload = 2, True


class TestZero3Offload(ZeroContract):
    stage, offload = 3, True
