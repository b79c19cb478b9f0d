from __future__ import annotations

import os
import signal
import sys

import pytest

from lfray.trial.keeper import Ended, Keeper, Report
from lfray.trial.rank import Fault, Place, Said

FAULT = Fault("train", "ValueError", "bad row", "Traceback", waited=False, memory=False)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Ended(0), "exited with code 0"),
        (Ended(7), "exited with code 7"),
        (Ended(-signal.SIGKILL), "was killed by SIGKILL (the kernel's out-of-memory killer uses it too)"),
        (Ended(-signal.SIGSEGV), "was killed by SIGSEGV"),
        (Ended(-signal.SIGABRT), "was killed by SIGABRT"),
        (Ended(None, "its pipe is closed"), "is gone (its pipe is closed)"),
    ],
)
def test_an_end_in_words(ended: Ended, words: str) -> None:
    assert ended.words == words
    assert ended.aborted == ("SIGABRT" in words)
    assert not ended.memory


def test_rays_memory_monitor_says_so() -> None:
    assert Ended(None, "Task was killed due to the node running low on memory (OOM)").memory
    assert not Ended(-signal.SIGKILL, "memory OOM").memory


@pytest.mark.parametrize(
    ("said", "ended", "done", "over"),
    [
        ([], None, False, False),
        ([Said("point", (1, 0.1, 0.5, 0.0, None, None))], None, False, False),
        ([Said("done", "COMPLETED")], None, True, True),
        ([Said("done")], None, True, True),
        ([Said("failed", FAULT)], None, False, True),
        ([], Ended(1), False, True),
    ],
)
def test_what_news_mean(said: list[Said], ended: Ended | None, done: bool, over: bool) -> None:
    report = Report(said, ended, 3)
    assert (report.done, report.over) == (done, over)
    assert report.fault == (FAULT if said and said[0].kind == "failed" else None)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills a worker with its parent on Linux only")
def test_a_worker_lives_until_it_ends_and_its_keeper_says_how() -> None:
    keeper = Keeper()
    port = keeper.start(Place(0, 1, 0, "127.0.0.1", 60.0), {"NCCL_DEBUG": "WARN"}, 0.0)
    assert port > 0
    keeper.ready(60.0)
    idle = keeper.watch(0.1)
    assert (idle.said, idle.over) == ([], False)
    # Not a trial: the worker cannot read it, and ends by an error of its own.
    keeper.begin("nonsense")
    wrong = keeper.watch(20.0)
    assert wrong.ended == Ended(1)
    # What ends a trial is said every time.
    assert keeper.watch(1.0).ended == Ended(1)


def test_a_killed_worker() -> None:
    keeper = Keeper()
    keeper.start(Place(0, 1, 0, "127.0.0.1", 60.0), {}, 0.0)
    pid = keeper.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=f"worker process {pid} on .* was killed by SIGKILL"):
        keeper.ready(20.0)
