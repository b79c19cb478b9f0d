"""Summaries over the groups of one attribute: worst group, gaps, demographic parity, equalized odds, equal opportunity.

A summary names the groups it covers and why others are left out. A group with too few rows in a denominator leaves it; a group
of enough rows whose rate is undefined (no positives, say) makes the difference undefined, since the value over the others would
answer another question. Groups that overlap are never set against each other: each is set against its own non-members.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from lfray.errors import DataError, did_you_mean
from lfray.evaluation.cells import nonmember_name
from lfray.evaluation.coverage import ACCURATE, FALSE_POSITIVE, SELECTED, TRUE_POSITIVE, WRONG, Coverage, Kind, coverage
from lfray.evaluation.intervals import (
    gap_noise_floor,
    odds_noise_floor,
    overall_noise_floor,
    overlapping_worst_floor,
    worst_rate_floor,
)
from lfray.evaluation.rates import Confusion, confusion, pooled
from lfray.names import (
    ACCURACY_GAP,
    DEMOGRAPHIC_PARITY_DIFFERENCE,
    DEMOGRAPHIC_PARITY_DIFFERENCE_TO_OVERALL,
    DEMOGRAPHIC_PARITY_RATIO,
    DEMOGRAPHIC_PARITY_SIGNED,
    EQUAL_OPPORTUNITY_DIFFERENCE,
    EQUALIZED_ODDS_DIFFERENCE,
    EQUALIZED_ODDS_DIFFERENCE_MEAN,
    ERROR_SPREAD,
    WORST_GROUP_ACCURACY,
    WORST_GROUP_ERROR,
    Metric,
)
from lfray.record import Measure, defined, undefined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lfray.evaluation.settings import MeasureSettings
    from lfray.record import GroupColumn, Predictions


_ODDS: Final = (TRUE_POSITIVE, FALSE_POSITIVE)

_KINDS: Final[Mapping[Metric, tuple[Kind, ...]]] = {
    ACCURACY_GAP: (ACCURATE,),
    ERROR_SPREAD: (WRONG,),
    DEMOGRAPHIC_PARITY_DIFFERENCE: (SELECTED,),
    DEMOGRAPHIC_PARITY_DIFFERENCE_TO_OVERALL: (SELECTED,),
    DEMOGRAPHIC_PARITY_RATIO: (SELECTED,),
    EQUALIZED_ODDS_DIFFERENCE: _ODDS,
    EQUALIZED_ODDS_DIFFERENCE_MEAN: _ODDS,
    EQUAL_OPPORTUNITY_DIFFERENCE: (TRUE_POSITIVE,),
}
"""The rates that each comparison of groups needs defined in every group."""


@dataclass(frozen=True)
class Comparison:
    """Disjoint groups that are set against each other, and the name under which the result is stored."""

    groups: Mapping[str, Confusion]
    variant: str
    min_rows: int
    fields: Mapping[str, Any]
    """split, attribute, group, of_class."""
    pair: bool = False
    """One group against everybody else: a side that cannot be measured gives its own reason instead of `single_group`."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def coverage(self, kinds: tuple[Kind, ...]) -> Coverage:
        """`coverage` of these groups."""
        found = coverage(self.groups, kinds, self.min_rows)
        if self.pair and found.reason == "single_group":
            return replace(found, reason=next(iter(found.left_out.values())))
        return found


def compare(metric: Metric, comparison: Comparison, forced: str | None = None) -> Measure:
    """One difference (or ratio) between groups, with its noise floor; `forced` is a reason that no value may be given."""
    kinds = _KINDS[metric]
    found = comparison.coverage(kinds)
    to_overall = metric == DEMOGRAPHIC_PARITY_DIFFERENCE_TO_OVERALL
    variant = "to_overall" if to_overall and not comparison.pair else comparison.variant
    options: dict[str, Any] = {"variant": variant, "min_group_rows": comparison.min_rows, **comparison.extra}
    if forced is not None:
        return undefined(metric, forced, options=options, **comparison.fields)
    options |= {"covers": list(found.covers), "left_out": dict(found.left_out)}
    together = pooled(comparison.groups[name] for name in found.covers)
    fields = {**comparison.fields, "n": together.n, "options": options}
    if metric.label_free_of_group:
        fields |= {"n_pos": together.n_pos, "n_neg": together.n_neg}
    if found.reason is not None:
        return undefined(metric, found.reason, **fields)
    return _value(metric, comparison, found, fields)


