"""Plans, fronts, trials and outcomes, printed for people."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lfray.keep import estimate_disk, readable
from lfray.terminal import duration, front_table, number

if TYPE_CHECKING:
    from lfray.app import Plan
    from lfray.pareto.front import Front
    from lfray.record import TrialRecord
    from lfray.storage import Storage
    from lfray.sweep.outlook import Outlook
    from lfray.sweep.run import Outcome


def _console() -> Console:
    """Wide enough for a table where there is no terminal to ask."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def plan_json(made: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    disk = estimate_disk(made)
    return {
        "name": made.loaded.spec.name,
        "storage": str(made.storage.root),
        "trials": [
            {"trial_id": t.trial_id, "config_id": t.config_id, "label": t.label, "recorded": t.trial_id in made.recorded}
            for t in made.trials
        ],
        "data": made.data.model_dump(mode="json"),
        "model": made.model.model_dump(mode="json"),
        "truncated_rows": made.truncated,
        "max_concurrent": made.concurrency,
        "memory_gib_per_worker": round(made.outlook.memory_gib, 2),
        "schedule": _schedule_json(made.outlook),
        "disk_bytes": {**vars(disk), "total": disk.total},
        "warnings": list(made.warnings),
    }


def _schedule_json(outlook: Outlook) -> dict[str, Any]:
    schedule = outlook.schedule
    return {
        "at_once_by_shape": dict(schedule.at_once_by_shape),
        "makespan_seconds": round(schedule.makespan, 1),
        "lower_bound_seconds": round(outlook.lower_bound, 1),
        "durations": dict(outlook.sources),
        "trials": [
            {
                "trial_id": item.trial_id,
                "shape": outlook.needs[item.trial_id].shape,
                "start": round(item.start, 1),
                "end": round(item.end, 1),
            }
            for item in schedule.intervals
        ],
    }


def _schedule_lines(outlook: Outlook) -> list[str]:
    """What runs at once, and how long it may take; assumed durations order trials and are no promise."""
    schedule = outlook.schedule
    shapes = ", ".join(f"{count} of {shape}" for shape, count in schedule.at_once_by_shape.items())
    sources = ", ".join(f"{count} by {source}" for source, count in outlook.sources.items())
    over = schedule.makespan / outlook.lower_bound if outlook.lower_bound > 0 else 1.0
    lines = [
        f"at once  {schedule.at_once} trials (at most {shapes}), about {outlook.memory_gib:.1f} GiB a worker",
        f"time     about {duration(schedule.makespan)}, {over:.2f} times the lower bound on {outlook.machines.where} "
        f"(durations: {sources})",
    ]
    if "assumed" in outlook.sources:
        lines.append(
            "         assumed durations tell which trial is longer, not how long it takes; records of this storage replace them"
        )
    return lines


def print_plan(made: Plan) -> None:
    """What would run, on which rows, and what it takes."""
    console, facts, disk = _console(), made.data, estimate_disk(made)
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    console.print(f"[bold]{made.loaded.spec.name}[/bold]: {len(made.trials)} trials, {len(made.recorded)} recorded already")
    table = Table(box=None, pad_edge=False)
    for column in ("method", "trials"):
        table.add_column(column)
    for label, count in Counter(trial.method_label for trial in made.trials).items():
        table.add_row(label, str(count))
    console.print(table)
    console.print("rows     " + ", ".join(f"{name} {count:,}" for name, count in facts.split_rows.items()))
    for attribute in facts.attributes:
        train = ", ".join(f"{group} {attribute.train_rows[group]:,}" for group in attribute.groups)
        console.print(f"groups   {attribute.attribute} (training rows): {train}")
    console.print(f"minority {facts.minority_attribute} = {facts.minority_group}")
    if made.truncated:
        console.print(f"tokens   {made.truncated:,} rows are longer than max_tokens and are truncated")
    notable = {key: value for key, value in facts.counts.items() if value}
    console.print("counts   " + ", ".join(f"{key} {value:,}" for key, value in notable.items()))
    if facts.bayes_accuracy:
        console.print(
            "Bayes    "
            + ", ".join(f"{group} {value:.3f}" for group, value in facts.bayes_accuracy.items())
            + " (accuracy no classifier can beat)"
        )
    console.print(f"base     {made.loaded.spec.model.base}: {made.model.parameters:,} parameters")
    for line in _schedule_lines(made.outlook):
        console.print(line)
    console.print(
        f"disk     about {readable(disk.total)}: adapters {readable(disk.adapters)}, predictions {readable(disk.predictions)}, "
        f"records {readable(disk.records)}, checkpoints while running {readable(disk.checkpoints)}"
    )
    console.print(f"storage  {made.storage.root}")


def print_plan_line(made: Plan) -> None:
    """One line before a run, on stderr."""
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    left = len(made.trials) - len(made.recorded)
    print(
        f"{made.loaded.spec.name}: {len(made.trials)} trials, {len(made.recorded)} recorded already, {left} to run, "
        f"{made.concurrency} at once; storage {made.storage.root}",
        file=sys.stderr,
    )


