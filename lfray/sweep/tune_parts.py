"""What Ray Tune is given to work with: which trial next, what it takes, and when to give up waiting for its place.

Functions that make classes, so that importing this module does not import Ray.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lfray.space.trial import TrialJob
from lfray.sweep.schedule import Admission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.sweep.tuner import Limits


def placement_group(config: dict[str, Any]) -> Any:
    """A trial's resources: one bundle for a trial of one worker; an empty one for the driver and one a worker for a gang."""
    from ray import tune

    execution = TrialJob.model_validate_json(config["job"]).execution
    bundle = {"CPU": float(execution.cpus)} | ({"GPU": execution.gpus} if execution.gpus > 0 else {})
    if not execution.gang:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory([{}, *[bundle] * execution.workers], strategy=execution.placement.upper())


def admitting_searcher(jobs: Sequence[TrialJob], limits: Limits) -> Any:
    """Hands Tune the trials one by one, each when `Admission` says that it may start."""
    from ray.tune.search import Searcher

    texts = {job.config.trial_id: job.model_dump_json() for job in jobs}
    admission = Admission([(trial_id, limits.needs[trial_id]) for trial_id in texts], limits.machines, limits.max_concurrent)

    class Admitting(Searcher):  # type: ignore[misc]  # ray ships no types for it
        """Tune's trial ids are its own; ours travel in the configuration."""

        def __init__(self) -> None:
            super().__init__()
            self._ours: dict[str, str] = {}

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            chosen = admission.next()
            if chosen is None:
                return None
            self._ours[trial_id] = chosen
            return {"job": texts[chosen], "trial_id": chosen}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            chosen = self._ours.pop(trial_id, None)
            if chosen is not None:
                admission.finished(chosen)

        def save(self, checkpoint_path: str) -> None:
            """Nothing: our records are what a restart reads."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing: see `save`."""

    return Admitting()


def placing_scheduler(limits: Limits) -> Any:
    """First come, first served; a trial that has had no place for `placement_seconds` is stopped."""
    import ray
    from ray.tune.schedulers import FIFOScheduler

    class Placing(FIFOScheduler):  # type: ignore[misc]  # ray ships no types for it
        """Tune asks it in every turn of its loop, which is the only place to look at trials that wait."""

        def __init__(self) -> None:
            super().__init__()
            self._since: dict[str, float] = {}

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            for trial in list(tune_controller.get_live_trials()):
                if trial.status != "PENDING":
                    self._since.pop(trial.trial_id, None)
                    continue
                since = self._since.setdefault(trial.trial_id, time.monotonic())
                if time.monotonic() - since >= limits.placement_seconds:
                    self._since[trial.trial_id] = float("inf")
                    self._give_up(tune_controller, trial)
            return super().choose_trial_to_run(tune_controller)

        def _give_up(self, controller: Any, trial: Any) -> None:
            from lfray.sweep.tuner import watcher_now

            ours = str(trial.config["trial_id"])
            nodes = [
                ", ".join(f"{amount:g} {name}" for name, amount in sorted(node["Resources"].items()) if name in ("CPU", "GPU"))
                for node in ray.nodes()
                if node["Alive"]
            ]
            free = ray.available_resources()
            watcher_now().unplaced(
                ours,
                f"resources.placement_seconds: {limits.needs[ours].shape} must find a place within {limits.placement_seconds:g} s "
                f"(the cluster had {'; '.join(nodes) or 'no node'}; free at the end: {free.get('CPU', 0.0):g} CPU, "
                f"{free.get('GPU', 0.0):g} GPU). Wait for nodes, or lower the need",
            )
            controller.stop_trial(trial)

    return Placing()
