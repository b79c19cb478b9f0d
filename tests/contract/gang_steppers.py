"""The contract of the steppers of several processes; run by every rank (see `test_gang_steppers.py`), not collected by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
import torch
import torch.distributed as dist

from lfray.engine.ddp import DdpStepper
from lfray.engine.zero import ZeroStepper
from lfray.errors import LfrayError
from lfray.spec.deepspeed import ZeroFields, deepspeed_config
from lfray.trial.training import check_engine
from tests.contract.test_stepper import StepperContract, step
from tests.unit.engine.toy import Toy, ToyObjective, make_plan
from tests.unit.jobs import make_job
from tests.unit.records import make_config

if TYPE_CHECKING:
    from lfray.engine.contract import EngineFacts, FitPlan, Stepper

CPU = torch.device("cpu")


def passes_for(facts: EngineFacts, **asked: Any) -> bool:
    """Whether a trial that asked for this engine would be let run on it."""
    try:
        check_engine(make_job(make_config("full"), workers=dist.get_world_size(), **asked), facts, trains=True)
    except LfrayError:
        return False
    return True


class TestDdp(StepperContract):
    def make(self, model: Toy, plan: FitPlan | None, objective: ToyObjective) -> Stepper:
        stepper = DdpStepper(model, objective, plan, device=CPU)
        assert (stepper.facts.stepper, stepper.facts.world_size, stepper.facts.zero_stage) == ("ddp", dist.get_world_size(), 0)
        return stepper

    def test_it_passes_for_no_other(self) -> None:
        facts = self.built().facts
        assert passes_for(facts)
        assert not any(passes_for(facts, zero_stage=stage) for stage in (1, 2, 3))


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
            zero_stage=cast("Literal[1, 2, 3]", self.stage), micro_batch=plan.micro_batch, accumulation=1, workers=dist.get_world_size(),
            max_grad_norm=plan.max_grad_norm, precision="bf16" if plan.precision == "bf16" else "fp32", offload_optimizer=self.offload,
            offload_parameters=self.offload and self.stage == 3,
        )  # fmt: skip
        stepper = ZeroStepper(model, objective, plan, deepspeed_config(fields, {}), device=CPU)
        self.opened.append(stepper)
        facts = stepper.facts
        assert (facts.stepper, facts.world_size, facts.zero_stage) == ("deepspeed", dist.get_world_size(), self.stage)
        return stepper

    def test_it_passes_for_no_other(self) -> None:
        facts = self.built().facts
        offload = {"offload_optimizer": self.offload, "offload_parameters": self.offload and self.stage == 3}
        assert facts.offload == tuple(name.removeprefix("offload_") for name, on in offload.items() if on)
        passed = [stage for stage in range(4) if passes_for(facts, zero_stage=stage, **offload)]
        assert passed == [self.stage]
        assert not passes_for(facts, zero_stage=self.stage, **offload | {"offload_optimizer": not self.offload})

    @pytest.mark.parametrize("offload", [False, True])
    def test_plain_data_parallelism_under_deepspeeds_name_does_not_pass(self, offload: bool) -> None:
        """What DeepSpeed itself makes of stage 0: it trains, and shares nothing out."""
        plan = make_plan()
        config = {
            "train_micro_batch_size_per_gpu": plan.micro_batch, "gradient_accumulation_steps": 1,
            "zero_optimization": {"stage": 0} | ({"offload_optimizer": {"device": "cpu"}} if offload else {}),
            "zero_force_ds_cpu_optimizer": False,
        }  # fmt: skip
        stepper = ZeroStepper(Toy(), ToyObjective(), plan, config, device=CPU)
        self.opened.append(stepper)
        step(stepper, [(0, 16)], 0.01)
        facts = stepper.facts
        assert (facts.stepper, facts.zero_stage, facts.offload) == ("deepspeed", 0, ())
        assert not any(passes_for(facts, zero_stage=stage) for stage in range(4))


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
