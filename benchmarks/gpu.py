"""Tokens a second, model-FLOPs utilisation and peak memory of OPT-1.3B on GPUs: lfray's steppers and plain transformers.Trainer, in turns.

    python -m benchmarks.gpu                # needs CUDA; also runs the tests marked gpu
    python -m benchmarks.gpu --tiny         # two layers on the CPU, to see that it works

Sequence 512, bf16 autocast over fp32 weights, random weights and tokens. ZeRO runs on all GPUs (`--gpus`), the rest on one. Each case
runs in fresh processes, in turns, `--repeats` times; the table has medians. What cannot run says why: no figure is made up.

Utilisation = operations (`lfray.model.flops`: products of weights and attention, backward by what learns, nothing for
recomputation) / seconds / dense bf16 peak of the devices. Peak memory is the allocator's on a GPU; on the CPU it is the
process' resident memory, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu_cases import CASES, Case, Work, importable
from benchmarks.makespan import machine
from benchmarks.sides import ROOT

PEAK_TFLOPS = ((r"H100.* HBM3$", 989.4), (r"H200$", 989.4), (r"A100-SXM", 312.0))
"""Name of the device -> dense bf16 TFLOP/s, from NVIDIA's data sheets of the SXM boards; PCIe and NVL ones differ."""
LIMIT_SECONDS = 900.0
_LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def devices() -> list[str]:
    """Names of the GPUs that torch can use here."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(index) for index in range(count)]


def peak_of(names: list[str], given: float | None) -> float | None:
    """Dense bf16 TFLOP/s of one of the (equal) devices; None where nobody said and the table does not have it."""
    if given is not None:
        return given
    found = {next((peak for pattern, peak in PEAK_TFLOPS if re.search(pattern, name)), None) for name in names}
    return found.pop() if len(found) == 1 else None


def run_case(case: Case, work: Work, size: int) -> dict[str, Any]:
    """Run a case once: what it measured over its ranks, or `reason`."""
    with tempfile.TemporaryDirectory(prefix=f"{case.name}-") as temporary:
        folder = Path(temporary)
        processes = [_start(case, work, folder, rank, size) for rank in range(size)]
        reason = _wait(processes, folder)
        if reason is not None:
            return {"reason": reason}
        ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(size)]
    slowest = max(rank["seconds"] for rank in ranks)
    peaks = [rank["peak"] for rank in ranks]
    found: dict[str, Any] = ranks[0] | {
        "gpus": size,
        "seconds": slowest,
        "tokens_per_second": sum(rank["tokens"] for rank in ranks) / slowest,
        "flops_per_second": None if ranks[0]["flops"] is None else ranks[0]["flops"] / slowest,
        "peak": None if None in peaks else max(peaks),
    }
    return found


def _start(case: Case, work: Work, folder: Path, rank: int, size: int) -> subprocess.Popen[bytes]:
    """One rank, which sees its own GPU only."""
    shown = [place for place in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if place] or [str(n) for n in range(size)]
    settings = {key: value for key, value in os.environ.items() if key not in _LAUNCHER} | {
        "CUDA_VISIBLE_DEVICES": "" if work.tiny else shown[rank], "PYTHONPATH": importable(), "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    if work.tiny:
        settings |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, "-m", "benchmarks.gpu_cases", case.name, json.dumps(asdict(work)), str(folder)]
    with (folder / f"output-{rank}.txt").open("w") as output:
        return subprocess.Popen(
            [*command, "--rank", str(rank), "--size", str(size)],
            cwd=folder,
            env=settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path) -> str | None:
    """Wait for all ranks; why it failed, or None. When one fails, the others, which would wait for it, are ended."""
    until, reason = time.monotonic() + LIMIT_SECONDS, None
    while reason is None and any(process.poll() is None for process in processes):
        if time.monotonic() > until:
            reason = f"did not end within {LIMIT_SECONDS:g} s"
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        reason = _why(folder / f"output-{failed[0]}.txt") if failed else reason
        time.sleep(0.2)
    failed = [rank for rank, process in enumerate(processes) if process.poll()]
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    return reason or (_why(folder / f"output-{failed[0]}.txt") if failed else None)


def _why(path: Path) -> str:
    """The error that a process ended with."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(\[rank\d+\]: )?[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or ["ended without a word"])[-1][:300]


def row_of(case: Case, runs: list[dict[str, Any]], peak: float | None) -> dict[str, Any]:
    """Medians of a case, or why there are none."""
    good = [run for run in runs if "reason" not in run]
    if not good:
        return {"case": case.name, "label": case.label, "reason": runs[0]["reason"] if runs else "was not started"}
    speeds = [run["tokens_per_second"] for run in good]
    flops = [run["flops_per_second"] for run in good]
    known = peak is not None and None not in flops
    peaks = [run["peak"] for run in good]
    return {
        "case": case.name, "label": case.label, "runs": len(good), "failed": [run["reason"] for run in runs if "reason" in run],
        "gpus": good[0]["gpus"], "precision": good[0]["precision"], "ran": good[0]["ran"], "trainable": good[0]["trainable"],
        "tokens_per_second": statistics.median(speeds), "least": min(speeds), "most": max(speeds),
        "flops_utilisation": statistics.median(flops) / (peak * 1e12) if known and peak is not None else None,
        "peak_gib": None if None in peaks else statistics.median(peaks),
    }  # fmt: skip


