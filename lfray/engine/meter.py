"""What a trial costs, measured in the worker that pays it: seconds, tokens, peak memory, energy.

Peak memory starts anew for each trial, so a warm worker reads what a cold one reads: on a GPU by the allocator's own
counter, on a CPU by the kernel's high-water mark of resident memory (reset through /proc/self/clear_refs after the heap
was trimmed). Energy is read from a counter of the machine or it is absent; it is never estimated.
"""

from __future__ import annotations

import ctypes
import gc
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

GIB = 2.0**30
_M_MMAP_THRESHOLD = -3
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


class Account(NamedTuple):
    """What a trial cost in one process. Tokens are those of the whole update, so every rank counts the same."""

    host: str
    device: str
    train_seconds: float
    evaluation_seconds: float
    tokens: int
    squared_tokens: int
    peak_memory_gib: float | None
    energy_joules: float | None


class Meter:
    """Counters of one trial in one worker."""

    def __init__(
        self, device: torch.device, *, retained_gib: float = 0.0, on_update: Callable[[int], None] = lambda step: None
    ) -> None:
        """Start at nothing.

        Args:
            device: Where the trial computes.
            retained_gib: What this process still holds of earlier trials, and is not this trial's (CPU only).
            on_update: Told the number of every update that is done, for whoever must say how far a killed trial came.
        """
        self._device = device
        self._on_update = on_update
        self._retained_gib = retained_gib
        self.seconds: dict[str, float] = {}
        """Stage (`train`, `evaluation`, ...) -> wall seconds."""
        self.tokens = 0
        """Training tokens, padding left out."""
        self.squared_tokens = 0
        """Sum over training rows of length^2: what attention's cost grows with."""
        self.peak_memory_gib: float | None = None
        self.energy_joules: float | None = None
        self._running: tuple[str, float] | None = None
        self._energy_start: float | None = None
        self._carried: Mapping[str, float] = {}

    def count_update(self, step: int, lengths: NDArray[np.int64]) -> None:
        """Note that update `step` is done, on rows of these lengths."""
        self._on_update(step)
        self.tokens += int(lengths.sum())
        self.squared_tokens += int((lengths * lengths).sum())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; the device is waited for at both ends."""
        self._wait()
        start = time.perf_counter()
        self._running = (name, start)
        try:
            yield
        finally:
            self._wait()
            self._running = None
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Measure peak memory and energy inside."""
        reset_peak_memory(self._device)
        self._energy_start = _energy_joules(self._device)
        try:
            yield
        finally:
            self.peak_memory_gib, self.energy_joules = self._peak(), self._energy()

    def account(self, host: str) -> Account:
        """The trial's costs in this process."""
        return Account(
            host,
            self._device.type,
            self.seconds.get("train", 0.0),
            self.seconds.get("evaluation", 0.0),
            self.tokens,
            self.squared_tokens,
            self.peak_memory_gib,
            self.energy_joules,
        )

    def spent(self) -> dict[str, float]:
        """What training has taken until now, for a checkpoint: plain numbers; what cannot be measured is left out."""
        running = time.perf_counter() - self._running[1] if self._running is not None and self._running[0] == "train" else 0.0
        found = {
            "tokens": self.tokens,
            "squared_tokens": self.squared_tokens,
            "train_seconds": self.seconds.get("train", 0.0) + running,
            "peak_memory_gib": self._peak(),
            "energy_joules": self._energy(),
        }
        return {name: value for name, value in found.items() if value is not None}

    def carry(self, spent: Mapping[str, float]) -> None:
        """Add what an interrupted run had spent when it wrote the checkpoint; nothing where it is empty."""
        if not spent:
            return
        self.tokens += int(spent["tokens"])
        self.squared_tokens += int(spent["squared_tokens"])
        self.seconds["train"] = self.seconds.get("train", 0.0) + spent["train_seconds"]
        self._carried = dict(spent)

    def _peak(self) -> float | None:
        peak = read_peak_memory_gib(self._device)
        if peak is None:
            return None
        retained = self._retained_gib if self._device.type == "cpu" else 0.0
        return max(peak - retained, self._carried.get("peak_memory_gib", 0.0))

    def _energy(self) -> float | None:
        start, now = self._energy_start, _energy_joules(self._device)
        # The counter wraps; a negative difference says nothing. Half of a resumed training's energy would be no measure either.
        if start is None or now is None or now < start or (self._carried and "energy_joules" not in self._carried):
            return None
        return now - start + self._carried.get("energy_joules", 0.0)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def reset_peak_memory(device: torch.device) -> None:
    """Start the peak anew: garbage is collected and freed heap returned first, or a warm worker would carry it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    if _CLEAR.exists():
        try:
            _CLEAR.write_text("5")
        except PermissionError:
            return


def steady_heap() -> None:
    """Give blocks of 4 MiB and more back to the system when they are freed.

    glibc raises that bound by itself as blocks are freed, so a worker's second trial would find its weights in a heap full of holes: its
    peak read 10 to 13 % above the first's on a 22.7 M parameter encoder, 1.5 % with the bound fixed and what is retained taken off.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 4 * 2**20)


def resident_gib() -> float | None:
    """Resident memory of this process now, after garbage and free heap were given back; GiB. None where the system does not tell."""
    reset_peak_memory(torch.device("cpu"))
    if not _STATUS.exists():
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", _STATUS.read_text())
    return int(found.group(1)) * 1024 / GIB if found else None


def read_peak_memory_gib(device: torch.device) -> float | None:
    """Largest memory since the reset: bytes the allocator held on a GPU, resident bytes of the process on a CPU; GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    if not _STATUS.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(found.group(1)) * 1024 / GIB if found else None


def _energy_joules(device: torch.device) -> float | None:
    """Counter of the GPU (NVML, Volta and later) or of the CPU package (RAPL, where it may be read); None where there is none."""
    if device.type == "cuda":
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError:
            return None
    try:
        return int(_RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def hardware_key(device: torch.device, threads: int) -> str:
    """What must be equal for two measured costs to be comparable: processor or GPU model, and threads."""
    if device.type == "cuda":
        return f"cuda:{torch.cuda.get_device_name(device)}"
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpu.read_text()) if cpu.exists() else None
    return f"cpu:{found.group(1).strip() if found else 'unknown'}:threads-{threads}"
