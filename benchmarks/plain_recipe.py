"""The peer that lfray's makespan is measured against: the sweep that a competent user writes without lfray.

Ray Tune around a function, transformers' Trainer, PEFT, an MLflow callback. No straw man: imports stand inside the trainable, so
the driver does not pay for torch; rows are padded to their batch and batches grouped by length, in training and in
evaluation; threads fit the trial's CPU; Ray starts without its dashboard; nothing is saved that nobody asked for.
`--reuse-actors` turns on the one option of Tune that keeps imports warm (off by default in Ray 2.60, so off here).

    python benchmarks/plain_recipe.py --trials trials.json --train train.tsv --validation validation.tsv --test dev.tsv \
        --model FOLDER --out FOLDER --tracking sqlite:////tmp/mlflow.db
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

BATCH_ROWS = 16
EVALUATION_ROWS = 64
CLASS_NAMES = ("negative", "positive")


def train_one(config: dict[str, Any]) -> None:
    """One trial, in its own Ray actor: load, tokenise, adapt, train, evaluate, log."""
    begun = time.perf_counter()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import mlflow
    import numpy as np
    import pandas as pd
    import torch
    import transformers
    from peft import LoraConfig, TaskType, get_peft_model
    from ray import tune
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    seconds = {"import": time.perf_counter() - begun}
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    trial, where = config["trial"], config["where"]
    out = Path(where["out"]) / f"{trial['method']}-{trial['rank']}-{trial['ratio']}-{trial['seed']}"
    out.mkdir(parents=True)
    transformers.set_seed(trial["seed"])

    def clock(stage: str, since: float) -> float:
        now = time.perf_counter()
        seconds[stage] = seconds.get(stage, 0.0) + now - since
        return now

    mark = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(where["model"])
    model: Any = AutoModelForSequenceClassification.from_pretrained(where["model"], num_labels=2, dtype=torch.float32)
    match trial["method"]:
        case "lora":
            adapter = LoraConfig(
                task_type=TaskType.SEQ_CLS,
                r=trial["rank"],
                lora_alpha=2 * trial["rank"],
                lora_dropout=0.0,
                target_modules="all-linear",
            )
            model = get_peft_model(model, adapter)
        case "head":
            for parameter in model.base_model.parameters():
                parameter.requires_grad_(False)
    mark = clock("load", mark)

    def read(path: str) -> Any:
        # Text as it stands: SST-2 has quotes that are no delimiters, and a review may be the word "null".
        return pd.read_csv(path, sep="\t", quoting=3, keep_default_na=False)

    def encode(frame: Any) -> Any:
        from datasets import Dataset

        encoded = tokenizer(frame["sentence"].tolist(), truncation=True, max_length=where["max_tokens"])
        lengths = [len(ids) for ids in encoded["input_ids"]]
        return Dataset.from_dict({**encoded, "label": frame["label"].tolist(), "length": lengths, "row": frame.index.tolist()})

    frame = read(where["train"])
    if where["train_rows"] is not None and len(frame) > where["train_rows"]:
        frame = frame.drop_duplicates("sentence").sample(where["train_rows"], random_state=0)
    minority = frame[frame["label"] == 0]
    frame = pd.concat([frame[frame["label"] != 0], minority.sample(frac=trial["ratio"], random_state=trial["seed"])])
    train, validation = encode(frame), encode(read(where["validation"]))
    test = encode(read(where["test"])).sort("length")
    mark = clock("tokenize", mark)

    class LogToMlflow(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        """The loss curve, as it grows."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **rest: Any) -> None:
            since = time.perf_counter()
            kept = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
            mlflow.log_metrics(kept, step=state.global_step)
            clock("mlflow", since)

    mlflow.set_tracking_uri(where["tracking"])
    mlflow.start_run(experiment_id=where["experiment"], run_name=out.name, tags={"mlflow.parentRunId": where["parent"]})
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    mlflow.log_params({**trial, "batch_size": BATCH_ROWS, "epochs": where["epochs"], "trainable_parameters": trainable})
    mark = clock("mlflow", mark)

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            use_cpu=True,
            per_device_train_batch_size=BATCH_ROWS,
            per_device_eval_batch_size=EVALUATION_ROWS,
            num_train_epochs=where["epochs"],
            learning_rate=trial["learning_rate"],
            lr_scheduler_type="linear",
            warmup_steps=where["warmup_ratio"],
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch",
            save_strategy="no",
            logging_steps=10,
            report_to="none",
            disable_tqdm=True,
            seed=trial["seed"],
        ),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[LogToMlflow()],
    )
    before = seconds["mlflow"]
    trainer.train()
    mark = clock("train", mark)
    spent = [entry["eval_runtime"] for entry in trainer.state.log_history if "eval_runtime" in entry]
    seconds["evaluation"] = float(sum(spent))
    seconds["train"] -= seconds["evaluation"] + seconds["mlflow"] - before

    # Trainer 5.23 groups evaluation rows by length too, shuffled, and returns them so: they would lose their ids.
    trainer.args.train_sampling_strategy = "sequential"
    scored = trainer.predict(test)
    answer = scored.predictions.argmax(axis=1)
    metrics = measure(scored.label_ids, answer)
    mark = clock("evaluation", mark)

    pd.DataFrame(
        {
            "row": test["row"], "label": scored.label_ids, "prediction": answer,
            "logit.0": scored.predictions[:, 0].astype(np.float32), "logit.1": scored.predictions[:, 1].astype(np.float32),
        }
    ).sort_values("row").to_parquet(out / "predictions.parquet")  # fmt: skip
    if trial["method"] == "lora":
        model.save_pretrained(out / "adapter")
    mark = clock("save", mark)
    mlflow.log_metrics(metrics)
    mlflow.log_artifacts(str(out))
    mlflow.end_run()
    clock("mlflow", mark)
    seconds["trial"] = time.perf_counter() - begun
    result = {
        **trial,
        **metrics,
        "train_rows": len(train),
        "trainable_parameters": trainable,
        "seconds": seconds,
        "pid": os.getpid(),
        "ended": time.time(),
    }
    (out / "result.json").write_text(json.dumps(result))
    tune.report(metrics)


