"""What stays and what shrinks when a sweep is made tiny."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lfray.names import GPU_SECONDS, TRAINABLE_PARAMETERS, WORKER_SECONDS
from lfray.spec.load import LoadedSweep, load_sweep
from lfray.tiny_spec import MAX_WORKERS, ROWS, VALUES, shrink

if TYPE_CHECKING:
    from pathlib import Path

SWEEP = """\
version: 1
name: {name}
data:
  source: {source}
  columns: {{text: sentence}}
  groups: {{community: {{column: community}}}}
  limit: {{test: 50}}
  max_tokens: 512
model: {{base: "{base}", revision: abc}}
methods:
  head: {{}}
  lora: {{variant: {variant}, targets: [q_proj, v_proj]}}
  full: {{}}
{more}
"""


def shrunk(
    tmp_path: Path, more: str = "", *, environ: dict[str, str] | None = None, **fields: str
) -> tuple[dict[str, Any], tuple[str, ...], LoadedSweep]:
    path = tmp_path / "sweep.yaml"
    given = {"name": "x", "source": "hub:someone/rows@v2", "base": "hub:facebook/opt-1.3b", "variant": "lora"} | fields
    path.write_text(SWEEP.format(more=more, **given))
    loaded = load_sweep(path, environ=environ or {})
    made = shrink(loaded)
    return made.document, made.notes, loaded


def test_sizes_go_and_the_graph_stays(tmp_path: Path) -> None:
    more = """\
axes:
  method: [lora, full]
  rank: [64, 0, 8, 2]
  downsampling_ratio: [0.05, 0.5, 1.0]
  seed: [42, 13]
  targets: [all-linear, [q_proj], [v_proj]]
  alpha: [{policy: constant}, {policy: rslora}, {policy: proportional}]
  dropout: [0.0, 0.1]
  learning_rate: {log_uniform: [1e-5, 1e-3]}
  epochs: [1, 5]
search: {samples: 30}
train: {epochs: 9, batch_size: 256, gradient_accumulation: 32, precision: bf16, schedule: cosine}
resources:
  workers_per_trial: 8
  gpus_per_trial: 1
  cpus_per_trial: 6
  zero_stage: 2
  micro_batch: 7
  full: {workers: 4, zero_stage: 3, gpus: 1, offload_optimizer: true}
  gradient_checkpointing: true
  attention: flash_attention_2
  nccl: {NCCL_SOCKET_IFNAME: eth0}
  deepspeed: {zero_optimization: {reduce_bucket_size: 1000}}
