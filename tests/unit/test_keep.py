from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lfray.app import Plan
from lfray.keep import BYTES_PER_PREDICTION, KINDS, RECORD_BYTES, estimate_disk, readable, removable, remove, size_of
from lfray.spec.load import LoadedSweep
from lfray.storage import Storage
from lfray.sweep.capacity import Machines, Node
from lfray.sweep.outlook import look_ahead
from tests.unit.records import make_record
from tests.unit.space.world import make_data, make_model, make_spec, plan


def filled(storage: Storage, seed: int, *, recorded: bool = True) -> str:
    """A trial with 10 bytes of predictions, 20 of adapter, 30 of checkpoint."""
    record = make_record(seed=seed)
    folder = storage.trial_folder(record.trial_id)
    for name, size in (("predictions.parquet", 10), ("adapter/weights", 20), ("checkpoint/step-1/weights", 30)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    if recorded:
        storage.write_record(record)
    return record.trial_id


def test_only_recorded_trials_give_anything_up(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, running = filled(storage, 1), filled(storage, 2, recorded=False)
    found = removable(storage, [done, running, "f" * 16], KINDS)
    assert {(removal.kind, removal.size) for removal in found} == {("checkpoints", 30), ("predictions", 10), ("adapters", 20)}
    assert {removal.path.parent.name for removal in found} == {done}


def test_what_is_to_be_kept_is_kept(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    ids = [filled(storage, seed) for seed in (1, 2)]
    found = removable(storage, ids, ["adapters"], keep=frozenset(ids[:1]))
    assert [removal.path for removal in found] == [storage.trial_folder(ids[1]) / "adapter"]


def test_removal_frees_the_bytes_and_leaves_the_record(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    trial_id = filled(storage, 1)
    assert remove(removable(storage, [trial_id], KINDS)) == 60
    assert [path.name for path in storage.trial_folder(trial_id).iterdir()] == ["record.json"]
    assert removable(storage, [trial_id], KINDS) == []


def test_size_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(3))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(4))
    assert size_of(tmp_path / "a" / "x") == 3
    assert size_of(tmp_path) == 7


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000, "3.4 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")]
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert readable(size) == text


def planned(*, recorded: int = 0, cpus: int = 2, **sections: Any) -> Plan:
    """A plan of full, lora ranks 2 and 8, head, for a machine of so many CPUs; the first `recorded` trials are done."""
    sections = {"axes": {"rank": [2, 8]}} | sections
    trials, spec = plan(**sections), make_spec(**sections)
    loaded = LoadedSweep(spec, Path("a.yaml"), Path("/"), "", {}, {})
    records = {trial.trial_id: make_record(config=trial) for trial in trials[:recorded]}
    machines = Machines((Node("n0", cpus, 0, 64.0),), "this machine")
    outlook = look_ahead(trials, records, spec.resources, machines, model=make_model(), data=make_data())
    return Plan(
        loaded=loaded, storage=Storage(Path("/nowhere")), data=make_data(), model=make_model(), trials=trials,
        recorded=frozenset(records), outlook=outlook, truncated=0, warnings=(), created_at="",
    )  # fmt: skip


FULL, RANK_2, RANK_8, HEAD = 4 * 1_000_000, 4 * 2 * 10_000, 4 * 8 * 10_000, 8_192


def test_disk_is_estimated_for_what_has_no_record_yet() -> None:
    estimate = estimate_disk(planned())
    assert estimate.records == 4 * RECORD_BYTES
    assert estimate.predictions == 4 * (10 + 12) * BYTES_PER_PREDICTION
    assert estimate.adapters == RANK_2 + RANK_8 + HEAD
    # Weights and two moments, two checkpoints each, of the two largest trials.
    assert estimate.checkpoints == (FULL + RANK_8) * 3 * 2
    assert estimate.total == estimate.records + estimate.predictions + estimate.adapters + estimate.checkpoints
    assert estimate_disk(planned(recorded=1)).checkpoints == (RANK_8 + RANK_2) * 3 * 2
    assert estimate_disk(planned(recorded=4)).total == 0
    assert estimate_disk(planned(cpus=1)).checkpoints == FULL * 3 * 2


def test_disk_depends_on_what_is_kept() -> None:
    assert estimate_disk(planned(keep_adapters="none")).adapters == 0
    assert estimate_disk(planned(keep_full_models=True)).adapters == FULL + RANK_2 + RANK_8 + HEAD
