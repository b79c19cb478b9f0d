from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.errors import LfrayError
from lfray.spec.deepspeed import ADMITTED, KNOWN, ZERO_KEYS, Clash, ZeroFields, clashes, deepspeed_config, refused_options

if TYPE_CHECKING:
    from pydantic import JsonValue

FIELDS = ZeroFields(zero_stage=2, micro_batch=4, accumulation=3, workers=2, max_grad_norm=1.0, precision="fp32")
EXTRA: dict[str, Any] = {
    "disable_python_gc": True,
    "zero_optimization": {"reduce_bucket_size": 1000, "overlap_comm": True, "stage3_prefetch_bucket_size": 10},
}

READER = """
import json, sys
from deepspeed import comm
from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

asked = set()

class Listening(dict):
    def __contains__(self, key):
        asked.add(key)
        return super().__contains__(key)

    def get(self, key, default=None):
        asked.add(key)
        return super().get(key, default)

    def keys(self):
        return self

read = []
comm.get_rank = lambda: 0
for workers, config in json.loads(sys.argv[1]):
    comm.get_world_size = lambda: workers
    try:
        got = DeepSpeedConfig(Listening(config))
    except Exception as error:
        read.append({"refused": str(error)})
        continue
    zero = got.zero_config
    read.append({
        "stage": int(got.zero_optimization_stage), "batch": got.train_batch_size, "micro": got.train_micro_batch_size_per_gpu,
        "accumulation": got.gradient_accumulation_steps, "clip": got.gradient_clipping, "bf16": got.bfloat16_config.enabled,
        "fp16": got.float16_config.enabled, "autocast": got.torch_autocast_enabled, "dtype": str(got.torch_autocast_dtype),
        "sums": str(got.communication_data_type),
        "optimizer": zero.offload_optimizer and str(zero.offload_optimizer.device).split(".")[-1],
        "parameters": zero.offload_param and str(zero.offload_param.device).split(".")[-1],
        "bucket": zero.reduce_bucket_size, "overlap": zero.overlap_comm, "force": got.zero_force_ds_cpu_optimizer,
        "untested": got.zero_allow_untested_optimizer,
    })
names = [field.alias or name for name, field in DeepSpeedZeroConfig.model_fields.items()]
print(json.dumps({"zero": names, "asked": sorted(asked), "read": read}))
"""
"""DeepSpeed reads configurations in a process of its own: it takes hold of the accelerator when it is imported."""

CASES = [
    (replace(FIELDS, zero_stage=stage, precision=precision, offload_optimizer=offload, offload_parameters=offload and stage == 3), extra)
    for stage, precision, offload, extra in product((1, 2, 3), ("fp32", "bf16"), (False, True), ({}, EXTRA))
]  # fmt: skip


@pytest.fixture(scope="module")
def deepspeed() -> dict[str, Any]:
    """What DeepSpeed itself makes of our configurations."""
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    configs = json.dumps([(fields.workers, deepspeed_config(fields, extra)) for fields, extra in CASES])
    environ = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", READER, configs], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def test_deepspeed_reads_what_the_sweep_says(deepspeed: dict[str, Any]) -> None:
    for (fields, extra), read in zip(CASES, deepspeed["read"], strict=True):
        assert read == {
            "stage": fields.zero_stage, "batch": 24, "micro": 4, "accumulation": 3, "clip": 1.0, "bf16": False, "fp16": False,
            "autocast": False, "dtype": "None",
            "sums": "torch.float32", "optimizer": "cpu" if fields.offload_optimizer else None,
            "parameters": "cpu" if fields.offload_parameters else None, "bucket": 1000 if extra else 500_000_000,
            "overlap": bool(extra) or fields.zero_stage == 3, "force": False, "untested": True,
        }  # fmt: skip


def test_the_known_keys_of_zero_optimization_are_deepspeeds(deepspeed: dict[str, Any]) -> None:
    assert sorted(ZERO_KEYS) == sorted(deepspeed["zero"])


def test_every_key_that_deepspeed_reads_is_known(deepspeed: dict[str, Any]) -> None:
    assert sorted(set(deepspeed["asked"]) - set(KNOWN)) == []
    assert sorted(set(ADMITTED) - set(deepspeed["asked"])) == []


@pytest.mark.parametrize(("norm", "clipping"), [(None, 0.0), (1, 1.0), (0.5, 0.5)])
def test_no_clipping_is_zero(norm: float | None, clipping: float) -> None:
    assert deepspeed_config(replace(FIELDS, max_grad_norm=norm), {})["gradient_clipping"] == clipping