def gpu_tests(absent: str | None) -> dict[str, Any]:
    """Run the tests that need a GPU; their last line, or why they were not run."""
    label = "pytest -m gpu"
    if absent is not None:
        return {"case": "tests", "label": label, "reason": absent}
    command = [sys.executable, "-m", "pytest", "tests", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or ended.stderr.strip().splitlines() or ["no output"])[-1]
    if ended.returncode:
        print(ended.stdout, file=sys.stderr)
        return {"case": "tests", "label": label, "reason": f"exit code {ended.returncode}: {last}"}
    return {"case": "tests", "label": label, "result": last}


def table(rows: list[dict[str, Any]], about: dict[str, str], peak: float | None) -> str:
    """The result as Markdown."""
    lines = [f"{key}: {value}  " for key, value in about.items()]
    lines += [
        "",
        "| case | ran | devices | precision | trainable | tokens/s, median | least .. most | FLOPs utilisation | peak a device, GiB |",
        "|---|---|--:|---|--:|--:|---|--:|--:|",
    ]
    for row in rows:
        if "reason" in row:
            lines.append(f"| {row['label']} | not run: {row['reason'].replace('|', '/')} | | | | | | | |")
        elif "result" in row:
            lines.append(f"| {row['label']} | {row['result']} | | | | | | | |")
        else:
            share = f"{row['flops_utilisation']:.3f}" if row["flops_utilisation"] is not None else "undefined (no peak known)"
            memory = f"{row['peak_gib']:.2f}" if row["peak_gib"] is not None else "undefined"
            ran = f"{row['ran']}, {row['runs']} of {row['runs'] + len(row['failed'])}"
            lines.append(
                f"| {row['label']} | {ran} | {row['gpus']} | {row['precision']} | {row['trainable']:,} "
                f"| {row['tokens_per_second']:.0f} | {row['least']:.0f} .. {row['most']:.0f} | {share} | {memory} |"
            )
    lines.append(f"\npeak taken for utilisation: {'none' if peak is None else f'{peak:g} TFLOP/s a device, dense bf16'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="OPT-1.3B on GPUs: lfray's steppers against transformers.Trainer.")
    parser.add_argument("--tiny", action="store_true", help="a two-layer OPT on the CPU, once: whether it works")
    parser.add_argument("--repeats", type=int, help="default 3; 1 with --tiny")
    parser.add_argument("--rows", type=int, help="rows of one device in one update; default 8; 2 with --tiny")
    parser.add_argument("--steps", type=int, help="measured updates; default 20; 2 with --tiny")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES], help="only these; default: all")
    parser.add_argument("--gpus", type=int, help="devices for ZeRO; default: all; 1 with --tiny (processes there)")
    parser.add_argument(
        "--peak-tflops", type=float, help="dense bf16 TFLOP/s of one device; default: known for H100, H200, A100 SXM"
    )
    given = parser.parse_args()
    if given.tiny:
        names, work = [], Work(True, given.rows or 2, 32, 1, given.steps or 2)
    else:
        names, work = devices(), Work(False, given.rows or 8, 512, 5, given.steps or 20)
    peak = None if given.tiny else peak_of(names, given.peak_tflops)
    absent = None if given.tiny or names else "torch finds no CUDA device here (--tiny runs on the CPU)"
    about = machine() | {"devices": ", ".join(names) or "CPU" * given.tiny or "none"}
    about["work"] = (
        f"{'two-layer OPT' if given.tiny else 'OPT-1.3B'}, {work.rows} rows x {work.length} tokens a device, {work.steps} updates"
    )
    cases = [case for case in CASES if not given.cases or case.name in given.cases]
    runs: dict[str, list[dict[str, Any]]] = {case.name: [] for case in cases}
    for _ in range(given.repeats or (1 if given.tiny else 3)):
        for case in cases:
            size = (given.gpus or max(1, len(names))) if case.shared else 1
            if absent is None and size > len(names) and not given.tiny:
                raise SystemExit(f"--gpus: must be at most the devices here (got {size} of {len(names)})")
            runs[case.name].append({"reason": absent} if absent is not None else run_case(case, work, size))
            print(f"{case.name}: {runs[case.name][-1].get('reason', 'done')}", file=sys.stderr, flush=True)
    rows = [row_of(case, runs[case.name], peak) for case in cases]
    rows.append(gpu_tests("--tiny runs on the CPU" if given.tiny else absent))
    print(table(rows, about, peak))
    print(json.dumps({"about": about, "peak_tflops": peak, "rows": rows}))
    failed = [row for row in rows if "reason" in row and not (given.tiny and row["case"] == "tests")]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
