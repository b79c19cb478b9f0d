from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lfray.model.folder import model_facts
from lfray.record import GroupColumn, Predictions, read_predictions
from lfray.storage import Storage
from lfray.trial.bench import Bench
from lfray.trial.keep import adapted_model, save, whole_model
from tests.unit.jobs import make_job
from tests.unit.records import make_config

if TYPE_CHECKING:
    from lfray.space.trial import TrialJob
    from tests.unit.model.tiny import Bases

pytestmark = pytest.mark.usefixtures("worker_settings")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def job_of(bases: Bases, method: str, *, seed: int = 13, root: Path = Path("root"), **execution: Any) -> TrialJob:
    config = make_config(method, 2, seed=seed)
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"fingerprint": model_facts(bases.bert).fingerprint})}
    )
    job = make_job(config, root=root, **execution)
    return job.model_copy(update={"where": job.where.model_copy(update={"model": str(bases.bert)})})


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("method", ["head", "lora", "dora", "full"])
def test_every_rank_builds_the_same_model_from_the_seed(bases: Bases, bench: Bench, method: str) -> None:
    one = weights(adapted_model(job_of(bases, method), bench).model)
    torch.rand(7)
    other = weights(adapted_model(job_of(bases, method), bench).model)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    apart = weights(adapted_model(job_of(bases, method, seed=14), bench).model)
    assert any(not torch.equal(one[name], apart[name]) for name in one)


@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_gathered_weights_go_back_where_they_were(bases: Bases, bench: Bench, method: str) -> None:
    job = job_of(bases, method)
    trained = adapted_model(job, bench)
    with torch.no_grad():
        for number, parameter in enumerate(p for p in trained.model.parameters() if p.requires_grad):
            parameter.add_(number + 1.0)
    gathered = {name: p.detach().clone() for name, p in trained.model.named_parameters() if p.requires_grad}
    whole = whole_model(job, bench, gathered)
    expected, found = weights(trained.model), weights(whole.model)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (whole.peft, whole.trainable_parameters, whole.total_parameters) == (
        trained.peft, trained.trainable_parameters, trained.total_parameters,
    )  # fmt: skip


def table(split: str, rows: int) -> Predictions:
    label = np.arange(rows, dtype=np.int64) % 2
    return Predictions(
        row_id=np.array([f"{split}-{row}" for row in range(rows)]),
        split=np.full(rows, split),
        label=label,
        prediction=1 - label,
        logits=np.ones((rows, 2), dtype=np.float32),
        class_names=("neg", "pos"),
        positive=1,
        groups=(GroupColumn("community", ("a", "b"), np.stack([label == 0, label == 1], axis=1)),),
    )


@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_what_is_kept_does_not_change_what_it_weighs(bases: Bases, bench: Bench, tmp_path: Path, method: str) -> None:
    sizes = []
    for keeps in (True, False):
        root = tmp_path / str(keeps)
        job = job_of(bases, method, root=root, keep_weights=keeps)
        adapted, storage = adapted_model(job, bench), Storage(root / "storage")
        sizes.append(save(storage, job, adapted, [table("validation", 3), table("test", 5)]))
        folder = storage.trial_folder(job.config.trial_id)
        assert {path.name for path in folder.iterdir()} == {"predictions.parquet"} | ({"adapter"} if keeps else set())
        stored = read_predictions(folder / "predictions.parquet")
        assert stored.split.tolist() == ["validation"] * 3 + ["test"] * 5
        if keeps:
            tensors = load_file(next((folder / "adapter").glob("*.safetensors")))
            written = sum(path.stat().st_size for path in (folder / "adapter").glob("*.safetensors"))
            plain = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert sizes[0] == sizes[1]
    if method == "full":
        # Counted, not weighed: every parameter in fp32, without the file's header.
        assert sizes[0] == 4 * adapted.total_parameters == plain
    else:
        assert sizes[0] == written > plain


def test_a_trial_that_is_saved_again_replaces_what_lay_there(bases: Bases, bench: Bench, tmp_path: Path) -> None:
    job = job_of(bases, "lora", root=tmp_path, keep_weights=True)
    storage = Storage(tmp_path / "storage")
    folder = storage.trial_folder(job.config.trial_id)
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "torn.safetensors").write_bytes(b"half")
    (folder / "adapter.part").mkdir()
    first = save(storage, job, adapted_model(job, bench), [table("test", 2)])
    assert save(storage, job, adapted_model(job, bench), [table("test", 4)]) == first
    assert {path.name for path in folder.iterdir()} == {"predictions.parquet", "adapter"}
    assert not (folder / "adapter" / "torn.safetensors").exists()
    assert len(read_predictions(folder / "predictions.parquet")) == 4


def test_nothing_beside_the_base_is_kept_of_the_untouched_base(bases: Bases, tmp_path: Path) -> None:
    job = job_of(bases, "base", root=tmp_path, keep_weights=True)
    job = job.model_copy(update={"where": job.where.model_copy(update={"model": str(bases.bert_trained)})})
    assert save(Storage(tmp_path / "storage"), job, adapted_model(job, Bench()), [table("test", 2)]) == 0
