"""What the machines hold: how many trials at once, and whether a trial fits at all, asked before anything starts."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from lfray.errors import CapacityError

if TYPE_CHECKING:
    from lfray.space.facts import ModelFacts
    from lfray.space.trial import TrialConfig
    from lfray.spec.stages import ResourcesSpec

GIB = 2.0**30
PROCESS_GIB = 0.9
"""A worker with torch, transformers, peft and datasets imported (measured: 0.75 GiB resident; some head-room)."""
SYSTEM_GIB = 1.5
"""Kept for the driver, Ray's own processes and the page cache of small data."""


@dataclass(frozen=True)
class Machines:
    """Totals over the nodes at hand."""

    cpus: float
    gpus: float
    memory_gib: float
    where: str


def local_machines() -> Machines:
    """This machine: processors that this process may use, GPUs that the driver lists, memory."""
    memory = psutil.virtual_memory().total / GIB
    return Machines(float(len(os.sched_getaffinity(0))), float(_gpu_count()), memory, "this machine")


def _gpu_count() -> int:
    """GPUs by nvidia-smi: asking torch would import it (2 s) only to hear 0. CUDA_VISIBLE_DEVICES is heeded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        # A driver that hangs would hang every trial: no GPU can be counted on.
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _gpu_slots(gpus: float, each: float) -> float:
    """Trials that the GPUs hold: a share of a GPU lies on one device, so two GPUs hold four trials of 0.4, not five."""
    if each == 0:
        return math.inf
    # 1 // 0.2 is 4 in floating point; the share is written by a person, so nine digits are enough.
    return gpus * math.floor(1.0 / each + 1e-9) if each < 1 else math.floor(gpus / each + 1e-9)


def trial_memory_gib(model: ModelFacts, trials: tuple[TrialConfig, ...]) -> float:
    """Memory of the most demanding trial on a CPU, estimated: process, the pristine base, its copy, gradients and AdamW's two moments.

    Activations are left out: they depend on the batch, and are small beside the process for the models that train on CPUs.
    """
    base = 4.0 * model.parameters / GIB
    copies = max((5.0 if trial.method.kind == "full" else 2.2 for trial in trials), default=2.0)
    return PROCESS_GIB + copies * base


def concurrency(resources: ResourcesSpec, machines: Machines, *, memory_gib: float) -> int:
    """How many trials run at once.

    Raises:
        CapacityError: Not even one fits; names what is needed and what there is.
    """
    room = max(0.0, machines.memory_gib - SYSTEM_GIB)
    limits = {
        "cpus": machines.cpus // resources.cpus_per_trial,
        "gpus": _gpu_slots(machines.gpus, resources.gpus_per_trial),
        "memory": room // memory_gib if resources.gpus_per_trial == 0 else math.inf,
    }
    needs = {
        "cpus": (f"resources.cpus_per_trial: {resources.cpus_per_trial} CPUs", f"{machines.cpus:g}"),
        "gpus": (f"resources.gpus_per_trial: {resources.gpus_per_trial:g} GPUs", f"{machines.gpus:g}"),
        "memory": (f"a trial needs about {memory_gib:.1f} GiB of memory", f"{machines.memory_gib:.1f} GiB"),
    }
    for kind, limit in limits.items():
        if limit < 1:
            need, there = needs[kind]
            raise CapacityError(
                f"{need}: no trial can ever fit {machines.where} (it has {there}). Lower it or use a larger machine"
            )
    fits = int(min(limits.values()))
    return fits if resources.max_concurrent == "auto" else min(fits, resources.max_concurrent)
