from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lfray.spec.checks import check_sweep
from lfray.spec.load import load_sweep
from tests.unit.spec.builders import accepted, refused

SAMPLE = Path(__file__).parent / "sample.yaml"
SWEEPS = sorted((Path(__file__).parents[3] / "sweeps").glob("*.yaml"))


def test_the_sample_passes_without_a_warning() -> None:
    assert check_sweep(load_sweep(SAMPLE, environ={}), environ={}) == []


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_are_read(path: Path) -> None:
    """Only read: what they name (a model, a data folder) need not be on this machine."""
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)", path.read_text()), "/nowhere")
    assert load_sweep(path, environ=environ).spec.version == 1


def test_every_part_is_heard_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        data="{source: file:none.csv, groups: {g: {column: c}}}",
        model="{base: file:none}",
        axes="{rnk: [1]}",
        objectives="[acuracy]",
        resources="{gpus_per_trial: 1.5}",
        tracking="{uri: mlflow}",
    )
    assert [problem.path for problem in found] == [
        "data.source", "model.base", "axes.rnk", "objectives[0]", "resources.gpus_per_trial", "tracking.uri",
    ]  # fmt: skip


@pytest.mark.parametrize("uri", ["auto", "none", "sqlite:///x.db", "http://host:5000", "databricks"])
def test_trackers(tmp_path: Path, uri: str) -> None:
    accepted(tmp_path, tracking=f"{{uri: '{uri}'}}")


@pytest.mark.parametrize("gpus", ["0", "0.25", "1"])
def test_gpus(tmp_path: Path, gpus: str) -> None:
    accepted(tmp_path, resources=f"{{gpus_per_trial: {gpus}}}")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from lfray.spec.load import load_sweep; from lfray.spec.checks import check_sweep;"
        f"check_sweep(load_sweep(Path({str(SAMPLE)!r})));"
        "heavy = {'torch', 'ray', 'datasets', 'pandas', 'numpy', 'pyarrow', 'transformers', 'huggingface_hub'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
