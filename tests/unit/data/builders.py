"""Small sources for the tests of `lfray.data`."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any

import datasets
import pyarrow as pa

from lfray.data.rows import Rows, build_rows
from lfray.data.split import given_roles
from lfray.data.values import scalar_text
from lfray.spec.rows import DataSpec
from lfray.spec.stages import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Row = dict[str, Any]


def data_spec(**fields: Any) -> DataSpec:
    """A sweep's data with one attribute `group`; fields given here win."""
    return DataSpec.model_validate({"source": "file:.", "groups": {"group": {"column": "group"}}, **fields})


def people(count: int, *, prefix: str = "text", minority_every: int = 4) -> list[Row]:
    """Rows with different texts, labels 0/1 in turn by threes, every fourth row in group b."""
    return [
        {"text": f"{prefix} {i}", "label": int(i % 3 == 0), "group": "b" if i % minority_every == 0 else "a"}
        for i in range(count)
    ]


def write_rows(path: Path, rows: Sequence[Row], *, newline: str = "\n") -> Path:
    """Write rows as the path's suffix says (csv quoted by RFC 4180, tsv bare, jsonl), gzipped under `.gz`."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row, ensure_ascii=False) + newline for row in rows)
    elif name.endswith(".tsv"):
        lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        text = "".join("\t".join(line) + newline for line in lines)
    else:
        text = _csv_text(rows, newline)
    content = text.encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def _csv_text(rows: Sequence[Row], newline: str) -> str:
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_source(splits: Mapping[str, Sequence[Row]]) -> dict[str, datasets.Dataset]:
    """What `read_source` would give for these rows."""
    return {
        split: datasets.Dataset(
            pa.table({name: pa.array([scalar_text(row[name]) for row in rows], pa.string()) for name in rows[0]})
        )
        for split, rows in splits.items()
    }


def built(splits: Mapping[str, Sequence[Row]], spec: DataSpec | None = None, task: TaskSpec | None = None) -> Rows:
    """Rows as `prepare` would build them, before cleaning."""
    spec = spec or data_spec()
    return build_rows(as_source(splits), given_roles(splits, spec.splits), spec, task or TaskSpec())
