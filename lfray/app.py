"""The application: a sweep file becomes a plan, the plan records, the records a front and a report.

Each step is a function of the one before; `run_sweep` is the whole sentence. Heavy packages are imported inside the functions,
so that `lfray check` never pays for them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lfray.errors import LfrayError, SpecError, StorageError
from lfray.spec.checks import check_sweep
from lfray.spec.diff import non_axis_differences
from lfray.spec.load import LoadedSweep, load_sweep
from lfray.spec.method_checks import kinds_in_use
from lfray.spec.safe import storable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lfray.space.facts import DataFacts, ModelFacts
    from lfray.space.trial import TrialConfig, TrialJob
    from lfray.spec.sweep import SweepSpec
    from lfray.storage import Storage
    from lfray.sweep.capacity import Machines
    from lfray.sweep.outlook import Outlook
    from lfray.sweep.run import Listener, Outcome

DEFAULT_STORAGE = "lfray-runs"


@dataclass(frozen=True)
class Plan:
    """A sweep, planned: every trial resolved, data and model prepared."""

    loaded: LoadedSweep
    storage: Storage
    data: DataFacts
    model: ModelFacts
    trials: tuple[TrialConfig, ...]
    recorded: frozenset[str]
    """Trials that have a record already."""
    outlook: Outlook
    """What it takes of the machines, and how long it may take."""
    truncated: int
    """Rows longer than max_tokens."""
    warnings: tuple[str, ...]
    created_at: str

    @property
    def concurrency(self) -> int:
        """Most trials at once."""
        return self.outlook.concurrency


def check(path: Path | str) -> tuple[LoadedSweep, list[str]]:
    """Read and check a sweep file without touching data, model or Ray; returns it with warnings.

    Raises:
        SpecError: The file is refused, with every reason and its line.
    """
    loaded = load_sweep(Path(path))
    return loaded, check_sweep(loaded)


def storage_of(loaded: LoadedSweep | None, option: str | None = None) -> Storage:
    """The storage: the option, else LFRAY_STORAGE, else the sweep file's, else ./lfray-runs in the working folder."""
    from lfray.storage import Storage

    given = option or os.environ.get("LFRAY_STORAGE")
    if given:
        return Storage.at(given, relative_to=Path.cwd())
    if loaded is not None and loaded.spec.storage is not None:
        return Storage.at(loaded.spec.storage, relative_to=loaded.folder)
    return Storage.at(DEFAULT_STORAGE, relative_to=Path.cwd())


