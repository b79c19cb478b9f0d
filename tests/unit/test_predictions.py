from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lfray.errors import StorageError
from lfray.predictions import GroupColumn, Predictions, read_predictions, write_predictions


def make_table(
    *, num_classes: int = 2, num_logits: int | None = None, parsed: bool = False, groups: tuple[GroupColumn, ...] | None = None
) -> Predictions:
    generator = np.random.default_rng(0)
    n = 5
    member = np.array([[True, False], [False, True], [True, True], [False, False], [True, False]])
    return Predictions(
        row_id=np.array(["a", "b/1", "ç", "", "row-4"]),
        split=np.array(["validation", "validation", "test", "test", "test"]),
        label=np.array([0, 1, 1, 0, 1]),
        prediction=np.array([0, 1, -1, 0, 0]),
        logits=generator.normal(size=(n, num_classes if num_logits is None else num_logits)).astype(np.float32),
        class_names=tuple(f"class {index}" for index in range(num_classes)),
        positive=1,
        groups=groups if groups is not None else (GroupColumn("target", ("muslim", "jewish"), member, overlapping=True),),
        parsed=np.array([True, True, False, True, True]) if parsed else None,
    )


def assert_same(one: Predictions, other: Predictions) -> None:
    for name in ("row_id", "split", "label", "prediction", "logits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype.kind == getattr(other, name).dtype.kind
    assert one.logits.shape == other.logits.shape
    assert (one.class_names, one.positive) == (other.class_names, other.positive)
    assert (one.parsed is None) == (other.parsed is None)
    if one.parsed is not None and other.parsed is not None:
        np.testing.assert_array_equal(one.parsed, other.parsed)
    for mine, theirs in zip(one.groups, other.groups, strict=True):
        assert (mine.attribute, mine.names) == (theirs.attribute, theirs.names)
        assert (mine.overlapping, mine.is_label) == (theirs.overlapping, theirs.is_label)
        np.testing.assert_array_equal(mine.member, theirs.member)


def round_trip(table: Predictions, folder: Path) -> Predictions:
    write_predictions(table, folder / "p.parquet")
    return read_predictions(folder / "p.parquet")


@pytest.mark.parametrize("fields", [{}, {"parsed": True}, {"num_classes": 3}, {"num_logits": 0, "parsed": True}])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, fields: dict[str, Any]) -> None:
    table = make_table(**fields)
    assert_same(round_trip(table, tmp_path), table)


def test_labels_without_scores_keep_a_table_without_columns(tmp_path: Path) -> None:
    assert round_trip(make_table(num_logits=0), tmp_path).logits.shape == (5, 0)


def test_names_of_groups_may_hold_anything_and_never_meet(tmp_path: Path) -> None:
    one_of = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1]]
    groups = (
        GroupColumn("a", ("b.c", "x/y", "日本 é"), one_of),
        GroupColumn("a.b", ("c", "", ":"), ~one_of, overlapping=True),
        GroupColumn("label", ("neg",), np.ones((5, 1), dtype=bool), is_label=True),
        GroupColumn("none", (), np.zeros((5, 0), dtype=bool), overlapping=True),
    )
    table = make_table(groups=groups)
    assert_same(round_trip(table, tmp_path), table)


def test_a_table_without_rows_or_groups(tmp_path: Path) -> None:
    table = make_table(groups=()).rows(np.zeros(5, dtype=bool))
    assert_same(round_trip(table, tmp_path), table)


def test_logits_keep_their_bits(tmp_path: Path) -> None:
    table = make_table()
    table.logits[0] = [np.float32(1e-42), np.nextafter(np.float32(1), np.float32(2))]
    np.testing.assert_array_equal(round_trip(table, tmp_path).logits.view(np.uint32), table.logits.view(np.uint32))


def test_rows_of_one_split_and_back_together() -> None:
    table = make_table(parsed=True)
    parts = [table.of_split("validation"), table.of_split("test")]
    assert [len(part) for part in parts] == [2, 3]
    assert_same(Predictions.concatenate(parts), table)


def test_an_unknown_attribute_is_refused_with_the_known_ones() -> None:
    with pytest.raises(StorageError, match=r"no attribute 'race'\. Known: target"):
        make_table().attribute("race")


def test_an_absent_or_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(StorageError, match="cannot be read"):
        read_predictions(path)
    write_predictions(make_table(), path)
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StorageError, match="cannot be read"):
            read_predictions(path)


@pytest.mark.parametrize("metadata", [None, {b"lfray": json.dumps({"schema_version": 99}).encode()}])
def test_a_table_of_another_schema_is_refused(tmp_path: Path, metadata: dict[bytes, bytes] | None) -> None:
    pq.write_table(pa.table({"row_id": ["a"]}).replace_schema_metadata(metadata), tmp_path / "p.parquet")
    with pytest.raises(StorageError, match="this lfray reads 1"):
        read_predictions(tmp_path / "p.parquet")
