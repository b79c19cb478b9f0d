"""One case of the GPU benchmark, in a process of its own (one a rank; no torchrun): build, train, write a JSON. `benchmarks.gpu` starts it.

OPT-1.3B's configuration with random weights (speed does not hang on their values), a classification head, full rows of random tokens,
bf16 autocast over fp32 weights, torch's fused AdamW, clipping at 1.0: the same work for lfray's steppers and for transformers.Trainer.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lfray.engine.contract import FitPlan, Objective, Stepper

RANK = 8
ALPHA = 16.0
PAD = 1
SIZES = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "ffn_dim": 8192, "word_embed_proj_dim": 2048}
"""config.json of facebook/opt-1.3b; the rest of it are OPTConfig's defaults."""
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 128, "word_embed_proj_dim": 64}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    label: str
    lora: bool
    trainer: bool = False
    zero_stage: int = 0

    @property
    def shared(self) -> bool:
        """Whether several GPUs can work on it together."""
        return self.zero_stage > 0


CASES = (
    Case("lfray-lora", f"lfray, LoRA r={RANK}, single stepper", lora=True),
    Case("trainer-lora", f"transformers.Trainer, PEFT LoRA r={RANK}", lora=True, trainer=True),
    Case("lfray-full", "lfray, full, single stepper", lora=False),
    Case("trainer-full", "transformers.Trainer, full", lora=False, trainer=True),
    Case("lfray-zero-2", "lfray, full, ZeRO-2", lora=False, zero_stage=2),
    Case("lfray-zero-3", "lfray, full, ZeRO-3", lora=False, zero_stage=3),
)


@dataclass(frozen=True)
class Work:
    """What every case does. `rows` are those of one rank in one update."""

    tiny: bool
    rows: int
    length: int
    warmup: int
    steps: int

    @property
    def device(self) -> torch.device:
        """The CPU for the tiny run, else the one GPU that this process is shown."""
        import torch

        return torch.device("cpu") if self.tiny else torch.device("cuda", 0)


def importable() -> str:
    """PYTHONPATH with which a process elsewhere finds this package."""
    return os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def build(work: Work) -> nn.Module:
    """OPT with random fp32 weights on the CPU, where a checkpoint's would be too; drawn on the GPU, which is quicker."""
    import torch
    from transformers import AutoModelForSequenceClassification, OPTConfig

    sizes = TINY | {"vocab_size": 512, "max_position_embeddings": 64} if work.tiny else SIZES
    config = OPTConfig(**sizes, num_labels=2, pad_token_id=PAD)
    torch.manual_seed(0)
    with work.device:
        model: nn.Module = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    return model.to("cpu")


def draw_rows(work: Work, model: nn.Module, *, rank: int) -> list[list[int]]:
    """Token ids of every row of a run, none of them padding."""
    import numpy as np

    vocabulary = int(getattr(model, "config").vocab_size)  # noqa: B009  # nn.Module's attributes are Tensor | Module to mypy
    count = (work.warmup + work.steps) * work.rows
    drawn: list[list[int]] = np.random.default_rng(rank).integers(4, vocabulary, size=(count, work.length)).tolist()
    return drawn


def measured(work: Work, model: nn.Module) -> dict[str, Any]:
    """What is known of a case before it runs: operations of the measured updates of one rank, and what learns."""
    from lfray.model.count import elements
    from lfray.model.flops import training_flops

    rows = work.steps * work.rows
    flops = training_flops(model, tokens=rows * work.length, squared_tokens=rows * work.length**2, backbone_learns=True)
    trainable = sum(elements(parameter) for parameter in model.parameters() if parameter.requires_grad)
    return {"flops": flops, "tokens": rows * work.length, "trainable": trainable}


