from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from lfray.engine.memory import out_of_memory

BOUNDED = """
import resource, sys
import numpy as np, torch
from torch.nn import functional
from lfray.engine.memory import out_of_memory
torch.set_num_threads(1)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
rows, wide = torch.ones(1 << 18, 64), torch.ones(1024, 64, requires_grad=True)
half, text = torch.ones(1 << 20, 32, dtype=torch.bfloat16), "x" * (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (held + (768 << 20), resource.RLIM_INFINITY))
kept = []
def pile(make):
    def tried():
        while True:
            kept.append(make())
    return tried
attempts = {
    "a tensor": lambda: torch.ones(1 << 30),
    "a layer": lambda: functional.linear(rows, wide),
    "a softmax": lambda: functional.softmax(functional.linear(rows, wide), dim=1),
    "a backward pass": lambda: functional.linear(rows[: 1 << 17], wide).relu_().sum().backward(),
    "oneDNN's bf16": lambda: functional.linear(half, torch.ones(2048, 32, dtype=torch.bfloat16)),
    "a sort": lambda: torch.sort(rows.repeat(32, 1), dim=0),
    "many small tensors": pile(lambda: torch.ones(1 << 16)),
    "many small arrays": pile(lambda: np.ones(1 << 18)),
    "text": pile(lambda: text + "y"),
}
for name, tried in attempts.items():
    try:
        tried()
        said = "fitted"
    except BaseException as error:
        said = f"{out_of_memory(error)} {type(error).__name__} {str(error)[:200]!r}"
    kept.clear()
    print(f"{name}: {said}", flush=True)
"""
"""A process that may not grow by more than 768 MiB, and what a trial does, tried in it."""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_that_may_not_grow_says_so_in_ways_that_are_recognised() -> None:
    ran = subprocess.run([sys.executable, "-c", BOUNDED], capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    assert len(lines) == 9, ran.stdout + ran.stderr
    assert [line for line in lines if ": True " not in line] == []


def test_memory_that_no_machine_has() -> None:
    with pytest.raises(RuntimeError) as tensor:
        torch.empty(2**50)
    with pytest.raises(MemoryError) as array:
        np.ones(2**55, dtype=np.uint8)
    assert out_of_memory(tensor.value)
    assert out_of_memory(array.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        # What torch and CUDA say where no allocator of torch's stands between.
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_gpu_and_the_c_library(error: Exception) -> None:
    assert out_of_memory(error)
    wrapped = ValueError("layer 3")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


def failing(what: str) -> Exception:
    """Errors of torch's own that are about something else."""
    try:
        if what == "shapes":
            torch.ones(2, 3) @ torch.ones(2, 3)
        elif what == "view":
            torch.ones(2, 3).t().view(-1)
        else:
            torch.ones(3)[torch.tensor(7)]
    except (RuntimeError, IndexError) as error:
        return error
    raise AssertionError(what)


@pytest.mark.parametrize("what", ["shapes", "view", "index"])
def test_another_error_is_none(what: str) -> None:
    assert not out_of_memory(failing(what))


def test_words_about_memory_in_an_error_of_another_kind_are_none() -> None:
    assert not out_of_memory(ValueError("not enough memory cells in the data"))
    assert not out_of_memory(RuntimeError("pinned memory is not available"))
