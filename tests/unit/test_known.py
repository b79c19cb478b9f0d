from __future__ import annotations

from pathlib import Path

import pytest

from lfray.known import KEPT, all_places, places, remember, state_file
from lfray.storage import Storage


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def planned(root: Path, name: str) -> Path:
    Storage(root).write_plan(name, {}, "", {})
    return root


def test_a_sweep_is_found_where_it_was_kept_last(tmp_path: Path) -> None:
    roots = [planned(tmp_path / letter, "s") for letter in "abc"]
    for root in [*roots, roots[0]]:
        remember("s", root)
    assert places("s") == [roots[0], roots[2], roots[1]]
    assert places("other") == []
    assert all_places() == [roots[0], roots[2], roots[1]]


def test_a_storage_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    remember("s", tmp_path / "gone")
    remember("s", planned(tmp_path / "here", "s"))
    assert places("s") == [tmp_path / "here"]
    assert all_places() == [tmp_path / "here"]


def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    roots = [planned(tmp_path / str(index), "s") for index in range(KEPT + 2)]
    for root in roots:
        remember("s", root)
    assert places("s") == roots[: -KEPT - 1 : -1]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"s": 3}', '{"s": [3, null]}', '{"s": "text"}', "\xff"])
def test_a_spoilt_file_does_no_harm(tmp_path: Path, content: str) -> None:
    state_file().parent.mkdir(parents=True)
    state_file().write_text(content, encoding="latin-1")
    assert places("s") == []
    assert all_places() == []
    remember("s", planned(tmp_path / "here", "s"))
    assert places("s") == [tmp_path / "here"]


def test_a_state_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    remember("s", tmp_path)
    assert places("s") == []
