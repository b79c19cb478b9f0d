from __future__ import annotations

from typing import Any

import psutil
import pytest

from lfray.errors import CapacityError
from lfray.spec.stages import ResourcesSpec
from lfray.sweep.capacity import PROCESS_GIB, Machines, concurrency, local_machines, trial_memory_gib
from tests.unit.records import make_config
from tests.unit.space.world import make_model


def at_once(*, cpus: float = 16, gpus: float = 0, memory: float = 64, needs: float = 1.0, **resources: Any) -> int:
    return concurrency(ResourcesSpec(**resources), Machines(cpus, gpus, memory, "this machine"), memory_gib=needs)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 16),
        ({"cpus_per_trial": 3}, 5),
        ({"needs": 10.0}, 6),
        ({"max_concurrent": 4}, 4),
        ({"max_concurrent": 400}, 16),
        ({"gpus": 4, "gpus_per_trial": 1}, 4),
        ({"gpus": 4, "gpus_per_trial": 2, "needs": 1000.0}, 2),
        # A share lies on one device, and 1 / 0.2 is 5 whatever floating point says.
        ({"gpus": 1, "gpus_per_trial": 0.2}, 5),
        ({"gpus": 1, "gpus_per_trial": 0.1}, 10),
        ({"gpus": 2, "gpus_per_trial": 0.4}, 4),
        ({"gpus": 2, "gpus_per_trial": 0.6}, 2),
    ],
)
def test_as_many_trials_as_the_scarcest_resource_holds(fields: dict[str, Any], expected: int) -> None:
    assert at_once(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpus_per_trial": 17}, r"cpus_per_trial: 17 CPUs: no trial can ever fit this machine \(it has 16\)"),
        ({"gpus_per_trial": 1}, r"gpus_per_trial: 1 GPUs: .*\(it has 0\)"),
        ({"gpus": 1, "gpus_per_trial": 2}, r"gpus_per_trial: 2 GPUs: .*\(it has 1\)"),
        ({"needs": 63.0}, r"about 63\.0 GiB of memory: .*64\.0 GiB"),
        ({"memory": 1.0}, r"about 1\.0 GiB"),
    ],
)
def test_a_trial_that_can_never_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        at_once(**fields)


def test_full_fine_tuning_needs_more_memory_than_an_adapter() -> None:
    model = make_model()
    lora, full = (trial_memory_gib(model, (make_config(method),)) for method in ("lora", "full"))
    assert PROCESS_GIB < lora < full
    assert trial_memory_gib(model, (make_config("lora"), make_config("full"))) == full
    # Weights, gradients and two moments in fp32, and the pristine base beside them.
    assert full - PROCESS_GIB == pytest.approx(5 * 4 * model.parameters / 2**30)


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2), ("GPU-abc, GPU-def,", 2)])
def test_this_machine_is_counted(monkeypatch: pytest.MonkeyPatch, visible: str, gpus: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    here = local_machines()
    assert here.cpus >= 1
    assert here.gpus == gpus
    assert here.memory_gib == pytest.approx(psutil.virtual_memory().total / 2**30)