def wait(device: torch.device) -> float:
    """The clock, after the device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def run_lfray(case: Case, work: Work, *, rank: int, size: int) -> dict[str, Any]:
    """Train with the stepper that a trial of this kind has."""
    import numpy as np

    from lfray.engine.batches import collate
    from lfray.engine.contract import FitPlan
    from lfray.engine.meter import read_peak_memory_gib, reset_peak_memory
    from lfray.model.adapt import adapt
    from lfray.model.base import LoadedModel
    from lfray.model.execution import PrecisionSeen
    from lfray.rows import from_lists
    from lfray.space.trial import FullMethod, LoraMethod
    from lfray.tasks.classification import SequenceObjective

    plan = FitPlan(
        epochs=1, effective_batch=work.rows * size, micro_batch=work.rows, learning_rate=1e-5, schedule="constant", warmup_ratio=0.0,
        weight_decay=0.0, max_grad_norm=1.0, adam_betas=(0.9, 0.999), adam_epsilon=1e-8, precision="bf16", select="last", seed=0,
    )  # fmt: skip
    model = build(work)
    lists = draw_rows(work, model, rank=rank)
    loaded = LoadedModel(model, ("score.weight",), ("score.weight",))
    lora = LoraMethod(rank=RANK, alpha=ALPHA, alpha_policy="constant", targets="all-linear", dropout=0.0, variant="lora")
    adapted = adapt(loaded, lora if case.lora else FullMethod())
    found = measured(work, adapted.model)
    rows = from_lists(lists, np.arange(len(lists), dtype=np.int64) % 2)
    reset_peak_memory(work.device)
    seen = PrecisionSeen(adapted.model)
    stepper = make_stepper(case, adapted.model, SequenceObjective(), plan, work, size=size)
    begun = 0.0
    for step in range(work.warmup + work.steps):
        if step == work.warmup:
            begun = wait(work.device)
        index = np.arange(step * work.rows, (step + 1) * work.rows)
        batch = collate(rows, index, pad_id=PAD, device=work.device)
        stepper.update([batch], plan.learning_rate, rows=work.rows * size)
    seconds = wait(work.device) - begun
    facts = stepper.facts
    if (facts.zero_stage, facts.world_size) != (case.zero_stage, size):
        raise SystemExit(f"must run as asked (got ZeRO stage {facts.zero_stage}, {facts.world_size} ranks)")
    ran = f"{facts.stepper}, {facts.kernel} products"
    return found | {"seconds": seconds, "peak": read_peak_memory_gib(work.device), "precision": seen.name, "ran": ran}


def make_stepper(case: Case, model: nn.Module, objective: Objective, plan: FitPlan, work: Work, *, size: int) -> Stepper:
    """As `lfray.trial.training.make_stepper` does for a trial."""
    if case.zero_stage == 0:
        from lfray.engine.single import SingleStepper

        return SingleStepper(model, objective, plan, device=work.device)
    from lfray.engine.zero import ZeroStepper
    from lfray.spec.deepspeed import ZeroFields, deepspeed_config

    fields = ZeroFields(
        zero_stage=2 if case.zero_stage == 2 else 3, micro_batch=work.rows, accumulation=1, workers=size,
        max_grad_norm=plan.max_grad_norm, precision="bf16",
    )  # fmt: skip
    return ZeroStepper(model, objective, plan, deepspeed_config(fields, {}), device=work.device)


def run_trainer(case: Case, work: Work) -> dict[str, Any]:
    """The same with plain transformers (and PEFT), as its documentation has it; nothing saved, logged or evaluated."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from lfray.engine.meter import read_peak_memory_gib, reset_peak_memory
    from lfray.model.execution import PrecisionSeen

    model = build(work)
    lists = draw_rows(work, model, rank=0)
    if case.lora:
        from peft import LoraConfig, TaskType, get_peft_model

        model = get_peft_model(
            model, LoraConfig(task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=int(ALPHA), target_modules="all-linear")
        )
    found = measured(work, model)
    reset_peak_memory(work.device)
    seen = PrecisionSeen(model)
    times: dict[int, float] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not followed by mypy
        """Looks at the clock where the measured updates begin and end."""

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step in (work.warmup, work.warmup + work.steps):
                times[state.global_step] = wait(work.device)

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out, use_cpu=work.tiny, bf16=True, per_device_train_batch_size=work.rows, max_steps=work.warmup + work.steps,
            learning_rate=1e-5, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch_fused",
            logging_strategy="no", save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True,
            remove_unused_columns=False, label_names=["labels"], dataloader_pin_memory=not work.tiny, seed=0,
        )  # fmt: skip
        data = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": i % 2} for i, ids in enumerate(lists)]
        Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Clock()]).train()
    if arguments.n_gpu > 1:
        raise SystemExit(f"must run on one device (got {arguments.n_gpu})")
    seconds = times[work.warmup + work.steps] - times[work.warmup]
    return found | {"seconds": seconds, "peak": read_peak_memory_gib(work.device), "precision": seen.name, "ran": "Trainer"}


def join(store: str, *, rank: int, size: int, tiny: bool) -> None:
    """A process group over a file: gloo on the CPU, NCCL on GPUs."""
    import torch
    import torch.distributed as dist
    from torch.distributed import FileStore  # type: ignore[attr-defined]  # torch does not export it by name

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": "0"}
    dist.init_process_group(
        "gloo" if tiny else "nccl", store=FileStore(store, size), rank=rank, world_size=size,
        device_id=None if tiny else torch.device("cuda", 0),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="One case of benchmarks.gpu, one rank of it.")
    parser.add_argument("case", choices=[case.name for case in CASES])
    parser.add_argument("work", help="fields of Work, JSON")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--size", type=int, default=1)
    given = parser.parse_args()
    case, work = next(case for case in CASES if case.name == given.case), Work(**json.loads(given.work))
    if case.shared:
        join(str(given.folder / "store"), rank=given.rank, size=given.size, tiny=work.tiny)
    found = run_trainer(case, work) if case.trainer else run_lfray(case, work, rank=given.rank, size=given.size)
    (given.folder / f"rank-{given.rank}.json").write_text(json.dumps(found))
    if case.shared:
        import torch.distributed as dist

        dist.destroy_process_group()


if __name__ == "__main__":
    main()
