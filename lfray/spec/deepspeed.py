"""Our fields as DeepSpeed's JSON, in one place, and which of DeepSpeed's own options a sweep may add to them.

DeepSpeed ignores keys that it does not know and lets a later key win over an earlier one, both silently. So an added option is
admitted only where it is known, changes no number that a trial is about, and does not contradict a field of the sweep.
Keys and meanings are those of DeepSpeed 0.19 (deepspeed/runtime/config.py, deepspeed/runtime/zero/config.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lfray.errors import LfrayError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

Keys = tuple[str, ...]
ZERO = "zero_optimization"
NEVER = 10**9
"""Steps between DeepSpeed's own progress lines: more than any trial has."""

# fmt: off
ZERO_KEYS: Keys = (
    "allgather_bucket_size", "allgather_partitions", "compute_grad_norm", "contiguous_gradients", "cpu_offload",
    "cpu_offload_param", "cpu_offload_use_pin_memory", "elastic_checkpoint", "enable_sanity_checks", "ignore_unused_parameters",
    "leaf_module", "legacy_stage1", "load_from_fp32_weights", "log_trace_cache_warnings", "memory_efficient_linear",
    "offload_optimizer", "offload_param", "overlap_comm", "override_module_apply", "parameter_alignment",
    "pipeline_loading_checkpoint", "reduce_bucket_size", "reduce_scatter", "round_robin_gradients",
    "save_muon_momentum_buffer_in_memory", "stage", "stage3_allgather_sequential", "stage3_gather_16bit_weights_on_model_save",
    "stage3_gather_fp16_weights_on_model_save", "stage3_max_live_parameters", "stage3_max_reuse_distance",
    "stage3_model_persistence_threshold", "stage3_module_granularity_threshold", "stage3_param_persistence_threshold",
    "stage3_prefetch_bucket_size", "stage3_use_all_reduce_for_fetch_params", "sub_group_size", "use_multi_rank_bucket_allreduce",
    "zenflow", "zero_hpz_partition_size", "zero_quantized_gradients", "zero_quantized_nontrainable_weights",
    "zero_quantized_weights",
)
"""Every key of `zero_optimization`."""
ADMITTED: Keys = (
    "aio", "comet", "comms_logger", "compile", "csv_monitor", "disable_python_gc", "dump_state", "flops_profiler", "log_level",
    "memory_breakdown", "tensorboard", "timers", "vocabulary_size", "wandb", ZERO,
)
"""Keys of the top level that may be added: how DeepSpeed moves data and what it logs."""

_LEARNS = "would change what is learned, which a trial's identity does not cover"
_REMEDY = "Remove it"
_REFUSED: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("fp16", "bf16", "bfloat16", "amp", "data_types"), (_LEARNS, "Remove it; train.precision is the field for it")),
    "seq_parallel_communication_data_type": (_LEARNS, _REMEDY),
    "optimizer": (_LEARNS, "Remove it; AdamW's settings are fields of train"),
    "scheduler": (_LEARNS, "Remove it; train.schedule is the field for it"),
    **dict.fromkeys((
        "prescale_gradients", "gradient_predivide_factor", "gradient_allreduce_op", "sparse_gradients",
        "managed_gradient_accumulation", "disable_allgather", "compression_training", "quantize_training", "weight_quantization",
        "eigenvalue", "progressive_layer_drop", "sparse_attention", "curriculum_learning", "data_efficiency",
        "dataloader_drop_last",
    ), (_LEARNS, _REMEDY)),
    **dict.fromkeys((
        "tensor_parallel", "pipeline", "expert_parallel", "use_data_before_expert_parallelism", "sequence_parallel_size",
        "hybrid_engine", "elasticity", "autotuning", "graph_harvesting",
    ), ("a trial's workers share the rows of an update, and nothing else moves them", _REMEDY)),
    **dict.fromkeys(("checkpoint", "nebula", "datastates_ckpt"), (
        "lfray writes the checkpoints itself", "Remove it; resources.checkpoint_seconds and keep_checkpoints are the fields for it",
    )),
    "activation_checkpointing": (
        "has an effect on models built with DeepSpeed's own layers only",
        "Remove it; resources.gradient_checkpointing is the field for it",
    ),
}
"""Known keys of the top level that are refused: why, and the way out."""
_REFUSED_ZERO: dict[Keys, tuple[str, str]] = {
    **{(ZERO, key): (_LEARNS, _REMEDY) for key in (
        "zenflow", "zero_quantized_gradients", "zero_quantized_nontrainable_weights", "zero_quantized_weights",
        "mics_shard_size", "mics_hierarchical_params_gather", "zeropp_loco_param",
    )},
    **{(ZERO, key): (
        "is DeepSpeed's old name", "Remove it; resources.offload_optimizer and offload_parameters are the fields for it",
    ) for key in ("cpu_offload", "cpu_offload_param", "cpu_offload_use_pin_memory")},
    (ZERO, "offload_optimizer", "super_offload"): (_LEARNS, _REMEDY),
}
_CLAIMED: Keys = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping", "steps_per_print",
    "wall_clock_breakdown", "communication_data_type", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer",
    "torch_autocast",
)
# fmt: on
KNOWN: Keys = tuple(sorted({*ADMITTED, *_CLAIMED, *_REFUSED}))
"""Every key of the top level that DeepSpeed reads, or has read and now refuses."""


