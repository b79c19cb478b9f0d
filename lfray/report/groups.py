"""Accuracy by group, trial by trial: the rows behind paper A's Figure 4 and the table beside it.

Trials that differ in the seed alone are replicates; a *variant* is what they share apart from the ratio: the method with its
rank, and any further setting that the sweep varies (a second learning rate makes a second variant, never a wider mean).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from lfray.names import ACCURACY
from lfray.pareto.candidates import SETTING_PREFIXES, candidates_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lfray.record import TrialRecord

COLUMNS: Final = ("variant", "ratio", "seed", "group", ACCURACY.key, "n")

_ORDER: Final = {"base": 0, "head": 1, "lora": 2, "dora": 3, "qlora": 4, "full": 5}


def look_of(record: TrialRecord) -> str:
    """The method as figures name it: base, head, lora, dora, qlora or full."""
    return method_of(record.config.method_label)


def method_of(method_label: str) -> str:
    """`lora-r8` -> `lora`."""
    return method_label.partition("-r")[0]


def group_accuracy(records: Sequence[TrialRecord], attribute: str) -> pd.DataFrame:
    """One row a completed trial and group of `attribute`, test split: COLUMNS.

    `accuracy` in [0, 1], NaN where undefined; `n` test rows of the group; `ratio` and `seed` absent for the untouched base.
    Ordered by method (base, head, lora by rank, dora by rank, qlora by rank, full), then ratio, seed and the record's order of groups.
    """
    names = variants(records)
    rows: list[dict[str, Any]] = []
    for record in sorted(records, key=_place):
        for measure in record.measures:
            is_group_accuracy = measure.measure == ACCURACY.key and measure.attribute == attribute and measure.group is not None
            if record.state == "COMPLETED" and is_group_accuracy and measure.split == "test" and measure.of_class is None:
                rows.append(
                    {
                        "variant": names[record.trial_id],
                        "ratio": record.config.downsampling_ratio,
                        "seed": record.config.seed,
                        "group": measure.group,
                        ACCURACY.key: measure.value,
                        "n": measure.n,
                    }
                )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"ratio": "float64", ACCURACY.key: "float64", "seed": "Int64", "n": "Int64"})


def _place(record: TrialRecord) -> tuple[int, int, str, float, int]:
    config = record.config
    label = config.method_label
    return (_ORDER[look_of(record)], config.rank or 0, label, config.downsampling_ratio or 0.0, config.seed or 0)


def variants(records: Sequence[TrialRecord]) -> dict[str, str]:
    """Trial id -> method label and every setting that differs among trials of that label: `lora-r8, learning rate 0.0002`."""
    table = candidates_of(records).table
    settings = [column for column in table.columns if column.startswith(SETTING_PREFIXES)]
    names: dict[str, str] = {}
    for label, rows in table.groupby("method_label", sort=False):
        varied = [column for column in settings if rows[column].nunique(dropna=False) > 1]
        for row in rows[["trial_id", *varied]].to_dict("records"):
            told = [f"{column.partition('.')[2].replace('_', ' ')} {_text(row[column])}" for column in varied]
            names[str(row["trial_id"])] = ", ".join([str(label), *told])
    return names


def _text(value: Any) -> str:
    return "none" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def groups_by_support(table: pd.DataFrame) -> list[str]:
    """The groups of a `group_accuracy` table, most test rows first, then by name."""
    support = table.groupby("group")["n"].max().fillna(0)
    return sorted((str(group) for group in support.index), key=lambda group: (-int(support[group]), group))