def print_front(front: Front) -> None:
    """The front and what stands beside it."""
    console = _console()
    console.print(front_table(front))
    if front.hypervolume is not None:
        reference = ", ".join(f"{key} {number(value)}" for key, value in front.reference_point.items())
        scales = ", ".join(f"{key} {scale}" for key, scale in front.scale.items())
        console.print(f"hypervolume {front.hypervolume:.6g} (reference point: {reference}; scale: {scales})")
    knee = front.knee() if front.hypervolume is not None else None
    if knee is not None:
        console.print(f"knee        {knee['label']} ({knee['trial_id']})")
    for item in front.undefined:
        console.print(f"apart       {item.label}: {item.objective}: {item.meaning}")


def print_outcome(made: Plan, outcome: Outcome, where: dict[str, Any]) -> None:
    """How a run went, the front, and where to look next."""
    front: Front | None = where["front"]
    if front is not None and len(front.trials):
        print_front(front)
    if made.data.bayes_accuracy:
        known = ", ".join(f"{group} {value:.3f}" for group, value in made.data.bayes_accuracy.items())
        print(f"Bayes-optimal accuracy (known generator): {known}")
    print(
        f"{len(outcome.ran)} ran, {len(outcome.skipped)} skipped (recorded already), {len(outcome.failed)} failed, "
        f"{len(outcome.missing)} not run; {duration(outcome.seconds)}"
    )
    for trial_id in outcome.failed:
        record = made.storage.read_record(trial_id)
        if record is not None and record.failure is not None:
            print(f"failed   {record.config.label} ({trial_id}) at {record.failure.stage}: {record.failure.message}")
    if outcome.failed:
        print(f"         lfray show ID tells more; lfray rerun --failed {made.loaded.path} tries again")
    if outcome.interrupted:
        print(f"interrupted: lfray run {made.loaded.path} goes on; what was recorded is not run again")
    for trouble in where["tracking_trouble"]:
        print(f"tracking {trouble}", file=sys.stderr)
    if where["unlogged"]:
        print(f"tracking {len(where['unlogged'])} trials are not logged yet; the next lfray run logs them", file=sys.stderr)
    if where["report"]:
        print(f"report   {where['report']}")
    if where["tracking"]:
        print(f"tracking {where['tracking']}")
        if where["page"]:
            print(f"         `mlflow ui` in its folder, then http://127.0.0.1:5000{where['page']}")


def sweep_rows(storage: Storage) -> list[dict[str, Any]]:
    """One row a sweep: name, when it was made, trials, recorded, failed."""
    rows = []
    for name in storage.sweeps():
        planned = storage.read_json(name, "plan.json") or {}
        trials = trial_rows(storage, name)
        states = Counter(row["state"] for row in trials)
        rows.append(
            {
                "name": name,
                "created_at": planned.get("created_at", ""),
                "trials": len(trials),
                "completed": states["COMPLETED"],
                "failed": states["FAILED"],
            }
        )
    return rows


def print_sweeps(storage: Storage, rows: list[dict[str, Any]]) -> None:
    """The sweeps of a storage."""
    if not rows:
        print(f"no sweep in {storage.root}")
        return
    _console().print(_table(rows))


def trial_rows(storage: Storage, name: str) -> list[dict[str, Any]]:
    """One row a planned trial: id, label, state, the sweep's objectives."""
    planned = storage.read_json(name, "plan.json") or {"trials": [], "objectives": []}
    rows = []
    for trial in planned["trials"]:
        record = storage.read_record(trial["trial_id"])
        metrics = {} if record is None else record.metrics()
        row = {"trial_id": trial["trial_id"], "label": trial["label"], "state": "-" if record is None else record.state}
        values = {key: metrics.get(key) for key in planned["objectives"]}
        rows.append(row | {key: None if value is None or value != value else value for key, value in values.items()})
    return rows


def print_trials(name: str, rows: list[dict[str, Any]]) -> None:
    """The trials of a sweep."""
    _console().print(_table(rows, title=name))


def _table(rows: list[dict[str, Any]], title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        table.add_row(*(number(value) if not isinstance(value, str) else value for value in row.values()))
    return table


def print_record(record: TrialRecord) -> None:
    """One trial, whole."""
    console = _console()
    console.print(
        f"[bold]{record.config.label}[/bold]  {record.trial_id}  {record.state}  {record.started_at}  {duration(record.seconds)}"
    )
    if record.failure is not None:
        console.print(f"failed at {record.failure.stage}: {record.failure.kind}: {record.failure.message}", markup=False)
        console.print(record.failure.traceback, markup=False)
    rows = [
        {
            "metric": measure.key,
            "value": measure.value,
            "n": measure.n,
            "95 %": "" if measure.interval is None else f"{measure.interval[0]:.3f} to {measure.interval[1]:.3f}",
            "undefined because": measure.undefined_reason or "",
        }
        for measure in record.measures
    ]
    if rows:
        console.print(_table(rows))
    if record.execution is not None:
        console.print(
            f"ran on {record.execution.hardware_key}, {record.execution.threads} threads, {record.execution.precision}",
            markup=False,
        )
