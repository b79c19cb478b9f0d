from __future__ import annotations

import socket
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not export them by name

from lfray.engine.loop import LossNotFiniteError
from lfray.engine.ranks import Alone, Gang, waited_in_vain
from lfray.errors import CapacityError

if TYPE_CHECKING:
    pass

PAIR = """
import datetime, json, os, sys
import torch
import torch.distributed as dist
from lfray.engine.ranks import Gang, waited_in_vain
torch.set_num_threads(1)
rank, port = int(sys.argv[1]), int(sys.argv[2])
store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=datetime.timedelta(seconds=30))
gang = Gang()
part = torch.tensor([1e8, 0.1]) if rank == 0 else torch.tensor([1.0, 0.2])
print(json.dumps([gang.rank, gang.size, gang.decide(rank == 0), gang.decide(rank == 1), gang.everyone({"rank": rank}),
                  gang.total(part).tolist(), str(gang.total(part).dtype)]), flush=True)
impatient = dist.new_group(timeout=datetime.timedelta(seconds=0.5))
if rank == 1:
    sys.stdin.readline()
    os._exit(7)
for group in (impatient, None):
    try:
        dist.all_reduce(torch.ones(1), group=group)
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error), waited_in_vain(error)]), flush=True)
os._exit(0)
"""
"""Rank 1 first keeps rank 0 waiting, then dies when it is told to."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def read(process: subprocess.Popen[str]) -> list[object]:
    import json

    assert process.stdout is not None
    found: list[object] = json.loads(process.stdout.readline())
    return found


def test_two_ranks_agree_and_the_one_left_alone_knows_whose_fault_it_is() -> None:
    port = str(free_port())
    pair = [
        subprocess.Popen([sys.executable, "-c", PAIR, str(rank), port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    first, second = pair
    try:
        agreed = [read(rank) for rank in pair]
        assert [found[:2] for found in agreed] == [[0, 2], [1, 2]]
        total = [float(torch.tensor(1e8)) + 1.0, float(torch.tensor(0.1)) + float(torch.tensor(0.2))]
        assert agreed[0][2:] == agreed[1][2:] == [True, False, [{"rank": 0}, {"rank": 1}], total, "torch.float64"]
        # The other is alive, but does not come.
        silent = read(first)
        assert silent[2] is True, silent
        # The other is dead.
        assert second.stdin is not None
        second.stdin.write("die\n")
        second.stdin.flush()
        dead = read(first)
        assert dead[2] is True, dead
        assert (first.wait(10), second.wait(10)) == (0, 7)
    finally:
        for rank in pair:
            rank.kill()
            rank.communicate()


def test_waiting_at_a_store_is_waiting_for_another() -> None:
    store = TCPStore("127.0.0.1", 0, 1, is_master=True, timeout=timedelta(seconds=0.5))
    with pytest.raises(dist.DistStoreError) as absent:
        store.get("what nobody sets")
    assert waited_in_vain(absent.value)


def test_a_store_that_is_not_there() -> None:
    with pytest.raises(dist.DistError) as refused:
        TCPStore("127.0.0.1", free_port(), 2, is_master=False, timeout=timedelta(seconds=0.5))
    assert waited_in_vain(refused.value)


def test_an_error_raised_from_such_a_complaint_is_one() -> None:
    wrapped = ValueError("could not load")
    wrapped.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    assert waited_in_vain(wrapped)
    assert waited_in_vain(BrokenPipeError())


@pytest.mark.parametrize(
    "error",
    [
        LossNotFiniteError(3, float("nan")),
        CapacityError("train.precision: bf16 is not supported by this GPU. Use precision: fp32"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x6 and 5x3)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        FileNotFoundError(2, "No such file or directory"),
        ValueError("timeout must be positive"),
    ],
)
def test_an_error_of_ones_own_is_none(error: Exception) -> None:
    assert not waited_in_vain(error)


def check_one(ranks: Alone | Gang) -> None:
    part = torch.tensor([0.1, 2.0], requires_grad=True)
    assert (ranks.rank, ranks.size) == (0, 1)
    assert (ranks.decide(True), ranks.decide(False)) == (True, False)
    assert ranks.everyone([1, None]) == [[1, None]]
    total = ranks.total(part)
    assert (total.dtype, total.requires_grad, total.tolist()) == (torch.float64, False, part.double().tolist())


def test_alone_decides_for_itself() -> None:
    check_one(Alone())


@pytest.mark.usefixtures("group_of_one")
def test_a_gang_of_one_is_alone() -> None:
    check_one(Gang())
