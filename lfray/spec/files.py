"""Which files a `file:` source stands for, and which columns they name, read from their first lines only."""

from __future__ import annotations

import csv
import glob
import gzip
import json
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lfray.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Formats that lfray reads; each also with `.gz` behind it."""
_HEAD_ROWS = 50
"""Rows of a json file that are looked at: an object may leave a key out."""
_HEAD_CHARACTERS = 4_000_000
"""A json file that is one array is read whole below this size, and left to the plan above it."""


def suffix_of(path: Path) -> str | None:
    """The format's suffix without `.gz`, or None where lfray does not read it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def source_files(path: Path) -> list[Path]:
    """The files that an absolute path, folder or glob stands for, sorted; of a folder, those lfray reads. Empty: none."""
    if path.is_dir():
        found = [file for file in path.iterdir() if file.is_file() and suffix_of(file) and not file.name.startswith(".")]
    elif path.is_file():
        found = [path]
    else:
        found = [path.__class__(file) for file in glob.glob(str(path), recursive=True)]
    return sorted(file for file in found if file.is_file())


def split_of(path: Path) -> str:
    """The split that a file holds: its name up to the first dot."""
    return path.name.split(".", 1)[0]


def column_names(path: Path, *, quoting: Literal["auto", "none", "minimal"]) -> list[str] | None:
    """The columns of a file, or None where only reading all of it would tell.

    Raises:
        DataError: The file's beginning cannot be read as what its suffix says; the message is what came.
    """
    suffix = suffix_of(path)
    try:
        if suffix == ".parquet":
            return _parquet_columns(path)
        with _open(path) as lines:
            if suffix in (".csv", ".tsv"):
                return _delimited_columns(lines, suffix=suffix, quoting=quoting)
            return _json_columns(lines)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise DataError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def _open(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open("rt", encoding="utf-8-sig", newline="")


def _delimited_columns(lines: TextIO, *, suffix: str, quoting: str) -> list[str]:
    quoted = quoting == "minimal" or (quoting == "auto" and suffix == ".csv")
    style: Any = {"quoting": csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, "delimiter": "," if suffix == ".csv" else "\t"}
    return next(csv.reader(lines, **style), [])


def _json_columns(lines: TextIO) -> list[str] | None:
    names: dict[str, None] = {}
    for row in _json_rows(lines):
        if row is None:
            return None
        if not isinstance(row, dict):
            raise DataError(f"a row is no json object: {str(row)[:60]}")
        names |= dict.fromkeys(map(str, row))
    return list(names)


def _json_rows(lines: TextIO) -> Iterator[Any]:
    """The first rows; None where the file is an array too long to look into."""
    seen = 0
    for line in lines:
        if not line.strip():
            continue
        if seen == 0 and line.lstrip().startswith("["):
            rest = lines.read(_HEAD_CHARACTERS)
            yield from ([None] if len(rest) == _HEAD_CHARACTERS else json.loads(line + rest))
            return
        yield json.loads(line)
        seen += 1
        if seen == _HEAD_ROWS:
            return


def _parquet_columns(path: Path) -> list[str] | None:
    # Here, because pyarrow takes longer to import than all of `lfray check`.
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.name.lower().endswith(".gz"):
        return None
    try:
        return [str(name) for name in pq.read_schema(path).names]
    except pa.ArrowException as error:
        raise DataError(" ".join(str(error).split())[:200]) from error
