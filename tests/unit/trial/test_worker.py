from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lfray.data.prepare import prepare_data
from lfray.engine.checkpoint import Checkpoints
from lfray.model.folder import model_facts
from lfray.record import CurvePoint, TrialRecord, read_predictions
from lfray.record_json import record_to_json
from lfray.space.trial import TaskConfig
from lfray.spec.stages import TaskSpec
from lfray.storage import Storage
from lfray.trial.bench import Bench
from lfray.trial.worker import run_trial
from tests.unit.data.builders import data_spec, people, write_rows
from tests.unit.jobs import make_job
from tests.unit.records import make_config

if TYPE_CHECKING:
    from lfray.space.trial import TrialJob
    from tests.unit.model.tiny import Bases

pytestmark = pytest.mark.usefixtures("worker_settings")

VERBALIZER = TaskConfig(
    head="verbalizer", class_names=("0", "1"), positive=1, template="{text}:", answers=("no", "yes"), scoring="compare"
)


class Place:
    """Prepared rows and the bases, and where trials are to be written."""

    def __init__(self, root: Path, bases: Bases) -> None:
        write_rows(root / "rows.csv", people(80))
        spec = data_spec(source=f"file:{root}/rows.csv", minority={"group": "group", "value": "b"}, min_group_rows=1)
        self.root, self.bases = root, bases
        self.data = prepare_data(spec, TaskSpec(), folder=root, root=root / "data")

    def job(self, base: str, method: str, *, storage: str = "runs", task: TaskConfig | None = None, **train: Any) -> TrialJob:
        folder, facts = getattr(self.bases, base), self.data.facts
        config = make_config(method, 2, ratio=0.5, minority=("group", "b"), train={"epochs": 2.0, "learning_rate": 0.01} | train)
        config = config.model_copy(
            update={
                "task": task or TaskConfig(head="sequence", class_names=facts.class_names, positive=facts.positive),
                "data": config.data.model_copy(update={"fingerprint": facts.fingerprint, "min_group_rows": 1}),
                "model": config.model.model_copy(update={"fingerprint": model_facts(folder).fingerprint}),
            }
        )
        where = {"storage": str(self.root / storage), "data": str(self.data.folder), "model": str(folder)}
        job = make_job(config, keep_weights=True)
        return job.model_copy(
            update={"where": job.where.model_copy(update=where), "split_manifests": dict(facts.split_manifests)}
        )


@pytest.fixture(scope="module")
def place(bases: Bases, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("worker"), bases)


def run(job: TrialJob, bench: Bench | None = None) -> TrialRecord:
    """The record; it must come last, after the curve, and stand in storage."""
    *curve, record = run_trial(job, bench or Bench())
    assert isinstance(record, TrialRecord)
    if record.state == "COMPLETED":
        assert [point for point in curve if isinstance(point, CurvePoint)] == list(record.curve)
    assert Storage(Path(job.where.storage)).read_record(record.trial_id) == record
    return record


def timeless(record: TrialRecord) -> str:
    """The record without what is measured of the machine."""
    raw = record_to_json(record)
    kept = [
        m
        for m in raw["measures"]
        if not m["key"].startswith("cost.") or m["key"] in ("cost.training_flops", "cost.trainable_parameters")
    ]
    return json.dumps({"measures": kept, "curve": raw["curve"], "data": raw["data"], "config": raw["config"]})


@pytest.mark.parametrize(("base", "method"), [("gpt2", "lora"), ("gpt2", "full"), ("bert_mlm", "head"), ("bert_mlm", "dora")])
def test_a_trial_becomes_a_record(place: Place, base: str, method: str) -> None:
    job = place.job(base, method)
    record = run(job)
    assert record.state == "COMPLETED", record.failure
    folder = Storage(Path(job.where.storage)).trial_folder(record.trial_id)
    assert {path.name for path in folder.iterdir()} == {"record.json", "predictions.parquet", "adapter"}
    table = read_predictions(folder / "predictions.parquet")
    facts = place.data.facts
    assert len(table) == facts.split_rows["validation"] + facts.split_rows["test"]
    assert record.metrics()["accuracy"] == pytest.approx(
        np.mean(table.of_split("test").prediction == table.of_split("test").label)
    )
    assert record.data["minority_rows_kept"] < record.data["minority_rows"]


def test_the_untouched_base_is_evaluated(place: Place) -> None:
    record = run(place.job("bert_trained", "base"))
    assert (record.state, record.curve) == ("COMPLETED", ())
    assert record.undefined()["cost.tokens_per_second"] == "no_training"


def test_warm_is_cold_to_the_bit(place: Place) -> None:
    bench = Bench()
    jobs = [place.job("bert", method, storage="warm") for method in ("full", "lora")]
    warm = [run(job, bench) for job in jobs]
    cold = [run(place.job("bert", method, storage="cold")) for method in ("full", "lora")]
    assert [timeless(record) for record in warm] == [timeless(record) for record in cold]
    assert [record.execution.warm for record in warm if record.execution] == [False, True]


class Killed(BaseException):
    """What no handler of a trial may catch."""


def test_a_killed_trial_goes_on_to_the_same_record(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"select": "validation_accuracy"}
    undisturbed = run(place.job("bert", "lora", storage="whole", **fields))
    save, saved = Checkpoints.save, []

    def save_then_die(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        saved.append(1)
        if len(saved) == 3:
            raise Killed

    job = place.job("bert", "lora", storage="killed", **fields)
    job = job.model_copy(update={"execution": job.execution.model_copy(update={"checkpoint_seconds": 0.0})})
    monkeypatch.setattr(Checkpoints, "save", save_then_die)
    with pytest.raises(Killed):
        list(run_trial(job, Bench()))
    monkeypatch.undo()
    torch.manual_seed(1)
    resumed = run(job)
    assert resumed.execution is not None
    assert resumed.execution.resumed_at_step == 3
    assert timeless(resumed) == timeless(undisturbed)


@pytest.mark.parametrize("method", ["base", "lora"])
def test_a_verbalizer_is_scored_by_its_answers(place: Place, method: str) -> None:
    record = run(place.job("gpt2", method, task=VERBALIZER, select="validation_accuracy"))
    assert record.state == "COMPLETED", record.failure
    assert "unparsed_rate" in record.by_key()
    # Selection looks at the same thing that is measured at the end.
    reached = [point.validation_accuracy for point in record.curve if point.validation_accuracy is not None]
    if method == "lora":
        assert record.metrics()["validation.accuracy"] == pytest.approx(max(reached))


def test_a_trial_that_goes_wrong_is_a_record_with_its_stage(place: Place) -> None:
    job = place.job("bert", "lora", learning_rate=1e30, max_grad_norm=None)
    record = run(job)
    assert record.state == "FAILED"
    assert record.failure is not None
    assert (record.failure.stage, record.failure.kind) == ("train", "LossNotFiniteError")
    assert "at step" in record.failure.message
    assert "Traceback" in record.failure.traceback


def test_other_splits_than_planned_are_refused(place: Place) -> None:
    job = place.job("bert", "head", storage="moved")
    job = job.model_copy(update={"split_manifests": job.split_manifests | {"test": "0" * 16}})
    record = run(job)
    assert record.failure is not None
    assert record.failure.stage == "data"
