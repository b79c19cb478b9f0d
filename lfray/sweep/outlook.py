"""What a plan expects of the machines: what each trial takes, what runs at once, how long it may take, and the least it could take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfray.sweep.capacity import Machines, local_machines, refuse_impossible
from lfray.sweep.durations import durations
from lfray.sweep.need import Need, need_of, needs_of
from lfray.sweep.schedule import Schedule, lower_bound, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lfray.record import TrialRecord
    from lfray.space.facts import DataFacts, ModelFacts
    from lfray.space.trial import TrialConfig
    from lfray.spec.resources import MethodKind, ResourcesSpec


@dataclass(frozen=True)
class Outlook:
    """The expected schedule of the trials that have no record yet, and what it stands on."""

    machines: Machines
    needs: Mapping[str, Need]
    """Trial id -> what it takes, for every trial of the plan."""
    schedule: Schedule
    lower_bound: float
    """Seconds that no order of the trials can beat on these machines, for the same durations."""
    sources: Mapping[str, int]
    """Where the expected durations come from (`3 records`, `assumed`) -> trials."""

    @property
    def concurrency(self) -> int:
        """Most trials at once."""
        return self.schedule.at_once

    @property
    def memory_gib(self) -> float:
        """Estimated memory of the most demanding worker."""
        return max((need.memory_gib for need in self.needs.values()), default=0.0)


def refuse_at_once(methods: Iterable[MethodKind], resources: ResourcesSpec, machines: Machines) -> None:
    """The refusal that needs neither data nor base: a trial that no machine could hold, whatever its memory.

    Raises:
        CapacityError: Names what is needed and what there is.
    """
    refuse_impossible([(kind, need_of(resources.of(kind), placement=resources.placement)) for kind in methods], machines)


def look_ahead(
    trials: Sequence[TrialConfig],
    records: Mapping[str, TrialRecord],
    resources: ResourcesSpec,
    machines: Machines,
    *,
    model: ModelFacts,
    data: DataFacts,
) -> Outlook:
    """Expect the course of a sweep.

    Args:
        trials: Every trial of the plan, in the order in which they should start.
        records: Those that are recorded, by id; durations are learned from them.
        resources: The sweep's.
        machines: Where it would run.
        model: The base.
        data: The rows.

    Raises:
        CapacityError: A trial could never be placed.
    """
    needs = {trial.trial_id: needs_of(trial, resources, model) for trial in trials}
    refuse_impossible([(trial.method.kind, needs[trial.trial_id]) for trial in trials], machines)
    # With nothing left to run the whole sweep is looked at: a plan still says what runs at once.
    todo = [trial for trial in trials if trial.trial_id not in records] or list(trials)
    expected = durations([(trial, needs[trial.trial_id]) for trial in todo], list(records.values()), model, data)
    timed = [(trial.trial_id, needs[trial.trial_id], seconds) for trial, (seconds, _) in zip(todo, expected, strict=True)]
    return Outlook(
        machines=machines,
        needs=needs,
        schedule=simulate(timed, machines, resources.max_concurrent),
        lower_bound=lower_bound(timed, machines, resources.max_concurrent),
        sources=dict(Counter(source for _, source in expected)),
    )


__all__ = ["Machines", "Outlook", "local_machines", "look_ahead", "refuse_at_once"]