def test_added_options_are_merged_level_by_level() -> None:
    config = deepspeed_config(
        replace(FIELDS, offload_optimizer=True),
        EXTRA | {"zero_optimization": {"stage": 2, "offload_optimizer": {"pin_memory": False}}},
    )
    assert config["zero_optimization"] == {"stage": 2, "offload_optimizer": {"device": "cpu", "pin_memory": False}}
    assert config["disable_python_gc"] is True


def test_nothing_given_is_changed() -> None:
    before = json.dumps(EXTRA)
    deepspeed_config(FIELDS, EXTRA)["zero_optimization"]["stage"] = 0
    assert json.dumps(EXTRA) == before
    assert deepspeed_config(FIELDS, {})["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"train_batch_size": 24}, []),
        ({"train_batch_size": 32}, [(("train_batch_size",), 24, 32)]),
        ({"train_batch_size": "auto"}, [(("train_batch_size",), 24, "auto")]),
        ({"gradient_clipping": 1}, []),
        ({"gradient_clipping": True}, [(("gradient_clipping",), 1.0, True)]),
        ({"zero_allow_untested_optimizer": 1}, [(("zero_allow_untested_optimizer",), True, 1)]),
        ({"communication_data_type": "fp16"}, [(("communication_data_type",), "fp32", "fp16")]),
        ({"zero_optimization": {"stage": 2, "overlap_comm": True}}, []),
        ({"zero_optimization": {"stage": 3}}, [(("zero_optimization", "stage"), 2, 3)]),
        ({"zero_optimization": True}, [(("zero_optimization",), {"stage": 2}, True)]),
        ({"zero_optimization": {"offload_param": {"device": "cpu"}}}, [(("zero_optimization", "offload_param", "device"), "none", "cpu")]),
        ({"zero_optimization": {"offload_param": {"device": "none"}}}, []),
        ({"torch_autocast": {"enabled": True}}, [(("torch_autocast", "enabled"), False, True)]),
        ({"disable_python_gc": True}, []),
    ],
)  # fmt: skip
def test_a_clash_names_both_values(extra: dict[str, JsonValue], found: list[tuple[Any, Any, Any]]) -> None:
    if found == [(("zero_optimization",), {"stage": 2}, True)]:
        (clash,) = clashes(FIELDS, extra)
        assert (clash.path, clash.theirs) == (("zero_optimization",), True)
        return
    assert clashes(FIELDS, extra) == [Clash(*item) for item in found]


def test_a_clash_or_a_refused_option_ends_the_making_of_a_configuration() -> None:
    extra: dict[str, JsonValue] = {"gradient_clipping": 0.5, "fp16": {"enabled": True}, "zero_optimisation": {}}
    with pytest.raises(LfrayError) as caught:
        deepspeed_config(FIELDS, extra)
    text = str(caught.value).splitlines()
    assert len(text) == 3
    assert "resources.deepspeed.gradient_clipping: the sweep's fields say 1.0 (got 0.5)" in text
    assert any("fp16: would change what is learned" in line for line in text)
    assert any("Did you mean 'zero_optimization'?" in line for line in text)


@pytest.mark.parametrize("key", sorted(set(KNOWN) - set(ADMITTED)))
def test_a_key_is_ours_refused_or_admitted_never_two_of_them(key: str) -> None:
    refused = [option.path for option in refused_options({key: 1})] == [(key,)]
    ours = bool(clashes(FIELDS, {key: "anything else"}))
    assert refused != ours


@pytest.mark.parametrize("key", ["zero_quantized_gradients", "zenflow", "cpu_offload"])
def test_options_of_zero_that_change_the_numbers_are_refused(key: str) -> None:
    (option,) = refused_options({"zero_optimization": {key: True}})
    assert option.path == ("zero_optimization", key)
    (below,) = refused_options({"zero_optimization": {"offload_optimizer": {"super_offload": True}}})
    assert below.path == ("zero_optimization", "offload_optimizer", "super_offload")


@given(
    st.sampled_from((1, 2, 3)), st.integers(1, 64), st.integers(1, 16), st.integers(1, 64), st.sampled_from(("fp32", "bf16")),
    st.booleans(),
)  # fmt: skip
def test_what_we_set_never_clashes_with_itself(
    stage: Literal[1, 2, 3], micro: int, accumulation: int, workers: int, precision: Literal["fp32", "bf16"], offload: bool
) -> None:
    fields = ZeroFields(stage, micro, accumulation, workers, None, precision, offload, offload)
    config = deepspeed_config(fields, {})
    assert config["train_batch_size"] == micro * accumulation * workers
    assert clashes(fields, config) == []
    assert deepspeed_config(fields, config | {"zero_optimization": config["zero_optimization"]}) == config
