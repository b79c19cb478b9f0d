"""What a two-worker trial costs beside its training and evaluation: lfray's gang against a nested `ray.train.torch.TorchTrainer`.

    python -m benchmarks.gang_overhead

Overhead = wall seconds of the trial as its driver sees it, less the seconds inside its training (and evaluation, where it has one).
Each side runs in a process with a Ray of its own, one after the other, and is ended after `--limit` seconds: a nested trainer can
wait for ever. Reading, for both sides alike: imports in the workers, loading the model and joining the process group are overhead;
the driver's own start by Tune is not in it. lfray's trial also evaluates (subtracted), writes predictions and its record (not
subtracted); the nested one does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gang_sides import ENGINES, NESTED_CPUS, WARM, WORKERS, write_world
from benchmarks.gpu_cases import importable
from benchmarks.makespan import machine
from benchmarks.sides import SAMPLE_SECONDS, environment


class CpuOf:
    """CPU seconds of a process and all its descendants over time; what one used in its last 0.25 s may be missing."""

    def __init__(self, pid: int) -> None:
        """Begin to sample."""
        self._pid, self._used = pid, dict[tuple[int, float], float]()
        self._times: list[float] = []
        self._totals: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            for process in family(self._pid):
                try:
                    times = process.cpu_times()
                    self._used[process.pid, process.create_time()] = times.user + times.system
                except psutil.NoSuchProcess:
                    continue
            self._times.append(time.time())
            self._totals.append(sum(self._used.values()))

    def stop(self) -> None:
        """Sample no more."""
        self._ended.set()
        self._thread.join()

    def between(self, begun: float, ended: float) -> float | None:
        """CPU seconds between two times, by the first sample after each; None where there are none."""
        places = [bisect_left(self._times, moment) for moment in (begun, ended)]
        if not self._totals:
            return None
        first, last = (self._totals[min(place, len(self._totals) - 1)] for place in places)
        return last - first


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty where it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@dataclass(frozen=True)
class Side:
    """What came of one side."""

    name: str
    trials: list[dict[str, Any]]
    failure: str | None


def run_side(name: str, place: Path, *, limit: float, steps: int | None = None) -> Side:
    """Run one side to its end or to the limit; what it noted until then counts."""
    folder = place / name
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.gang_sides", name, str(folder)]
    command += [] if steps is None else ["--steps", str(steps)]
    failure = None
    with (folder / "output.txt").open("w") as output:
        settings = environment(folder) | {"PYTHONPATH": importable(), "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        process = subprocess.Popen(command, cwd=folder, env=settings, stdout=output, stderr=subprocess.STDOUT)
        cpu = CpuOf(process.pid)
        try:
            code = process.wait(limit)
            if code:
                failure = f"ended with code {code}: {_last_line(folder / 'output.txt')}"
        except subprocess.TimeoutExpired:
            failure = f"did not end within {limit:g} s"
            _end(process)
    cpu.stop()
    noted = folder / "trials.jsonl"
    trials = [json.loads(line) for line in noted.read_text().splitlines()] if noted.exists() else []
    return Side(name, [trial | {"cpu": cpu.between(trial["begun"], trial["ended"])} for trial in trials], failure)


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a side with all that it started."""
    members = family(process.pid)
    process.terminate()
    _, left = psutil.wait_procs(members, timeout=10)
    for member in left:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def row(label: str, trials: list[dict[str, Any]], failure: str | None) -> dict[str, Any]:
    """One line of the table: medians over the trials (CPU seconds: mean), or why there are none."""
    if not trials:
        return {"trial": label, "trials": 0, "reason": failure or "no such trial ran"}
    spent = [trial["wall"] - trial["inside"] for trial in trials]
    cpu = [trial["cpu"] for trial in trials if trial["cpu"] is not None]
    return {
        "trial": label,
        "trials": len(trials),
        "steps": trials[0]["steps"],
        "wall": statistics.median(trial["wall"] for trial in trials),
        "inside": statistics.median(trial["inside"] for trial in trials),
        "overhead": statistics.median(spent),
        "least": min(spent),
        "most": max(spent),
        # The mean: trials follow one another, so what a sample misses of one it finds in the next.
        "cpu": statistics.mean(cpu) if cpu else None,
    }


def rows_of(lfray: Side, nested: Side) -> list[dict[str, Any]]:
    """Every line of the table, whether it could be measured or not."""
    found = []
    for engine in ENGINES:
        of = [trial for trial in lfray.trials if trial["engine"] == engine]
        found.append(row(f"lfray {engine}, cold (new gang)", [t for t in of if not t["warm"]], lfray.failure))
        found.append(row(f"lfray {engine}, warm (same gang)", [t for t in of if t["warm"]], lfray.failure))
    for label, warm in (("nested TorchTrainer DDP, first", False), ("nested TorchTrainer DDP, following", True)):
        found.append(row(label, [t for t in nested.trials if t["warm"] is warm], nested.failure))
    return found


def table(rows: list[dict[str, Any]], about: dict[str, str]) -> str:
    """The result as Markdown."""
    lines = [f"{key}: {value}  " for key, value in about.items()]
    lines += [
        f"Ray of each side: lfray {WORKERS} CPUs; nested {NESTED_CPUS}, one of which the Tune function takes; no dashboard  ",
        "A nested trainer has no warm state: its following trial starts its actors, processes and process group again.",
        "",
        "| trial of two workers | trials | updates | wall, s | train + evaluate, s | overhead, s | least .. most, s | CPU s, mean |",
        "|---|--:|--:|--:|--:|--:|---|--:|",
    ]
    for found in rows:
        if not found["trials"]:
            lines.append(f"| {found['trial']} | 0 | not measured: {found['reason']} | | | | | |")
            continue
        cpu = "not sampled" if found["cpu"] is None else f"{found['cpu']:.1f}"
        lines.append(
            f"| {found['trial']} | {found['trials']} | {found['steps']} | {found['wall']:.2f} | {found['inside']:.2f} "
            f"| {found['overhead']:.2f} | {found['least']:.2f} .. {found['most']:.2f} | {cpu} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Overhead of a two-worker trial: lfray's gang against a nested TorchTrainer.")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each side, after which it is ended")
    parser.add_argument("--sides", nargs="+", choices=("lfray", "nested"), default=["lfray", "nested"])
    parser.add_argument("--keep", type=Path, help="folder for all that is written; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gang-") as temporary:
        place = (given.keep or Path(temporary)).resolve()
        write_world(place / "world")
        about = machine()
        skipped = "left out by --sides"
        lfray = run_side("lfray", place, limit=given.limit) if "lfray" in given.sides else Side("lfray", [], skipped)
        steps = lfray.trials[0]["steps"] if lfray.trials else None
        nested = (
            run_side("nested", place, limit=given.limit, steps=steps) if "nested" in given.sides else Side("nested", [], skipped)
        )
    rows = rows_of(lfray, nested)
    print(table(rows, about))
    print(json.dumps({"about": about, "warm trials": WARM, "rows": rows, "trials": [*lfray.trials, *nested.trials]}))
    if lfray.failure not in (None, skipped) or nested.failure not in (None, skipped):
        sys.exit(1)


if __name__ == "__main__":
    main()
