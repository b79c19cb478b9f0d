from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lfray.data.prepare import prepare_data
from lfray.data.prepared import PreparedData, manifest, new_folder, open_data, verify_manifest
from lfray.errors import DataError, StorageError
from lfray.spec.stages import TaskSpec
from tests.unit.data.builders import data_spec, people, write_rows


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    rows = [{**row, "second": "pair", "x": int(i % 2 == 0), "y": 1} for i, row in enumerate(people(80))]
    write_rows(tmp_path / "all.csv", rows)
    groups = {"group": {"column": "group"}, "target": {"flags": {"x y": "x", "y": "y"}}}
    spec = data_spec(groups=groups, minority={"group": "group"}, columns={"text_pair": "second"})
    return prepare_data(spec, TaskSpec(), folder=tmp_path, root=tmp_path / "data")


def test_the_folder_says_everything_again(prepared: PreparedData) -> None:
    again = open_data(prepared.folder)
    assert again.facts == prepared.facts
    assert again.folder.name == prepared.facts.fingerprint
    assert again.dataset.column_names == [
        "row_id", "text", "text_pair", "label", "split", "group.group.a", "group.group.b", "group.target.x y", "group.target.y",
    ]  # fmt: skip
    assert again.dataset.cache_files, "memory-mapped, not loaded"


def test_splits_hold_rows_ids_labels_and_groups(prepared: PreparedData) -> None:
    parts = [prepared.split(name) for name in ("train", "validation", "test")]
    assert sorted(np.concatenate([part.index for part in parts])) == list(range(80)) == list(range(len(prepared)))
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        rows = prepared.dataset[part.index.tolist()]
        assert set(rows["split"]) == {name}
        assert rows["row_id"] == part.row_id.tolist() == sorted(part.row_id.tolist())
        assert rows["label"] == part.label.tolist()
        group, target = part.groups
        assert rows["group.group.b"] == group.member[:, 1].tolist()
        assert (target.names, target.overlapping, group.overlapping) == (("x y", "y"), True, False)
        assert len(part) == prepared.facts.split_rows[name] == len(group.member)
        assert part.label.dtype == part.index.dtype == np.int64
        assert group.member.dtype == bool
    with pytest.raises(DataError, match="no split 'tset'"):
        prepared.split("tset")


def test_manifests_hold(prepared: PreparedData) -> None:
    for name, expected in prepared.facts.split_manifests.items():
        verify_manifest(prepared, name, expected=expected)
    with pytest.raises(DataError, match=r"split 'test' must hold the rows on record"):
        verify_manifest(prepared, "test", expected=prepared.facts.split_manifests["train"])


def test_a_changed_folder_does_not_pass_for_the_rows_on_record(prepared: PreparedData) -> None:
    ids = prepared.split("test").row_id
    assert manifest(ids[::-1]) == manifest(ids) != manifest(ids[1:])


@pytest.mark.parametrize("change", ["absent", "torn", "rows"])
def test_a_folder_without_whole_rows_is_refused(prepared: PreparedData, change: str, tmp_path: Path) -> None:
    folder = prepared.folder
    if change == "absent":
        folder = tmp_path / "nowhere"
    elif change == "torn":
        (folder / "facts.json").write_text((folder / "facts.json").read_text()[:50])
    else:
        next((folder / "rows").glob("*.arrow")).unlink()
    with pytest.raises(StorageError, match="holds no prepared rows"):
        open_data(folder)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"

    def fill(text: str) -> None:
        with new_folder(target) as temporary:
            assert temporary is not None
            (temporary / "file").write_text(text)
            assert not target.exists()
            if text == "first":
                fill("second")
            if text == "broken":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill("broken")
    assert list(target.parent.iterdir()) == []
    fill("first")
    # The second preparer finished while the first still wrote: its folder stays, the first's is dropped.
    assert (target / "file").read_text() == "second"
    assert list(target.parent.iterdir()) == [target]
    with new_folder(target) as temporary:
        assert temporary is None


def test_facts_are_plain_json(prepared: PreparedData) -> None:
    facts = json.loads((prepared.folder / "facts.json").read_text())
    assert facts["class_names"] == ["0", "1"]
    assert facts["counts"]["kept"] == 80
