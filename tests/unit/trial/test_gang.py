from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from lfray.trial.gang import _cause, shape_of
from lfray.trial.keeper import Ended, Report
from lfray.trial.rank import Fault, Said
from tests.unit.jobs import make_job
from tests.unit.records import make_config

HOSTS = ["n0", "n0", "n1", "n2"]


def fine(updates: int = 5) -> Report:
    return Report([], None, updates)


def ended(code: int | None, said: str = "", updates: int = 5) -> Report:
    return Report([], Ended(code, said), updates)


def failed(*, waited: bool = False, memory: bool = False, message: str = "loss must be finite", updates: int = 5) -> Report:
    kind = "RuntimeError" if waited else "LossNotFiniteError"
    return Report([Said("failed", Fault("train", kind, message, f"Traceback: {message}", waited, memory))], None, updates)


WAITED = failed(waited=True, message="Connection closed by peer")


def cause(*reports: Report) -> Any:
    return _cause(list(reports), HOSTS)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_death_comes_before_the_complaints_of_those_who_waited(place: int) -> None:
    reports = [WAITED] * 3
    reports[place] = ended(-9, updates=7)
    lost = cause(*reports)
    assert lost.kind == "WorkerDied"
    assert lost.message.startswith(f"rank {place} of 3 on {HOSTS[place]} was killed by SIGKILL (the kernel's out-of-memory")
    assert lost.message.endswith("; last update 7")
    assert lost.final is None
    assert not lost.memory
    # What the others said is kept.
    assert lost.traceback.count("Connection closed by peer") == 2


def test_a_death_comes_before_another_ranks_own_error() -> None:
    assert cause(failed(), ended(1)).kind == "WorkerDied"


def test_who_was_ended_by_its_own_library_waited_for_the_other() -> None:
    for reports in ([ended(-6), ended(-11)], [ended(-11), ended(-6)]):
        assert "was killed by SIGSEGV" in cause(*reports).message
    assert "rank 1 of 2 on n0 was killed by SIGABRT" in cause(WAITED, ended(-6)).message


def test_a_death_without_words_still_leaves_a_traceback() -> None:
    lost = cause(ended(3), fine())
    assert lost.traceback == lost.message == "rank 0 of 2 on n0 exited with code 3; last update 5"


def test_a_trials_own_error_is_final_and_names_its_rank() -> None:
    lost = cause(WAITED, failed(), WAITED)
    assert lost.final is not None
    assert (lost.final.stage, lost.final.kind) == ("train", "LossNotFiniteError")
    assert lost.final.message == "loss must be finite (rank 1 of 3)"
    assert lost.final.traceback.count("rank ") == 3
    # Every rank sees a wrong loss at once: the first speaks for all, as in a trial of one worker.
    assert cause(failed(), failed()).message == "loss must be finite"


@pytest.mark.parametrize(
    ("reports", "memory"),
    [
        ([failed(), WAITED], False),
        ([WAITED, failed(memory=True)], True),
        ([fine(), ended(None, "Task was killed due to the node running low on memory (OOM)")], True),
        ([fine(), ended(None, "its node does not answer (n1)")], False),
        ([fine(), ended(-9)], False),
    ],
)
def test_memory_that_ran_out_is_told_apart(reports: list[Report], memory: bool) -> None:
    assert cause(*reports).memory is memory


def test_where_all_complain_who_is_silent_hangs() -> None:
    lost = cause(WAITED, fine(6), WAITED, fine(6))
    assert lost.kind == "CollectiveTimedOut"
    assert lost.message == "rank 1 on n0, rank 3 on n2 did not answer in a collective; last update 6"
    assert lost.final is None
    assert cause(WAITED, WAITED).message == "no worker answered the others in a collective; last update 5"


def test_trials_of_one_shape_share_a_gang() -> None:
    plain = shape_of(make_job(make_config(), workers=2, environment={"NCCL_DEBUG": "WARN"}))
    like: dict[str, Any] = {"workers": 2, "environment": {"NCCL_DEBUG": "WARN"}}
    assert shape_of(make_job(make_config("full"), **like, zero_stage=3, micro_batch=1, restarts=2)) == plain
    others: list[dict[str, Any]] = [
        {"workers": 3}, {"cpus": 2}, {"gpus": 1.0}, {"collective_seconds": 5.0}, {"environment": {}},
    ]  # fmt: skip
    for other in others:
        assert shape_of(make_job(make_config(), **like | other)) != plain
    assert hash(plain) == hash(plain)


def test_the_driver_drives_a_gang_without_torch() -> None:
    program = "import sys, lfray.trial.gang; print(*[m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
