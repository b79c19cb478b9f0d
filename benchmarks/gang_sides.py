"""One side of the gang's overhead, in a process of its own that `gang_overhead` starts, times out and samples.

    python -m benchmarks.gang_sides lfray FOLDER
    python -m benchmarks.gang_sides nested FOLDER --steps 46

Each trial becomes a line of FOLDER/trials.jsonl as it ends, so that what was measured before a timeout is kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfray.space.trial import TrialJob

WORKERS = 2
ROWS_A_WORKER = 8
TOKENS = 16
ENGINES = {"DDP": 0, "ZeRO-3": 3}
"""Engine -> ZeRO stage."""
WARM = 5
"""Trials that follow the cold one in the same gang."""
NESTED_CPUS = 3
"""The Tune function and two workers."""
WORDS = tuple(f"w{index}" for index in range(40))
SWEEP = """\
version: 1
name: gang-overhead
data:
  source: "file:{folder}/*.csv"
  groups: {{community: {{column: community}}}}
  minority: {{group: community, value: south}}
  splits: {{train: train, validation: 0.1, test: test}}
  max_tokens: 32
model: {{base: "file:{folder}/base"}}
methods: {{full: {{}}}}
axes:
  method: [full]
  downsampling_ratio: [1.0]
  seed: {seeds}
train: {{epochs: 2, batch_size: {batch}, learning_rate: {{full: 1e-3}}}}
objectives: [fair.worst_group_accuracy, cost.trainable_parameters]
resources: {{cpus_per_trial: 1, workers_per_trial: {workers}, zero_stage: {stage}}}
"""


def write_world(folder: Path) -> None:
    """A two-layer BERT drawn at random (vocabulary of 45 words) and 400 training, 200 test rows whose label hangs on one word."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True)
    for name, rows in (("train", 400), ("test", 200)):
        generator = random.Random(name)
        with (folder / f"{name}.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text", "label", "community"])
            for index in range(rows):
                label, south = generator.randrange(2), generator.random() < 0.3
                words = [f"{name}{index}", WORDS[2 * south + label], *generator.choices(WORDS[4:], k=generator.randint(2, 12))]
                writer.writerow([" ".join(words), label, "south" if south else "north"])
    names = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]")
    fast.save_pretrained(folder / "base")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(names), max_position_embeddings=64, **sizes)).save_pretrained(folder / "base")


def note(folder: Path, engine: str, *, begun: float, ended: float, found: dict[str, Any]) -> None:
    """Append one trial; both times are `time.time()`."""
    line = {"engine": engine, "begun": begun, "ended": ended, "wall": ended - begun, **found}
    with (folder / "trials.jsonl").open("a") as handle:
        handle.write(json.dumps(line) + "\n")


def run_lfray(folder: Path) -> None:
    """Six trials in one gang, for each engine: the first starts the gang, five find it warm."""
    from lfray.app import jobs_of, plan
    from lfray.sweep.tuner import ENVIRONMENT, stop_ray
    from lfray.trial.gang import GangTrial

    os.environ.update(ENVIRONMENT)
    start(WORKERS)
    for engine, stage in ENGINES.items():
        path = folder / f"zero-{stage}.yaml"
        batch = WORKERS * ROWS_A_WORKER
        seeds = list(range(1, WARM + 2))
        world = folder.parent / "world"
        path.write_text(SWEEP.format(folder=world, seeds=seeds, batch=batch, workers=WORKERS, stage=stage))
        gang = GangTrial()
        for place, job in enumerate(jobs_of(plan(path, storage=str(folder / f"runs-{stage}")))):
            _one_trial(gang, job, folder, engine, place)
        gang.close()
    stop_ray()


def _one_trial(gang: Any, job: TrialJob, folder: Path, engine: str, place: int) -> None:
    """Drive a trial to its record and note what its driver saw."""
    from lfray.storage import Storage

    begun, state = time.time(), None
    gang.begin(job)
    while state is None:
        _, state = gang.advance()
    ended = time.time()
    record = Storage(Path(job.where.storage)).read_record(job.config.trial_id)
    if record is None or record.state != "COMPLETED" or record.execution is None:
        raise SystemExit(f"{engine}: the trial must complete (got {record and record.failure})")
    execution, stage = record.execution, ENGINES[engine]
    if (execution.world_size, execution.zero_stage) != (WORKERS, stage):
        raise SystemExit(f"{engine}: must run as asked (got {execution.world_size} workers, ZeRO stage {execution.zero_stage})")
    values = {measure.key: measure.value for measure in record.measures}
    spent = {name: values[f"cost.{name}_seconds"] for name in ("train", "evaluation")}
    found = {"warm": place > 0, "worker_warm": execution.warm, "steps": record.curve[-1].step, "inside": sum(spent.values())}
    note(folder, engine, begun=begun, ended=ended, found=found | spent)


def run_nested(folder: Path, steps: int) -> None:
    """Two trials, one after the other, each a TorchTrainer that a Tune function drives."""
    from benchmarks.nested_trainer import tune_it

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    start(NESTED_CPUS)
    tune_it(folder, folder.parent / "world" / "base", steps=steps)


def start(cpus: int) -> None:
    """A Ray of this process' own. No dashboard: it needs packages beyond ray[tune], and nothing here stops a trial (ray#54305)."""
    import logging

    import ray

    ray.init(
        address="local", num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1",
        logging_level=logging.ERROR, log_to_driver=False,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="One side of benchmarks.gang_overhead.")
    parser.add_argument("side", choices=("lfray", "nested"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=46, help="updates of a nested trial")
    given = parser.parse_args()
    folder = given.folder.resolve()
    if given.side == "lfray":
        run_lfray(folder)
    else:
        run_nested(folder, given.steps)


if __name__ == "__main__":
    main()
