"""What the machines hold: where the workers of a trial lie, and whether a trial fits at all, asked before anything starts.

Counts are exact: CPUs, GPUs and GiB are held in ten-thousandths, as Ray holds them, so three thirds of a GPU are one GPU.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from lfray.errors import CapacityError
from lfray.sweep.need import GIB, UNIT, Need

if TYPE_CHECKING:
    from collections.abc import Iterable


SYSTEM_GIB = 1.5
"""Kept on every node for the driver, Ray's own processes and the page cache of small data."""
ENOUGH = 1_000_000_000


@dataclass(frozen=True)
class Node:
    """One machine as the scheduler sees it."""

    name: str
    cpus: float
    gpus: float
    memory_gib: float


@dataclass(frozen=True)
class Machines:
    """The nodes at hand. `where` is how messages name them together: `this machine`, `the cluster`."""

    nodes: tuple[Node, ...]
    where: str

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def memory_gib(self) -> float:
        """Main memory of all nodes."""
        return sum(node.memory_gib for node in self.nodes)


def local_machines() -> Machines:
    """This machine as one node: processors that this process may use, GPUs that the driver lists, memory."""
    memory = psutil.virtual_memory().total / GIB
    node = Node("this machine", float(len(os.sched_getaffinity(0))), float(_gpu_count()), memory)
    return Machines((node,), "this machine")


def _gpu_count() -> int:
    """GPUs by nvidia-smi: asking torch would import it (2 s) only to hear 0. CUDA_VISIBLE_DEVICES is heeded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        # A driver that hangs would hang every trial: no GPU can be counted on.
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


@dataclass(frozen=True)
class Seat:
    """Where one worker lies: the node's position in `Machines.nodes`, and the devices on it that it holds (a share of the one)."""

    node: int
    devices: tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """Where a trial lies: a seat a worker, workers of one node beside each other."""

    need: Need
    seats: tuple[Seat, ...]


