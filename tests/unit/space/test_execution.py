from __future__ import annotations

from typing import Any

import pytest

from lfray.space.execution import execution_request
from lfray.space.plan import plan_trials
from lfray.space.trial import ExecutionRequest, TrialConfig
from tests.unit.space.world import make_data, make_model, make_spec

EVERY: dict[str, Any] = {"base": {}, "head": {}, "lora": {}, "full": {}}


def requests(**sections: Any) -> list[tuple[TrialConfig, ExecutionRequest]]:
    """Every trial of the small sweep with how it runs."""
    spec = make_spec(**sections)
    trials = plan_trials(spec, make_data(), make_model(trained_head=True), precision="fp32")
    return [(trial, execution_request(spec, trial)) for trial in trials]


def micro_batches(**sections: Any) -> set[tuple[int, int]]:
    """(rows of an update, rows of a forward pass of one worker) over the trials."""
    return {(trial.train.effective_batch, request.micro_batch) for trial, request in requests(**sections) if trial.train}


def test_nothing_said_is_one_worker_and_one_forward_pass() -> None:
    for trial, request in requests():
        assert request == ExecutionRequest(
            micro_batch=16,
            evaluation_batch=64,
            cpus=1,
            gpus=0.0,
            checkpoint_seconds=60.0,
            keep_weights=trial.method.kind != "full",
        )
        assert not request.gang


def test_each_method_has_its_share_of_the_machines() -> None:
    resources = {
        "workers_per_trial": 2,
        "cpus_per_trial": 3,
        "zero_stage": 2,
        "offload_optimizer": True,
        "deepspeed": {"disable_python_gc": True},
        "head": {"workers": 1, "zero_stage": 0, "offload_optimizer": False},
        "full": {"workers": 4, "cpus": 1, "gpus": 1, "zero_stage": 3, "offload_parameters": True},
    }
    by_kind = {trial.method.kind: request for trial, request in requests(resources=resources, methods=EVERY)}

    def shape(kind: Any) -> tuple[Any, ...]:
        r = by_kind[kind]
        return (
            r.workers,
            r.cpus,
            r.gpus,
            r.zero_stage,
            r.offload_optimizer,
            r.offload_parameters,
            bool(r.deepspeed),
            r.micro_batch,
        )

    assert shape("base") == (2, 3, 0.0, 0, False, False, False, 1)
    assert shape("head") == (1, 3, 0.0, 0, False, False, False, 16)
    assert shape("lora") == (2, 3, 0.0, 2, True, False, True, 8)
    assert shape("full") == (4, 1, 1.0, 3, True, True, True, 4)
    assert {kind for kind, request in by_kind.items() if request.gang} == {"base", "lora", "full"}


def test_rank_zero_takes_the_share_of_head() -> None:
    found = requests(methods={"lora": {}}, axes={"rank": [0, 4]}, resources={"head": {"workers": 1}, "workers_per_trial": 2})
    assert {(trial.method.kind, request.workers) for trial, request in found} == {("head", 1), ("lora", 2)}


@pytest.mark.parametrize(
    ("workers", "micro", "expected", "shrinks"),
    [(1, None, 16, False), (2, None, 8, False), (2, 4, 4, False), (2, "auto", 32, True)],
)
def test_an_update_is_cut_as_the_sweep_says(workers: int, micro: Any, expected: int, shrinks: bool) -> None:
    found = requests(train={"gradient_accumulation": 4}, resources={"workers_per_trial": workers, "micro_batch": micro})
    assert {(trial.train.effective_batch, request.micro_batch) for trial, request in found if trial.train} == {(64, expected)}
    assert {request.shrink_micro_batch for _, request in found} == {shrinks}


def test_axes_that_cut_the_update_cut_the_micro_batch() -> None:
    assert micro_batches(axes={"batch_size": [8, 16]}) == {(8, 8), (16, 16)}
    assert micro_batches(axes={"batch_size": [8, 16]}, train={"gradient_accumulation": 2}) == {(16, 8), (32, 16)}
    assert micro_batches(axes={"gradient_accumulation": [1, 4]}) == {(16, 16), (64, 16)}
    assert micro_batches(axes={"train.gradient_accumulation": [1]}, train={"gradient_accumulation": 8}) == {(16, 16)}
    assert micro_batches(axes={"gradient_accumulation": [1, 4]}, resources={"workers_per_trial": 2}) == {(16, 8), (64, 8)}


def test_two_cuts_of_one_update_are_one_trial_with_the_smaller_batch() -> None:
    assert micro_batches(axes={"batch_size": [16, 8], "gradient_accumulation": [1, 2]}) == {(16, 8), (32, 16), (8, 8)}


def test_drawn_batches_are_cut_as_they_were_drawn() -> None:
    axes = {"batch_size": {"int": [1, 40]}, "gradient_accumulation": {"int": [1, 9]}}
    found = micro_batches(axes=axes, search={"samples": 12})
    assert len(found) > 5
    assert all(rows % micro == 0 and 1 <= micro <= 40 and rows // micro <= 9 for rows, micro in found)


def test_settings_reach_every_worker() -> None:
    resources = {
        "nccl": {"NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_DISABLE": 1, "NCCL_P2P_DISABLE": True},
        "placement": "strict_pack", "placement_seconds": 5, "collective_seconds": 7, "keep_checkpoints": 3, "max_failures": 4,
        "gradient_checkpointing": True, "attention": "sdpa",
    }  # fmt: skip
    request = requests(resources=resources)[0][1]
    assert request.environment == {"NCCL_SOCKET_IFNAME": "eth0", "NCCL_IB_DISABLE": "1", "NCCL_P2P_DISABLE": "1"}
    assert (request.placement, request.placement_seconds, request.collective_seconds) == ("strict_pack", 5.0, 7.0)
    assert (request.keep_checkpoints, request.max_failures) == (3, 4)
    assert (request.gradient_checkpointing, request.attention) == (True, "sdpa")


@pytest.mark.parametrize(
    ("adapters", "full", "kept"),
    [("none", True, {"full", "base"}), ("front", False, {"head", "lora"}), ("all", True, set(EVERY))],
)
def test_weights_are_kept_by_method(adapters: str, full: bool, kept: set[str]) -> None:
    found = requests(keep_adapters=adapters, keep_full_models=full, methods=EVERY)
    assert {trial.method.kind for trial, request in found if request.keep_weights} == kept
