"""The hub is exercised through its cache: a folder laid out as the hub client lays it out, and no network.

The client reads its settings when it is imported, so each case runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lfray.data.hub import quiet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "fedcba9876543210fedcba9876543210fedcba98"
CARD = "---\nconfigs:\n- config_name: first\n  data_files: train.csv\n- config_name: second\n  data_files: other.csv\n---\n"

READ = """
import json, sys
from lfray.data import hub
from lfray.errors import DataError
try:
    commit = hub.resolve(sys.argv[1])
    loaded = hub.load(commit, json.loads(sys.argv[2]))
    print(json.dumps({"commit": commit.commit, "rows": {name: part[:] for name, part in loaded.items()}}))
except DataError as error:
    print(json.dumps({"error": str(error)}))
"""


def snapshot(cache: Path, commit: str, files: dict[str, str]) -> None:
    """One revision as the client keeps it: blobs, and links to them."""
    repository = cache / "datasets--org--name"
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    for name, text in files.items():
        blob = repository / "blobs" / f"{commit[:8]}-{name}"
        blob.write_text(text)
        (folder / name).symlink_to(Path("../../blobs") / blob.name)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


def read(tmp_path: Path, reference: str, config: str | None = None) -> dict[str, object]:
    # An address that nothing answers, so that a case which left offline mode could not reach the real hub either.
    settings = {
        "HF_HOME": str(tmp_path / "home"), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", READ, reference, json.dumps(config)],
        env={**os.environ, **settings}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "examples" not in done.stderr, "no progress bars"
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_cached_snapshot_is_read_without_a_network_by_revision(tmp_path: Path) -> None:
    snapshot(tmp_path / "hub", OLDER, {"train.csv": "text,label\nold,1\n"})
    snapshot(tmp_path / "hub", COMMIT, {"train.csv": "text,label\nNA,0\nb,1\n", "test.csv": "text,label\nc,-1\n"})
    newest = {"train": {"text": ["NA", "b"], "label": [0, 1]}, "test": {"text": ["c"], "label": [-1]}}
    assert read(tmp_path, "org/name") == {"commit": COMMIT, "rows": newest}
    assert read(tmp_path, f"org/name@{OLDER}") == {"commit": OLDER, "rows": {"train": {"text": ["old"], "label": [1]}}}


def test_a_configuration_is_chosen_by_name(tmp_path: Path) -> None:
    files = {"README.md": CARD, "train.csv": "text,label\na,0\n", "other.csv": "text,label\nb,1\n"}
    snapshot(tmp_path / "hub", COMMIT, files)
    assert read(tmp_path, "org/name", "second")["rows"] == {"train": {"text": ["b"], "label": [1]}}
    assert "data.config" in str(read(tmp_path, "org/name")["error"])


def test_an_uncached_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    error = str(read(tmp_path, "org/absent@v2")["error"])
    assert error.startswith(
        "data.source: the hub is out of reach, and its cache has no snapshot of 'org/absent' at revision 'v2'"
    )
    assert error.endswith("hf download --repo-type dataset org/absent --revision v2")
    assert "data.source" in str(read(tmp_path, "not a name")["error"])


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_restored(shown: bool) -> None:
    import datasets

    before = datasets.are_progress_bars_disabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    with quiet():
        assert datasets.are_progress_bars_disabled()
    assert datasets.are_progress_bars_disabled() is not shown
    (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