class Free:
    """What is free on every node. The same calls in the same order give the same placements."""

    def __init__(self, machines: Machines) -> None:
        """Everything is free."""
        self._has_gpus = [node.gpus > 0 for node in machines.nodes]
        self._cpus = [round(node.cpus * UNIT) for node in machines.nodes]
        self._memory = [math.floor(max(0.0, node.memory_gib - SYSTEM_GIB) * UNIT) for node in machines.nodes]
        self._devices = [[UNIT] * math.floor(node.gpus) for node in machines.nodes]

    def copy(self) -> Free:
        """The same, to try things on."""
        other = Free.__new__(Free)
        other._has_gpus, other._cpus, other._memory = self._has_gpus, list(self._cpus), list(self._memory)
        other._devices = [list(devices) for devices in self._devices]
        return other

    def rooms(self, need: Need) -> list[int]:
        """How many workers of this need each node has room for now."""
        return [self._room(need, node) for node in range(len(self._cpus))]

    def _room(self, need: Need, node: int) -> int:
        cpus, gpus, memory = need.units
        room = self._cpus[node] // cpus if cpus else ENOUGH
        if memory:
            room = min(room, self._memory[node] // memory)
        if gpus and room:
            # A share lies on one device: two GPUs hold four trials of 0.4, not five.
            devices = self._devices[node]
            shares = sum(free // gpus for free in devices) if gpus < UNIT else devices.count(UNIT) // _whole(gpus)
            room = min(room, shares)
        return room

    def fits(self, need: Need) -> bool:
        """Whether a trial has room now."""
        rooms = self.rooms(need)
        return (max(rooms, default=0) if need.placement == "strict_pack" else sum(rooms)) >= need.workers

    def place(self, need: Need) -> Placement | None:
        """Take room for a trial, all workers or none.

        pack: on one node where one has room, else on the fewest. strict_pack: on one node or not at all. spread: on as many nodes as
        have room, evenly. Among equals the node that is left fullest, so that large holes stay; a trial without GPUs takes nodes
        without GPUs first; then the order of the nodes.

        Returns:
            Where it lies, or None where there is no room now; nothing is taken then.
        """
        rooms = self.rooms(need)
        counts = self._spread(need, rooms) if need.placement == "spread" else self._pack(need, rooms)
        if counts is None:
            return None
        return Placement(need, tuple(self._seat(need, node) for node, count in sorted(counts.items()) for _ in range(count)))

    def _misplaced(self, need: Need, node: int) -> bool:
        return self._has_gpus[node] and need.gpus == 0

    def _pack(self, need: Need, rooms: list[int]) -> dict[int, int] | None:
        counts: dict[int, int] = {}
        left, open_nodes = need.workers, [node for node, room in enumerate(rooms) if room]
        while left:
            enough = [node for node in open_nodes if rooms[node] >= left]
            if enough:
                counts[min(enough, key=lambda node: (self._misplaced(need, node), rooms[node], node))] = left
                return counts
            if not open_nodes or need.placement == "strict_pack":
                return None
            # The roomiest first uses the fewest nodes: workers are alike.
            roomiest = max(open_nodes, key=lambda node: (rooms[node], -node))
            open_nodes.remove(roomiest)
            counts[roomiest] = rooms[roomiest]
            left -= rooms[roomiest]
        return counts

    def _spread(self, need: Need, rooms: list[int]) -> dict[int, int] | None:
        if sum(rooms) < need.workers:
            return None
        counts: dict[int, int] = {}
        for _ in range(need.workers):
            open_nodes = [node for node, room in enumerate(rooms) if counts.get(node, 0) < room]
            chosen = min(open_nodes, key=lambda node: (counts.get(node, 0), self._misplaced(need, node), rooms[node], node))
            counts[chosen] = counts.get(chosen, 0) + 1
        return counts

    def _seat(self, need: Need, node: int) -> Seat:
        """The fullest device that still has the share, so that whole devices stay whole; or the first whole ones."""
        devices, gpus = self._devices[node], need.units[1]
        if not gpus:
            seat = Seat(node, ())
        elif gpus < UNIT:
            seat = Seat(node, (min((free, device) for device, free in enumerate(devices) if free >= gpus)[1],))
        else:
            seat = Seat(node, tuple(device for device, free in enumerate(devices) if free == UNIT)[: _whole(gpus)])
        self._move(need, seat, -1)
        return seat

    def take(self, placement: Placement) -> None:
        """Take what `place` took elsewhere: one set of books follows another."""
        for seat in placement.seats:
            self._move(placement.need, seat, -1)

    def release(self, placement: Placement) -> None:
        """Give back what `place` or `take` took."""
        for seat in placement.seats:
            self._move(placement.need, seat, 1)

    def _move(self, need: Need, seat: Seat, sign: int) -> None:
        cpus, gpus, memory = need.units
        self._cpus[seat.node] += sign * cpus
        self._memory[seat.node] += sign * memory
        for device in seat.devices:
            self._devices[seat.node][device] += sign * min(UNIT, gpus)


def _whole(gpus: int) -> int:
    """Devices of a worker that takes whole ones: Ray knows no device and a half."""
    return -(-gpus // UNIT)


def most_at_once(need: Need, machines: Machines, *, at_most: int = ENOUGH) -> int:
    """How many trials of one need the empty machines hold, counted up to `at_most`."""
    free, held = Free(machines), 0
    while held < at_most and free.place(need) is not None:
        held += 1
    return held


def refuse_impossible(needs: Iterable[tuple[str, Need]], machines: Machines) -> None:
    """Refuse trials that the machines cannot hold even when nothing else runs.

    Args:
        needs: (method, need) of every trial; the same pair may come often.
        machines: What there is.

    Raises:
        CapacityError: Names the method, what it needs and what there is.
    """
    for method, need in dict.fromkeys(needs):
        if not Free(machines).fits(need):
            raise CapacityError(_worker_too_large(method, need, machines) or _gang_too_large(method, need, machines))


def _worker_too_large(method: str, need: Need, machines: Machines) -> str | None:
    """Why no node holds even one worker; None where one does."""
    if any(Free(machines).rooms(need)):
        return None
    who = "" if need.workers == 1 else f" for each of {need.workers} workers"
    has = "it has" if len(machines.nodes) == 1 else "its largest node has"
    cpus, gpus, memory = (
        max((getattr(node, kind) for node in machines.nodes), default=0.0) for kind in ("cpus", "gpus", "memory_gib")
    )
    end, larger = f"no trial can ever fit {machines.where} ({has}", "or use a larger machine"
    if need.cpus > cpus:
        return f"resources: {method}: {need.cpus:g} CPUs{who}: {end} {cpus:g}). Lower cpus_per_trial, or {method}.cpus, {larger}"
    if need.gpus > gpus:
        return f"resources: {method}: {need.gpus:g} GPUs{who}: {end} {gpus:g}). Lower gpus_per_trial, or {method}.gpus, {larger}"
    if need.memory_gib > memory - SYSTEM_GIB:
        return (
            f"resources: {method}: a worker needs about {need.memory_gib:.1f} GiB of memory: {end} {memory:.1f} GiB, "
            f"{SYSTEM_GIB:g} of them kept for the system). Use a smaller base, ZeRO over more workers, or a larger machine"
        )
    return (
        f"resources: {method}: one node must have {need.cpus:g} CPUs, {need.gpus:g} GPUs and {need.memory_gib:.1f} GiB for a worker "
        f"(no node of {machines.where} has all of them). Lower them or use a larger machine"
    )


def _gang_too_large(method: str, need: Need, machines: Machines) -> str:
    """Why the workers, each of which has room, have none together."""
    rooms = Free(machines).rooms(need)
    # Before the base is known nothing is said of memory.
    memory = f", about {need.memory_gib:.1f} GiB each" if need.memory_gib else ""
    where = f"resources: {method}: {need.shape}{memory}"
    if need.placement == "strict_pack" and sum(rooms) >= need.workers:
        return (
            f"{where}: placement strict_pack: no single node of {machines.where} can ever hold them (its roomiest holds {max(rooms)}, "
            f"all {len(rooms)} together {sum(rooms)}). Use placement: pack, or fewer workers"
        )
    return (
        f"{where}: no trial can ever fit {machines.where} (it holds {sum(rooms)} of them: {machines.cpus:g} CPUs, {machines.gpus:g} GPUs, "
        f"{machines.memory_gib:.1f} GiB). Lower workers_per_trial ({method}.workers) or use more machines"
    )
