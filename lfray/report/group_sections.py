"""The report's sections about groups: accuracy by group, gaps beside their noise floor, the harmful bias gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lfray.names import ACCURACY, HARMFUL_BIAS_GAP, METRICS, Scope
from lfray.report.blocks import ABSENT, Block, Heading, Text, grid
from lfray.report.groups import group_accuracy, groups_by_support, variants
from lfray.report.sections import cheapest_first
from lfray.report.wording import display_name, format_value, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lfray.names import Metric
    from lfray.pareto.front import Front
    from lfray.record import Derived, Measure, TrialRecord
    from lfray.report.context import ReportContext


def group_table(records: Sequence[TrialRecord], context: ReportContext) -> list[Block]:
    """Accuracy of each group by method and ratio: mean over seeds, and the range of the seeds where there are several."""
    table = group_accuracy(records, context.attribute)
    support = table.groupby("group")["n"].max()
    groups = sorted(groups_by_support(table), key=lambda group: group != context.minority_group)
    columns = ["method", "ratio", "seeds", *(f"{group} ({_rows_of(support[group])})" for group in groups)]
    rows: list[tuple[str, ...]] = []
    bayes = context.bayes_accuracy
    if any(group in bayes for group in groups):
        rows.append(("Bayes-optimal", ABSENT, ABSENT, *(f"{bayes[g]:.3f}" if g in bayes else ABSENT for g in groups)))
    for (variant, ratio), part in table.groupby(["variant", table["ratio"].fillna(-1.0)], sort=False):
        cells = [_mean_and_range(part.loc[part["group"] == group, ACCURACY.key], ".3f") for group in groups]
        rows.append((str(variant), _ratio(ratio), str(part.groupby("group").size().max()), *cells))
    caption = f"Accuracy by {context.attribute}: mean over seeds (lowest to highest seed)."
    return grid(caption, columns, rows, numeric=range(1, len(columns)))


def _ratio(value: Any) -> str:
    return ABSENT if value < 0 else f"{value:g}"


def _rows_of(count: Any) -> str:
    return "rows unknown" if pd.isna(count) or not count else plural(int(count), "test row")


def _mean_and_range(values: pd.Series[float], digits: str) -> str:
    known = values.dropna()
    if not len(known):
        return "undefined"
    spread = f" ({format(known.min(), digits)} to {format(known.max(), digits)})" if len(known) > 1 else ""
    return format(known.mean(), digits) + spread


def gaps(front: Front, records: Sequence[TrialRecord]) -> list[Block]:
    """Each summary over groups of the front's trials next to its noise floor: what it would read if no group differed."""
    by_id = {record.trial_id: record.by_key() for record in records}
    shown = cheapest_first(front)
    measured = [(str(label), by_id.get(trial, {})) for trial, label in zip(shown["trial_id"], shown["label"], strict=True)]
    metrics = [metric for metric in METRICS.values() if metric.scope is Scope.ATTRIBUTE and _has_floor(metric, measured)]
    if not metrics:
        return []
    rows = [(label, *(_beside_floor(metric, measures) for metric in metrics)) for label, measures in measured]
    return [
        Heading("Gaps and their noise floor"),
        Text(
            "The second number of each pair is what the measure is expected to read at these group sizes when no group differs "
            "from another: small groups differ by chance alone. A value near its floor says nothing about the groups."
        ),
        *grid(
            "Measured / noise floor, trials on the front.",
            ["trial", *(display_name(metric.key) for metric in metrics)],
            rows,
            numeric=range(1, 1 + len(metrics)),
        ),
    ]


def _has_floor(metric: Metric, measured: Sequence[tuple[str, Mapping[str, Measure]]]) -> bool:
    return any(metric.key in measures and "noise_floor" in measures[metric.key].options for _, measures in measured)


def _beside_floor(metric: Metric, measures: Mapping[str, Measure]) -> str:
    measure = measures.get(metric.key)
    if measure is None:
        return ABSENT
    if measure.undefined_reason is not None:
        return "undefined"
    floor = measure.options.get("noise_floor")
    return f"{format_value(metric, measure.value)} / {ABSENT if floor is None else format_value(metric, floor)}"


def harmful_bias(records: Sequence[TrialRecord], derived: Sequence[Derived], context: ReportContext) -> list[Block]:
    """Accuracy that full fine-tuning has over a trial, by group: mean over seeds."""
    configs = {record.trial_id: record.config for record in records}
    names = variants(records)
    found = [
        (names[item.trial_id], configs[item.trial_id].downsampling_ratio, item.measure.group, item.measure.value)
        for item in derived
        if item.trial_id in configs and item.measure.measure == HARMFUL_BIAS_GAP.key
        if item.measure.attribute == context.attribute and item.measure.group is not None
    ]
    if not found:
        return []
    table = pd.DataFrame(found, columns=["variant", "ratio", "group", "value"]).astype({"ratio": "float64", "value": "float64"})
    groups = sorted(set(table["group"]), key=lambda group: (group != context.minority_group, group))
    # In the order of the accuracy table above it.
    places = {name: place for place, name in enumerate(dict.fromkeys(group_accuracy(records, context.attribute)["variant"]))}
    table = table.sort_values(["variant", "ratio"], key=lambda column: column.map(places) if column.name == "variant" else column)
    rows = []
    for (variant, ratio), part in table.groupby(["variant", "ratio"], sort=False):
        cells = [_mean_and_range(part.loc[part["group"] == group, "value"], "+.3f") for group in groups]
        rows.append((str(variant), _ratio(ratio), str(part.groupby("group").size().max()), *cells))
    columns = ["method", "ratio", "seeds", *groups]
    return [
        Heading("Harmful bias gap"),
        Text(
            "Accuracy of full fine-tuning minus the trial's, paired on seed, ratio and test rows. Above 0: the trial serves the "
            "group worse than full fine-tuning does."
        ),
        *grid("Mean over seeds (lowest to highest seed).", columns, rows, numeric=range(1, len(columns))),
    ]