def _value(metric: Metric, comparison: Comparison, found: Coverage, fields: dict[str, Any]) -> Measure:
    """The number, once every covered group is known to have the rates; completes `fields["options"]`."""
    kinds, options = _KINDS[metric], fields["options"]
    inside = [comparison.groups[name] for name in found.covers]
    rates = {kind.name: [kind.of(counts) for counts in inside] for kind in kinds}
    if len(kinds) == 1:
        only = rates[kinds[0].name]
        options["lowest"], options["highest"] = found.covers[only.index(min(only))], found.covers[only.index(max(only))]
    if metric == DEMOGRAPHIC_PARITY_RATIO:
        low, high = min(rates[SELECTED.name]), max(rates[SELECTED.name])
        return defined(metric, low / high, **fields) if high else undefined(metric, "zero_denominator", **fields)
    if metric == DEMOGRAPHIC_PARITY_DIFFERENCE_TO_OVERALL:
        everyone = pooled(comparison.groups.values())
        overall = SELECTED.of(everyone)
        floor = overall_noise_floor([counts.n for counts in inside], everyone.n - sum(counts.n for counts in inside), overall)
        options |= {"overall": overall, "noise_floor": floor}
        return defined(metric, max(abs(rate - overall) for rate in rates[SELECTED.name]), **fields)
    ranges = {name: max(values) - min(values) for name, values in rates.items()}
    options["noise_floor"] = _range_floor(metric, kinds, inside)
    if len(ranges) > 1:
        options["ranges"] = ranges
    mean = metric == EQUALIZED_ODDS_DIFFERENCE_MEAN
    return defined(metric, sum(ranges.values()) / len(ranges) if mean else max(ranges.values()), **fields)


def _range_floor(metric: Metric, kinds: tuple[Kind, ...], inside: list[Confusion]) -> float:
    """What the difference reads on average when all covered groups truly have the pooled rate."""
    together = pooled(inside)
    if metric == EQUALIZED_ODDS_DIFFERENCE:
        rates = (TRUE_POSITIVE.of(together), FALSE_POSITIVE.of(together))
        return odds_noise_floor([c.n_pos for c in inside], [c.n_neg for c in inside], rates)
    floors = [gap_noise_floor([kind.support(c) for c in inside], kind.of(together)) for kind in kinds]
    return sum(floors) / len(floors)


def worst_group(table: Predictions, column: GroupColumn, settings: MeasureSettings) -> list[Measure]:
    """Smallest accuracy and largest error over groups of enough rows, and which group it is (the first of equals).

    For overlapping groups it is over the members of each. NaN where no group has enough rows.
    """
    counts = _member_counts(table, column, table.positive)
    left_out = {name: "below_n_min" if c.n else "empty_group" for name, c in counts.items() if c.n < settings.min_group_rows}
    covers = [name for name in column.names if name not in left_out]
    options: dict[str, Any] = {
        "variant": "minimum_over_members" if column.overlapping else "between_groups",
        "min_group_rows": settings.min_group_rows,
        "covers": covers,
        "left_out": left_out,
    }
    fields = {"split": settings.split, "attribute": column.attribute}
    if not covers:
        reason = "below_n_min" if "below_n_min" in left_out.values() else "empty_group"
        return [undefined(m, reason, options=options, **fields) for m in (WORST_GROUP_ACCURACY, WORST_GROUP_ERROR)]
    worst = min(covers, key=lambda name: ACCURATE.of(counts[name]))
    inside = column.member[:, [name in covers for name in column.names]]
    hit = (table.label == table.prediction)[inside.any(axis=1)]
    rate = float(hit.mean())
    if column.overlapping:
        floor = overlapping_worst_floor(inside, rate)
    else:
        floor = worst_rate_floor([counts[name].n for name in covers], rate)
    shared = options | {"worst_group": worst}
    return [
        defined(metric, kind.of(counts[worst]), n=counts[worst].n, options=shared | {"noise_floor": expected}, **fields)
        for metric, kind, expected in ((WORST_GROUP_ACCURACY, ACCURATE, floor), (WORST_GROUP_ERROR, WRONG, 1 - floor))
    ]


