from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lfray.data.files import KINDS
from lfray.errors import DataError
from lfray.spec.files import SUFFIXES, column_names, source_files, split_of, suffix_of

if TYPE_CHECKING:
    from pathlib import Path


def test_formats_are_those_that_the_data_folder_reads() -> None:
    assert set(SUFFIXES) == set(KINDS)


def make(path: Path, content: str) -> Path:
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "quoting", "names"),
    [
        ("a.csv", 'text,"la,bel"\nx,1\n', "auto", ["text", "la,bel"]),
        ("a.csv", 'text,"la\nbel"\nx,1\n', "auto", ["text", "la\nbel"]),
        ("a.csv", 'text,"label"\n', "none", ["text", '"label"']),
        ("a.tsv", 'te"xt\tlabel\r\n', "auto", ['te"xt', "label"]),
        ("a.tsv", '"text"\tlabel\n', "minimal", ["text", "label"]),
        ("a.csv.gz", "\ufefftext,label\n", "auto", ["text", "label"]),
        ("a.JSONL", '{"text": "x"}\n\n{"label": 1}\n', "auto", ["text", "label"]),
        ("a.json", '[\n{"text": "x"},\n{"label": 1}]\n', "auto", ["text", "label"]),
        ("a.ndjson.gz", '{"text": "x"}', "auto", ["text"]),
        ("a.csv", "", "auto", []),
    ],
)
def test_column_names(
    tmp_path: Path, name: str, content: str, quoting: Literal["auto", "none", "minimal"], names: list[str]
) -> None:
    assert column_names(make(tmp_path / name, content), quoting=quoting) == names


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), path)
    assert column_names(path, quoting="auto") == ["text", "label"]
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError):
        column_names(tmp_path / "b.parquet", quoting="auto")


def test_a_key_that_the_first_rows_lack(tmp_path: Path) -> None:
    rows = [{"text": "x"}] * 10 + [{"text": "x", "label": 1}]
    path = make(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert column_names(path, quoting="auto") == ["text", "label"]


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", "{\n"), ("a.json", "[1"), ("a.jsonl", "5\n"), ("a.json", "[5]")])
def test_json_that_is_none(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError):
        column_names(make(tmp_path / name, content), quoting="auto")


def test_gzip_and_text_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"text,label\n")
    (tmp_path / "b.csv").write_bytes(b"caf\xe9,label\n")
    for name in ("a.csv.gz", "b.csv"):
        with pytest.raises(DataError):
            column_names(tmp_path / name, quoting="auto")


def test_files_of_a_path_a_folder_and_a_glob(tmp_path: Path) -> None:
    for name in ("train.0.csv", "dev.csv", "notes.md", ".hidden.csv"):
        make(tmp_path / name, "text\n")
    names = [[file.name for file in source_files(tmp_path / pattern)] for pattern in ("dev.csv", "", "*.csv", "*.x", "notes.md")]
    assert names == [["dev.csv"], ["dev.csv", "train.0.csv"], ["dev.csv", "train.0.csv"], [], ["notes.md"]]
    assert suffix_of(tmp_path / "notes.md") is None
    assert split_of(tmp_path / "train.0.csv") == "train"
