"""Which tracker is used, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfray.tracking.contract import absolute_uri, resolve_uri

SERVER = "http://tracking:5000"


@pytest.mark.parametrize(
    ("option", "environ", "spec", "expected"),
    [
        ("http://a", SERVER, "http://b", "http://a"),
        (None, SERVER, "http://b", SERVER),
        (None, None, "http://b", "http://b"),
        ("none", SERVER, "http://b", None),
        (None, "none", "http://b", None),
        (None, None, "none", None),
        (None, "", "http://b", "http://b"),
        ("", SERVER, "http://b", SERVER),
    ],
)
def test_option_then_environment_then_sweep_file(
    option: str | None, environ: str | None, spec: str, expected: str | None
) -> None:
    assert resolve_uri(option, spec, {} if environ is None else {"MLFLOW_TRACKING_URI": environ}) == expected


@pytest.mark.parametrize(("option", "spec"), [(None, "auto"), ("auto", "http://b"), (None, "")])
def test_auto_is_the_database_that_a_bare_ui_shows(
    option: str | None, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri(option, spec, {}) == f"sqlite:///{tmp_path}/mlflow.db"


def test_relative_database_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///runs/m.db?timeout=5") == f"sqlite:///{tmp_path}/runs/m.db?timeout=5"
    assert absolute_uri(f"sqlite:///{tmp_path}/m.db") == f"sqlite:///{tmp_path}/m.db"
    assert absolute_uri("sqlite:////abs/m.db") == "sqlite:////abs/m.db"
    assert absolute_uri("sqlite:///:memory:") == "sqlite:///:memory:"
    assert absolute_uri("postgresql://host/db") == "postgresql://host/db"
