from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfray.errors import StorageError
from lfray.storage import Storage, replace_folder, write_json, write_text
from tests.unit.records import make_failure, make_record

KILLED_WRITERS = """
import os, random, signal, sys
from pathlib import Path
from lfray.storage import write_text

target = Path(sys.argv[1])
contents = [letter * 300_000 for letter in "abc"]
write_text(target, contents[0])
pick = random.Random(0)
states = set()
for _ in range(40):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        while True:
            for content in contents:
                os.write(writer, b".")
                write_text(target, content)
    for _ in range(pick.randrange(1, 8)):
        os.read(reader, 1)
    for _ in range(pick.randrange(0, 40_000)):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    read = target.read_text()
    if read not in contents:
        sys.exit(f"torn: {len(read)} characters, {sorted(set(read))}")
    states.add((read[0], len(list(target.parent.iterdir())) > 1))
    for left in target.parent.glob(".*"):
        left.unlink()
print(len({letter for letter, _ in states}), any(left for _, left in states))
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, str(tmp_path / "record.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    # The kills fell between different writes, and some in the middle of one (its temporary file was left).
    assert ran.stdout.split() == ["3", "True"]


def test_a_record_is_found_again(tmp_path: Path) -> None:
    storage, record = Storage(tmp_path), make_record(measures={"accuracy": 0.5})
    assert storage.read_record(record.trial_id) is None
    storage.write_record(record)
    assert storage.read_record(record.trial_id) == record
    other = make_record(seed=42)
    assert list(storage.read_records([other.trial_id, record.trial_id])) == [record]
    assert sorted(path.name for path in storage.trial_folder(record.trial_id).iterdir()) == ["record.json"]


def test_writing_the_same_record_again_gives_the_same_bytes(tmp_path: Path) -> None:
    storage, record = Storage(tmp_path), make_record(measures={"accuracy": "empty_group"})
    path = storage.trial_folder(record.trial_id) / "record.json"
    storage.write_record(record)
    first = path.read_bytes()
    storage.write_record(record)
    assert path.read_bytes() == first


@pytest.mark.parametrize("keep", [0, 10, -2])
def test_a_torn_record_is_refused_by_its_path(tmp_path: Path, keep: int) -> None:
    storage, record = Storage(tmp_path), make_record()
    storage.write_record(record)
    path = storage.trial_folder(record.trial_id) / "record.json"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StorageError, match=r"record\.json: not a record"):
        storage.read_record(record.trial_id)


def test_a_record_in_the_folder_of_another_trial_is_refused(tmp_path: Path) -> None:
    storage, record = Storage(tmp_path), make_record()
    storage.write_record(record)
    path = storage.trial_folder(record.trial_id) / "record.json"
    path.write_text(path.read_text().replace('"seed": 13', '"seed": 14'))
    with pytest.raises(StorageError, match="holds trial"):
        storage.read_record(record.trial_id)


def test_a_record_set_aside_is_not_lost_however_often(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    failed = make_record(failure=make_failure("apple"))
    assert storage.set_aside(failed.trial_id) is None
    asides = []
    for message in ("apple", "birch", "cedar"):
        storage.write_record(make_record(failure=make_failure(message)))
        asides.append(storage.set_aside(failed.trial_id))
        assert storage.read_record(failed.trial_id) is None
        if message == "birch":
            (storage.trial_folder(failed.trial_id) / "record.json.1").unlink()
    assert [aside.name for aside in asides if aside is not None] == ["record.json.1", "record.json.2", "record.json.3"]
    assert ["birch" in aside.read_text() for aside in asides[1:] if aside is not None] == [True, False]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    storage = Storage(tmp_path)
    for folder in (storage.trial_folder, storage.sweep_folder):
        with pytest.raises(StorageError, match="one plain path segment"):
            folder(name)


def test_a_plan_is_kept_beside_the_file_as_written(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert storage.sweeps() == []
    assert storage.read_json("b", "plan.json") is None
    for name in ("b", "a"):
        storage.write_plan(name, {"trials": [name]}, "# as written\nversion: 1\n", {"version": 1})
    assert storage.sweeps() == ["a", "b"]
    assert storage.read_json("b", "plan.json") == {"trials": ["b"]}
    assert (storage.sweep_folder("b") / "spec.yaml").read_text() == "# as written\nversion: 1\n"
    (storage.sweep_folder("b") / "plan.json").write_text("{")
    with pytest.raises(StorageError, match="not JSON"):
        storage.read_json("b", "plan.json")


def test_json_has_no_nan_and_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    assert json.loads(path.read_text()) == {"é": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]
    assert json.loads(path.read_text()) == {"é": 1}


def test_a_location_is_relative_to_the_sweep_file(tmp_path: Path) -> None:
    assert Storage.at("./runs", relative_to=tmp_path).root == tmp_path / "runs"
    assert Storage.at(str(tmp_path / "x"), relative_to=Path("/")).root == tmp_path / "x"
    assert Storage.at(f"file://{tmp_path}/x", relative_to=Path("/")).root == tmp_path / "x"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be a folder"):
        Storage.at("file", relative_to=tmp_path)
    with pytest.raises(StorageError, match="must be a folder in this version"):
        Storage.at("s3://bucket/x", relative_to=tmp_path)


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    Storage(tmp_path / "new").ensure()
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        Storage(tmp_path / "file" / "below").ensure()


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for round_, content in enumerate(("one", "two", "three")):
        temporary = tmp_path / "adapter.part"
        temporary.mkdir()
        (temporary / f"file{round_}").write_text(content)
        replace_folder(temporary, tmp_path / "x" / "adapter")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["adapter"]
    assert [path.name for path in (tmp_path / "x" / "adapter").iterdir()] == ["file2"]
