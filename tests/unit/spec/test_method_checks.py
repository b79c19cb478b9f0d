from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.spec.method_checks import kinds_in_use, methods_in_use, trained_in_use, where_method
from tests.unit.spec.builders import accepted, load, refused

if TYPE_CHECKING:
    from pathlib import Path

VERBALIZER = "{head: verbalizer, verbalizer: {answers: {0: bad, 1: good}}}"


def test_one_rate_cannot_be_moved_for_one_method(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, axes="{learning_rate.lora: [1e-4]}", train="{learning_rate: 1e-3}")
    assert "one rate for all methods" in problem.rule


def test_an_axis_gives_the_missing_rate(tmp_path: Path) -> None:
    accepted(tmp_path, axes="{learning_rate.full: [1e-5]}", train="{learning_rate: {head: 1e-3, lora: 1e-4}}")


def test_rank_zero_needs_the_rate_of_head(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, methods="{lora: {}}", axes="{rank: [0, 2]}", train="{learning_rate: {lora: 1e-4}}")
    assert "also for head" in problem.rule
    accepted(tmp_path, methods="{lora: {}}", axes="{rank: [1, 2]}", train="{learning_rate: {lora: 1e-4}}")


def test_no_method(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, methods="{}")
    assert (problem.path, problem.line) == ("methods", 5)


def test_methods_in_use(tmp_path: Path) -> None:
    declared = load(tmp_path).spec
    assert methods_in_use(declared) == trained_in_use(declared) == ("head", "lora", "full")
    loaded = load(tmp_path, axes="{method: [lora], rank: [0, 1]}")
    assert methods_in_use(loaded.spec) == ("lora",)
    assert trained_in_use(loaded.spec) == ("head", "lora")
    assert where_method(loaded, "lora") == ("axes", "method", 0)
    assert where_method(loaded, "full") == ("methods", "full")


def test_a_verbalizer_has_no_head_to_train(tmp_path: Path) -> None:
    accepted(tmp_path, task=VERBALIZER, methods="{base: {}, lora: {}, full: {}}", axes="{rank: [1, 2]}")
    (problem,) = refused(tmp_path, task=VERBALIZER)
    assert problem.path == "methods.head"
    (problem,) = refused(tmp_path, task=VERBALIZER, methods="{lora: {}}", axes="{rank: {int: [0, 2]}}", search="{samples: 2}")
    assert problem.path == "axes.rank"
    assert "method base" in problem.remedy


def test_a_four_bit_base_needs_a_gpu(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, methods="{lora: {variant: qlora}}")
    assert (problem.path, problem.got) == ("methods.lora.variant", "gpus: 0")
    assert "needs a GPU" in problem.rule
    (problem,) = refused(tmp_path, methods="{lora: {variant: qlora}}", resources="{gpus_per_trial: 1, lora: {gpus: 0}}")
    assert problem.got == "gpus: 0"
    accepted(tmp_path, methods="{lora: {variant: qlora}}", resources="{lora: {gpus: 1}}")


def test_a_four_bit_base_is_not_shared_out(tmp_path: Path) -> None:
    gpus = "gpus_per_trial: 1, cpus_per_trial: 1"
    (problem,) = refused(tmp_path, methods="{lora: {variant: qlora}}", resources=f"{{{gpus}, zero_stage: 3}}")
    assert (problem.path, problem.got) == ("methods.lora.variant", "zero_stage: 3")
    assert "to 2 or less" in problem.remedy
    accepted(tmp_path, methods="{lora: {variant: qlora}}", resources=f"{{{gpus}, zero_stage: 2}}")
    accepted(tmp_path, methods="{lora: {variant: qlora}, full: {}}", resources=f"{{{gpus}, full: {{zero_stage: 3}}}}")


def test_a_four_bit_variant_is_found_where_it_stands(tmp_path: Path) -> None:
    for name in ("variant", "lora.variant", "methods.lora.variant"):
        (problem,) = refused(tmp_path, methods="{lora: {}}", axes=f"{{{name}: [lora, qlora]}}")
        assert problem.path == f"axes.{name}[1]"
    accepted(tmp_path, methods="{lora: {}}", axes="{variant: [lora, dora]}")
    accepted(tmp_path, methods="{lora: {variant: qlora}, full: {}}", axes="{method: [full]}")
    accepted(tmp_path, methods="{lora: {variant: qlora}}", axes="{variant: [lora, dora]}")


def test_kinds_in_use_are_those_of_which_there_will_be_trials(tmp_path: Path) -> None:
    assert kinds_in_use(load(tmp_path).spec) == ("head", "lora", "full")
    assert kinds_in_use(load(tmp_path, axes="{method: [lora, base], rank: [0, 1]}").spec) == ("base", "head", "lora")
    assert kinds_in_use(load(tmp_path, axes="{method: [lora, ful]}").spec) == ("lora",)
