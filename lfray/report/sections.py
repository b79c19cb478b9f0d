"""The report's sections about the front: the answer, its trials, what is undefined, settings, limits.

Each function takes the front or the records and returns blocks. Words are chosen with care: disparity is measured, trade-offs
are located, and no trial is called fair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lfray.names import REASONS
from lfray.pareto.candidates import SETTING_PREFIXES
from lfray.report.blocks import ABSENT, Block, Facts, Heading, Points, Source, Text, grid
from lfray.report.wording import LIMIT_OF_MACHINES, LIMITS, display_name, format_value, listed, plural, with_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.pareto.front import Front
    from lfray.pareto.objective import Objective
    from lfray.record import Derived, Measure, TrialRecord
    from lfray.report.context import ReportContext


def numbers(front: Front) -> list[Block]:
    """The counts to see first."""
    table = front.table
    failed = int((table["state"] == "FAILED").sum())
    apart = len({item.trial_id for item in front.undefined}) - failed
    items = [
        ("trials", f"{len(table):,}"),
        ("on the front" if len(front.objectives) > 1 else "in first place", f"{len(front.trials):,}"),
        ("failed", f"{failed:,}"),
        ("undefined", f"{apart:,}"),
    ]
    if front.hypervolume is not None:
        items.append(("hypervolume", f"{front.hypervolume:.4g}"))
    return [Facts(tuple(items))]


def answer(front: Front) -> list[Block]:
    """One plain sentence of what the front answers, and where it bends."""
    names = [display_name(objective.key) for objective in front.objectives]
    total, found = plural(len(front.table), "trial"), len(front.trials)
    if not found:
        return [Text(f"None of the {total} can be compared on {' and '.join(names)} yet.", lead=True)]
    if len(names) == 1:
        best, objective = front.trials.iloc[0], front.objectives[0]
        return [Text(f"Of {total}, {best['label']} is first by {names[0]} ({_value(objective, best)}).", lead=True)]
    within = " run on the same kind of machine" if front.separates_hardware else ""
    sentence = (
        f"Of {total}, {found} {'is' if found == 1 else 'are'} on the front: no other trial{within} is at least as good on "
        f"{', '.join(names[:-1])} and {names[-1]}, and better on one of them."
    )
    return [Text(sentence, lead=True), *_knee(front)]


def _knee(front: Front) -> list[Block]:
    if len(front.hypervolume_by_hardware) > 1:
        return []
    bend = front.knee()
    if bend is None:
        return [Text("The front has no knee: it has fewer than three distinct trials, or does not bend inwards.")]
    values = ", ".join(f"{display_name(objective.key)} {_value(objective, bend)}" for objective in front.objectives)
    return [Text(f"The front bends most at {bend['label']} ({values}): beyond this knee, little is won for much.")]


def _value(objective: Objective, row: pd.Series[Any]) -> str:
    return format_value(objective.metric, float(row[objective.key]))


def front_table(front: Front) -> list[Block]:
    """The trials on the front, cheapest first (one objective: all, best first), with every setting that tells them apart."""
    single = len(front.objectives) == 1
    rows = front.table[front.table["pareto_rank"].notna()] if single else cheapest_first(front)
    bend = None if single or len(front.hypervolume_by_hardware) != 1 else front.knee()
    varied = _varied(front.table)
    settings_shown = ["rank", "downsampling_ratio", "seed", *varied.values()]
    columns = ["method", "rank", "ratio", "seed", *varied, *(with_unit(objective) for objective in front.objectives)]
    texts = [1 + place for place, column in enumerate(settings_shown) if not pd.api.types.is_numeric_dtype(front.table[column])]
    lines = []
    for _, row in rows.iterrows():
        cells = [str(row["method_label"]), *(_cell(row[name]) for name in settings_shown)]
        cells += [_value(objective, row) for objective in front.objectives]
        cells += [str(row["hardware_key"])] if front.separates_hardware else []
        lines.append((f"{row['pareto_rank'] + 1}.", *cells) if single else tuple(cells))
    shift = 1 if single else 0
    return grid(
        "Trials by place." if single else "Trials on the front." if bend is None else "Trials on the front; the knee is marked.",
        ["place"] * shift + columns + ["machine"] * front.separates_hardware,
        lines,
        numeric={index + shift for index in range(1, len(columns)) if index not in texts},
        marked=() if bend is None else np.flatnonzero(rows["trial_id"] == bend["trial_id"]).tolist(),
    )


def cheapest_first(front: Front) -> pd.DataFrame:
    """The front's trials along the front: by the last objective, lowest value first."""
    return front.trials.sort_values([front.objectives[-1].key, "label", "trial_id"]).reset_index(drop=True)


