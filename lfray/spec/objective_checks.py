"""Objectives: is each measured, has it a good direction, and can it be defined at all for these groups, labels and machines?"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from lfray.errors import LfrayError, Problem, did_you_mean
from lfray.names import (
    ACCURACY_GAP,
    ERROR_SPREAD,
    GPU_SECONDS,
    HARMFUL_BIAS_GAP,
    HARMFUL_BIAS_GAP_ABSOLUTE,
    METRICS,
    UNPARSED_RATE,
    WORST_GROUP_ACCURACY,
    WORST_GROUP_ERROR,
    Better,
    MetricKey,
    Scope,
    parse_key,
)
from lfray.spec.method_checks import kinds_in_use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.spec.load import LoadedSweep
    from lfray.spec.stages import GroupSpec
    from lfray.spec.yaml_text import Path

_GAPS = (HARMFUL_BIAS_GAP, HARMFUL_BIAS_GAP_ABSOLUTE)
_OF_MEMBERS = (WORST_GROUP_ACCURACY, WORST_GROUP_ERROR, *_GAPS)
"""Summaries that overlapping groups have too; every other one sets groups against each other."""
_TWINS = ({WORST_GROUP_ACCURACY, WORST_GROUP_ERROR}, {ACCURACY_GAP, ERROR_SPREAD})
"""Two names of one order of the trials."""


def objective_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    """Problems of `objectives`."""
    seen: dict[MetricKey, int] = {}
    for index, text in enumerate(loaded.spec.objectives):
        at: Path = ("objectives", index)
        try:
            key = parse_key(text)
        except (LfrayError, ValueError):
            rule, remedy = _unknown(text)
            yield loaded.problem(at, rule, got=text, remedy=remedy)
            continue
        full = key
        if key.metric.scope is Scope.ATTRIBUTE and key.attribute is None:
            full = replace(key, attribute=loaded.spec.data.minority_attribute)
        first = seen.setdefault(full, index)
        if first != index:
            yield loaded.problem(at, "an objective may stand once", got=text, remedy=f"It is the same as objective {first + 1}")
        problem = _direction(loaded, key, at) or _address(loaded, full, at) or _defined(loaded, full, at)
        if problem is not None:
            yield problem


def objective_warnings(loaded: LoadedSweep) -> Iterator[Problem]:
    """Objectives that are allowed and rarely meant."""
    keys = [parse_key(text) for text in loaded.spec.objectives]
    for index, key in enumerate(keys):
        at: Path = ("objectives", index)
        if key.metric in _GAPS and "full" not in kinds_in_use(loaded.spec):
            yield loaded.problem(at, "is measured against the full trial, and the sweep has no method full", got=key.text())
        for other in keys[:index]:
            if {key.metric, other.metric} in _TWINS and replace(other, metric=key.metric) == key:
                yield loaded.problem(at, f"orders the trials as {other.text()} does: one of the two is enough", got=key.text())


def _unknown(text: str) -> tuple[str, str]:
    """Rule and remedy for a key that does not parse."""
    name = text.split("/")[0].removeprefix("validation.").partition(".class_")[0]
    if name in METRICS and text.count("/") <= 2:
        return "a name in a key is escaped as :hh: (two hexadecimal digits)", "`lfray metrics` shows the form"
    if name in METRICS:
        return "at most /attribute/group may follow a metric's name", "Remove the rest; names hold / as :2f:"
    known = [metric.key for metric in METRICS.values() if metric.better is not Better.NEITHER]
    last = {key.rpartition(".")[2]: key for key in known}
    near = get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.75)
    remedy = f"Did you mean '{last[near[0]]}'?" if near else "`lfray metrics` lists them"
    return "an objective is a metric that lfray measures", remedy


def _direction(loaded: LoadedSweep, key: MetricKey, at: Path) -> Problem | None:
    if key.metric.better is Better.NEITHER:
        rule = f"an objective needs a good direction, and this is a description: {key.metric.meaning}"
        return loaded.problem(at, rule, got=key.text(), remedy="For disparity see fair.demographic_parity_difference")
    return None


def _address(loaded: LoadedSweep, key: MetricKey, at: Path) -> Problem | None:
    """Whether split, class, attribute and group of the key exist."""
    groups, metric = loaded.spec.data.groups, key.metric
    if metric.scope is Scope.TRIAL and (key.attribute is not None or key.split != "test" or key.of_class is not None):
        return loaded.problem(at, "a cost is one number a trial", got=key.text(), remedy=f"Write {metric.key}")
    if key.attribute is not None and key.attribute not in groups:
        rule = "must name an attribute under data.groups"
        return loaded.problem(at, rule, got=key.attribute, remedy=did_you_mean(key.attribute, groups))
    if key.group is not None and key.attribute is not None:
        names = _names(groups[key.attribute])
        if names and key.group not in names:
            return loaded.problem(
                at, f"must name a group of {key.attribute}", got=key.group, remedy=did_you_mean(key.group, names)
            )
        if metric.scope is Scope.ATTRIBUTE and groups[key.attribute].flags is None and metric not in _GAPS:
            remedy = f"Write {metric.key}/{key.attribute}, or accuracy/{key.attribute}/{key.group}"
            return loaded.problem(at, "is one number over all groups of a partition", got=key.text(), remedy=remedy)
    if metric.scope is Scope.ALL and key.attribute is not None and key.group is None:
        remedy = f"Write {metric.key} for all rows, or add /<group>"
        return loaded.problem(at, "is measured over all rows or one group, not over an attribute", got=key.text(), remedy=remedy)
    labels = [str(label) for label in loaded.spec.task.labels or ()]
    if key.of_class is not None and labels and key.of_class not in labels:
        return loaded.problem(
            at, "must name a class under task.labels", got=key.of_class, remedy=did_you_mean(key.of_class, labels)
        )
    return None


def _defined(loaded: LoadedSweep, key: MetricKey, at: Path) -> Problem | None:
    """Whether the value can be anything but undefined."""
    spec, metric = loaded.spec, key.metric
    without = [kind for kind in kinds_in_use(spec) if spec.resources.of(kind).gpus == 0]
    if metric == GPU_SECONDS and without:
        got = f"no GPU for {', '.join(without)}"
        return loaded.problem(at, "is undefined without a GPU (no_gpu)", got=got, remedy="Use cost.worker_seconds")
    if metric == UNPARSED_RATE and spec.task.head == "sequence":
        rule = "is undefined for a classification head, which always answers"
        return loaded.problem(at, rule, got="task.head: sequence", remedy="Use error_rate")
    if key.attribute is None or metric.scope is not Scope.ATTRIBUTE:
        return None
    group = spec.data.groups[key.attribute]
    columns = [column for below, column in group.columns.items() if key.group is None or below[-1] in ("column", key.group)]
    if metric.label_free_of_group and spec.data.columns.label in columns:
        rule = (
            f"has no meaning where the label determines the group (group_is_label): {key.attribute} is read from the label column"
        )
        return loaded.problem(at, rule, got=metric.key, remedy="Use fair.worst_group_accuracy or fair.accuracy_gap")
    if group.flags is not None and key.group is None and metric not in _OF_MEMBERS:
        rule = "a difference between groups has no meaning where groups overlap (overlapping_groups)"
        remedy = f"Compare one group with its non-members: {metric.key}/{key.attribute}/{next(iter(group.flags))}"
        return loaded.problem(at, rule, got=key.text(), remedy=remedy)
    labels = spec.task.labels or ()
    if metric.label_free_of_group and len(labels) > 2 and key.of_class is None:
        remedy = f"Name one: {metric.key}.class_{labels[0]}"
        return loaded.problem(
            at, "needs two classes, or the class that counts as positive (multiclass)", got=str(len(labels)), remedy=remedy
        )
    return None


def _names(group: GroupSpec) -> list[str]:
    """The groups that the file names; empty where the column's values are the names."""
    names = [*(group.flags or {}), *(group.names or {}).values()]
    return [*names, group.missing] if names and group.missing is not None else names
