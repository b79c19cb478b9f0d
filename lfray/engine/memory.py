"""When memory runs out: telling it from other errors, on a GPU and on a CPU."""

from __future__ import annotations

import re

import torch

# torch 2.13's CPU allocator raises a plain RuntimeError; so do gloo's and oneDNN's buffers, the C++ library where torch calls it, and
# CUDA where it allocates beside torch's allocator (its context, cuBLAS' workspace).
_RAN_OUT = re.compile(
    r"not enough memory|can't allocate memory|could not (create|allocate) .*memory|could not create a primitive|cannot allocate memory"
    r"|out of memory|alloc_failed|bad_alloc",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that memory ran out."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(seen, RuntimeError) and _RAN_OUT.search(str(seen)):
            return True
        seen = seen.__cause__
    return False
