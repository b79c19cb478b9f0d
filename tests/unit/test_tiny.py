"""`--tiny`: what is written is the sweep that was meant, and nothing outside its folder is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import ModelError, SpecError
from lfray.spec.load import load_sweep
from lfray.spec.yaml_text import read_yaml
from lfray.tiny import check_tiny, sweep_text

PRESETS = sorted((Path(__file__).parents[2] / "sweeps").glob("[ab]_*.yaml"))
SCALARS = (
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(-1e6, 1e6) | st.text("ab0 :#-{}[]'\"\n\\,.~é", max_size=12)
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab0:# ", max_size=4), inner))


@given(st.dictionaries(st.text("abc", min_size=1) | st.integers(0, 99) | st.booleans(), TREES, min_size=1))
def test_what_is_written_reads_back(document: dict[str, object]) -> None:
    text = sweep_text(document)
    assert read_yaml(text, file="x", environ={}).value == document


def test_a_variable_stays_a_variable() -> None:
    written = {"data": {"source": "file:${HOME_OF_DATA}/rows.csv", "max_tokens": "${LENGTH}"}, "name": "a ${ODD}: b"}
    read = read_yaml(sweep_text(written), file="x", environ={"HOME_OF_DATA": "/d", "LENGTH": "64", "ODD": "7"})
    assert read.value == {"data": {"source": "file:/d/rows.csv", "max_tokens": 64}, "name": "a 7: b"}
    assert read.written == written


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_of_the_papers_has_a_tiny_form(path: Path) -> None:
    real = load_sweep(path).spec
    small, warnings = check_tiny(path)
    assert small.spec.name == f"{real.name}-tiny"
    assert small.spec.model.base == f"hub:lfray-tiny/{real.model.base.rpartition('/')[2]}"
    assert small.spec.data.source.startswith("hub:lfray-tiny/")
    assert small.spec.objectives == real.objectives
    assert small.spec.methods == real.methods
    assert small.spec.task == real.task
    assert any(real.model.base in warning for warning in warnings)


def test_the_real_file_is_checked_first(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(PRESETS[0].read_text().replace("batch_size: 16", "batch_size: none"))
    with pytest.raises(SpecError, match=r"wrong\.yaml"):
        check_tiny(path)


def test_a_base_that_is_not_known_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    path = tmp_path / "unknown.yaml"
    path.write_text(PRESETS[0].read_text().replace("google-bert/bert-base-uncased", "nobody/nothing"))
    with pytest.raises(ModelError, match=r"nobody/nothing.*hf download nobody/nothing config\.json"):
        check_tiny(path)


def test_a_check_leaves_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from lfray.__main__ import main; assert main(['check', '--tiny', sys.argv[1]]) == 0; "
        "print([name for name in ('torch', 'ray', 'datasets', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(PRESETS[0])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []
