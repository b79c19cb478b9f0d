"""How MLflow behaves in a process of ours. What it stores is held to the contract in tests/contract."""

from __future__ import annotations

import subprocess
import sys

QUIET = """
import lfray.tracking.contract
from lfray.tracking.mlflow_store import MlflowTracker
from lfray.tracking.contract import SweepInfo
tracker = MlflowTracker("sqlite:///mlflow.db")
tracker.open_sweep(SweepInfo("quiet", "quiet", "2026-03-01T12:00:00Z"))
tracker.close_sweep("FINISHED", artifacts={}, metrics={}, tags={})
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
import threading
assert [t.name for t in threading.enumerate() if "elemetry" in t.name] == []
"""

NO_NETWORK = """
import socket
def refuse(*arguments): raise AssertionError("the network was touched")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""


def test_a_new_database_is_made_in_silence_and_without_the_network(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK + QUIET], cwd=str(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_contract_costs_no_mlflow() -> None:
    code = (
        "import sys, lfray.tracking.contract, lfray.tracking.memory, lfray.tracking.spool, lfray.tracking.layout;"
        "assert not {'mlflow', 'sqlalchemy', 'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
