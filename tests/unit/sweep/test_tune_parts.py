from __future__ import annotations

from typing import Any

import pytest

from lfray.space.trial import TrialJob
from lfray.sweep.capacity import Machines, Node
from lfray.sweep.need import Need
from lfray.sweep.tune_parts import admitting_searcher, placement_group
from lfray.sweep.tuner import Limits
from tests.unit.jobs import make_job
from tests.unit.records import make_config


def group_of(**execution: Any) -> Any:
    return placement_group({"job": make_job(make_config("full"), **execution).model_dump_json(), "trial_id": "t"})


@pytest.mark.parametrize(
    ("execution", "bundles"),
    [
        ({}, [{"CPU": 1.0}]),
        ({"cpus": 3}, [{"CPU": 3.0}]),
        ({"gpus": 1.0}, [{"CPU": 1.0, "GPU": 1.0}]),
        # A share of a GPU reaches Ray as it was written.
        ({"gpus": 0.25, "cpus": 2}, [{"CPU": 2.0, "GPU": 0.25}]),
        # Trials of one worker lie in one bundle, whatever the gangs' placement is.
        ({"placement": "spread"}, [{"CPU": 1.0}]),
    ],
)
def test_a_trial_of_one_worker_is_one_bundle(execution: dict[str, Any], bundles: list[dict[str, float]]) -> None:
    group = group_of(**execution)
    assert group.bundles == bundles
    assert not group.head_bundle_is_empty
    assert group.strategy == "PACK"


@pytest.mark.parametrize(("placement", "strategy"), [("pack", "PACK"), ("spread", "SPREAD"), ("strict_pack", "STRICT_PACK")])
def test_a_gang_is_a_bundle_a_worker_and_nothing_for_its_driver(placement: str, strategy: str) -> None:
    group = group_of(workers=3, cpus=2, gpus=1.0, placement=placement)
    assert group.head_bundle_is_empty
    assert group.bundles == [{"CPU": 2.0, "GPU": 1.0}] * 3
    assert group.strategy == strategy
    assert group.required_resources == {"CPU": 6.0, "GPU": 3.0}


def test_zero_with_one_worker_is_a_gang_of_one() -> None:
    group = group_of(zero_stage=2)
    assert group.head_bundle_is_empty
    assert group.bundles == [{"CPU": 1.0}]


def test_the_searcher_hands_out_what_fits_and_goes_on_when_something_has_ended() -> None:
    configs = [make_config("full", seed=1), make_config(seed=2), make_config(seed=3), make_config(seed=4)]
    jobs = [make_job(config, workers=2 if config.method.kind == "full" else 1) for config in configs]
    needs = {job.config.trial_id: Need(job.execution.workers, 1, 0, 1.0) for job in jobs}
    ids = list(needs)
    searcher = admitting_searcher(jobs, Limits(needs, Machines((Node("n0", 3, 0, 64.0),), "this machine"), "auto", 0, 1.0))

    def ask(name: str) -> str | None:
        found = searcher.suggest(name)
        if found is None:
            return None
        assert TrialJob.model_validate_json(found["job"]).config.trial_id == found["trial_id"]
        return str(found["trial_id"])

    # The gang and one small trial fill three CPUs.
    assert [ask("a"), ask("b"), ask("c")] == [ids[0], ids[1], None]
    searcher.on_trial_complete("a", error=True)
    searcher.on_trial_complete("never suggested")
    assert [ask("c"), ask("d"), ask("e")] == [ids[2], ids[3], None]
    # Told twice, counted once.
    searcher.on_trial_complete("b")
    searcher.on_trial_complete("b")
    assert ask("f") is None


def test_no_more_at_once_than_the_sweep_allows() -> None:
    jobs = [make_job(make_config(seed=seed)) for seed in range(3)]
    needs = {job.config.trial_id: Need(1, 1, 0, 1.0) for job in jobs}
    searcher = admitting_searcher(jobs, Limits(needs, Machines((Node("n0", 8, 0, 64.0),), "this machine"), 1, 0, 1.0))
    assert [searcher.suggest(name) is not None for name in "ab"] == [True, False]