def _varied(table: pd.DataFrame) -> dict[str, str]:
    """Settings that differ among trials of one method label: shown name -> column."""
    columns = [str(column) for column in table.columns if str(column).startswith(SETTING_PREFIXES)]
    labels = table.groupby("method_label")
    return {c.partition(".")[2].replace("_", " "): c for c in columns if (labels[c].nunique(dropna=False) > 1).any()}


def _cell(value: Any) -> str:
    return ABSENT if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def undefined(front: Front, records: Sequence[TrialRecord], derived: Sequence[Derived]) -> list[Block]:
    """Who stands apart from the front and why; which trials failed; what else has no value."""
    blocks: list[Block] = []
    apart = [(u.label, display_name(u.objective), u.meaning) for u in front.undefined if u.reason != "trial_failed"]
    if apart:
        blocks += grid("Trials that cannot be compared on an objective.", ("trial", "objective", "why"), apart)
    failed = [
        (record.config.label, record.failure.stage, _first_line(f"{record.failure.kind}: {record.failure.message}"))
        for record in records
        if record.failure is not None
    ]
    if failed:
        blocks += grid("Failed trials.", ("trial", "stage", "error"), failed)
    measures = [(record.trial_id, measure) for record in records for measure in record.measures]
    blocks += _undefined_values([*measures, *((item.trial_id, item.measure) for item in derived)])
    return [Heading("Undefined and failed"), *(blocks or [Text("Every trial completed and every value is defined.")])]


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 300 else line[:297] + "..."


def _undefined_values(measures: Sequence[tuple[str, Measure]]) -> list[Block]:
    """Undefined values, counted by measure, attribute and reason."""
    counted: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
    for trial_id, measure in measures:
        if measure.undefined_reason is not None:
            what = (measure.measure, measure.attribute or "", measure.undefined_reason)
            trials, groups = counted.setdefault(what, (set(), set()))
            trials.add(trial_id)
            groups.update([] if measure.group is None else [measure.group])
    rows = [
        (display_name(key), attribute or ABSENT, listed(sorted(groups)) or ABSENT, REASONS[reason], str(len(trials)))
        for (key, attribute, reason), (trials, groups) in sorted(counted.items())
    ]
    columns = ("measure", "attribute", "groups", "why", "trials")
    return grid("Values that are undefined; they are never counted as 0.", columns, rows, numeric={4}) if rows else []


def settings(front: Front, records: Sequence[TrialRecord], context: ReportContext) -> list[Block]:
    """What the numbers depend on: objectives, scale, reference point, machines, versions, the sweep file."""
    rows = [
        (display_name(o.key), o.key, o.metric.better.value, o.scale, _reference(front, o), o.metric.meaning)
        for o in front.objectives
    ]
    said = ["Dominance is exact and on raw values. The level is the trial: each seed is a point of its own."]
    if front.filter is not None:
        said.append(f"Only trials with: {front.filter}")
    for key, volume in front.hypervolume_by_hardware.items():
        on = f" on {key}" if key else ""
        said.append(f"Hypervolume{on} {volume:.6g}: in the product of the scales above, up to the reference point.")
    columns = ("objective", "key", "better", "scale", "reference point", "meaning")
    return [
        Heading("Settings"),
        *grid("Objectives.", columns, rows, numeric={4}),
        Points(tuple(said)),
        Heading("Environment"),
        *_environment(records),
        Source("Sweep file", context.spec_yaml),
    ]


def _reference(front: Front, objective: Objective) -> str:
    if objective.key not in front.reference_point:
        return ABSENT
    return format_value(objective.metric, front.reference_point[objective.key])


def _environment(records: Sequence[TrialRecord]) -> list[Block]:
    runs = [record.execution for record in records if record.execution is not None]
    if not runs:
        return [Text("No trial has run yet.")]
    facts: dict[str, set[str]] = {
        "machine (hardware key)": {run.hardware_key for run in runs},
        "device": {run.device for run in runs},
        "threads": {str(run.threads) for run in runs},
        "workers a trial": {str(run.world_size) for run in runs},
        "precision": {run.precision for run in runs},
    }
    for run in runs:
        for package, version in sorted(run.versions.items()):
            facts.setdefault(package, set()).add(version)
    return grid("What the trials ran on.", ("what", "value"), [(name, listed(sorted(found))) for name, found in facts.items()])


def limits(front: Front) -> list[Block]:
    """What these numbers do and do not say about people."""
    points = (*LIMITS, LIMIT_OF_MACHINES) if front.separates_hardware else LIMITS
    return [Heading("What these numbers do and do not say about people"), Points(points)]