def disparity_measures(table: Predictions, settings: MeasureSettings) -> list[Measure]:
    """Every summary of every attribute; for overlapping attributes also each group against its non-members.

    Raises:
        DataError: The minority attribute or group of the settings is not in the table.
    """
    check_minority(table, settings)
    classes: list[tuple[str | None, int]] = [(None, table.positive)]
    if len(table.class_names) > 2:
        classes += [(name, index) for index, name in enumerate(table.class_names)]
    measures: list[Measure] = []
    for column in table.groups:
        measures += worst_group(table, column, settings)
        for of_class, positive in classes:
            for comparison in _comparisons(table, column, settings, of_class, positive):
                measures += [
                    compare(metric, comparison, _forced(metric, table, column, comparison))
                    for metric in _KINDS
                    if of_class is None or metric.label_free_of_group
                ]
            if column.attribute == settings.minority_attribute:
                measures.append(_signed(table, column, settings, of_class, positive))
    return measures


def _forced(metric: Metric, table: Predictions, column: GroupColumn, comparison: Comparison) -> str | None:
    """The reason, if any, that this comparison has no meaning whatever the counts are."""
    if len(table) == 0:
        return "empty_group"
    if metric.label_free_of_group and column.is_label:
        return "group_is_label"
    if column.overlapping and not comparison.pair:
        return "overlapping_groups"
    if metric.label_free_of_group and len(table.class_names) > 2 and comparison.fields["of_class"] is None:
        return "multiclass"
    return None


def _comparisons(
    table: Predictions, column: GroupColumn, settings: MeasureSettings, of_class: str | None, positive: int
) -> Iterator[Comparison]:
    """The groups against each other; where they overlap, also each against its non-members."""
    fields = {"split": settings.split, "attribute": column.attribute, "of_class": of_class}
    counts = _member_counts(table, column, positive)
    yield Comparison(counts, "between_groups", settings.min_group_rows, fields)
    for index, name in enumerate(column.names if column.overlapping else ()):
        rest = _count(table, ~column.member[:, index], positive)
        yield Comparison(
            {name: counts[name], nonmember_name(name): rest},
            "member_vs_nonmember",
            settings.min_group_rows,
            fields | {"group": name},
            pair=True,
            extra={"n_member": counts[name].n, "n_nonmember": rest.n},
        )


def _signed(table: Predictions, column: GroupColumn, settings: MeasureSettings, of_class: str | None, positive: int) -> Measure:
    """Selection rate of the minority minus that of everybody else, in [-1, 1]; 0: both are selected equally often."""
    name, metric = settings.minority_group, DEMOGRAPHIC_PARITY_SIGNED
    member = column.member[:, column.names.index(name)]
    sides = {name: _count(table, member, positive), nonmember_name(name): _count(table, ~member, positive)}
    fields = {"split": settings.split, "attribute": column.attribute, "of_class": of_class}
    comparison = Comparison(sides, "minority_vs_rest", settings.min_group_rows, fields, pair=True)
    found = comparison.coverage((SELECTED,))
    options: dict[str, Any] = {
        "variant": comparison.variant,
        "min_group_rows": settings.min_group_rows,
        "group": name,
        "n_minority": int(member.sum()),
        "n_rest": int((~member).sum()),
    }
    forced = _forced(metric, table, column, comparison)
    if forced is not None:
        return undefined(metric, forced, options=options, **fields)
    options |= {"covers": list(found.covers), "left_out": dict(found.left_out)}
    if found.reason is not None:
        return undefined(metric, found.reason, options=options, **fields)
    minority, rest = sides.values()
    options["noise_floor"] = gap_noise_floor([minority.n, rest.n], SELECTED.of(pooled(sides.values())))
    return defined(metric, SELECTED.of(minority) - SELECTED.of(rest), n=len(table), options=options, **fields)


def _member_counts(table: Predictions, column: GroupColumn, positive: int) -> dict[str, Confusion]:
    return {name: _count(table, column.member[:, index], positive) for index, name in enumerate(column.names)}


def _count(table: Predictions, mask: NDArray[np.bool_], positive: int) -> Confusion:
    return confusion(table.label[mask], table.prediction[mask], positive)


def check_minority(table: Predictions, settings: MeasureSettings) -> None:
    """The settings' minority is one of the table's groups.

    Raises:
        DataError: It is not.
    """
    for column in table.groups:
        if column.attribute == settings.minority_attribute:
            if settings.minority_group in column.names:
                return
            raise DataError(
                f"measure settings: minority group must be one of {column.attribute!r} (got {settings.minority_group!r}). "
                f"{did_you_mean(settings.minority_group, column.names)}"
            )
    known = [column.attribute for column in table.groups]
    raise DataError(
        f"measure settings: minority attribute must be in the predictions (got {settings.minority_attribute!r}). "
        f"{did_you_mean(settings.minority_attribute, known)}"
    )
