"""The hub is exercised through its cache: a folder laid out as the hub client lays it out, and no network.

The client reads its settings when it is imported, so the cases run in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lfray.data.hub import quiet

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "fedcba9876543210fedcba9876543210fedcba98"
CARD = "---\nconfigs:\n- config_name: first\n  data_files: train.csv\n- config_name: second\n  data_files: other.csv\n---\n"

READ = """
import json, sys
from lfray.data import hub
from lfray.errors import DataError
for reference, config in json.loads(sys.argv[1]):
    try:
        commit = hub.resolve(reference)
        loaded = hub.load(commit, config)
        print(json.dumps({"commit": commit.commit, "rows": {name: part[:] for name, part in loaded.items()}}))
    except DataError as error:
        print(json.dumps({"error": str(error)}))
"""


def snapshot(cache: Path, name: str, commit: str, files: dict[str, str]) -> None:
    """One revision as the client keeps it: blobs, and links to them."""
    repository = cache / f"datasets--org--{name}"
    (repository / "blobs").mkdir(parents=True, exist_ok=True)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    for file, text in files.items():
        blob = repository / "blobs" / f"{commit[:8]}-{file}"
        blob.write_text(text)
        (folder / file).symlink_to(Path("../../blobs") / blob.name)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)


Answer = dict[str, Any]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """Reference (and `#configuration`) -> what a process without a network reads or says."""
    folder = tmp_path_factory.mktemp("hub")
    snapshot(folder / "hub", "name", OLDER, {"train.csv": "text,label\nold,1\n"})
    newest = {"train.csv": "text,label\nNA,0\nb,1\n", "test.csv": "text,label\nc,-1\n"}
    snapshot(folder / "hub", "name", COMMIT, newest)
    configured = {"README.md": CARD, "train.csv": "text,label\na,0\n", "other.csv": "text,label\nb,1\n"}
    snapshot(folder / "hub", "two", COMMIT, configured)
    asked: list[tuple[str, str | None]] = [
        ("org/name", None), (f"org/name@{OLDER}", None), ("org/two", "second"), ("org/two", None), ("org/absent@v2", None),
        ("not a name", None),
    ]  # fmt: skip
    # An address that nothing answers, so that a case which left offline mode could not reach the real hub either.
    settings = {
        "HF_HOME": str(folder / "home"), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(asked)],
        env={**os.environ, **settings}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "examples" not in done.stderr, "no progress bars"
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{reference}#{config or ''}": answer for (reference, config), answer in zip(asked, said, strict=True)}


def test_a_cached_snapshot_is_read_without_a_network_by_revision(answers: dict[str, Answer]) -> None:
    newest = {"train": {"text": ["NA", "b"], "label": [0, 1]}, "test": {"text": ["c"], "label": [-1]}}
    assert answers["org/name#"] == {"commit": COMMIT, "rows": newest}
    assert answers[f"org/name@{OLDER}#"] == {"commit": OLDER, "rows": {"train": {"text": ["old"], "label": [1]}}}


def test_a_configuration_is_chosen_by_name(answers: dict[str, Answer]) -> None:
    assert answers["org/two#second"]["rows"] == {"train": {"text": ["b"], "label": [1]}}
    assert "data.config" in answers["org/two#"]["error"]


def test_an_uncached_data_set_says_how_to_get_it(answers: dict[str, Answer]) -> None:
    error = answers["org/absent@v2#"]["error"]
    assert error.startswith(
        "data.source: the hub is out of reach, and its cache has no snapshot of 'org/absent' at revision 'v2'"
    )
    assert error.endswith("hf download --repo-type dataset org/absent --revision v2")
    assert answers["not a name#"]["error"].startswith("data.source: ")


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bars_are_restored(shown: bool) -> None:
    import datasets

    before = datasets.are_progress_bars_disabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    with quiet():
        assert datasets.are_progress_bars_disabled()
    assert datasets.are_progress_bars_disabled() is not shown
    (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
