"""One file of rows, read exactly: csv, tsv, json lines or parquet, each also gzipped, every cell as text.

pyarrow's strict csv reader rather than the pandas-based one of `datasets`: that one fills a short line with missing values,
takes a line that is one field too long as a row name, and reads the texts "NA" and "null" as missing and "1e5" as a number.
A torn line must be an error here, because a shifted label would train without a word.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lfray.data.values import scalar_text
from lfray.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet"}
"""Suffix -> format; each also with `.gz` behind it."""

_MAX_BLOCK = 1 << 30
"""pyarrow's block size is an int32, and a quoted text with line breaks must fit one block."""


def kind_of(path: Path) -> str | None:
    """The file's format, or None where lfray does not read it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return KINDS.get(suffixes[-1]) if suffixes else None


def base_name(path: Path) -> str:
    """The file's name without format and `.gz`: `train.0.csv.gz` -> `train.0`."""
    name = path.name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    return name.rsplit(".", 1)[0]


def read_file(path: Path, *, quoting: Literal["auto", "none", "minimal"]) -> pa.Table:
    """All columns of one file, every cell as text, missing as null.

    An empty csv cell is empty text, for the reader of the column to judge. A column that holds lists or objects stays out of
    the table unless it is asked for: see `text_column`.

    Raises:
        DataError: The file cannot be opened, is torn, not UTF-8, or has two columns of one name.
    """
    try:
        match kind_of(path):
            case "csv":
                table = _read_delimited(_bytes(path), delimiter=",", quoted=quoting != "none")
            case "tsv":
                table = _read_delimited(_bytes(path), delimiter="\t", quoted=quoting == "minimal")
            case "json":
                table = _read_json(_bytes(path), path)
            case _:
                table = pa.parquet.read_table(pa.BufferReader(_bytes(path)))
    except (OSError, EOFError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the file must be a whole, valid {kind_of(path)} file in UTF-8 (got: {_short(error)}). "
                        "For quoted or unquoted fields see data.quoting") from error  # fmt: skip
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: columns must have different names (got {twice[0]!r} twice). Rename one")
    return table


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _bytes(path: Path) -> bytes:
    if path.name.lower().endswith(".gz"):
        with gzip.open(path, "rb") as handle:
            return handle.read()
    return path.read_bytes()


def _read_delimited(content: bytes, *, delimiter: str, quoted: bool) -> pa.Table:
    parse = pa.csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoted else False, double_quote=quoted, newlines_in_values=quoted
    )
    block = pa.csv.ReadOptions(block_size=max(1, min(len(content) + 1, _MAX_BLOCK)))
    with pa.csv.open_csv(pa.BufferReader(content), read_options=block, parse_options=parse) as reader:
        names = reader.schema.names
    as_text = pa.csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    return pa.csv.read_csv(pa.BufferReader(content), read_options=block, parse_options=parse, convert_options=as_text)


def _read_json(content: bytes, path: Path) -> pa.Table:
    """Json lines, or one array of objects. A column that holds anything but scalars becomes lists, refused when asked for."""
    text = content.decode("utf-8-sig")
    records: list[dict[str, Any]] = []
    lines = [text] if text.lstrip().startswith("[") else text.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line) if line.strip() else []
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: every line must be one json object (got: {error}). Mend the line") from error
        records.extend(value if isinstance(value, list) else [value])
    if not all(isinstance(record, dict) for record in records):
        raise DataError(f'{path}: every row must be a json object (got another value). Write {{"text": ..., "label": ...}}')
    names = list(dict.fromkeys(name for record in records for name in record))
    return pa.table({name: _json_column([record.get(name) for record in records]) for name in names})


def _json_column(values: Sequence[object]) -> pa.Array:
    try:
        return pa.array([scalar_text(value) for value in values], pa.string())
    except TypeError:
        return pa.array([[json.dumps(value)] for value in values], pa.list_(pa.string()))


def text_column(column: pa.ChunkedArray, *, where: str) -> pa.ChunkedArray:
    """A column of scalars as text (see `values.scalar_text`), missing as null.

    Raises:
        DataError: The column holds lists, objects, dates or bytes.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    try:
        return pa.chunked_array([pa.array([scalar_text(value) for value in column.to_pylist()], pa.string())])
    except TypeError as error:
        raise DataError(
            f"{where}: the column must hold text, numbers or booleans (got {kind}). Write it as text, one value a row"
        ) from error
