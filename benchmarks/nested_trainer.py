"""The peer of a gang: a two-worker trial as Ray's documentation writes it, a Tune function that drives a `TorchTrainer` (Train V2).

Shape: Ray Train's user guide on hyperparameter tuning with Tune (`TuneReportCallback` included).

No straw man: it neither evaluates nor predicts nor writes a model, its clock starts after the Tune actor's imports, and Tune's own
part (starting the function's actor) is left out, as Tune's part is on lfray's side.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.gang_sides import NESTED_CPUS, ROWS_A_WORKER, TOKENS, WORKERS, note


def train_loop(config: dict[str, Any]) -> None:
    """One worker: the same tiny model, as many updates, DDP over gloo."""
    begun = time.time()
    import ray.train
    import ray.train.torch
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Any = AutoModelForSequenceClassification.from_pretrained(config["base"], num_labels=2)
    model = ray.train.torch.prepare_model(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(ray.train.get_context().get_world_rank())
    model.train()
    since = time.time()
    for _ in range(config["steps"]):
        ids = torch.randint(5, 45, (ROWS_A_WORKER, TOKENS), generator=generator)
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids[:, 0] % 2).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    spent = time.time() - since
    if ray.train.get_context().get_world_rank() == 0:
        found = {"train": spent, "function": time.time() - begun, "workers": ray.train.get_context().get_world_size()}
        found["ddp"] = isinstance(model, torch.nn.parallel.DistributedDataParallel)
        Path(config["out"]).write_text(json.dumps(found))
    ray.train.report({"loop_seconds": spent, "loss": float(loss.detach())})


def drive(config: dict[str, Any]) -> None:
    """The Tune function: one trial."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    folder, out = Path(config["folder"]), Path(config["folder"]) / f"loop-{config['trial']}.json"
    begun = time.time()
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"base": config["base"], "steps": config["steps"], "out": str(out)},
        scaling_config=ray.train.ScalingConfig(num_workers=WORKERS, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"train-{tune.get_context().get_trial_id()}",
            storage_path=str(folder / "train"),
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()
    ended = time.time()
    found = json.loads(out.read_text())
    if not found["ddp"] or found["workers"] != WORKERS:
        raise RuntimeError(f"the nested trainer must run DDP with {WORKERS} workers (got {found})")
    spent = {"inside": found["train"], "train": found["train"], "function": found["function"]}
    about = {"warm": config["trial"] > 0, "worker_warm": False, "steps": config["steps"]}
    note(folder, "DDP", begun=begun, ended=ended, found=about | spent)


def tune_it(folder: Path, base: Path, *, steps: int) -> None:
    """Two trials one after the other, in a Ray that is already running with room for one."""
    from ray import tune

    tuner = tune.Tuner(
        drive,
        param_space={"folder": str(folder), "base": str(base), "steps": steps, "trial": tune.grid_search([0, 1])},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(name="nested", storage_path=str(folder / "tune"), verbose=0),
    )
    for result in tuner.fit():
        if result.error is not None:
            raise SystemExit(f"nested TorchTrainer: must complete on {NESTED_CPUS} CPUs (got {result.error})")
