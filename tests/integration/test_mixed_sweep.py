"""Trials of one and of several workers in one sweep, on a running Ray cluster of three CPUs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import SWEEP, environment, lfray

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ray
MIXED = "resources: {workers_per_trial: 1, full: {workers: 2, zero_stage: 3}}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """Address of a Ray of three CPUs, without dashboard. Any other Ray on this host goes on beside it."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 0, "include_dashboard": False})
    yield made.address
    made.shutdown()


def intervals(folder: Path) -> dict[str, tuple[int, datetime, datetime]]:
    """Trial id -> its workers, begin and end, as recorded."""
    found = {}
    for path in (folder / "runs" / "trials").glob("*/record.json"):
        record = json.loads(path.read_text())
        begin = datetime.fromisoformat(record["started_at"])
        found[record["trial_id"]] = (record["execution"]["world_size"], begin, begin + timedelta(seconds=record["seconds"]))
    return found


def most_at_once(spans: list[tuple[int, datetime, datetime]], *, workers: int | None = None) -> int:
    """Most trials (or, for `workers`, most CPUs where it is None) at any moment."""
    chosen = [span for span in spans if workers is None or span[0] == workers]
    return max(
        sum(size if workers is None else 1 for size, begin, end in chosen if begin <= moment < end) for _, moment, _ in chosen
    )


