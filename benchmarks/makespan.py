"""How long 12 SST-2 trials take with lfray and with the plain recipe: same rows, same settings, same measures, in turns.

    LFRAY_TEST_DATA=<folder that holds sst2/> python -m benchmarks.makespan

Each side runs as a command in a fresh process with fresh folders (storage, database, caches): A B A B A B. A makespan is
wall seconds from the process's start to its exit. CPU seconds of all its processes stand beside it: they say more than
wall seconds where others use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.overhead import all_in, median_inside
from benchmarks.sides import (
    ROOT,
    SIDES,
    WORKERS,
    Inputs,
    Run,
    encoder_folder,
    planned,
    run_lfray,
    run_recipe,
    sst2_folder,
    write_rows,
)  # fmt: skip


def machine() -> dict[str, str]:
    """Where and on what this was measured."""
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.exists() else None
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    packages = ("torch", "transformers", "peft", "ray", "mlflow", "datasets", "lfray")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{found.group(1).strip() if found else platform.processor()}, {len(os.sched_getaffinity(0))} cores",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": commit.stdout.strip() or "unknown",
        "versions": f"python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
    }


def table(runs: list[Run], about: dict[str, str], inputs: Inputs) -> str:
    """The result as Markdown."""
    sides = [side for side in SIDES if any(run.side == side for run in runs)]
    of = {side: [run for run in runs if run.side == side] for side in sides}
    middle = {side: statistics.median(run.makespan for run in of[side]) for side in sides}
    base = middle.get("recipe", next(iter(middle.values())))
    lines = [f"{key}: {value}  " for key, value in about.items()]
    lines += [
        f"trials: {len(inputs.trials)}, {inputs.rows} training rows x {inputs.epochs} epoch, 872 test rows, "
        f"{WORKERS} at once, 1 thread each"
        f"{', read from the full training file' if inputs.full_file else ''}",
        "",
        "| side | makespans, s | median, s | of the recipe's | CPU s, median | train + evaluate, s a trial "
        "| overhead a trial: cold / warm, s | all in, worker-s a trial |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for side in sides:
        here = of[side]
        seconds = [trial for run in here for trial in run.trials]
        work = statistics.median(trial.train + trial.evaluation for trial in seconds)
        spread = statistics.median(all_in(run.makespan, run.trials, workers=WORKERS) for run in here)
        lines.append(
            f"| {side} | {', '.join(f'{run.makespan:.0f}' for run in here)} | {middle[side]:.1f} | {middle[side] / base:.2f} "
            f"| {statistics.median(run.cpu_seconds for run in here):.0f} | {work:.1f} "
            f"| {median_inside(seconds, warm=False):.2f} / {median_inside(seconds, warm=True):.2f} | {spread:.1f} |"
        )
    lines += [
        "", "Equal quality: test accuracy / worst-group accuracy, mean over the trials of a method (SD).", "",
        "| method | trainable | " + " | ".join(sides) + " |", "|---|--:|" + "---|" * len(sides),
    ]  # fmt: skip
    for name in sorted({name for run in runs for name in run.accuracy}):
        counts = {run.trainable[name] for run in runs}
        cells = [f"{_mean_sd(of[side][0].accuracy[name])} / {_mean_sd(of[side][0].worst[name])}" for side in sides]
        lines.append(f"| {name} | {' and '.join(f'{count:,}' for count in sorted(counts))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_sd(found: list[float]) -> str:
    """Of one repeat's trials: repeats run the same trials, so more of them would feign precision."""
    return f"{statistics.mean(found):.3f} ({statistics.stdev(found) if len(found) > 1 else float('nan'):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Makespan of SST-2 trials: lfray against the plain recipe.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12, help="12, or 6, 4 or 2 to try things out")
    parser.add_argument("--rows", type=int, default=1000, help="training rows")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["lfray", "recipe"])
    parser.add_argument("--full-file", action="store_true", help="each side reads all 67,349 training rows and draws its own")
    parser.add_argument("--keep", type=Path, help="folder for all that is written; default: a temporary one")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    given = parser.parse_args()
    sst2, model = sst2_folder(), encoder_folder()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="makespan-") as temporary:
        place = (given.keep or Path(temporary)).resolve()
        inputs = Inputs(sst2, model, place / "data", given.rows, given.epochs, given.full_file, planned(given.trials))
        write_rows(sst2, inputs.data, rows=given.rows)
        about = machine()
        for repeat in range(given.repeats):
            for side in given.sides:
                fresh = place / f"{repeat}-{side}"
                fresh.mkdir()
                run = run_lfray(inputs, fresh) if side == "lfray" else run_recipe(inputs, fresh, reuse=side == "recipe-reuse")
                runs.append(run)
                print(
                    f"{repeat + 1}/{given.repeats} {side}: {run.makespan:.1f} s, CPU {run.cpu_seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    print(table(runs, about, inputs))
    if given.json:
        given.json.write_text(json.dumps({"about": about, "runs": [asdict(run) for run in runs]}, indent=1))


if __name__ == "__main__":
    main()
