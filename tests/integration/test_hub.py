"""`hub:` ids, from local folders in the hub's cache layout: the loading code is the real one, only the network is not there."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import SWEEP, lfray

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(root: Path, kind: str, name: str, source: Path) -> None:
    """A repository as `huggingface_hub` caches it: refs/main names a commit, snapshots/<commit> holds the files."""
    folder = root / f"{kind}s--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    shutil.copytree(source, folder / "snapshots" / COMMIT)


def test_a_sweep_of_hub_ids_is_planned_offline(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    cached(hub, "model", "someone/tiny-bert", tiny_bert)
    cached(hub, "dataset", "someone/tiny-data", tiny_data)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = SWEEP.format(name="hubbed", data="", base="")
    text = text.replace("source: file:/*.csv", "source: hub:someone/tiny-data").replace(
        'base: "file:"', 'base: "hub:someone/tiny-bert"'
    )
    (tmp_path / "hubbed.yaml").write_text(text)
    planned = lfray("plan", "hubbed.yaml", "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert len(plan["trials"]) == 6
    assert plan["data"]["split_rows"]["test"] == 200
    local = SWEEP.format(name="local", data=tiny_data, base=tiny_bert)
    (tmp_path / "local.yaml").write_text(local)
    same = json.loads(lfray("plan", "local.yaml", "--json", cwd=tmp_path).stdout)
    assert [trial["trial_id"] for trial in same["trials"]] == [trial["trial_id"] for trial in plan["trials"]], (
        "an id hangs on a path"
    )


def test_a_model_that_is_nowhere_is_refused_before_anything_starts(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = SWEEP.format(name="nowhere", data=tiny_data, base="").replace('base: "file:"', 'base: "hub:nobody/nothing"')
    (tmp_path / "nowhere.yaml").write_text(text)
    refused = lfray("run", "nowhere.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "nobody/nothing@main" in refused.stderr
    assert "Traceback" not in refused.stderr
