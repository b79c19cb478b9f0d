from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.spec.builders import accepted, refused

if TYPE_CHECKING:
    from pathlib import Path

ALL = "{head: {}, lora: {}, full: {}}"


@pytest.mark.parametrize(
    "resources",
    [
        "{workers_per_trial: 2, full: {workers: 4, zero_stage: 3}}",
        "{workers_per_trial: 2, zero_stage: 2, offload_optimizer: true}",
        "{full: {workers: 4, zero_stage: 3, offload_optimizer: true, offload_parameters: true, gpus: 1}}",
        "{workers_per_trial: 16}",
        "{workers_per_trial: 4, micro_batch: 2}",
        "{workers_per_trial: 8, micro_batch: auto}",
        "{zero_stage: 1}",
        "{gpus_per_trial: 0.5, full: {workers: 2, gpus: 1}}",
        "{workers_per_trial: 2, nccl: {NCCL_SOCKET_IFNAME: eth0, NCCL_IB_DISABLE: 1}, placement: spread}",
        "{full: {workers: 2, zero_stage: 2}, deepspeed: {zero_optimization: {stage: 2, reduce_bucket_size: 1000}, comms_logger: {}}}",
        "{gpus_per_trial: 1, attention: flash_attention_2, gradient_checkpointing: true}",
    ],
)
def test_what_can_run_passes(tmp_path: Path, resources: str) -> None:
    assert accepted(tmp_path, resources=resources) == []


@pytest.mark.parametrize(
    ("resources", "path", "rule", "remedy"),
    [
        ("{gpus_per_trial: 4}", "gpus_per_trial", "computes on one GPU", "Write workers_per_trial: 4, gpus_per_trial: 1"),
        ("{workers_per_trial: 2, gpus_per_trial: 4}", "gpus_per_trial", "one GPU", "workers_per_trial: 8, gpus_per_trial: 1"),
        ("{full: {gpus: 2}}", "full.gpus", "computes on one GPU", "Write full: {workers: 2, gpus: 1}"),
        ("{full: {gpus: 1.5}}", "full.gpus", "share of one GPU", "several workers: full: {workers: 2, gpus: 1}"),
        ("{full: {workers: 2}, gpus_per_trial: 0.5}", "gpus_per_trial", "a GPU each", "gpus_per_trial: 1, or one worker"),
        ("{full: {workers: 2, gpus: 0.5}}", "full.gpus", "a GPU each", "gpus: 1"),
        ("{workers_per_trial: 32}", "workers_per_trial", "share the rows", "Raise batch_size x gradient_accumulation to 32"),
        ("{workers_per_trial: 2, micro_batch: 16}", "micro_batch", "must divide the rows", "Write micro_batch: 8, or auto"),
        ("{workers_per_trial: 2, full: {micro_batch: 3}}", "full.micro_batch", "must divide the rows", "Write micro_batch: 2"),
        ("{micro_batch: 5}", "micro_batch", "must divide the rows", "Write micro_batch: 4"),
        ("{workers_per_trial: 3, micro_batch: auto}", "workers_per_trial", "share the rows", "Lower"),
        ("{offload_optimizer: true}", "offload_optimizer", "needs zero_stage 1, 2 or 3", "under the methods"),
        ("{full: {offload_parameters: true, zero_stage: 2}}", "full.offload_parameters", "needs zero_stage 3", "zero_stage: 3"),
        ("{base: {zero_stage: 2}}", "base.zero_stage", "trains nothing", "Remove it"),
        ("{base: {micro_batch: 2}}", "base.micro_batch", "trains nothing", "Remove it"),
        ("{deepspeed: {disable_python_gc: true}}", "deepspeed", "need a zero_stage", "Write zero_stage"),
        ("{attention: flash_attention_2, full: {gpus: 1}}", "attention", "on GPUs only", "Write sdpa or auto"),
    ],
)
def test_what_cannot_run_is_refused_once(tmp_path: Path, resources: str, path: str, rule: str, remedy: str) -> None:
    (problem,) = refused(tmp_path, resources=resources)
    assert problem.path == f"resources.{path}"
    assert rule in problem.rule
    assert remedy in problem.remedy


def test_a_methods_own_value_goes_before_the_one_for_all(tmp_path: Path) -> None:
    own = "{head: {gpus: 1}, lora: {gpus: 1}, full: {gpus: 0.5}, gpus_per_trial: 8}"
    assert accepted(tmp_path, resources=own) == []
    assert (
        refused(tmp_path, methods="{full: {}}", resources="{workers_per_trial: 2, full: {workers: 5}}")[0].path
        == "resources.full.workers"
    )


def test_methods_that_are_not_tried_do_not_count(tmp_path: Path) -> None:
    only_head = {"methods": ALL, "axes": "{method: [head]}"}
    warnings = accepted(tmp_path, resources="{full: {gpus: 4, workers: 3, offload_optimizer: true}}", **only_head)
    assert [warning for warning in warnings if "resources.full: has no effect" in warning]
    (problem,) = refused(tmp_path, resources="{full: {zero_stage: 2}, deepspeed: {disable_python_gc: true}}", **only_head)
    assert problem.path == "resources.deepspeed"


