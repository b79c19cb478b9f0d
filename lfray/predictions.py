"""The predictions table: one row an evaluated example. Every fairness number is computed from it.

So a new metric or a new group definition needs no second training. `docs/record.md` documents the file; `SCHEMA_VERSION` goes up
when it changes.

Shapes: N rows, C classes, G groups.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lfray.errors import StorageError
from lfray.names import escape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class GroupColumn:
    """Membership of rows in the groups of one attribute.

    `member` is bool [N, G], columns in the order of `names`. Where `overlapping` is False each row is in exactly one group.
    `is_label`: the label determines the group, so measures that compare selection or error rates by label have no meaning.
    """

    attribute: str
    names: tuple[str, ...]
    member: NDArray[np.bool_]
    overlapping: bool = False
    is_label: bool = False


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions table: one row an evaluated example.

    `logits` is float32 [N, C] (for a verbalizer: log-likelihood of each answer); `prediction` is the class index, or -1 where a
    generated label could not be parsed; `parsed` says whether the greedy answer was exactly one of the options (None: not a
    generating task).
    """

    row_id: NDArray[np.str_]
    split: NDArray[np.str_]
    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    logits: NDArray[np.float32]
    class_names: tuple[str, ...]
    positive: int
    groups: tuple[GroupColumn, ...]
    parsed: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.row_id)

    def rows(self, mask: NDArray[np.bool_]) -> Predictions:
        """The rows where `mask` (bool [N]) holds."""
        return replace(
            self,
            row_id=self.row_id[mask],
            split=self.split[mask],
            label=self.label[mask],
            prediction=self.prediction[mask],
            logits=self.logits[mask],
            parsed=None if self.parsed is None else self.parsed[mask],
            groups=tuple(replace(group, member=group.member[mask]) for group in self.groups),
        )

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return self.rows(self.split == split)

    @classmethod
    def concatenate(cls, tables: Sequence[Predictions]) -> Predictions:
        """Tables of the same trial (validation, test) one below the other."""
        first = tables[0]
        return replace(
            first,
            row_id=np.concatenate([table.row_id for table in tables]),
            split=np.concatenate([table.split for table in tables]),
            label=np.concatenate([table.label for table in tables]),
            prediction=np.concatenate([table.prediction for table in tables]),
            logits=np.concatenate([table.logits for table in tables]),
            parsed=None if first.parsed is None else np.concatenate([t.parsed for t in tables if t.parsed is not None]),
            groups=tuple(
                replace(group, member=np.concatenate([table.groups[index].member for table in tables]))
                for index, group in enumerate(first.groups)
            ),
        )

    def attribute(self, name: str) -> GroupColumn:
        """One attribute's membership."""
        for group in self.groups:
            if group.attribute == name:
                return group
        raise StorageError(f"predictions: no attribute {name!r}. Known: {', '.join(g.attribute for g in self.groups)}")


def write_predictions(table: Predictions, path: Path) -> None:
    """Write the table as parquet; the schema's metadata carries class names, attributes and version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "row_id": pa.array(table.row_id.tolist(), pa.string()),
        "split": pa.array(table.split.tolist(), pa.string()),
        "label": pa.array(table.label, pa.int32()),
        "prediction": pa.array(table.prediction, pa.int32()),
    }
    if table.parsed is not None:
        columns["parsed"] = pa.array(table.parsed, pa.bool_())
    for index in range(table.logits.shape[1]):
        columns[f"logit.{index}"] = pa.array(table.logits[:, index], pa.float32())
    for group in table.groups:
        for index, name in enumerate(group.names):
            columns[_group_column(group.attribute, name)] = pa.array(group.member[:, index], pa.bool_())
    meta = {
        "schema_version": SCHEMA_VERSION,
        "class_names": table.class_names,
        "positive": table.positive,
        "attributes": [
            {"attribute": g.attribute, "names": g.names, "overlapping": g.overlapping, "is_label": g.is_label}
            for g in table.groups
        ],
    }
    arrow = pa.table(columns).replace_schema_metadata({b"lfray": json.dumps(meta).encode()})
    pq.write_table(arrow, path, compression="zstd")


def read_predictions(path: Path) -> Predictions:
    """Read a table that `write_predictions` wrote.

    Raises:
        StorageError: The file is absent, torn, or of another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: predictions cannot be read ({error}). Run the trial again") from error
    meta = json.loads((arrow.schema.metadata or {}).get(b"lfray", b"{}"))
    if meta.get("schema_version") != SCHEMA_VERSION:
        raise StorageError(f"{path}: predictions have schema {meta.get('schema_version')}, this lfray reads {SCHEMA_VERSION}")
    columns = {name: arrow.column(name).to_numpy(zero_copy_only=False) for name in arrow.column_names}
    groups = tuple(
        GroupColumn(
            spec["attribute"],
            tuple(spec["names"]),
            _stacked([columns[_group_column(spec["attribute"], name)] for name in spec["names"]], len(arrow)).astype(bool),
            spec["overlapping"],
            spec["is_label"],
        )
        for spec in meta["attributes"]
    )
    # A model that gives labels without scores has no logits at all (reason `no_scores`), whatever its classes.
    scores = [columns[f"logit.{index}"] for index in range(len(meta["class_names"])) if f"logit.{index}" in columns]
    return Predictions(
        row_id=columns["row_id"].astype(str),
        split=columns["split"].astype(str),
        label=columns["label"].astype(np.int64),
        prediction=columns["prediction"].astype(np.int64),
        logits=_stacked(scores, len(arrow)).astype(np.float32),
        class_names=tuple(meta["class_names"]),
        positive=int(meta["positive"]),
        groups=groups,
        parsed=columns["parsed"].astype(bool) if "parsed" in columns else None,
    )


def _group_column(attribute: str, name: str) -> str:
    """Column of one group; both names escaped, so that a dot inside one cannot make two columns meet."""
    return f"group.{escape(attribute)}.{escape(name)}"


def _stacked(columns: Sequence[NDArray[Any]], num_rows: int) -> NDArray[Any]:
    """Columns side by side, [N, number of columns], which may be none."""
    return np.stack(columns, axis=1) if columns else np.zeros((num_rows, 0))
