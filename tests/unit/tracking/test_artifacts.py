"""Files of a run. That they arrive in MLflow is shown in tests/contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfray.tracking import artifacts
from lfray.tracking.contract import TrackerRefused


def test_absent_artifacts_are_refused(tmp_path: Path) -> None:
    artifacts.require({"here": tmp_path})
    with pytest.raises(TrackerRefused, match="artifact gone: must exist"):
        artifacts.require({"gone": tmp_path / "gone"})


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    found = artifacts.files({"x/y": tmp_path / "deep", "z": tmp_path / "b"})
    assert found == {"x/y/er/a", "z"}