def test_rank_zero_is_a_trial_of_head(tmp_path: Path) -> None:
    lora = {"methods": "{lora: {}}", "axes": "{rank: [0, 4]}"}
    assert accepted(tmp_path, resources="{head: {workers: 2}}", **lora) == []
    (problem,) = refused(tmp_path, resources="{head: {workers: 3}}", **lora)
    assert problem.path == "resources.head.workers"


@pytest.mark.parametrize(
    ("axes", "train", "path"),
    [
        ("{batch_size: [16, 8, 6]}", "{}", "axes.batch_size[2]"),
        ("{train.batch_size: [16, 6]}", "{gradient_accumulation: 1}", "axes.train.batch_size[1]"),
        ("{gradient_accumulation: [1, 2]}", "{batch_size: 6}", "axes.gradient_accumulation[0]"),
        ("{gradient_accumulation: [2, 3]}", "{batch_size: 8}", None),
        ("{gradient_accumulation: [4, 2], batch_size: [16, 2]}", "{}", "axes.batch_size[1]"),
        ("{batch_size: {int: [17, 19]}}", "{gradient_accumulation: 4}", "axes.batch_size"),
        ("{batch_size: {int: [16, 18]}}", "{}", "axes.batch_size"),
        ("{gradient_accumulation: {int: [1, 64]}}", "{}", None),
    ],
)
def test_every_value_of_an_axis_is_shared(tmp_path: Path, axes: str, train: str, path: str | None) -> None:
    sections = {"axes": axes, "train": train, "resources": "{workers_per_trial: 4}"}
    if "int" in axes:
        sections["search"] = "{samples: 2}"
    if path is None:
        accepted(tmp_path, **sections)
    else:
        (problem,) = refused(tmp_path, **sections)
        assert problem.path == path


def test_the_message_shows_the_whole_product(tmp_path: Path) -> None:
    (problem,) = refused(
        tmp_path, methods="{full: {}}", train="{batch_size: 5, gradient_accumulation: 3}", resources="{workers_per_trial: 2}"
    )
    assert problem.got == "batch_size 5 x gradient_accumulation 3, 2 workers"
    assert problem.remedy == "Lower batch_size x gradient_accumulation to 14, or change the workers"


@pytest.mark.parametrize(
    ("options", "path", "rule"),
    [
        ("{gradient_clipping: 1.0}", "", ""),
        ("{gradient_clipping: 2.0}", "gradient_clipping", "give 1.0 for full"),
        ("{train_batch_size: 16, gradient_accumulation_steps: 1}", "", ""),
        ("{train_batch_size: 32}", "train_batch_size", "give 16 for full"),
        ("{train_micro_batch_size_per_gpu: 16}", "train_micro_batch_size_per_gpu", "give 8 for full"),
        ("{torch_autocast: {enabled: true}}", "torch_autocast.enabled", "give false for full"),
        ("{zero_optimization: {stage: 1}}", "zero_optimization.stage", "give 2 for full"),
        ("{zero_optimization: {stag: 1}}", "zero_optimization.stag", "unknown option"),
        ("{scheduler: {type: WarmupLR}}", "scheduler", "change what is learned"),
        ("{tensor_parallel: {autotp_size: 2}}", "tensor_parallel", "share the rows"),
    ],
)
def test_deepspeeds_options(tmp_path: Path, options: str, path: str, rule: str) -> None:
    resources = f"{{full: {{workers: 2, zero_stage: 2}}, deepspeed: {options}}}"
    if not path:
        accepted(tmp_path, resources=resources)
        return
    (problem,) = refused(tmp_path, resources=resources)
    assert problem.path == f"resources.deepspeed.{path}"
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("sections", "options"),
    [
        ({"axes": "{max_grad_norm: [1.0, 0.5]}"}, "{gradient_clipping: 1.0}"),
        ({"axes": "{batch_size: [16, 32]}"}, "{train_batch_size: 16}"),
        ({"train": "{precision: bf16}"}, "{torch_autocast: {enabled: true}}"),
    ],
)
def test_options_must_fit_every_trial(tmp_path: Path, sections: dict[str, str], options: str) -> None:
    resources = f"{{full: {{workers: 2, zero_stage: 2}}, deepspeed: {options}}}"
    (problem,) = refused(tmp_path, resources=resources, **sections)
    assert "contradicts" in problem.rule


def test_a_micro_batch_that_may_shrink_cannot_be_pinned_by_an_option(tmp_path: Path) -> None:
    resources = "{full: {workers: 2, zero_stage: 2, micro_batch: auto}, deepspeed: {train_micro_batch_size_per_gpu: 8}}"
    (problem,) = refused(tmp_path, resources=resources)
    assert problem.path == "resources.deepspeed.train_micro_batch_size_per_gpu"