def plan(path: Path | str, *, storage: str | None = None, address: str | None = None) -> Plan:
    """Check a sweep, prepare its data and base model, and resolve every trial.

    Args:
        path: The sweep file.
        storage: Folder of records, before the environment's and the file's.
        address: A running Ray cluster, whose machines are planned for; default RAY_ADDRESS, else this machine.

    Raises:
        LfrayError: The sweep, its data, model or machines are refused; nothing was started.
    """
    from lfray.space.plan import plan_trials
    from lfray.sweep.outlook import look_ahead, refuse_at_once
    from lfray.trial.prepare import prepare, tokenize

    loaded, warnings = check(path)
    spec = loaded.spec
    place = storage_of(loaded, storage)
    _refuse_other_question(loaded, place)
    place.ensure()
    machines = _machines(address or os.environ.get("RAY_ADDRESS"))
    refuse_at_once(kinds_in_use(spec), spec.resources, machines)  # the cheap refusal first: preparation can take minutes
    prepared = prepare(spec, folder=loaded.folder, storage=place)
    trials = plan_trials(spec, prepared.data.facts, prepared.model, precision=_auto_precision(spec))
    found = {trial.trial_id: place.read_record(trial.trial_id) for trial in trials}
    records = {trial_id: record for trial_id, record in found.items() if record is not None}
    ahead = look_ahead(trials, records, spec.resources, machines, model=prepared.model, data=prepared.data.facts)
    truncated = tokenize(
        prepared, trials[0].task, max_tokens=spec.data.max_tokens, trust_remote_code=spec.model.trust_remote_code
    )
    known = place.read_json(spec.name, "plan.json") or {}
    made = Plan(
        loaded=loaded,
        storage=place,
        data=prepared.data.facts,
        model=prepared.model,
        trials=trials,
        recorded=frozenset(records),
        outlook=ahead,
        truncated=truncated,
        warnings=tuple(warnings),
        created_at=known.get("created_at") or datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    _keep(made)
    return made


def _refuse_other_question(loaded: LoadedSweep, storage: Storage) -> None:
    """One name, one question: the axes may grow, everything else must be as it was."""
    old = storage.read_json(loaded.spec.name, "spec.json")
    if old is None:
        return
    differences = non_axis_differences(old, storable(loaded))
    if differences:
        listed = "\n  ".join(differences)
        raise LfrayError(
            f"{loaded.path}: name: a sweep named {loaded.spec.name} with other fields is already in {storage.root}:\n  {listed}\n"
            "Give this one another name, or put the fields back; axes may be extended"
        )


def _machines(address: str | None) -> Machines:
    """The cluster's nodes, or this machine."""
    from lfray.sweep.outlook import local_machines

    if address is None:
        return local_machines()
    from lfray.sweep.tuner import cluster_machines, start_ray, stop_ray

    start_ray(address)
    try:
        return cluster_machines()
    finally:
        stop_ray()


def _auto_precision(spec: SweepSpec) -> Literal["fp32", "bf16"]:
    """One precision for the whole sweep, so that methods are compared and not precisions: bf16 where every method has a GPU."""
    if any(spec.resources.of(kind).gpus <= 0 for kind in kinds_in_use(spec) if kind != "base"):
        return "fp32"
    import torch

    # No GPU here may mean that the driver stands on a CPU head: the workers' GPUs are asked when they start.
    return "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp32"


def _keep(made: Plan) -> None:
    """Write the plan where resuming, querying and people find it. Secrets of the environment are not in the text as written."""
    from lfray.known import remember

    spec = made.loaded.spec
    made.storage.write_plan(
        spec.name,
        {
            "schema_version": 1,
            "name": spec.name,
            "created_at": made.created_at,
            "objectives": list(spec.objectives),
            "data": made.data.model_dump(mode="json"),
            "model": made.model.model_dump(mode="json", exclude={"folder"}) | {"base": spec.model.base},
            "tracking": spec.tracking.model_dump(mode="json"),
            "trials": [{"trial_id": trial.trial_id, "config_id": trial.config_id, "label": trial.label} for trial in made.trials],
        },
        made.loaded.text,
        storable(made.loaded),
    )
    remember(spec.name, made.storage.root)


def jobs_of(made: Plan) -> list[TrialJob]:
    """The plan's trials as jobs for this storage and these machines."""
    from lfray.space.execution import execution_request
    from lfray.space.trial import Locations, TrialJob

    spec, written = made.loaded.spec, storable(made.loaded)
    where = Locations(
        storage=str(made.storage.root), data=str(made.storage.data_root / made.data.fingerprint), model=made.model.folder
    )
    context = {
        "sweep": spec.name,
        "base": written["model"]["base"],
        "data": written["data"]["source"],
        "base_folder": spec.model.base.removeprefix("hub:") if spec.model.base.startswith("hub:") else made.model.folder,
        "data_folder": where.data,
        "model_folder": made.model.folder,
    }
    return [
        TrialJob(
            config=trial,
            where=where,
            execution=execution_request(spec, trial),
            split_manifests=made.data.split_manifests,
            preparation=made.data.counts,
            context=context,
        )
        for trial in made.trials
    ]


@contextmanager
def sole_driver(storage: Storage, name: str) -> Iterator[None]:
    """Hold the sweep's lock: two drivers of one sweep would log it twice. The kernel frees it when its holder dies.

    Raises:
        StorageError: Another process runs this sweep.
    """
    import fcntl

    folder = storage.sweep_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "driver.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"{folder}: the sweep {name} is running already. Wait for it, or stop it") from None
        yield


def run_sweep(
    made: Plan, *, listeners: Sequence[Listener] = (), tracking: str | None = None, address: str | None = None
) -> tuple[Outcome, dict[str, Any]]:
    """Run what has no record, keep the tracker up to date, analyse at the end.

    Args:
        made: The plan.
        listeners: Who hears of the trials, e.g. the terminal's table.
        tracking: Tracking URI that goes before the environment's and the sweep's.
        address: A running Ray cluster; None starts Ray on this machine (or takes RAY_ADDRESS).

    Returns:
        How it went, and where report and tracker are: {"report": path, "tracking": uri or None, "unlogged": [...]}.
    """
    from lfray.analysis import analyse
    from lfray.sweep.capacity import refuse_impossible
    from lfray.sweep.run import run_jobs
    from lfray.sweep.tuner import Limits, cluster_machines, start_ray, stop_ray
    from lfray.tracked import SweepTracking

    spec, jobs = made.loaded.spec, jobs_of(made)
    with sole_driver(made.storage, spec.name):
        tracked = SweepTracking(made, jobs, tracking)
        todo = len(jobs) > len(made.recorded)
        machines, cluster = made.outlook.machines, address or os.environ.get("RAY_ADDRESS")
        if todo:
            start_ray(cluster)
        if todo and cluster is not None:
            # Its nodes as they are now: the plan may be older, or made for another machine.
            machines = cluster_machines()
            refuse_impossible([(trial.method.kind, made.outlook.needs[trial.trial_id]) for trial in made.trials], machines)
        asked = spec.resources
        limits = Limits(made.outlook.needs, machines, asked.max_concurrent, asked.max_failures, float(asked.placement_seconds))
        try:
            outcome = run_jobs(jobs, made.storage, [*listeners, tracked], limits=limits)
        finally:
            if todo:
                stop_ray()
        analysis = analyse(made.storage, spec.name) if outcome.recorded else None
        where = tracked.finish(outcome, analysis)
        if analysis is None:
            return outcome, {"report": None, "front": None, **where}
        keep_adapters(made, analysis.front_ids)
    return outcome, {"report": str(analysis.page), "front": analysis.front, **where}


def keep_adapters(made: Plan, front_ids: frozenset[str]) -> None:
    """Remove trained adapters that the sweep does not want kept. Predictions and records stay."""
    import shutil

    if made.loaded.spec.keep_adapters != "front":
        return
    for trial in made.trials:
        if trial.trial_id not in front_ids:
            shutil.rmtree(made.storage.trial_folder(trial.trial_id) / "adapter", ignore_errors=True)


__all__ = ["LoadedSweep", "Plan", "SpecError", "check", "jobs_of", "plan", "run_sweep", "storage_of"]
