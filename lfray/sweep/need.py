"""What one trial takes of the machines, its memory estimated: what capacity and schedule reckon with before anything starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from lfray.space.trial import LoraMethod

if TYPE_CHECKING:
    from lfray.space.facts import ModelFacts
    from lfray.space.trial import TrialConfig
    from lfray.spec.resources import ResourcesSpec, Shape

GIB = 2.0**30
UNIT = 10_000
"""Parts of a CPU, GPU or GiB that are counted: Ray's granularity of a resource (ray 2.60, fixed_point.h)."""
PROCESS_GIB = 0.9
"""A worker with torch, transformers, peft and datasets imported (measured: 0.75 GiB resident; some head-room)."""
ADAPTER_SHARE = 0.05
"""An adapter's weights are taken as this share of the base, or as what its rank asks where that is more."""

Where = Literal["pack", "spread", "strict_pack"]


@dataclass(frozen=True)
class Need:
    """What a trial takes: `workers` processes, each with this many CPUs, GPUs and GiB of main memory."""

    workers: int
    cpus: float
    gpus: float
    """Under 1: a share of one device. From 1: whole devices."""
    memory_gib: float
    placement: Where = "pack"

    @property
    def shape(self) -> str:
        """Readable and without memory, e.g. `1 CPU` or `4 workers of 2 CPUs and 1 GPU`: trials of one shape are counted together."""
        each = f"{self.cpus:g} {'CPU' if self.cpus == 1 else 'CPUs'}"
        if self.gpus:
            each += f" and {self.gpus:g} {'GPU' if self.gpus <= 1 else 'GPUs'}"
        return each if self.workers == 1 else f"{self.workers} workers of {each}"

    @cached_property
    def units(self) -> tuple[int, int, int]:
        """(CPUs, GPUs, GiB) of each worker in whole parts (`UNIT`); memory rounded up."""
        return round(self.cpus * UNIT), round(self.gpus * UNIT), math.ceil(self.memory_gib * UNIT)

    @property
    def size(self) -> tuple[float, float, float]:
        """(GPUs, CPUs, GiB) of the whole trial: the larger in this order is the harder to place."""
        return self.workers * self.gpus, self.workers * self.cpus, self.workers * self.memory_gib


def need_of(shape: Shape, *, placement: Where, memory_gib: float = 0.0) -> Need:
    """The need of a shape. Without its memory it serves the cheap refusal, before the base model is known."""
    return Need(shape.workers, float(shape.cpus), shape.gpus, memory_gib, placement)


def needs_of(trial: TrialConfig, resources: ResourcesSpec, model: ModelFacts) -> Need:
    """What this trial takes, the memory of each worker estimated."""
    shape = resources.of(trial.method.kind)
    return need_of(shape, placement=resources.placement, memory_gib=worker_memory_gib(trial, shape, model))


def worker_memory_gib(trial: TrialConfig, shape: Shape, model: ModelFacts) -> float:
    """Main memory of one worker at its peak, GiB, estimated.

    Let B be the base in fp32 (bf16 is autocast over fp32 weights), T what the trial trains, in fp32, and n its workers.

        loading    2 B                            the pristine base, kept for the next trial, and the working copy of it
        training   B + weights + gradient + optimizer
          weights    B, + T for an adapter;       ZeRO-3: over n
          gradient   T;                           ZeRO-2 and 3: over n. DDP: 2 T, its buckets stand beside the gradients
          optimizer  2 T, AdamW's moments;        ZeRO: over n, + T / n in stages 1 and 2, which clone their part of the weights
                                                  (DeepSpeed 0.19, stage_1_and_2.py:560), and wherever the optimizer is offloaded

    On a CPU the peak is the larger of the two, and a process beside it. On a GPU all of training lies on the device but the
    pristine base and what is offloaded: the optimizer with its n-th of the gradient, and in ZeRO-3 an n-th of the weights.

    Left out: activations, which depend on the batch and are small beside the process for the models that train on CPUs;
    communication buckets of DeepSpeed; and what ZeRO-3 gathers for a layer and gives back.
    """
    base, stage = 4.0 * model.parameters / GIB, shape.zero_stage
    full = trial.method.kind == "full"
    trained = base if full else _adapter_gib(trial, model)
    part = trained / shape.workers if stage >= 1 else trained
    weights = (base if full else base + trained) / (shape.workers if stage == 3 else 1)
    gradient = part if stage >= 2 else trained * (2 if shape.workers > 1 and stage == 0 else 1)
    offloads = stage >= 1 and shape.offload_optimizer
    optimizer = part * (3 if stage in (1, 2) or offloads else 2)
    if shape.gpus == 0:
        return PROCESS_GIB + max(2 * base, base + weights + gradient + optimizer)
    offloaded = (optimizer + part if offloads else 0.0) + (weights if stage == 3 and shape.offload_parameters else 0.0)
    return PROCESS_GIB + max(2 * base, base + offloaded)


def _adapter_gib(trial: TrialConfig, model: ModelFacts) -> float:
    rank = trial.method.rank if isinstance(trial.method, LoraMethod) else 0
    return 4.0 * max(ADAPTER_SHARE * model.parameters, rank * model.linear_extent) / GIB