def measure(label: Any, answer: Any) -> dict[str, float]:
    """Accuracy overall and by class, the worse of the two, and the gap between them, in [0, 1]."""
    by_class = {name: float((answer[label == index] == index).mean()) for index, name in enumerate(CLASS_NAMES)}
    values = list(by_class.values())
    return {
        "accuracy": float((answer == label).mean()),
        **{f"accuracy.{name}": value for name, value in by_class.items()},
        "worst_group_accuracy": min(values),
        "accuracy_gap": max(values) - min(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The plain sweep: Ray Tune, Trainer, PEFT, MLflow.")
    for name in ("trials", "train", "validation", "test", "model", "out", "tracking"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--train-rows", type=int, help="draw so many training rows where the file has more")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--warmup-ratio", type=float, default=0.06)
    parser.add_argument("--max-concurrent", type=int, default=2)
    parser.add_argument("--reuse-actors", action="store_true", help="keep Tune's actors from trial to trial")
    given = parser.parse_args()
    out = Path(given.out).resolve()
    out.mkdir(parents=True, exist_ok=True)

    import mlflow
    import ray
    from ray import tune

    # The driver makes database and experiment: two trials that both did would race.
    mlflow.set_tracking_uri(given.tracking)
    experiment = mlflow.create_experiment("plain-recipe", artifact_location=(out / "mlartifacts").as_uri())
    parent = mlflow.start_run(experiment_id=experiment, run_name="sweep").info.run_id
    where = {
        **{key: str(Path(getattr(given, key)).resolve()) for key in ("train", "validation", "test", "model")},
        "out": str(out / "trials"), "tracking": given.tracking, "experiment": experiment, "parent": parent,
        "train_rows": given.train_rows, "epochs": given.epochs,
        "max_tokens": given.max_tokens, "warmup_ratio": given.warmup_ratio,
    }  # fmt: skip
    # Without a route out, Ray would probe public DNS for its own address.
    ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="ERROR", log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(train_one, {"CPU": 1}),
        param_space={"trial": tune.grid_search(json.loads(Path(given.trials).read_text())), "where": where},
        tune_config=tune.TuneConfig(
            metric="worst_group_accuracy", mode="max", max_concurrent_trials=given.max_concurrent, reuse_actors=given.reuse_actors
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(out), verbose=0),
    )
    results = tuner.fit()
    mlflow.end_run()
    ray.shutdown()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
    ended = [json.loads(path.read_text()) for path in sorted((out / "trials").glob("*/result.json"))]
    (out / "results.json").write_text(json.dumps(ended, indent=1))
    best = results.get_best_result()
    print(f"{len(ended)} trials; best by worst-group accuracy: {best.config['trial'] if best.config else 'none'}")


if __name__ == "__main__":
    main()
