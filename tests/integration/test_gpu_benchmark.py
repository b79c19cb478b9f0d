"""The GPU benchmark rehearsed without a GPU: every row is there, and a row that could not run says why instead of showing a figure."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
ROWS = ["lfray-lora", "trainer-lora", "lfray-full", "trainer-full", "lfray-zero-2", "lfray-zero-3", "tests"]
FIGURES = {"tokens_per_second", "least", "most", "flops_utilisation", "peak_gib", "trainable", "result"}


def run(*arguments: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    *shown, found = ended.stdout.strip().splitlines() or [""]
    assert found.startswith("{"), ended.stderr[-3000:]
    rows = json.loads(found)["rows"]
    assert [row["case"] for row in rows] == ROWS
    lines = [line for line in shown if line.startswith("| ")][1:]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == [row["label"] for row in rows]
    return ended.returncode, "\n".join(lines), {row["case"]: row for row in rows}


@pytest.mark.slow
def test_a_tiny_run_has_every_row_and_equal_work() -> None:
    code, table, rows = run("--tiny")
    assert code == 0, rows
    assert rows.pop("tests") == {"case": "tests", "label": "pytest -m gpu", "reason": "--tiny runs on the CPU"}
    for name, row in rows.items():
        assert "reason" not in row, row
        assert (row["runs"], row["failed"], row["gpus"], row["precision"]) == (1, [], 1, "bf16"), name
        assert math.isfinite(row["tokens_per_second"])
        assert row["least"] <= row["tokens_per_second"] <= row["most"]
        assert row["tokens_per_second"] > 0
        assert row["flops_utilisation"] is None, "a CPU has no peak in the table"
    assert table.count("undefined (no peak known)") == len(rows)
    ran = {name: row["ran"].split(",")[0] for name, row in rows.items()}
    assert ran == dict(zip(ROWS, ["single", "Trainer", "single", "Trainer", "deepspeed", "deepspeed"], strict=False))
    # The peer's work is the same: as many parameters learn.
    assert rows["lfray-lora"]["trainable"] == rows["trainer-lora"]["trainable"]
    assert len({rows[name]["trainable"] for name in ROWS[2:6]}) == 1


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: nothing is missing")
def test_without_a_gpu_no_row_has_a_figure() -> None:
    code, table, rows = run()
    assert code == 1
    for row in rows.values():
        assert "no CUDA device" in row["reason"]
        assert not FIGURES & row.keys()
    assert table.count("not run: torch finds no CUDA device here") == len(ROWS)
