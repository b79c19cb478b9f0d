"""Addresses in messages, and the folder of artifacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfray.tracking import address
from lfray.tracking.contract import TrackerRefused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://user:secret@host:5000/x", "http://...@host:5000/x"),
        ("failed: https://u:p@h/a and http://h/b", "failed: https://...@h/a and http://h/b"),
        ("sqlite:////tmp/a@b.db", "sqlite:////tmp/a@b.db"),
    ],
)
def test_no_password_is_spoken(text: str, expected: str) -> None:
    assert address.spoken(text) == expected


def test_artifacts_lie_beside_a_database_file() -> None:
    assert address.artifact_folder("sqlite:////data/m.db?x=1", "sst2") == "file:///data/mlartifacts/sst2"
    assert address.artifact_folder("http://host", "sst2") is None
    assert address.artifact_folder("postgresql://host/db", "sst2") is None


@pytest.mark.parametrize("name", ["a/b", "..", "Größe", "a%2fb", "a b", "a#b?c"])
def test_an_experiment_stays_in_its_own_folder(name: str) -> None:
    folder = address.artifact_folder("sqlite:////data/m.db", name)
    assert folder is not None
    rest = folder.removeprefix("file:///data/mlartifacts/")
    assert "/" not in rest
    assert rest not in {"", ".", ".."}
    assert not set(rest) & set("#? ")


def test_a_folder_is_made_for_a_database(tmp_path: Path) -> None:
    address.probe(f"sqlite:///{tmp_path}/new/m.db")
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///x", "", "nonsense://x"])
def test_what_is_no_tracker_is_refused(uri: str) -> None:
    with pytest.raises(TrackerRefused, match="sqlite:///"):
        address.probe(uri)


def test_servers_are_not_opened() -> None:
    address.probe("http://127.0.0.1:9")
    assert address.is_server("https://h")
    assert not address.is_server("sqlite:///x")
