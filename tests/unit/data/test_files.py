from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lfray.data.files import base_name, kind_of, read_file, text_column
from lfray.errors import DataError
from tests.unit.data.builders import write_rows

AWKWARD = [
    "NA",
    "null",
    "None",
    "",
    "1e5",
    "007",
    "2020-01-01",
    "caf\u00e9 \U0001f642 \u4f60",
    'he said "no"',
    "a, b",
    "nan",
    "true",
]


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.jsonl.gz", "r.tsv", "r.tsv.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_comes_back_as_written(tmp_path: Path, name: str, newline: str) -> None:
    path = write_rows(tmp_path / name, [{"text": text, "label": 1} for text in AWKWARD], newline=newline)
    table = read_file(path, quoting="auto")
    assert table.column("text").to_pylist() == AWKWARD
    assert table.column("label").to_pylist() == ["1"] * len(AWKWARD)


@pytest.mark.parametrize("name", ["r.parquet", "r.parquet.gz"])
def test_parquet(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"text": AWKWARD, "label": [1] * len(AWKWARD), "share": [0.5] * len(AWKWARD)}), plain)
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()) if name.endswith("gz") else plain.read_bytes())
    assert read_file(path, quoting="auto").column("text").to_pylist() == AWKWARD


def test_quoted_line_breaks_and_doubled_quotes(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b'\xef\xbb\xbftext,label\r\n"two\r\nlines, ""quoted""",1\r\nab"c d",0\r\n')
    assert read_file(path, quoting="auto").to_pydict() == {"text": ['two\r\nlines, "quoted"', 'ab"c d"'], "label": ["1", "0"]}


def test_a_quote_is_a_letter_in_a_tsv_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    path.write_text('text\tlabel\n"open\t1\n"closed"\t0\n')
    assert read_file(path, quoting="auto").column("text").to_pylist() == ['"open', '"closed"']
    path.write_text('text\tlabel\n"a\tb"\t1\n')
    assert read_file(path, quoting="minimal").column("text").to_pylist() == ["a\tb"]


def test_quoting_none_for_csv(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('text,label\n"a,1\n')
    assert read_file(path, quoting="none").column("text").to_pylist() == ['"a']


def test_a_text_longer_than_a_megabyte_with_line_breaks(tmp_path: Path) -> None:
    long = "line\n" * 400_000
    path = write_rows(tmp_path / "r.csv", [{"text": long, "label": 1}])
    assert read_file(path, quoting="auto").column("text").to_pylist() == [long]


@pytest.mark.parametrize(
    "content",
    [b"text,label\na,1\nb\n", b"text,label\na,1,x\nb,0,y\n", b'text,label\n"open,1\nb,0\n', b"text,label\n\xff,1\n", b""],
    ids=["short line", "long lines", "open quote", "not utf-8", "empty"],
)
def test_torn_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"r.csv: the file must be a whole, valid csv file in UTF-8"):
        read_file(path, quoting="auto")


def test_torn_gzip_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "r.csv.gz", [{"text": "a" * 500, "label": 1}])
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="must be a whole"):
        read_file(path, quoting="auto")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("text,label,text\na,1,b\n")
    with pytest.raises(DataError, match="'text' twice"):
        read_file(path, quoting="auto")


def test_json_keys_may_be_absent_and_types_may_mix(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "a", "label": 1, "tags": ["x"]}\n\n{"label": "1", "text": 5}\n')
    table = read_file(path, quoting="auto")
    assert table.column("text").to_pylist() == ["a", "5"]
    assert table.column("label").to_pylist() == ["1", "1"]
    with pytest.raises(DataError, match=r"r.jsonl: tags: the column must hold text, numbers or booleans"):
        text_column(table.column("tags"), where="r.jsonl: tags")


def test_a_json_array_reads_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text('[\n {"text": "a", "label": 0},\n {"text": "b", "label": 1}\n]')
    assert read_file(path, quoting="auto").to_pydict() == {"text": ["a", "b"], "label": ["0", "1"]}


def test_a_torn_json_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(DataError, match=r"r.jsonl:2: every line must be one json object"):
        read_file(path, quoting="auto")
    path.write_text("1\n")
    with pytest.raises(DataError, match="every row must be a json object"):
        read_file(path, quoting="auto")


def test_columns_of_numbers_and_booleans_become_text() -> None:
    table = pa.table({"f": [0.0, None, 2.5], "b": [True, False, None], "d": pa.array(["x", "y", "x"]).dictionary_encode()})
    assert text_column(table.column("f"), where="f").to_pylist() == ["0", None, "2.5"]
    assert text_column(table.column("b"), where="b").to_pylist() == ["true", "false", None]
    assert text_column(table.column("d"), where="d").to_pylist() == ["x", "y", "x"]


def test_names() -> None:
    assert [kind_of(Path(name)) for name in ("a.csv.GZ", "a.b.tsv", "a.ndjson", "a.txt", "gz", ".gz", "a")] == [
        "csv", "tsv", "json", None, None, None, None,
    ]  # fmt: skip
    assert [base_name(Path(name)) for name in ("train.0.csv.gz", "train.parquet")] == ["train.0", "train"]
