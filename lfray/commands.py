"""What each command does: calls the library and prints, for people or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lfray.errors import LfrayError, SpecError, did_you_mean

if TYPE_CHECKING:
    import argparse

    from lfray.app import Plan
    from lfray.pareto.front import Front
    from lfray.record import TrialRecord
    from lfray.sweep.run import Outcome

PRESETS = Path(__file__).parent / "presets"


def emit(value: object) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False, default=str))


def refuse(error: LfrayError, *, as_json: bool) -> None:
    """Print why nothing was started."""
    if as_json:
        problems = [vars(problem) for problem in error.problems] if isinstance(error, SpecError) else []
        emit({"refused": str(error), "kind": type(error).__name__, "problems": problems})
    else:
        print(error, file=sys.stderr)


def init_command(options: argparse.Namespace) -> int:
    """Write a preset from the installed package."""
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if options.list_presets:
        emit(names) if options.json else print("\n".join(names))
        return 0
    if options.preset not in names:
        raise LfrayError(f"init: no such preset (got {options.preset}). {did_you_mean(options.preset, names)}")
    target = Path(options.to or f"{options.preset}.yaml")
    if target.exists():
        raise LfrayError(f"init: {target} exists. Name another file with --to")
    target.write_text((PRESETS / f"{options.preset}.yaml").read_text())
    schema = target.with_name("sweep.schema.json")
    if not schema.exists():
        # The preset names it in its first line, so that editors complete and check what is typed.
        from lfray.spec.schema import json_schema

        schema.write_text(json.dumps(json_schema(), indent=1) + "\n")
    emit({"written": str(target)}) if options.json else print(f"{target} written; next: lfray run {target}")
    return 0


def check_command(options: argparse.Namespace) -> int:
    """Read a sweep file strictly."""
    from lfray.app import check
    from lfray.tiny import check_tiny

    loaded, warnings = (check_tiny if options.tiny else check)(options.sweep)
    if options.json:
        emit({"name": loaded.spec.name, "warnings": warnings})
        return 0
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{options.sweep}: {loaded.spec.name} is well formed")
    return 0


def plan_command(options: argparse.Namespace) -> int:
    """Prepare and resolve; print what would run."""
    from lfray.app import plan
    from lfray.shown import plan_json, print_plan

    made = plan(_sweep_of(options), storage=options.storage, address=options.address)
    emit(plan_json(made)) if options.json else print_plan(made)
    return 0


def run_command(options: argparse.Namespace) -> int:
    """Run what has no record."""
    from lfray.app import plan

    return _run(plan(_sweep_of(options), storage=options.storage, address=options.address), options)


def _sweep_of(options: argparse.Namespace) -> Path | str:
    """The sweep file that was given, or with --tiny the small one made from it; what became smaller is said on stderr."""
    if not options.tiny:
        return str(options.sweep)
    from lfray.tiny import make_tiny

    small = make_tiny(options.sweep, storage=options.storage)
    for note in (f"the sweep is {small.path}", *small.notes):
        print(f"--tiny: {note}", file=sys.stderr)
    return small.path


def rerun_command(options: argparse.Namespace) -> int:
    """Set records aside, then run."""
    from lfray.app import plan

    made = plan(options.sweep, storage=options.storage, address=options.address)
    again = []
    for trial in made.trials:
        record = made.storage.read_record(trial.trial_id)
        if record is None:
            continue
        wanted = any(trial.trial_id.startswith(given) for given in options.trial)
        if wanted or (options.failed and record.state == "FAILED"):
            made.storage.set_aside(trial.trial_id)
            again.append(trial.label)
    if not again:
        raise LfrayError("rerun: nothing to run again. Give --failed (and have failed trials) or --trial ID")
    print(f"again: {', '.join(again)}", file=sys.stderr)
    return _run(plan(options.sweep, storage=options.storage, address=options.address), options)


def _run(made: Plan, options: argparse.Namespace) -> int:
    from lfray.app import run_sweep
    from lfray.shown import print_outcome, print_plan_line
    from lfray.terminal import Progress

    print_plan_line(made)
    with Progress(total=len(made.trials), skipped=len(made.recorded), objectives=made.loaded.spec.objectives) as progress:
        outcome, where = run_sweep(made, listeners=[progress], tracking=options.tracking, address=options.address)
    if options.json:
        emit(_outcome_json(outcome, where))
    else:
        print_outcome(made, outcome, where)
    if outcome.interrupted:
        return 3
    return 1 if outcome.failed else 0


def _outcome_json(outcome: Outcome, where: dict[str, Any]) -> dict[str, Any]:
    front: Front | None = where["front"]
    return {
        "ran": outcome.ran,
        "skipped": outcome.skipped,
        "failed": outcome.failed,
        "missing": outcome.missing,
        "seconds": outcome.seconds,
        **{key: value for key, value in where.items() if key != "front"},
        "front": None if front is None else front.to_json(),
    }


def front_command(options: argparse.Namespace) -> int:
    """Query the front."""
    from lfray import _locate
    from lfray.analysis import sweep_front
    from lfray.names import Better
    from lfray.pareto.objective import objective
    from lfray.shown import print_front

    place, name = _locate(options.name, options.storage)
    ways = {"maximize": Better.HIGHER, "minimize": Better.LOWER}
    asked = [objective(metric, ways[way]) for way, metric in options.objectives or []]
    front = sweep_front(place, name, asked or None, where=options.where)
    emit(front.to_json()) if options.json else print_front(front)
    return 0


def report_command(options: argparse.Namespace) -> int:
    """Write figures and page."""
    import lfray

    analysis = lfray.write_report(options.name, folder=options.to, storage=options.storage)
    files = [str(path) for path in analysis.files]
    emit({"files": files, "page": str(analysis.page)}) if options.json else print("\n".join(files))
    return 0


def list_command(options: argparse.Namespace) -> int:
    """Sweeps of a storage, or trials of a sweep."""
    from lfray import _locate
    from lfray.app import storage_of
    from lfray.shown import print_sweeps, print_trials, sweep_rows, trial_rows

    if options.name is None:
        place = storage_of(None, options.storage)
        rows = sweep_rows(place)
        emit(rows) if options.json else print_sweeps(place, rows)
        return 0
    place, name = _locate(options.name, options.storage)
    rows = trial_rows(place, name)
    emit(rows) if options.json else print_trials(name, rows)
    return 0


def show_command(options: argparse.Namespace) -> int:
    """One trial."""
    from lfray.record_json import record_to_json
    from lfray.shown import print_record

    record = _one_record(options)
    emit(record_to_json(record)) if options.json else print_record(record)
    return 0


def _one_record(options: argparse.Namespace) -> TrialRecord:
    from lfray import _storage_of_trial
    from lfray.app import storage_of

    place = storage_of(None, options.storage)
    near = sorted(path.parent.name for path in (place.root / "trials").glob(f"{options.trial}*/record.json"))
    if len(near) > 1:
        raise LfrayError(f"show: {options.trial} begins {len(near)} trials: {', '.join(near[:6])}. Give more of the id")
    trial_id = near[0] if near else options.trial
    record = _storage_of_trial(trial_id, options.storage).read_record(trial_id)
    assert record is not None, "found by its record.json"
    return record


def gc_command(options: argparse.Namespace) -> int:
    """Free space."""
    from lfray import _locate
    from lfray.analysis import sweep_front
    from lfray.keep import KINDS, readable, removable, remove

    place, name = _locate(options.name, options.storage)
    kinds = [kind for kind in KINDS if getattr(options, kind)]
    if not kinds:
        raise LfrayError(f"gc: say what may go: {', '.join(f'--{kind}' for kind in KINDS)}")
    planned = place.read_json(name, "plan.json") or {"trials": []}
    keep = frozenset(sweep_front(place, name).trials["trial_id"]) if options.keep == "front" else frozenset()
    found = removable(place, [trial["trial_id"] for trial in planned["trials"]], kinds, keep=keep)
    if options.yes:
        remove(found)
    total = sum(removal.size for removal in found)
    if options.json:
        emit({"removed": options.yes, "bytes": total, "paths": [str(removal.path) for removal in found]})
        return 0
    for removal in found:
        print(f"{readable(removal.size):>10}  {removal.path}")
    print(f"{readable(total)} {'freed' if options.yes else 'would be freed; add --yes to remove'}")
    return 0


def schema_command(options: argparse.Namespace) -> int:
    """JSON schema of the sweep file."""
    from lfray.spec.schema import json_schema

    emit(json_schema())
    return 0


def metrics_command(options: argparse.Namespace) -> int:
    """Every metric."""
    from lfray.names import METRICS

    if options.json:
        emit([{**vars(metric), "better": metric.better.value, "scope": metric.scope.value} for metric in METRICS.values()])
        return 0
    for metric in METRICS.values():
        print(f"{metric.key:<48} {metric.unit:>6}  {metric.better.value:<8} {metric.meaning}")
    return 0
