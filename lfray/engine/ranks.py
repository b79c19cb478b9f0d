"""The processes that train one trial together, as the engine sees them: who am I, what does rank 0 decide, what has everyone got.

`Alone` is one process. `Gang` is torch.distributed. What is exchanged here is small or rare and goes through the CPU (gloo), so that
a decision never waits for a GPU; gradients and parameters are the steppers' business.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
WAIT_SECONDS = "LFRAY_COLLECTIVE_SECONDS"
"""Variable of a worker process: its longest wait for the others. Process groups do not tell theirs."""
# What gloo, NCCL and the store say when another rank is gone or does not come (torch 2.13).
_WAITED = re.compile(
    r"connection (closed|reset|refused)|broken pipe|timed out|timeout|remote process exited|no route to host|recv(message)? .*failed"
    r"|socket|nccl (error|communicator)|abort",
    re.IGNORECASE,
)


def waited_in_vain(error: BaseException) -> bool:
    """Whether an error is the complaint of a rank that waited for another: then the cause lies with the other."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, dist.DistError | ConnectionError | TimeoutError):
            return True
        if type(seen) is RuntimeError and _WAITED.search(str(seen)):
            return True
        seen = seen.__cause__
    return False


class Ranks(Protocol):
    """The gang that this process belongs to. Every method is collective: all ranks call it, in the same order."""

    @property
    def rank(self) -> int:
        """This process, 0-based."""
        ...

    @property
    def size(self) -> int:
        """Processes in all."""
        ...

    def decide(self, flag: bool) -> bool:
        """Rank 0's flag."""
        ...

    def everyone(self, mine: T) -> list[T]:
        """What each rank gave, in the order of ranks."""
        ...

    def total(self, part: Tensor) -> Tensor:
        """Sum over ranks, in float64 on the CPU; the order of the sum is that of the ranks, so it has the same bits every time."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def decide(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def everyone(self, mine: T) -> list[T]:
        """Just mine."""
        return [mine]

    def total(self, part: Tensor) -> Tensor:
        """The part itself."""
        return part.detach().double().cpu()


@cache
def _beside_nccl() -> dist.ProcessGroup:
    """A second group of all ranks, once a process: its sockets stay open. It waits as long as the first."""
    seconds = float(os.environ.get(WAIT_SECONDS, "600"))
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(seconds=seconds))
    return group


class Gang:
    """Ranks of the default process group."""

    def __init__(self) -> None:
        """Join the group for decisions: the default one where it is gloo's, else the one beside NCCL's."""
        self._group = None if dist.get_backend() == "gloo" else _beside_nccl()
        self._rank, self._size = dist.get_rank(), dist.get_world_size()

    @property
    def rank(self) -> int:
        """This process, 0-based."""
        return self._rank

    @property
    def size(self) -> int:
        """Processes in all."""
        return self._size

    def decide(self, flag: bool) -> bool:
        """Rank 0's flag: one broadcast of a byte."""
        word = torch.tensor([int(flag)], dtype=torch.uint8)
        dist.broadcast(word, src=0, group=self._group)
        return bool(word.item())

    def everyone(self, mine: T) -> list[T]:
        """What each rank gave, in the order of ranks. Pickled, between the trial's own processes only."""
        found: list[T] = [mine] * self._size
        dist.all_gather_object(found, mine, group=self._group)
        return found

    def total(self, part: Tensor) -> Tensor:
        """Sum over ranks in their order, float64."""
        mine = part.detach().double().cpu().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self._size)]
        dist.all_gather(parts, mine, group=self._group)
        return torch.stack(parts).sum(0)
