"""Ray Tune, met at one point: planned trials go in, their curves and ends come out through a `Watcher`.

Tune schedules, counts resources and keeps its actors warm (`reuse_actors`); it decides nothing else. Every option of Tune that is
read from the environment is set here. Tune's own snapshots and loggers are off: our records in storage are what a
restart reads (Tune's snapshots are at least 10 s apart, and its MLflow callback logs runs twice after a restart).
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

from lfray.record import CurvePoint, TrialRecord
from lfray.space.trial import TrialJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.sweep.capacity import Machines

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
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
    """Totals of the connected cluster."""
    import ray

    from lfray.sweep.capacity import GIB, Machines

    total = ray.cluster_resources()
    return Machines(total.get("CPU", 0.0), total.get("GPU", 0.0), total.get("memory", 0.0) / GIB, "the cluster")


def run_trials(jobs: Sequence[TrialJob], watcher: Watcher, *, max_concurrent: int, max_failures: int) -> None:
    """Run the jobs to their ends. Returns early, without an error, when interrupted (Ctrl-C): what has no record was not run.

    Args:
        jobs: Planned trials, in the order in which they should start.
        watcher: Who is told.
        max_concurrent: Trials at once.
        max_failures: How often a trial whose worker died is started again (from its own checkpoint).
    """
    from ray import tune

    # Tune logs every failed trial with its traceback; here a failure is a record, and the listeners show it.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    first = jobs[0].execution
    _WATCHERS["now"] = watcher
    resources = {"CPU": first.cpus, "GPU": first.gpus} if first.gpus > 0 else {"CPU": first.cpus}
    with tempfile.TemporaryDirectory(prefix="lfray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(), resources),
            param_space={"job": tune.grid_search([job.model_dump(mode="json") for job in jobs])},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=max_concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=folder,
                verbose=0,
                callbacks=[_callback()],
                failure_config=tune.FailureConfig(max_failures=max_failures),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _trainable() -> type:
    """The Tune actor. Made in a function so that importing this module does not import Ray."""
    import time

    from ray import tune

    class LfrayTrial(tune.Trainable):  # type: ignore[misc]  # ray ships no types for it
        """Runs one trial after another in one warm process."""

        def setup(self, config: dict[str, Any]) -> None:
            from lfray.trial.bench import Bench

            self._bench = Bench()
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            from lfray.trial.worker import run_trial

            job = TrialJob.model_validate(new_config["job"])
            self._running = run_trial(job, self._bench)
            return True

        def step(self) -> dict[str, Any]:
            """Train for a second or to the end, whichever is first."""
            until = time.monotonic() + REPORT_SECONDS
            points: list[tuple[Any, ...]] = []
            for item in self._running:
                if isinstance(item, TrialRecord):
                    return {"points": points, "state": item.state, "done": True}
                points.append(tuple(vars(item).values()))
                if time.monotonic() >= until:
                    break
            return {"points": points, "done": False}

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
            _watcher().started(_trial_id(trial))

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
            points = [CurvePoint(*point) for point in result.get("points", [])]
            if points:
                _watcher().progressed(_trial_id(trial), points)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _watcher().ended(_trial_id(trial))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _watcher().died(_trial_id(trial), _error_text(trial))

    return Bridge()


def _watcher() -> Watcher:
    from lfray.sweep import tuner

    # By module, not by closure: the callback that Tune unpickles must find this very dictionary.
    return tuner._WATCHERS["now"]


def _trial_id(trial: Any) -> str:
    return TrialJob.model_validate(trial.config["job"]).config.trial_id


def _error_text(trial: Any) -> str:
    path = trial.error_file
    if path and os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()[-4000:]
    return "the worker died without a message"
