"""One worker of a gang: a process of its own, started by the Ray actor that holds its share of the machine.

A process and not the actor itself, because a parent alone learns how a child ended: Ray tells "connection error" where the kernel
says SIGKILL. What the worker has to say goes up a pipe; the caches of its `Bench` and the process group stay from trial to trial.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from lfray.record import TrialRecord
from lfray.space.trial import TrialJob

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

    from lfray.engine.ranks import Ranks
    from lfray.trial.bench import Bench

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Place(NamedTuple):
    """Where a worker stands in its gang."""

    rank: int
    size: int
    local_rank: int
    host: str
    """Address of rank 0's node."""
    seconds: float
    """Longest wait for the others."""


class Said(NamedTuple):
    """One message of a worker.

    kind: `port` (rank 0's store, body: number), `ready`, `point` (a curve point's fields), `done` (state of the record, None on
    other ranks), or `failed` (`Fault`).
    """

    kind: str
    body: Any = None


class Fault(NamedTuple):
    """What went wrong inside a worker that is still alive."""

    stage: str
    kind: str
    message: str
    traceback: str
    waited: bool
    """It is the complaint of one that waited for the others: the cause lies with them."""
    memory: bool
    """Memory ran out."""


def main(pipe: Connection, place: Place, environment: dict[str, str], gpus: float, updates: Synchronized[int]) -> None:
    """Live until the pipe closes: join the gang, then run the trials that come down the pipe.

    Args:
        pipe: To the actor.
        place: Where this worker stands.
        environment: Variables that the sweep sets (NCCL_*).
        gpus: Share of a GPU; 0 computes on the CPU.
        updates: Told how many updates of the current trial are done; the actor reads it when this process is dead.
    """
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    os.environ.update(RANK=str(place.rank), WORLD_SIZE=str(place.size), LOCAL_RANK=str(place.local_rank))
    from lfray.engine.ranks import WAIT_SECONDS, Gang
    from lfray.trial.bench import Bench

    os.environ[WAIT_SECONDS] = str(place.seconds)
    _join(pipe, place, gpus)

    bench, ranks = Bench(), Gang()
    pipe.send(Said("ready"))
    while True:
        try:
            job = TrialJob.model_validate_json(pipe.recv())
        except EOFError:
            return
        updates.value = 0
        _run(job, bench, ranks, pipe, updates)


def _run(job: TrialJob, bench: Bench, ranks: Ranks, pipe: Connection, updates: Synchronized[int]) -> None:
    from lfray.trial.worker import Stage, run_rank

    stage, state = Stage(), None

    def note(step: int) -> None:
        updates.value = step

    try:
        for item in run_rank(job, bench, stage, note):
            if isinstance(item, TrialRecord):
                state = item.state
            elif ranks.rank == 0:
                pipe.send(Said("point", tuple(vars(item).values())))
        pipe.send(Said("done", state))
    except Exception as error:  # whatever it is, the gang must hear of it
        pipe.send(Said("failed", _fault(job, stage.now, error)))


def _fault(job: TrialJob, stage: str, error: Exception) -> Fault:
    from lfray.engine.memory import out_of_memory
    from lfray.engine.ranks import waited_in_vain
    from lfray.trial.training import explained

    shown = explained(job, error)
    text = traceback.format_exc()
    return Fault(stage, type(shown).__name__, str(shown), text, waited_in_vain(error), out_of_memory(error))


def _join(pipe: Connection, place: Place, gpus: float) -> None:
    """Meet the others at a store on rank 0's node, whose port rank 0 lets the kernel choose."""
    import torch
    import torch.distributed as dist
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not export it by name

    # DDP says so where every parameter was used after all.
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
    wait = timedelta(seconds=place.seconds)
    if place.rank == 0:
        store = TCPStore(place.host, 0, place.size, is_master=True, timeout=wait, wait_for_workers=False)
        pipe.send(Said("port", store.port))
    else:
        store = TCPStore(place.host, pipe.recv(), place.size, is_master=False, timeout=wait)
    if gpus > 0:
        torch.cuda.set_device(0)  # Ray shows a worker its own GPU only
    dist.init_process_group(
        "nccl" if gpus > 0 else "gloo", store=store, rank=place.rank, world_size=place.size, timeout=wait,
        device_id=torch.device("cuda", 0) if gpus > 0 else None,
    )  # fmt: skip


def _die_with_parent() -> None:
    """Have the kernel kill this process when its actor is gone, however that ended: a worker in a collective hears of nothing else."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
