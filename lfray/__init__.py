"""lfray: how cheap can the adaptation be before some group of people pays for it?

    sweeps/x.yaml --load--> SweepSpec --plan--> [TrialConfig] --Ray Tune--> trial worker:
       data -> groups -> split -> downsample -> model -> adapt -> train -> predict -> measure
                                                                                  |
     report <-- query <-- Front <-- records (MLflow, storage) <-- TrialRecord <---+

    import lfray
    plan = lfray.plan("sweeps/quickstart.yaml")     # read, check, prepare, resolve: nothing has started
    lfray.run(plan)                                 # what has no record yet; killed and run again, it goes on
    front = lfray.front("quickstart", objectives=["fair.worst_group_accuracy", "cost.trainable_parameters"])
    front.table; front.hypervolume; front.knee(); front.where("cost.trainable_parameters < 1e6")
    model, tokenizer = lfray.load(front.trials.trial_id[0])

Heavy packages are imported when a function needs them: `import lfray` takes milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import (
    CapacityError,
    DataError,
    LfrayError,
    ModelError,
    SpecError,
    StorageError,
    TrackingError,
    TrialError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.analysis import Analysis
    from lfray.app import Plan
    from lfray.pareto.front import Front
    from lfray.record import Predictions, TrialRecord
    from lfray.spec.load import LoadedSweep
    from lfray.storage import Storage
    from lfray.sweep.run import Outcome

__all__ = [
    "CapacityError", "DataError", "LfrayError", "ModelError", "SpecError", "StorageError", "TrackingError", "TrialError",
    "check", "front", "load", "plan", "records", "rescore", "run", "write_report",
]  # fmt: skip


def check(path: Path | str) -> tuple[LoadedSweep, list[str]]:
    """Read and check a sweep file, without data, model or Ray.

    Returns:
        The sweep, and warnings.

    Raises:
        SpecError: The file is refused; `problems` holds every reason with its line.
    """
    from lfray.app import check as checked

    return checked(path)


def plan(path: Path | str, *, storage: str | None = None, address: str | None = None) -> Plan:
    """Check a sweep, prepare its data and base model, and resolve every trial. Nothing is trained.

    Args:
        path: The sweep file.
        storage: Folder of records; goes before LFRAY_STORAGE and the sweep file.
        address: A running Ray cluster, whose machines are planned for; default RAY_ADDRESS, else this machine.

    Raises:
        LfrayError: Sweep, data, model or machines are refused.
    """
    from lfray.app import plan as planned

    return planned(path, storage=storage, address=address)


def run(
    sweep: Plan | Path | str, *, storage: str | None = None, tracking: str | None = None, address: str | None = None
) -> Outcome:
    """Run the trials of a sweep that have no record yet, log them, draw the front and the report.

    Args:
        sweep: A plan, or a sweep file.
        storage: As for `plan`.
        tracking: MLflow tracking URI; goes before MLFLOW_TRACKING_URI and the sweep file. `none`: no tracking.
        address: As for `plan`.

    Returns:
        What ran, was skipped, failed, or is missing. A failed trial does not raise: it is a record.
    """
    from lfray.app import Plan, run_sweep
    from lfray.app import plan as planned

    made = sweep if isinstance(sweep, Plan) else planned(sweep, storage=storage, address=address)
    return run_sweep(made, tracking=tracking, address=address)[0]


def front(
    name: str | Path, objectives: Sequence[str] | None = None, *, where: str | None = None, storage: str | None = None
) -> Front:
    """The front of a sweep: the trials that no other trial beats on every objective.

    Args:
        name: Name of the sweep, or its file.
        objectives: One to five metrics; by default the sweep's.
        where: Which trials take part, e.g. `"rank <= 8 and downsampling_ratio == 1"`.
        storage: As for `plan`.
    """
    from lfray.analysis import sweep_front

    place, sweep = _locate(name, storage)
    return sweep_front(place, sweep, objectives, where=where)


def records(name: str | Path, *, storage: str | None = None) -> list[TrialRecord]:
    """The sweep's records in the order of its plan, FAILED ones included."""
    from lfray.analysis import sweep_records

    place, sweep = _locate(name, storage)
    return sweep_records(place, sweep)


def write_report(name: str | Path, *, folder: Path | str | None = None, storage: str | None = None) -> Analysis:
    """Write figures (PNG, SVG) and the page (HTML, Markdown) of a sweep; by default under its `analysis/`."""
    from lfray.analysis import analyse

    place, sweep = _locate(name, storage)
    return analyse(place, sweep, folder=None if folder is None else Path(folder))


def load(trial_id: str, *, storage: str | None = None) -> tuple[Any, Any]:
    """The trained model of a trial, in evaluation mode on the CPU, and its tokenizer.

    Raises:
        LfrayError: No such trial, it failed, or its weights were not kept.
    """
    from lfray.trial.load import load_trial

    return load_trial(_storage_of_trial(trial_id, storage), trial_id)


def rescore(trial_id: str, *, storage: str | None = None) -> Predictions:
    """Score a trial's held-out rows again with its saved weights: equal to the stored predictions to the bit on the same machine.

    Raises:
        LfrayError: No such trial, or its weights or the prepared rows are gone.
    """
    from lfray.trial.load import rescore_trial

    return rescore_trial(_storage_of_trial(trial_id, storage), trial_id)


def _locate(name: str | Path, storage: str | None) -> tuple[Storage, str]:
    """Storage and name of a sweep that is given by name or by file."""
    from lfray.analysis import find_sweep
    from lfray.app import storage_of
    from lfray.spec.load import load_sweep

    path = Path(name)
    loaded = load_sweep(path) if path.suffix in (".yaml", ".yml") and path.is_file() else None
    sweep = loaded.spec.name if loaded is not None else str(name)
    return find_sweep(sweep, storage_of(loaded, storage)), sweep


def _storage_of_trial(trial_id: str, storage: str | None) -> Storage:
    """Storage that has the trial: the given one, else any where this user ran a sweep."""
    from lfray.app import storage_of
    from lfray.known import all_places
    from lfray.storage import Storage

    place = storage_of(None, storage)
    for candidate in [place, *(Storage(root) for root in all_places())]:
        if (candidate.trial_folder(trial_id) / "record.json").is_file():
            return candidate
    raise StorageError(
        f"trial: no record of {trial_id} in {place.root}. `lfray list` names the trials; --storage names the folder"
    )
