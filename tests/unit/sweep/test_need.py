from __future__ import annotations

from typing import Any

import pytest

from lfray.spec.resources import ResourcesSpec
from lfray.sweep.need import GIB, PROCESS_GIB, Need, need_of, needs_of, worker_memory_gib
from tests.unit.records import make_config
from tests.unit.space.world import make_model

MODEL = make_model()
BASE = 4 * MODEL.parameters / GIB


def copies(method: str = "full", *, rank: int = 4, **resources: Any) -> float:
    """Main memory of a worker beside its process, in copies of the base."""
    trial = make_config(method, rank)
    return (worker_memory_gib(trial, ResourcesSpec(**resources).of(trial.method.kind), MODEL) - PROCESS_GIB) / BASE


def test_one_worker_holds_all_of_it() -> None:
    # Pristine base, weights, gradients and two moments in fp32.
    assert copies("full") == pytest.approx(5.0)
    assert copies("lora") == copies("head") == copies("base") == pytest.approx(2.2)


def test_an_adapter_of_high_rank_asks_what_its_rank_asks() -> None:
    # Weights, gradient and two moments of rank x 10,000 parameters beside 1,000,000 of the base.
    assert copies("lora", rank=50) == pytest.approx(2 + 4 * 0.5)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        # base + weights + gradient and its buckets + moments
        ({}, 1 + 1 + 2 + 2),
        # ZeRO-1: moments and the clone of the weights over 4
        ({"zero_stage": 1}, 1 + 1 + 1 + 3 / 4),
        ({"zero_stage": 2}, 1 + 1 + 1 / 4 + 3 / 4),
        # ZeRO-3: everything over 4, no clone; loading (2 copies) is the peak.
        ({"zero_stage": 3}, 2),
        ({"zero_stage": 3, "offload_optimizer": True}, 1 + (1 + 1 + 3) / 4),
    ],
)
def test_zero_shares_the_trained_state_out(resources: dict[str, Any], expected: float) -> None:
    assert copies(workers_per_trial=4, **resources) == pytest.approx(expected)


def test_zero_3_over_two_workers_still_holds_more_than_loading() -> None:
    assert copies(workers_per_trial=2, zero_stage=3) == pytest.approx(1 + (1 + 1 + 2) / 2)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        # Training lies on the device; the pristine base and the working copy on its way there in main memory.
        ({}, 2),
        ({"zero_stage": 3, "workers_per_trial": 4}, 2),
        ({"zero_stage": 2, "workers_per_trial": 2, "offload_optimizer": True}, 1 + (3 + 1) / 2),
        ({"zero_stage": 3, "workers_per_trial": 2, "offload_optimizer": True, "offload_parameters": True}, 1 + (3 + 1 + 1) / 2),
        # Far enough shared out, loading is the peak again.
        ({"zero_stage": 2, "workers_per_trial": 8, "offload_optimizer": True}, 2),
    ],
)
def test_a_gpu_trial_holds_in_main_memory_what_is_loaded_or_offloaded(resources: dict[str, Any], expected: float) -> None:
    assert copies(gpus_per_trial=1, **resources) == pytest.approx(expected)


def test_the_need_of_a_trial_is_that_of_its_method() -> None:
    resources = ResourcesSpec.model_validate(
        {"cpus_per_trial": 2, "placement": "spread", "full": {"workers": 3, "cpus": 1, "zero_stage": 2}}
    )
    full, lora = (needs_of(make_config(method), resources, MODEL) for method in ("full", "lora"))
    assert (full.workers, full.cpus, full.gpus, full.placement) == (3, 1.0, 0.0, "spread")
    assert (lora.workers, lora.cpus) == (1, 2.0)
    assert need_of(resources.of("full"), placement="pack").memory_gib == 0
    assert full.memory_gib == worker_memory_gib(make_config("full"), resources.of("full"), MODEL)


@pytest.mark.parametrize(
    ("need", "text"),
    [
        (Need(1, 1, 0, 1.0), "1 CPU"),
        (Need(2, 1, 0, 1.0), "2 workers of 1 CPU"),
        (Need(4, 2, 1, 1.0), "4 workers of 2 CPUs and 1 GPU"),
        (Need(1, 3, 0.4, 1.0), "3 CPUs and 0.4 GPU"),
    ],
)
def test_a_shape_reads_well(need: Need, text: str) -> None:
    assert need.shape == text


def test_parts_are_counted_whole_and_memory_never_too_low() -> None:
    assert Need(1, 2, 1 / 3, 0.00001).units == (20_000, 3_333, 1)
