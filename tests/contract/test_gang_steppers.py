"""Every stepper of several processes, through the contract that the single process passes: two ranks run the same tests side by side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RANK = """
import datetime, os, sys
import torch, pytest
import torch.distributed as dist
torch.set_num_threads(1)
# As a trial's worker does: memory that nobody wrote is then NaN, so padding that is computed with shows.
torch.use_deterministic_algorithms(True, warn_only=True)
rank, size, port = map(int, sys.argv[1:4])
os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
store = dist.TCPStore("127.0.0.1", port, size, is_master=rank == 0)
dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=datetime.timedelta(seconds=60))
# `--exitfirst`: after a failure on one rank the ranks are no longer in step.
code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", *sys.argv[4:]])
os._exit(code)
"""


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["TestDdp", "TestZero1", "TestZero2", "TestZero3", "TestZero2Offload", "TestZero3Offload"])
def test_two_ranks_pass_the_contract(kind: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", RANK]
    chosen = f"{HERE / 'gang_steppers.py'}::{kind}"
    environ = os.environ | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), "2", str(port), chosen],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, cwd=HERE.parent.parent,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [rank.communicate(timeout=240)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n=====\n".join(text[-6000:] for text in said)
    assert all(" passed" in text for text in said)
