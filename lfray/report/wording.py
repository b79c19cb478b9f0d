"""How quantities are worded for people: names without dots, values with the digits that their unit deserves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lfray.names import parse_key

if TYPE_CHECKING:
    from lfray.names import Metric
    from lfray.pareto.objective import Objective

LIMITS: Final = (
    "They describe one base model on one data set's test rows. Groups are the data set's labels, not people's own words for "
    "themselves, and labels may themselves treat groups unequally.",
    "They measure disparity and locate trade-offs. They do not remove disparity, and no trial is called fair: a small gap on "
    "one measure can stand beside a large one on another, or beside a low accuracy for everybody.",
    "A trial on the front is only unbeaten by the trials of this sweep, on these objectives. Other objectives, groups or "
    "trials give another front.",
    "Each seed is a point of its own and the front picks the best ones on the test rows, so it flatters; the same "
    "configuration with another seed may fall behind. Compare means over seeds before deciding.",
    "Downsampling imitates a scarce group by leaving out its training rows. A group that is scarce in the world may differ in "
    "more than its number.",
)
"""What a report's numbers do and do not say about people."""

LIMIT_OF_MACHINES: Final = "Times and memory belong to the machine named; other machines may order trials differently."


def display_name(key: str) -> str:
    """A flat key as people read it: `fair.accuracy_gap/race` -> `accuracy gap (race)`."""
    parsed = parse_key(key)
    name = parsed.metric.key.rpartition(".")[2].replace("_", " ")
    where = [] if parsed.split == "test" else [parsed.split]
    where += [] if parsed.of_class is None else [f"class {parsed.of_class}"]
    if parsed.attribute is not None:
        where.append(parsed.attribute if parsed.group is None else f"{parsed.attribute} = {parsed.group}")
    return name + (f" ({', '.join(where)})" if where else "")


def format_value(metric: Metric, value: float) -> str:
    """A value with its unit's digits: 12,345 for counts, 0.812 for shares, 3.40 for seconds; `undefined` where not finite."""
    if not math.isfinite(value):
        return "undefined"
    if metric.count or metric.unit in ("count", "byte"):
        return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"
    digits = 3 if metric.unit in ("1", "nat") else 2
    return f"{value:,.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def with_unit(objective: Objective) -> str:
    """`train seconds [s]`; shares and counts need no unit."""
    unit = "" if objective.metric.unit in ("1", "count") else f" [{objective.metric.unit}]"
    return display_name(objective.key) + unit


def short_count(value: float) -> str:
    """1,000 -> 1k, 2,000,000 -> 2M, 3e9 -> 3G."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def listed(items: list[str], *, most: int = 12) -> str:
    """`a, b, c`, with `and 5 more` after the first `most`."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def plural(count: int, noun: str) -> str:
    """`1 trial`, `3 trials`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