def test_small_trials_and_gangs_share_three_cpus(tmp_path: Path, tiny_bert: Path, tiny_data: Path, cluster: str) -> None:
    text = SWEEP.format(name="mixed", data=tiny_data, base=tiny_bert).replace(
        "method: [head, lora, full]", "method: [lora, full]"
    )
    (tmp_path / "mixed.yaml").write_text(text.replace("epochs: 2", "epochs: 4") + MIXED)
    planned = lfray("plan", "mixed.yaml", "--address", cluster, "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    schedule: dict[str, Any] = json.loads(planned.stdout)["schedule"]
    ran = lfray("run", "mixed.yaml", "--address", cluster, "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    spans = list(intervals(tmp_path).values())
    assert sorted(size for size, _, _ in spans) == [1, 1, 2, 2]
    assert most_at_once(spans) <= 3
    assert (
        schedule["at_once_by_shape"]
        == {"2 workers of 1 CPU": 1, "1 CPU": 1}
        == {
            "2 workers of 1 CPU": most_at_once(spans, workers=2),
            "1 CPU": most_at_once(spans, workers=1),
        }
    )
    record = next(json.loads(p.read_text()) for p in (tmp_path / "runs").rglob("record.json") if '"full"' in p.read_text())
    assert (record["execution"]["stepper"], record["execution"]["zero_stage"]) == ("deepspeed", 3)


def test_a_gang_that_finds_no_place_fails_with_what_it_needed(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, cluster: str
) -> None:
    """Somebody else holds two of the three CPUs: the plan could not know."""
    hog = (
        "import ray, sys, time\n"
        f"ray.init(address={cluster!r}, log_to_driver=False)\n"
        "group = ray.util.placement_group([{'CPU': 2}])\n"
        "ray.get(group.ready())\n"
        "print('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    environ = environment(tmp_path)
    text = SWEEP.format(name="held", data=tiny_data, base=tiny_bert).replace("ratio: [1.0, 0.2]", "ratio: [0.2]")
    (tmp_path / "held.yaml").write_text(
        text.replace("head, lora, full]", "lora, full]")
        + MIXED.replace("workers_per_trial", "placement_seconds: 20, workers_per_trial")
    )
    with subprocess.Popen([sys.executable, "-c", hog], env=environ, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        begun = time.monotonic()
        ran = lfray("run", "held.yaml", "--address", cluster, "--json", cwd=tmp_path)
        holder.kill()
    assert ran.returncode == 1, ran.stderr
    assert time.monotonic() - begun < 90
    records = {
        r["config"]["method"]["kind"]: r for r in (json.loads(p.read_text()) for p in (tmp_path / "runs").rglob("record.json"))
    }
    # The small one is not held up by the gang that waits.
    assert records["lora"]["state"] == "COMPLETED"
    failure = records["full"]["failure"]
    assert failure["stage"] == "placement"
    assert "2 workers of 1 CPU must find a place within 20 s (the cluster had 3 CPU" in failure["message"]


def test_what_a_stopped_sweep_held_is_free_within_three_seconds(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, cluster: str
) -> None:
    """Without dashboard, with a second Ray on the host (the one in this process), at Ctrl-C and at SIGKILL of the driver."""
    from ray.cluster_utils import Cluster

    text = SWEEP.format(name="long", data=tiny_data, base=tiny_bert).replace("epochs: 2", "epochs: 9000") + MIXED
    (tmp_path / "long.yaml").write_text(text.replace("method: [head, lora, full]", "method: [full]").replace("  rank: [2]\n", ""))
    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    probe = Probe(cluster, tmp_path)
    try:
        for how in (signal.SIGINT, signal.SIGKILL):
            command = [sys.executable, "-m", "lfray", "run", "long.yaml", "--address", cluster]
            driver = subprocess.Popen(
                command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
            )
            probe.wait(free=1.0, seconds=60)
            running = ranks_alive()
            until = time.monotonic() + 60
            while len(running) < 2 and time.monotonic() < until:
                time.sleep(0.2)
                running = ranks_alive()
            driver.send_signal(how)
            begun = time.monotonic()
            probe.wait(free=3.0, seconds=20)
            took = time.monotonic() - begun
            driver.wait(30)
            assert took < 3.0, (how, took)
            assert not ranks_alive() & running
    finally:
        probe.close()
        other.shutdown()


def test_a_gang_spans_nodes_unless_it_may_not(tmp_path: Path, tiny_bert: Path, tiny_data: Path) -> None:
    """Two Ray nodes of one CPU each: `pack` takes both, `strict_pack` is refused by the plan."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1, num_gpus=0)
    text = SWEEP.format(name="spread", data=tiny_data, base=tiny_bert).replace("method: [head, lora, full]", "method: [full]")
    text = text.replace("  rank: [2]\n", "").replace("ratio: [1.0, 0.2]", "ratio: [0.2]") + MIXED
    try:
        (tmp_path / "strict.yaml").write_text(text.replace("workers_per_trial", "placement: strict_pack, workers_per_trial"))
        refused = lfray("plan", "strict.yaml", "--address", made.address, cwd=tmp_path)
        assert refused.returncode == 2
        assert "no single node of the cluster can ever hold them" in refused.stderr
        assert "Traceback" not in refused.stderr
        (tmp_path / "spread.yaml").write_text(text)
        ran = lfray("run", "spread.yaml", "--address", made.address, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr + ran.stdout
    finally:
        made.shutdown()
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("record.json"))
    assert record["execution"]["world_size"] == len(record["execution"]["hosts"]) == 2


class Probe:
    """Free CPUs of a cluster, asked from a process of its own: one process can know one Ray only."""

    def __init__(self, address: str, folder: Path) -> None:
        program = (
            "import ray, sys\n"
            f"ray.init(address={address!r}, log_to_driver=False)\n"
            "for line in sys.stdin:\n"
            "    print(ray.available_resources().get('CPU', 0.0), flush=True)\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self, *, free: float, seconds: float) -> None:
        """Until so many CPUs are free."""
        until, found = time.monotonic() + seconds, -1.0
        while found != free:
            assert time.monotonic() < until, f"{found} CPUs free, not {free}"
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(file=self._process.stdin, flush=True)
            found = float(self._process.stdout.readline())
            time.sleep(0.05)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)  # closes both pipes, which else warn in whichever test comes next


def ranks_alive() -> set[int]:
    """Process ids of gang workers on this host."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"multiprocessing.spawn import spawn_main" in command:
                found.add(int(folder.name))
    return found
