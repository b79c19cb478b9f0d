"""Harmful bias gap: what a group loses in accuracy when the trial stands in for full fine-tuning, on the very same rows.

It needs a second trial, so it is never part of a record: the caller finds the full trial of the same ratio and seed, and stores
what comes back as a derived value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lfray.errors import DataError
from lfray.evaluation.cells import canonical, check_table
from lfray.evaluation.disparity import check_minority
from lfray.names import HARMFUL_BIAS_GAP, HARMFUL_BIAS_GAP_ABSOLUTE
from lfray.record import Measure, defined, undefined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lfray.evaluation.settings import MeasureSettings
    from lfray.record import Predictions


def harmful_bias_gap(trial: Predictions, reference: Predictions, settings: MeasureSettings) -> tuple[Measure, ...]:
    """Accuracy of the reference minus accuracy of the trial on each group, signed and absolute, in [-1, 1] and [0, 1].

    Positive: the trial serves the group worse than full fine-tuning does. Each group of each attribute (overlapping or not) has
    its own row, and the minority's value stands again under the attribute alone, undefined there when the minority has fewer
    rows than `min_group_rows`.

    Raises:
        DataError: The two tables hold other rows, or the same rows with other labels or groups, or the minority is not in them.

    Source: Das et al. 2024 (arXiv 2405.18572).
    """
    check_table(trial)
    check_table(reference)
    ours, theirs = canonical(trial.of_split(settings.split)), canonical(reference.of_split(settings.split))
    _check_same_rows(ours, theirs)
    check_minority(ours, settings)
    hit, reference_hit = ours.prediction == ours.label, theirs.prediction == theirs.label
    measures: list[Measure] = []
    for column in ours.groups:
        for index, name in enumerate(column.names):
            member = column.member[:, index]
            fields = {"split": settings.split, "attribute": column.attribute, "group": name}
            measures += _gap(hit[member], reference_hit[member], fields)
            if (column.attribute, name) == (settings.minority_attribute, settings.minority_group):
                summary = fields | {"group": None}
                measures += _gap(hit[member], reference_hit[member], summary, group=name, min_rows=settings.min_group_rows)
    return tuple(measures)


def _gap(
    hit: NDArray[np.bool_],
    reference_hit: NDArray[np.bool_],
    fields: dict[str, Any],
    *,
    group: str | None = None,
    min_rows: int = 1,
) -> list[Measure]:
    options: dict[str, Any] = {"variant": "paired_rows"} | ({} if group is None else {"group": group, "covers": [group]})
    both = fields | {"n": len(hit)}
    if len(hit) < min_rows:
        reason = "below_n_min" if len(hit) else "empty_group"
        if group is not None:
            options |= {"covers": [], "left_out": {group: reason}, "min_group_rows": min_rows}
        return [undefined(m, reason, options=options, **both) for m in (HARMFUL_BIAS_GAP, HARMFUL_BIAS_GAP_ABSOLUTE)]
    options |= {"accuracy_reference": float(reference_hit.mean()), "accuracy_trial": float(hit.mean())}
    # Counted first, divided once: equal accuracies give exactly 0.
    value = (int(reference_hit.sum()) - int(hit.sum())) / len(hit)
    return [
        defined(HARMFUL_BIAS_GAP, value, options=options, **both),
        defined(HARMFUL_BIAS_GAP_ABSOLUTE, abs(value), options=options, **both),
    ]


def _check_same_rows(trial: Predictions, reference: Predictions) -> None:
    ours, theirs = set(trial.row_id.tolist()), set(reference.row_id.tolist())
    differ = len(ours ^ theirs)
    if differ:
        raise DataError(
            f"harmful bias gap: trial and reference must be evaluated on the same rows (got {differ} row ids that only one "
            "of them has). Evaluate both on one split"
        )
    if len(ours) != len(trial) or len(theirs) != len(reference):
        raise DataError(
            f"harmful bias gap: row ids must be unique (got {len(trial) - len(ours)} repeats in the trial, "
            f"{len(reference) - len(theirs)} in the reference). Give every row an id of its own"
        )
    labels = int((trial.label != reference.label).sum())
    if labels:
        raise DataError(f"harmful bias gap: the same rows must bear the same labels (got {labels} that differ)")
    named = [(column.attribute, column.names) for column in trial.groups]
    if named != [(column.attribute, column.names) for column in reference.groups]:
        raise DataError("harmful bias gap: trial and reference must name the same groups. Use one group definition")
    for column, other in zip(trial.groups, reference.groups, strict=True):
        moved = int((column.member != other.member).any(axis=1).sum())
        if moved:
            raise DataError(f"harmful bias gap: {moved} rows are in other groups of {column.attribute!r} in the reference")
