from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lfray.data.lab import lab_world
from lfray.data.source import find_files, locate, read_source
from lfray.errors import DataError
from lfray.spec.rows import DataSpec
from tests.unit.data.builders import data_spec, people, write_rows


def texts(folder: Path, spec: DataSpec) -> dict[str, list[str]]:
    return {split: rows["text"] for split, rows in read_source(spec, locate(spec, folder=folder)).splits.items()}


def test_a_folder_is_split_by_file_names(tmp_path: Path) -> None:
    for name, start in (("train.0.csv", 0), ("train.1.csv.gz", 10), ("test.csv", 20)):
        write_rows(tmp_path / name, people(5, prefix=f"t{start}"))
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".hidden.csv").write_text("not data")
    found = texts(tmp_path, data_spec(source="file:."))
    assert {split: len(rows) for split, rows in found.items()} == {"test": 5, "train": 10}


def test_one_file_absolute_or_relative_or_a_glob(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = write_rows(tmp_path / "sub" / "part.jsonl", people(3))
    for source in ("file:sub/part.jsonl", f"file:{path}", "file:sub/p*.jsonl", "file:**/*.jsonl", "file:sub"):
        assert list(texts(tmp_path, data_spec(source=source))) == ["part"]


def test_formats_agree(tmp_path: Path) -> None:
    rows = people(4)
    found = []
    for name in ("r.csv", "r.tsv", "r.jsonl", "r.parquet"):
        path = tmp_path / name
        if name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            write_rows(path, rows)
        spec = data_spec(source=f"file:{name}")
        source = read_source(spec, locate(spec, folder=tmp_path))
        found.append({split: table[:] for split, table in source.splits.items()})
    assert all(other == found[0] for other in found)


def test_only_needed_columns_are_taken(tmp_path: Path) -> None:
    write_rows(tmp_path / "r.jsonl", [{**row, "votes": [1, 2]} for row in people(2)])
    spec = data_spec(source="file:r.jsonl")
    source = read_source(spec, locate(spec, folder=tmp_path))
    assert source.splits["r"].column_names == ["text", "label", "group"]
    assert source.bayes_accuracy == {}


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    rows = [{**row, "part": ["train", " dev"][i % 2]} for i, row in enumerate(people(6))]
    write_rows(tmp_path / "all.csv", rows)
    spec = data_spec(source="file:all.csv", split_column="part")
    assert {split: len(found) for split, found in texts(tmp_path, spec).items()} == {"dev": 3, "train": 3}
    write_rows(tmp_path / "all.csv", [*rows, {**rows[0], "part": ""}])
    with pytest.raises(DataError, match=r"data.split_column: column 'part' must name a split in every row \(got 1 row without\)"):
        texts(tmp_path, spec)


def test_an_absent_column_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write_rows(tmp_path / "r.csv", people(2))
    with pytest.raises(DataError, match=r"data.columns.text: r.csv must have this column \(got 'texts'\). Did you mean 'text'\?"):
        texts(tmp_path, data_spec(columns={"text": "texts"}))
    with pytest.raises(DataError, match=r"data.groups.race.flags.asian: .*got 'asain'"):
        texts(tmp_path, data_spec(groups={"race": {"flags": {"asian": "asain"}}}))


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", people(2))
    write_rows(tmp_path / "b.csv", [{**row, "extra": 1} for row in people(2)])
    with pytest.raises(DataError, match=r"got 'extra' in b.csv, not in a.csv"):
        texts(tmp_path, data_spec())


def test_nothing_found_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must name data files \(got none at .*absent.csv\). Formats: .csv"):
        texts(tmp_path, data_spec(source="file:absent.csv"))
    (tmp_path / "r.txt").write_text("text")
    with pytest.raises(DataError, match=r"r.txt has no known format"):
        texts(tmp_path, data_spec(source="file:r.txt"))
    (tmp_path / "empty.csv").write_text("text,label,group\n")
    with pytest.raises(DataError, match=r"must hold rows \(got none in file:empty.csv\)"):
        texts(tmp_path, data_spec(source="file:empty.csv"))


def test_one_part_in_two_formats_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", people(2))
    write_rows(tmp_path / "train.csv.gz", people(2))
    with pytest.raises(DataError, match=r"train.csv and train.csv.gz look like one part"):
        find_files(".", folder=tmp_path)
    write_rows(tmp_path / "train.jsonl", people(2))
    assert [path.name for path in find_files("*.jsonl", folder=tmp_path)] == ["train.jsonl"]


def test_identity_is_of_content_and_splits_not_of_paths(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for folder in (one, two):
        write_rows(folder / "train.csv", people(3))
    first = locate(data_spec(source="file:one"), folder=tmp_path).identity()
    assert first == locate(data_spec(source="file:two"), folder=tmp_path).identity() is not None
    write_rows(two / "train.csv", people(4))
    assert first != locate(data_spec(source="file:two"), folder=tmp_path).identity()
    (one / "train.csv").rename(one / "test.csv")
    assert first != locate(data_spec(source="file:one"), folder=tmp_path).identity()


def test_a_lab_world_brings_its_splits_and_its_ceiling(tmp_path: Path) -> None:
    world = lab_world("reviews", {})
    community = next(column for column in world.rows if column not in ("text", "label", "split"))
    spec = data_spec(source="lab:reviews", groups={"community": {"column": community}})
    located = locate(spec, folder=tmp_path)
    assert located.identity() is None
    source = read_source(spec, located)
    assert {split: len(rows) for split, rows in source.splits.items()} == Counter(world.rows["split"])
    assert sorted(text for rows in source.splits.values() for text in rows["text"]) == sorted(world.rows["text"])
    assert source.bayes_accuracy == world.bayes_accuracy
