from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.spec.builders import accepted, refused

if TYPE_CHECKING:
    from pathlib import Path

SEARCH = {"search": "{samples: 4}"}


@pytest.mark.parametrize(
    "axes",
    [
        "{epochs: [1, 2.5]}",
        "{train.learning_rate: [1e-4, {head: 1e-3, lora: 1e-4, full: 1e-5}]}",
        "{learning_rate.lora: [1e-4, 2e-4], train.learning_rate.full: [1e-5]}",
        "{lora.dropout: [0, 0.1]}",
        "{dropout: [0.0]}",
        "{targets: [all-linear, [query, value]]}",
        "{alpha: [{policy: constant, value: 16}, {policy: proportional}]}",
        "{methods.lora.alpha.factor: [1, 2]}",
        "{alpha.policy: [constant, rslora, proportional]}",
        "{alpha.policy: [constant, rslora], alpha.value: [8, 16]}",
        "{max_grad_norm: [1.0, null]}",
        "{adam_betas: [[0.9, 0.999], [0.9, 0.95]]}",
        "{rank: [0, 1], seed: [0], downsampling_ratio: [1, 0.5]}",
        "{method: [full]}",
    ],
)
def test_axes_of_every_form(tmp_path: Path, axes: str) -> None:
    accepted(tmp_path, axes=axes)


@pytest.mark.parametrize(
    "axes",
    [
        "{learning_rate: {log_uniform: [1e-5, 1e-3]}}",
        "{dropout: {uniform: [0, 1]}}",
        "{epochs: {int: [1, 5]}}",
        "{rank: {int: [0, 8]}}",
        "{downsampling_ratio: {uniform: [0.05, 1.0]}}",
        "{batch_size: {int: [1, 32]}, weight_decay: {uniform: [0, 0.1]}}",
        "{seed: {int: [0, 1000]}, rank: [2]}",
    ],
)
def test_ranges(tmp_path: Path, axes: str) -> None:
    """The upper end of uniform and log_uniform is never drawn, so it may stand where the bound is open."""
    accepted(tmp_path, axes=axes, **SEARCH)


@pytest.mark.parametrize(
    ("axes", "path", "rule"),
    [
        ("{dropout: {uniform: [0, 1.1]}}", "axes.dropout.uniform[1]", "must be less than 1"),
        ("{dropout: {int: [0, 1]}}", "axes.dropout.int[1]", "must be less than 1"),
        ("{batch_size: {uniform: [1, 8]}}", "axes.batch_size.uniform", "takes whole numbers"),
        ("{seed: {uniform: [0, 8]}}", "axes.seed.uniform", "takes whole numbers"),
        ("{schedule: {uniform: [0, 8]}}", "axes.schedule.uniform[0]", "must be one of linear"),
        ("{method: {int: [0, 3]}}", "axes.method.int", "listed, not drawn"),
        ("{rank: {int: [-1, 3]}}", "axes.rank.int[0]", "at least 0"),
        ("{downsampling_ratio: {uniform: [0, 1]}}", "axes.downsampling_ratio.uniform[0]", "over 0"),
    ],
)
def test_ranges_that_do_not_fit(tmp_path: Path, axes: str, path: str, rule: str) -> None:
    (problem,) = refused(tmp_path, axes=axes, **SEARCH)
    assert problem.path == path
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("axes", "path", "rule", "remedy"),
    [
        ("{epochs: [1, 0]}", "axes.epochs[1]", "must be greater than 0", "Raise"),
        ("{epochs: [true]}", "axes.epochs[0]", "must be a number", ""),
        ("{schedule: [linear, cosin]}", "axes.schedule[1]", "must be one of", "Did you mean 'cosine'"),
        ("{alpha: [{polcy: constant}]}", "axes.alpha[0].polcy", "unknown field", "Did you mean 'policy'"),
        ("{alpha: [{policy: constant, factor: 1}]}", "axes.alpha[0].factor", "factor applies", "takes value"),
        ("{lora.alpha.value: [16]}", "axes.lora.alpha.value[0]", "value applies", "proportional takes factor"),
        ("{learning_rate: [{lora: 1e-4}]}", "axes.learning_rate[0]", "also for head, full", "Add head"),
        ("{learning_rate: [1e-4], learning_rate.lora: [1e-5]}", "axes.learning_rate.lora", "same field", "one axis"),
        ("{lora.rank: [1]}", "axes.lora.rank", "an axis is", "Write rank"),
        ("{train.epoch: [1]}", "axes.train.epoch", "an axis is", "Did you mean 'epochs'"),
        ("{lora.droput: [1]}", "axes.lora.droput", "an axis is", "Did you mean 'lora.dropout'"),
        ("{full.dropout: [1]}", "axes.full.dropout", "an axis is", ""),
        ("{seed: [1.0]}", "axes.seed[0]", "whole number", ""),
        ("{seed: [true]}", "axes.seed[0]", "whole number", ""),
        ("{seed: [4294967296]}", "axes.seed[0]", "whole number", ""),
        ("{downsampling_ratio: [1, 1.0]}", "axes.downsampling_ratio[1]", "may stand once", ""),
        ("{downsampling_ratio: [0]}", "axes.downsampling_ratio[0]", "over 0", ""),
        ("{method: [full], dropout: [0.1]}", "axes.dropout", "which the sweep does not use", "Add lora"),
        ("{method: [lora], learning_rate.full: [1e-5]}", "axes.learning_rate.full", "does not use", "Add full"),
        ("{method: []}", "axes.method", "at least one value", ""),
        ("{method: [5]}", "axes.method[0]", "must be a method", ""),
        ("{method: [[lora]]}", "axes.method[0]", "must be a method", ""),
    ],
)
def test_axes_that_do_not_fit(tmp_path: Path, axes: str, path: str, rule: str, remedy: str) -> None:
    fitting = [problem for problem in refused(tmp_path, axes=axes) if problem.path == path and rule in problem.rule]
    assert len(fitting) == 1
    assert remedy in fitting[0].remedy


def test_policies_and_factors_that_meet_in_no_trial(tmp_path: Path) -> None:
    axes = "{alpha.policy: [proportional, constant], alpha.factor: [1, 2]}"
    found = refused(tmp_path, axes=axes)
    assert any(
        "factor applies to the policy proportional" in problem.rule and "alpha as one axis" in problem.remedy for problem in found
    )


def test_warnings_name_what_has_no_effect(tmp_path: Path) -> None:
    found = accepted(
        tmp_path, axes="{method: [lora], rank: [2], epochs: [1]}", methods="{lora: {rank: 8}, full: {}}", train="{epochs: 3}"
    )
    assert {warning.split(": ")[1] for warning in found} == {"methods.lora.rank", "methods.full", "train.epochs"}
    assert accepted(tmp_path, axes="{method: [lora], rank: [0, 2]}", methods="{head: {}, lora: {}}") == []


def test_axes_of_the_untouched_model_have_no_effect(tmp_path: Path) -> None:
    task = "{head: verbalizer, verbalizer: {answers: {0: bad, 1: good}}}"
    found = accepted(tmp_path, task=task, methods="{base: {}}", axes="{seed: [1, 2]}")
    assert len(found) == 1
    assert "axes.seed: has no effect" in found[0]
