"""The command line: fast, refusing in words, with the documented exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lfray.__main__ import main

SAMPLE = Path(__file__).parent / "spec" / "sample.yaml"


def cli(*arguments: str | Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """The command in a process of its own, with the CPU seconds it took: on an idle machine its wall time, on a busy one still its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "lfray", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_there_at_once() -> None:
    done, seconds = cli("--help")
    assert done.returncode == 0
    assert "check" in done.stdout
    assert seconds < 0.5


def test_check_answers_within_a_second() -> None:
    done, seconds = cli("check", SAMPLE)
    assert done.returncode == 0, done.stderr
    assert seconds < 1.0


def test_check_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lfray.__main__ import main; main(['check', sys.argv[1]]); "
        "print([name for name in ('torch', 'ray', 'datasets', 'transformers', 'pandas', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(SAMPLE)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["front", "report", "list", "gc"])
def test_an_unknown_sweep_is_refused_in_words(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main([command, "nobody-ran-this", "--storage", str(tmp_path)]) == 2
    assert "nobody-ran-this" in capsys.readouterr().err


def test_refusals_are_json_where_json_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: 1\nname: x\nsurprise: 3\n")
    assert main(["check", str(broken), "--json"]) == 2
    refused = json.loads(capsys.readouterr().out)
    assert refused["kind"] == "SpecError"
    assert any(problem["path"] == "surprise" and problem["line"] == 3 for problem in refused["problems"])


def test_init_writes_a_preset_that_passes_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "quickstart"]) == 0
    assert main(["check", "quickstart.yaml"]) == 0
    assert json.loads((tmp_path / "sweep.schema.json").read_text())["properties"]["axes"]
    assert main(["init", "quickstart"]) == 2
    assert "exists" in capsys.readouterr().err


def test_metrics_and_schema_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"key", "unit", "better", "meaning"} <= set(listed[0])
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False


def test_the_schema_beside_the_presets_is_the_present_one() -> None:
    from lfray.spec.schema import json_schema

    written = json.loads((Path(__file__).parents[2] / "sweeps" / "sweep.schema.json").read_text())
    assert written == json.loads(json.dumps(json_schema()))


def test_the_packaged_presets_are_the_sweeps() -> None:
    root = Path(__file__).parents[2]
    sweeps = {path.name: path.read_bytes() for path in (root / "sweeps").glob("*.yaml")}
    packaged = {path.name: path.read_bytes() for path in (root / "lfray" / "presets").glob("*.yaml")}
    assert packaged == sweeps