@dataclass(frozen=True)
class ZeroFields:
    """What of a sweep DeepSpeed has to know.

    Attributes:
        zero_stage: What is shared out: the optimizer's state (1), gradients too (2), parameters too (3).
        micro_batch: Rows in one forward pass of one worker.
        accumulation: Forward passes of each worker to one update.
        workers: Size of the gang; an update has micro_batch x accumulation x workers rows.
        max_grad_norm: Norm to which gradients are clipped; None never clips.
        precision: bf16 is autocast over fp32 weights by the stepper, as in every other: DeepSpeed is told the same either way.
        offload_optimizer: Whether the optimizer's state lies in main memory.
        offload_parameters: Whether parameters lie in main memory while they are not in use.
    """

    zero_stage: Literal[1, 2, 3]
    micro_batch: int
    accumulation: int
    workers: int
    max_grad_norm: float | None
    precision: Literal["fp32", "bf16"]
    offload_optimizer: bool = False
    offload_parameters: bool = False


class Clash(NamedTuple):
    """An added option that contradicts the sweep's own fields."""

    path: Keys
    ours: JsonValue
    theirs: JsonValue


class Refused(NamedTuple):
    """An added option that is refused whatever its value."""

    path: Keys
    rule: str
    remedy: str


def deepspeed_config(fields: ZeroFields, extra: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The JSON for `deepspeed.initialize`: our fields, with the sweep's added options merged in.

    Gradients are summed in fp32 and weights gathered in fp32 also under bf16, so that a ZeRO trial learns what a trial of one
    worker learns; where nothing is said here, DeepSpeed's defaults hold (bucket sizes, overlap, persistence thresholds).

    Args:
        fields: What the sweep says, resolved for one trial.
        extra: `resources.deepspeed`.

    Raises:
        LfrayError: An added option contradicts ours, is refused or unknown; every one is named.
    """
    wrong = [f"resources.deepspeed.{'.'.join(path)}: {rule}. {remedy}" for path, rule, remedy in refused_options(extra)]
    wrong += [
        f"resources.deepspeed.{'.'.join(c.path)}: the sweep's fields say {c.ours} (got {c.theirs})"
        for c in clashes(fields, extra)
    ]
    if wrong:
        raise LfrayError("\n".join(wrong))
    return _merged(_ours(fields), extra)


def clashes(fields: ZeroFields, extra: Mapping[str, JsonValue]) -> list[Clash]:
    """Added options that set a key of ours to another value; an equal value is none, and mappings are compared key by key."""
    ours = _ours(fields)
    for key in ("offload_optimizer", "offload_param"):
        # Not written when off, and yet ours: DeepSpeed would switch it on.
        ours[ZERO].setdefault(key, {"device": "none"})
    return list(_clashes(ours, extra, ()))


def refused_options(extra: Mapping[str, JsonValue]) -> list[Refused]:
    """Added options that are unknown to DeepSpeed, that would change what is learned, or that are not DeepSpeed's to decide here."""
    found = [Refused((key,), *_REFUSED[key]) for key in extra if key in _REFUSED]
    found += [_unknown((key,), KNOWN) for key in extra if key not in KNOWN]
    zero = extra.get(ZERO)
    for key, value in zero.items() if isinstance(zero, dict) else ():
        if (ZERO, key) in _REFUSED_ZERO:
            found.append(Refused((ZERO, key), *_REFUSED_ZERO[ZERO, key]))
        elif key not in ZERO_KEYS:
            found.append(_unknown((ZERO, key), ZERO_KEYS))
        for below in value if isinstance(value, dict) else ():
            if (ZERO, key, below) in _REFUSED_ZERO:
                found.append(Refused((ZERO, key, below), *_REFUSED_ZERO[ZERO, key, below]))
    return found


def _unknown(path: Keys, known: Keys) -> Refused:
    return Refused(path, "unknown option of DeepSpeed, which would ignore it", did_you_mean(path[-1], known))


def _ours(fields: ZeroFields) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": fields.zero_stage}
    if fields.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if fields.offload_parameters:
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_batch_size": fields.micro_batch * fields.accumulation * fields.workers,
        "train_micro_batch_size_per_gpu": fields.micro_batch,
        "gradient_accumulation_steps": fields.accumulation,
        "gradient_clipping": 0.0 if fields.max_grad_norm is None else float(fields.max_grad_norm),
        "communication_data_type": "fp32",
        # torch's AdamW, as everywhere else: DeepSpeed's own differ in the last bits.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # Our stepper does it, while training alone: DeepSpeed's would also hold for evaluation, which is fp32.
        "torch_autocast": {"enabled": False},
        "steps_per_print": NEVER,
        "wall_clock_breakdown": False,
        ZERO: zero,
    }


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(ours[key], value) for key, value in theirs.items() if isinstance(value, dict) and key in ours}
    return {**ours, **theirs, **both}


def _clashes(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: Keys) -> Iterator[Clash]:
    for key, value in theirs.items():
        if key not in ours:
            continue
        mine = ours[key]
        if isinstance(mine, dict) and isinstance(value, dict):
            yield from _clashes(mine, value, (*path, key))
        elif mine != value or isinstance(mine, bool) != isinstance(value, bool):
            yield Clash((*path, key), mine, value)
