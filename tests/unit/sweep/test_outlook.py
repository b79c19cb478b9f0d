from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lfray.errors import CapacityError
from lfray.space.plan import plan_trials
from lfray.sweep.capacity import Machines, Node
from lfray.sweep.need import Need
from lfray.sweep.outlook import look_ahead, refuse_at_once
from lfray.sweep.schedule import lower_bound
from tests.unit.records import make_record
from tests.unit.space.world import make_data, make_model, make_spec

if TYPE_CHECKING:
    from lfray.record import TrialRecord
    from lfray.space.trial import TrialConfig
    from lfray.sweep.outlook import Outlook

DATA, MODEL = make_data(), make_model()
GANGS: dict[str, Any] = {"full": {"workers": 2}, "max_concurrent": "auto"}


def cpus(count: int) -> Machines:
    return Machines((Node("n0", count, 0, 64.0),), "this machine")


def trials_of(**sections: Any) -> tuple[TrialConfig, ...]:
    return plan_trials(make_spec(**sections), DATA, MODEL, precision="fp32")


def look(machines: Machines, records: dict[str, TrialRecord] | None = None, **sections: Any) -> Outlook:
    spec = make_spec(**sections)
    return look_ahead(trials_of(**sections), records or {}, spec.resources, machines, model=MODEL, data=DATA)


def record(trial: TrialConfig, seconds: float, workers: int = 1) -> TrialRecord:
    made = make_record(config=trial)
    assert made.execution is not None
    return replace(made, seconds=seconds, execution=replace(made.execution, world_size=workers))


def test_small_trials_and_gangs_are_laid_out_together() -> None:
    ahead = look(cpus(3), resources=GANGS, axes={"seed": [1, 2]})
    by_kind = {trial.method.kind: ahead.needs[trial.trial_id] for trial in trials_of(resources=GANGS, axes={"seed": [1, 2]})}
    assert {kind: (need.workers, need.cpus) for kind, need in by_kind.items()} == {
        "full": (2, 1.0), "lora": (1, 1.0), "head": (1, 1.0),
    }  # fmt: skip
    assert len(ahead.needs) == len(ahead.schedule.intervals) == 6
    assert ahead.schedule.at_once_by_shape["2 workers of 1 CPU"] == 1
    assert ahead.concurrency == ahead.schedule.at_once == 3
    assert ahead.sources == {"assumed": 6}
    assert ahead.memory_gib == max(need.memory_gib for need in by_kind.values()) == by_kind["full"].memory_gib
    timed = [(i.trial_id, ahead.needs[i.trial_id], i.end - i.start) for i in ahead.schedule.intervals]
    assert ahead.lower_bound == pytest.approx(lower_bound(timed, cpus(3)))
    assert ahead.lower_bound <= ahead.schedule.makespan


def test_what_is_recorded_teaches_and_is_not_run_again() -> None:
    trials = trials_of(axes={"seed": [1, 2]})
    lora, full = (next(t for t in trials if t.method.kind == kind) for kind in ("lora", "full"))
    ahead = look(cpus(1), {t.trial_id: record(t, seconds) for t, seconds in ((lora, 40.0), (full, 90.0))}, axes={"seed": [1, 2]})
    assert {i.trial_id for i in ahead.schedule.intervals} == {t.trial_id for t in trials} - {lora.trial_id, full.trial_id}
    assert ahead.needs.keys() == {t.trial_id for t in trials}
    assert ahead.sources == {"1 record": 2, "assumed": 2}
    lengths = {t.method.kind: i.end - i.start for i in ahead.schedule.intervals for t in trials if t.trial_id == i.trial_id}
    assert lengths == pytest.approx(lengths | {"lora": 40.0, "full": 90.0})


def test_a_gangs_duration_is_not_learned_from_single_workers() -> None:
    trials = trials_of(resources=GANGS, axes={"seed": [1, 2]})
    full = next(t for t in trials if t.method.kind == "full")
    for workers, sources in ((1, {"assumed": 5}), (2, {"assumed": 4, "1 record": 1})):
        ahead = look(cpus(2), {full.trial_id: record(full, 9.0, workers)}, resources=GANGS, axes={"seed": [1, 2]})
        assert ahead.sources == sources


def test_with_nothing_left_to_run_the_plan_still_says_what_runs_at_once() -> None:
    records = {trial.trial_id: record(trial, 10.0) for trial in trials_of()}
    ahead = look(cpus(2), records)
    assert (ahead.concurrency, len(ahead.schedule.intervals)) == (2, 3)


def test_max_concurrent_holds_in_the_forecast() -> None:
    ahead = look(cpus(8), resources={"max_concurrent": 2})
    assert ahead.concurrency == 2
    assert ahead.lower_bound >= max(i.end - i.start for i in ahead.schedule.intervals)


def test_a_trial_without_a_place_is_refused_before_anything_starts() -> None:
    with pytest.raises(CapacityError, match=r"full: 2 workers of 1 CPU.*holds 1 of them"):
        look(cpus(1), resources=GANGS)
    with pytest.raises(CapacityError, match="GiB"):
        look(Machines((Node("n0", 4, 0, 2.0),), "this machine"))


def test_the_cheap_refusal_asks_neither_data_nor_base() -> None:
    resources = make_spec(resources={"full": {"workers": 5}, "placement": "strict_pack"}).resources
    refuse_at_once(["head", "lora"], resources, cpus(1))
    with pytest.raises(CapacityError, match=r"full: 5 workers"):
        refuse_at_once(["head", "full"], resources, cpus(4))
    # Memory is not known yet, so it refuses nothing.
    refuse_at_once(["full"], resources, Machines((Node("n0", 5, 0, 1.6),), "this machine"))


def test_a_plan_of_nothing_needs_nothing() -> None:
    ahead = look_ahead((), {}, make_spec().resources, cpus(1), model=MODEL, data=DATA)
    assert (ahead.concurrency, ahead.memory_gib, ahead.lower_bound, ahead.schedule.makespan) == (0, 0.0, 0.0, 0.0)
    assert Need(1, 1, 0, 0.0) not in ahead.needs.values()
