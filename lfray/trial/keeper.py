"""`Keeper`: the Ray actor that holds one worker's share of the machine. It computes nothing and imports no torch, so it answers always."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import time
from typing import Any, NamedTuple

from lfray.trial.rank import Fault, Place, Said, main


class Ended(NamedTuple):
    """How a worker's process ended."""

    exit_code: int | None
    """As the kernel tells it, negative for a signal; None where the node itself is gone."""
    said: str = ""

    @property
    def aborted(self) -> bool:
        """SIGABRT: what libraries do to themselves."""
        return self.exit_code == -signal.SIGABRT

    @property
    def memory(self) -> bool:
        """Ray's memory monitor killed it."""
        return self.exit_code is None and "memory" in self.said and "OOM" in self.said

    @property
    def words(self) -> str:
        """`was killed by SIGKILL`."""
        if self.exit_code is None:
            return f"is gone ({self.said})"
        if self.exit_code >= 0:
            return f"exited with code {self.exit_code}"
        name = signal.Signals(-self.exit_code).name
        hint = " (the kernel's out-of-memory killer uses it too)" if name == "SIGKILL" else ""
        return f"was killed by {name}{hint}"


class Report(NamedTuple):
    """News of one worker."""

    said: list[Said]
    ended: Ended | None
    updates: int
    """Updates of the current trial that it has done."""

    @property
    def done(self) -> bool:
        """It has finished the trial."""
        return any(said.kind == "done" for said in self.said)

    @property
    def fault(self) -> Fault | None:
        """What went wrong inside it."""
        return next((said.body for said in self.said if said.kind == "failed"), None)

    @property
    def over(self) -> bool:
        """Nothing more is to be expected from it."""
        return self.done or self.ended is not None or self.fault is not None


class Keeper:
    """Starts one worker's process and tells how it goes. Keeps what it said of a trial until the next begins."""

    def address(self) -> tuple[str, str]:
        """Name and address of this node."""
        import ray

        return socket.gethostname(), ray.util.get_node_ip_address()

    def start(self, place: Place, environment: dict[str, str], gpus: float) -> int:
        """Start the process; for rank 0, the port of the store where the others find it, else 0."""
        # spawn: a forked child would share the threads and locks of Ray's worker.
        context = multiprocessing.get_context("spawn")
        self._updates: Any = context.Value("q", 0, lock=False)
        self._pipe, child = context.Pipe()
        self._said: list[Said] = []
        interface = _interface_of(self.address()[1])
        # gloo would take the interface of the host's name, which on a machine with several is often the wrong one.
        chosen = {"GLOO_SOCKET_IFNAME": interface} if interface else {}
        self._process = context.Process(
            target=main, args=(child, place, chosen | environment, gpus, self._updates), daemon=True, name=f"rank-{place.rank}"
        )
        self._process.start()
        child.close()
        return int(self._wait_for("port", place.seconds)) if place.rank == 0 else 0

    def meet(self, port: int) -> None:
        """Tell the process where rank 0's store is."""
        self._pipe.send(port)

    def ready(self, seconds: float) -> None:
        """Wait until it has joined the gang."""
        self._wait_for("ready", seconds)

    def _wait_for(self, kind: str, seconds: float) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            report = self.watch(1.0)
            for said in report.said:
                if said.kind == kind:
                    self._said.remove(said)
                    return said.body
            if report.over:
                words = report.ended.words if report.ended is not None else report.fault
                raise RuntimeError(f"worker process {self._process.pid} on {socket.gethostname()} {words}")
        raise RuntimeError(f"worker process {self._process.pid} on {socket.gethostname()} was not {kind} within {seconds:g} s")

    def begin(self, job: str) -> None:
        """Hand it a trial."""
        self._said = []
        self._updates.value = 0
        self._pipe.send(job)

    def watch(self, seconds: float) -> Report:
        """What it has said since the last call; waits up to `seconds` for the end of the trial. What ends a trial is said every time."""
        until, points = time.monotonic() + seconds, [said for said in self._said if said.kind == "point"]
        self._said = [said for said in self._said if said.kind != "point"]
        ended = None
        while ended is None and not any(said.kind != "point" for said in self._said):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                if self._pipe.poll(left):
                    said = self._pipe.recv()
                    (points if said.kind == "point" else self._said).append(said)
            except (EOFError, ConnectionResetError):
                self._process.join(5)
                ended = Ended(self._process.exitcode, "" if self._process.exitcode is not None else "its pipe is closed")
        return Report([*points, *self._said], ended, int(self._updates.value))

    def pid(self) -> int | None:
        """Process id of the worker."""
        return self._process.pid


def _interface_of(address: str) -> str | None:
    """Name of the network interface that has an address."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(found.address == address for found in addresses):
            return name
    return None
