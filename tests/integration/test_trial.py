"""Trials through the worker's own function, without Ray: what is saved can be loaded, what is measured can be trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lfray
from lfray.app import jobs_of, plan
from lfray.record import TrialRecord, read_predictions
from lfray.trial.bench import Bench
from lfray.trial.load import same_bits
from lfray.trial.worker import run_trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lfray.app import Plan

    Write = Callable[..., Path]

pytestmark = [
    pytest.mark.slow,
    # peft 0.21 reads a property that transformers 5.23 renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LFRAY_STORAGE", raising=False)


def run_all(made: Plan) -> dict[str, TrialRecord]:
    """Label -> record, every trial in one warm worker."""
    bench, records = Bench(), {}
    for job in jobs_of(made):
        record = list(run_trial(job, bench))[-1]
        assert isinstance(record, TrialRecord)
        records[record.config.label] = record
    return records


def test_saved_weights_score_the_stored_predictions_to_the_bit(sweep: Write, tmp_path: Path) -> None:
    path = sweep("kept", downsampling_ratio="  downsampling_ratio: [1.0]")
    path.write_text(path.read_text() + "keep_full_models: true\n")
    made = plan(path)
    for label, record in run_all(made).items():
        assert record.state == "COMPLETED", record.failure
        stored = read_predictions(made.storage.trial_folder(record.trial_id) / "predictions.parquet")
        again = lfray.rescore(record.trial_id, storage=str(made.storage.root))
        assert same_bits(stored, again), label


def test_plain_peft_and_transformers_code_loads_an_adapter(sweep: Write, tiny_bert: Path) -> None:
    """The three lines of the README, without lfray."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    made = plan(sweep("plain", method="  method: [lora]", downsampling_ratio="  downsampling_ratio: [1.0]"))
    (record,) = run_all(made).values()
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    model = PeftModel.from_pretrained(base, made.storage.trial_folder(record.trial_id) / "adapter").eval()
    ours, tokenizer = lfray.load(record.trial_id, storage=str(made.storage.root))
    batch = tokenizer(["w1 w5 w9", "w3 w4"], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, ours(**batch).logits)


def test_a_warm_trial_reads_the_memory_of_a_cold_one(sweep: Write) -> None:
    made = plan(sweep("memory", method="  method: [full]", rank=""))
    jobs = jobs_of(made)
    bench = Bench()
    cold = list(run_trial(jobs[0], bench))[-1]
    for _ in range(3):
        warm = list(run_trial(jobs[0], bench))[-1]
    assert isinstance(cold, TrialRecord)
    assert isinstance(warm, TrialRecord)
    assert warm.metrics()["cost.peak_memory_gib"] == pytest.approx(cold.metrics()["cost.peak_memory_gib"], rel=0.05)
    assert (cold.execution and cold.execution.warm, warm.execution and warm.execution.warm) == (False, True)


def test_the_test_rows_never_change_and_nothing_held_out_is_trained_on(sweep: Write) -> None:
    made = plan(sweep("rows"))
    tables = [read_predictions(made.storage.trial_folder(r.trial_id) / "predictions.parquet") for r in run_all(made).values()]
    for table in tables[1:]:
        assert np.array_equal(table.row_id, tables[0].row_id)
        assert np.array_equal(table.label, tables[0].label)
    manifests = {json.dumps(record.data["split_manifests"]) for record in lfray.records("rows", storage=str(made.storage.root))}
    assert len(manifests) == 1
    used = {
        r.config.label: r.data["train_groups_used"]["community"] for r in lfray.records("rows", storage=str(made.storage.root))
    }
    assert used["full ratio-1 seed-1"]["north"] == used["full ratio-0.2 seed-1"]["north"]
    assert used["full ratio-0.2 seed-1"]["south"] == round(0.2 * used["full ratio-1 seed-1"]["south"])


