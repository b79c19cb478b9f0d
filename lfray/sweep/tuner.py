"""Ray Tune, met at one point: planned trials go in, their curves and ends come out through a `Watcher`.

Tune counts resources and keeps its actors warm (`reuse_actors`). Which trial starts next is `schedule.Admission`'s decision, the same that
`lfray plan` simulates: Tune is given a trial when it can be placed, so its placement groups never wait for one another. Every
option of Tune that is read from the environment is set here. Tune's own snapshots and loggers are off: our records in storage are
what a restart reads (Tune's snapshots are at least 10 s apart, and its MLflow callback logs runs twice after a restart).
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lfray.record import CurvePoint, TrialRecord
from lfray.space.trial import TrialJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.sweep.capacity import Machines
    from lfray.sweep.need import Need

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "30",
    # How many may wait is for `Admission` to say; with a searcher Tune would hold back all but one.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray 2.60 would otherwise empty CUDA_VISIBLE_DEVICES of CPU-only workers with a warning a worker.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
REPORT_SECONDS = 1.0
"""A step of the actor trains at least this long: one round trip through Tune costs about 10 ms of the driver."""


class Watcher(Protocol):
    """Who is told how the trials go. Called from the driver's thread."""

    def started(self, trial_id: str) -> None:
        """The trial has a worker."""
        ...

    def progressed(self, trial_id: str, points: Sequence[CurvePoint]) -> None:
        """New points of its loss curve."""
        ...

    def ended(self, trial_id: str) -> None:
        """Its record is in storage."""
        ...

    def died(self, trial_id: str, message: str) -> None:
        """Its worker died for good; there is no record."""
        ...

    def unplaced(self, trial_id: str, message: str) -> None:
        """It had no place for too long; `ended` follows."""
        ...


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start Ray on this machine without dashboard or ports beyond loopback."""
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    import ray

    if ray.is_initialized():
        return
    common: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    if address is not None:
        ray.init(address=address, **common)
        return
    # Without a route out, Ray would probe public DNS for its own address.
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **common)


def stop_ray() -> None:
    """Leave the cluster, or end the one started here."""
    import ray

    ray.shutdown()


def cluster_machines() -> Machines:
    """The nodes of the connected cluster."""
    import ray

    from lfray.sweep.capacity import Machines, Node
    from lfray.sweep.need import GIB

    nodes = [(node["NodeManagerHostname"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return Machines(
        tuple(Node(name, found.get("CPU", 0.0), found.get("GPU", 0.0), found.get("memory", 0.0) / GIB) for name, found in nodes),
        "the cluster",
    )


@dataclass(frozen=True)
class Limits:
    """What the trials share."""

    needs: Mapping[str, Need]
    """Trial id -> what it takes."""
    machines: Machines
    max_concurrent: int | Literal["auto"]
    max_failures: int
    """How often a trial whose worker died is started again (from its own checkpoint)."""
    placement_seconds: float
    """How long a trial waits for its place before it is given up."""


def run_trials(jobs: Sequence[TrialJob], watcher: Watcher, limits: Limits) -> None:
    """Run the jobs to their ends. Returns early, without an error, when interrupted (Ctrl-C): what has no record was not run.

    Args:
        jobs: Planned trials, in the order in which they should start.
        watcher: Who is told.
        limits: What they share.
    """
    from ray import tune

    from lfray.sweep.tune_parts import admitting_searcher, placement_group, placing_scheduler

    # Tune logs every failed trial with its traceback; here a failure is a record, and the listeners show it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    _WATCHERS["now"] = watcher
    with tempfile.TemporaryDirectory(prefix="lfray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(), placement_group),
            param_space={},
            tune_config=tune.TuneConfig(
                search_alg=admitting_searcher(jobs, limits),
                scheduler=placing_scheduler(limits),
                num_samples=len(jobs),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=folder,
                verbose=0,
                callbacks=[_callback()],
                failure_config=tune.FailureConfig(max_failures=limits.max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _trainable() -> type:
    """The Tune actor. Made in a function so that importing this module does not import Ray."""
    import time

    from ray import tune

    class LfrayTrial(tune.Trainable):  # type: ignore[misc]  # ray ships no types for it
        """Runs one trial after another: in this warm process, or in a gang of warm processes that it drives."""

        def setup(self, config: dict[str, Any]) -> None:
            self._bench: Any = None
            self._gang: Any = None
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            job = TrialJob.model_validate_json(new_config["job"])
            # One actor sees one kind only: Tune reuses it for trials of the same resources.
            if job.execution.gang:
                from lfray.trial.gang import GangTrial

                self._gang = self._gang or GangTrial()
                self._gang.begin(job)
                return True
            from lfray.trial.bench import Bench
            from lfray.trial.worker import run_trial

            self._bench = self._bench or Bench()
            self._running = run_trial(job, self._bench)
            return True

        def step(self) -> dict[str, Any]:
            """Train for a second or to the end, whichever is first."""
            if self._gang is not None:
                points, state = self._gang.advance()
                return {"points": points, "done": state is not None}
            until = time.monotonic() + REPORT_SECONDS
            points = []
            for item in self._running:
                if isinstance(item, TrialRecord):
                    return {"points": points, "done": True}
                points.append(tuple(vars(item).values()))
                if time.monotonic() >= until:
                    break
            return {"points": points, "done": False}

        def cleanup(self) -> None:
            """End the gang: Tune takes the placement group back."""
            if self._gang is not None:
                self._gang.close()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the trial's own checkpoints lie in storage, where another node finds them."""

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
            """Nothing: see `save_checkpoint`."""

    return LfrayTrial


_WATCHERS: dict[str, Watcher] = {}
"""The watcher of the run in progress. Tune pickles its callbacks before it starts, and a terminal cannot be pickled."""


def _callback() -> Any:
    from ray import tune

    class Bridge(tune.Callback):  # type: ignore[misc]  # ray ships no types for it
        """From Tune's events to the watcher's."""

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            watcher_now().started(_trial_id(trial))

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
            points = [CurvePoint(*point) for point in result.get("points", [])]
            if points:
                watcher_now().progressed(_trial_id(trial), points)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            watcher_now().ended(_trial_id(trial))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            watcher_now().died(_trial_id(trial), _error_text(trial))

    return Bridge()


def watcher_now() -> Watcher:
    """The watcher of the run in progress."""
    from lfray.sweep import tuner

    # By module, not by closure: the callback that Tune unpickles must find this very dictionary.
    return tuner._WATCHERS["now"]


def _trial_id(trial: Any) -> str:
    return str(trial.config["trial_id"])


def _error_text(trial: Any) -> str:
    path = trial.error_file
    if path and os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()[-4000:]
    return "the worker died without a message"