"""
    document, notes, _ = shrunk(tmp_path, more)
    assert document["axes"] == {
        "method": ["lora", "full"],
        "rank": [0, 2, 8],
        "downsampling_ratio": [1.0, 0.5],
        "seed": [42],
        "targets": ["all-linear", ["q_proj"], ["v_proj"]],
        "alpha": [{"policy": "constant"}, {"policy": "rslora"}, {"policy": "proportional"}],
        "dropout": [0.0],
    }
    assert "search" not in document, "no range is left that would be drawn from"
    assert document["resources"] == {
        "workers_per_trial": MAX_WORKERS,
        "gpus_per_trial": 0,
        "cpus_per_trial": 1,
        "zero_stage": 2,
        "micro_batch": 4,
        "full": {"workers": MAX_WORKERS, "zero_stage": 3, "gpus": 0},
        "gradient_checkpointing": True,
        "deepspeed": {"zero_optimization": {"reduce_bucket_size": 1000}},
    }
    assert document["train"]["schedule"] == "cosine"
    assert document["train"]["gradient_accumulation"] == 2
    assert "precision" not in document["train"], "auto is fp32 where there is no GPU"
    assert document["methods"]["lora"]["targets"] == ["q_proj", "v_proj"]
    assert document["data"]["limit"] == ROWS | {"test": 50}
    assert document["data"]["max_tokens"] == 128
    told = "\n".join(notes)
    for word in ("attention", "nccl", "full.offload_optimizer", "learning_rate, epochs", "opt-1.3b", "someone/rows"):
        assert word in told


def test_a_range_that_stays_is_drawn_from_twice(tmp_path: Path) -> None:
    document, _, _ = shrunk(tmp_path, "axes: {rank: {int: [1, 64]}}\nsearch: {samples: 30, seed: 5}")
    assert document["axes"] == {"rank": {"int": [1, 64]}}
    assert document["search"] == {"samples": VALUES, "seed": 5}


def test_what_needs_a_gpu_is_replaced_and_named(tmp_path: Path) -> None:
    objectives = f"objectives: [{GPU_SECONDS.key}, {TRAINABLE_PARAMETERS.key}]"
    document, notes, _ = shrunk(tmp_path, f"{objectives}\naxes: {{variant: [qlora, dora]}}\nresources: {{gpus_per_trial: 1}}")
    assert document["objectives"] == [WORKER_SECONDS.key, TRAINABLE_PARAMETERS.key]
    assert document["axes"] == {"variant": ["dora"]}
    assert any("qlora" in note for note in notes)
    document, notes, _ = shrunk(tmp_path, "resources: {gpus_per_trial: 1}", variant="qlora")
    assert document["methods"]["lora"]["variant"] == "lora"
    assert any("qlora" in note for note in notes)


def test_the_tiny_sweep_has_a_name_place_and_tracker_of_its_own(tmp_path: Path) -> None:
    more = "storage: runs\ntracking: {uri: 'https://tracker.example', experiment: real}"
    document, _, loaded = shrunk(tmp_path, more, name="y" * 80)
    assert document["name"] == "y" * 75 + "-tiny"
    assert document["storage"] == f"{loaded.folder}/runs"
    assert document["tracking"] == {"uri": "auto"}
    assert document["model"] == {"base": "hub:lfray-tiny/opt-1.3b"}
    assert document["data"]["source"] == "hub:lfray-tiny/rows"
    assert shrunk(tmp_path, "tracking: {uri: none}")[0]["tracking"] == {"uri": "none"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [("file:rows/*.csv", "file:{folder}/rows/*.csv"), ("file:/d/rows.csv", "file:/d/rows.csv"), ("lab:reviews", "lab:reviews")],
)
def test_rows_of_ones_own_stay_and_are_cut(tmp_path: Path, source: str, expected: str) -> None:
    document, _, loaded = shrunk(tmp_path, source=source)
    assert document["data"]["source"] == expected.format(folder=loaded.folder)
    assert document["data"]["limit"]["train"] == ROWS["train"]


def test_what_a_variable_holds_is_not_written(tmp_path: Path) -> None:
    base = tmp_path / "secret-place"
    base.mkdir()
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "num_attention_heads": 8, "num_key_value_heads": 2}))
    path = tmp_path / "sweep.yaml"
    text = SWEEP.format(name="x", source="file:${ROWS}", base="file:${BASE}", variant="lora", more="storage: ${PLACE}/runs")
    path.write_text(text)
    environ = {"ROWS": "secret-rows.csv", "BASE": str(base), "PLACE": "/secret-storage"}
    made = shrink(load_sweep(path, environ=environ))
    assert made.config is not None
    assert made.config["model_type"] == "llama"
    assert "secret" not in json.dumps(made.document).replace(str(tmp_path), "") + "".join(made.notes)
    assert made.document["storage"] == "${PLACE}/runs"
    assert made.document["data"]["source"] == f"file:{tmp_path}/${{ROWS}}"


def test_a_lab_base_stays(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        SWEEP.format(name="x", source="lab:reviews", base="lab:gpt2-tiny", variant="lora", more="").replace(", revision: abc", "")
    )
    made = shrink(load_sweep(path, environ={}))
    assert made.config is None
    assert made.document["model"] == {"base": "lab:gpt2-tiny"}