def test_rows_changed_after_planning_fail_the_trial(sweep: Write) -> None:
    made = plan(sweep("tampered", method="  method: [head]", rank=""))
    job = jobs_of(made)[0]
    forged = job.model_copy(update={"split_manifests": {**job.split_manifests, "test": "0" * 16}})
    record = list(run_trial(forged, Bench()))[-1]
    assert isinstance(record, TrialRecord)
    assert record.state == "FAILED"
    assert record.failure is not None
    assert "manifest" in record.failure.message


def test_a_loss_that_is_not_finite_names_its_step(sweep: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from lfray.tasks.classification import SequenceObjective

    honest, calls = SequenceObjective.losses, []

    def losses(self: SequenceObjective, model: Any, batch: Any) -> torch.Tensor:
        calls.append(1)
        return honest(self, model, batch) * (float("inf") if len(calls) == 7 else 1.0)

    # The border that is replaced here is the model's own arithmetic: no real model overflows at a step one can name.
    monkeypatch.setattr(SequenceObjective, "losses", losses)
    made = plan(sweep("diverges", method="  method: [head]", rank=""))
    record = list(run_trial(jobs_of(made)[0], Bench()))[-1]
    assert isinstance(record, TrialRecord)
    assert record.state == "FAILED"
    assert record.failure is not None
    assert "step 7" in record.failure.message


VERBALIZED = """\
version: 1
name: generated
task:
  head: verbalizer
  verbalizer: {{template: "{{text}} Answer :", answers: {{0: bad, 1: good}}, scoring: generate}}
data:
  source: file:{data}/*.csv
  groups: {{traits: {{flags: {{tall: tall, loud: loud}}}}}}
  minority: {{group: traits, value: tall}}
  splits: {{train: train, validation: 0.1, test: test}}
  max_tokens: 32
model: {{base: "file:{base}"}}
methods: {{base: {{}}, lora: {{rank: 4}}, full: {{}}}}
axes: {{method: [base, lora, full], seed: [1]}}
train: {{epochs: 4, learning_rate: 5e-3}}
objectives: [fair.worst_group_accuracy, cost.trainable_parameters]
storage: ./runs
"""


def test_a_generated_label_and_overlapping_groups(tmp_path: Path, tiny_gpt2: Path, tiny_data: Path) -> None:
    path = tmp_path / "generated.yaml"
    path.write_text(VERBALIZED.format(data=tiny_data, base=tiny_gpt2))
    made = plan(path)
    records = run_all(made)
    assert {record.state for record in records.values()} == {"COMPLETED"}, [r.failure for r in records.values()]
    base, full = records["base"].metrics(), records["full ratio-1 seed-1"].metrics()
    assert base["unparsed_rate"] > 0.5, "an untrained model does not answer with an option"
    assert full["unparsed_rate"] < 0.05
    assert full["accuracy"] > 0.9
    assert records["base"].config.train is None
    assert base["cost.trainable_parameters"] == 0
    undefined = records["full ratio-1 seed-1"].undefined()
    assert undefined["fair.demographic_parity_difference"] == "overlapping_groups"
    assert 0 <= full["fair.demographic_parity_difference/traits/loud"] <= 1
    front = lfray.front("generated", storage=str(made.storage.root))
    assert "base" in set(front.trials["method"])


def test_the_bias_gap_refers_to_full_fine_tuning_of_the_same_ratio_and_seed(sweep: Write) -> None:
    made = plan(sweep("gap"))
    records = run_all(made)
    front = lfray.front("gap", storage=str(made.storage.root))
    by_id = front.table.set_index("trial_id")
    for label, record in records.items():
        if record.config.method.kind == "full":
            continue
        ratio = f"{record.config.downsampling_ratio:g}"
        reference = records[f"full ratio-{ratio} seed-1"].metrics()["accuracy/community/south"]
        ours = record.metrics()["accuracy/community/south"]
        assert by_id.loc[record.trial_id, "fair.harmful_bias_gap"] == pytest.approx(reference - ours, abs=1e-12), label
