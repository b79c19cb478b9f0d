from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfray.names import METRICS
from lfray.spec.objective_checks import objective_problems
from tests.unit.spec.builders import accepted, load, refused

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = "{source: lab:x, groups: {target: {flags: {men: m, women: w}}}}"


@pytest.mark.parametrize(
    "objectives",
    [
        "[accuracy, validation.accuracy]",
        "[fair.worst_group_accuracy/community, cost.adapter_bytes]",
        "[accuracy/community/first, true_positive_rate/community/second]",
        "[fair.harmful_bias_gap/community/first]",
        "[calib.ece_top, validation.calib.ece_top_null_corrected]",
        "[validation.fair.equalized_odds_difference]",
    ],
)
def test_objectives_of_every_form(tmp_path: Path, objectives: str) -> None:
    accepted(tmp_path, objectives=objectives)


@pytest.mark.parametrize(
    ("objective", "rule", "remedy"),
    [
        ("worst_group_accuracy", "metric that lfray measures", "fair.worst_group_accuracy"),
        ("Accuracy", "metric that lfray measures", "Did you mean 'accuracy'"),
        ("zzz", "metric that lfray measures", "`lfray metrics`"),
        ("accuracy/community/first/more", "at most /attribute/group", "Remove the rest"),
        ("fair.accuracy_gap/community/first", "over all groups of a partition", "accuracy/community/first"),
        ("accuracy/community", "not over an attribute", "add /<group>"),
        ("validation.cost.train_seconds", "one number a trial", "Write cost.train_seconds"),
        ("unparsed_rate", "always answers", "error_rate"),
        ("margin.mean", "good direction", ""),
        ("accuracy/:ff:/x", "escaped", "lfray metrics"),
    ],
)
def test_objectives_that_cannot_be(tmp_path: Path, objective: str, rule: str, remedy: str) -> None:
    (problem,) = refused(tmp_path, objectives=f"[{objective!r}]")
    assert problem.path == "objectives[0]"
    assert rule in problem.rule
    assert remedy in problem.remedy


def test_overlapping_groups(tmp_path: Path) -> None:
    accepted(tmp_path, data=FLAGS, objectives="[fair.worst_group_accuracy, fair.equalized_odds_difference/target/women]")
    (problem,) = refused(tmp_path, data=FLAGS, objectives="[fair.equalized_odds_difference]")
    assert "overlapping_groups" in problem.rule


def test_a_flag_that_is_the_label(tmp_path: Path) -> None:
    data = "{source: lab:x, groups: {target: {flags: {men: label, women: w}}}}"
    accepted(tmp_path, data=data, objectives="[fair.equalized_odds_difference/target/women]")
    (problem,) = refused(tmp_path, data=data, objectives="[fair.equalized_odds_difference/target/men]")
    assert "group_is_label" in problem.rule


def test_the_label_as_group_of_another_attribute(tmp_path: Path) -> None:
    """Bare keys mean the minority's attribute; the label may be another one."""
    data = "{source: lab:x, groups: {g: {column: c}, verdict: {column: label}}, minority: {group: g}}"
    accepted(tmp_path, data=data, objectives="[fair.demographic_parity_difference]")
    (problem,) = refused(tmp_path, data=data, objectives="[fair.demographic_parity_difference/verdict]")
    assert "group_is_label" in problem.rule


def test_three_labels(tmp_path: Path) -> None:
    task = "{labels: [hate, offensive, normal]}"
    accepted(tmp_path, task=task, objectives="[fair.equalized_odds_difference.class_hate]")
    (problem,) = refused(tmp_path, task=task, objectives="[fair.equalized_odds_difference]")
    assert "multiclass" in problem.rule
    (problem,) = refused(tmp_path, task=task, objectives="[f1.class_hat]")
    assert "Did you mean 'hate'" in problem.remedy


def test_warnings(tmp_path: Path) -> None:
    found = accepted(tmp_path, objectives="[fair.accuracy_gap, fair.error_spread, fair.harmful_bias_gap]", methods="{lora: {}}")
    assert len(found) == 2
    assert "as fair.accuracy_gap does" in found[0]
    assert "no method full" in found[1]


KEYS = (
    st.sampled_from(["", "validation."]),
    st.sampled_from([*METRICS, "", "x"]),
    st.sampled_from(["", ".class_a", "/community", "/community/first", "/:zz:", "/:ff:", "//", "/a/b/c"]),
)


@given(st.lists(st.tuples(*KEYS).map("".join).filter(bool), min_size=1, max_size=5))
def test_any_key_is_judged(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    loaded = load(tmp_path_factory.mktemp("x"), objectives=str(keys))
    for problem in objective_problems(loaded):
        assert problem.line is not None
        assert problem.remedy


SOME_GPUS = "{lora: {gpus: 1}, full: {gpus: 0.5}}"


def test_gpu_seconds_need_a_gpu_for_every_method(tmp_path: Path) -> None:
    gpu: dict[str, str] = {"objectives": "[accuracy, cost.gpu_seconds]", "resources": SOME_GPUS}
    (problem,) = refused(tmp_path, **gpu)
    assert (problem.path, problem.got) == ("objectives[1]", "no GPU for head")
    assert "no_gpu" in problem.rule
    accepted(tmp_path, axes="{method: [lora, full]}", **gpu)
    # Rank 0 is the method head, whose trials have no GPU either.
    (problem,) = refused(tmp_path, axes="{method: [lora, full], rank: [0, 8]}", **gpu)
    assert problem.got == "no GPU for head"
    accepted(tmp_path, objectives="[accuracy, cost.gpu_seconds]", resources="{gpus_per_trial: 1}")


def test_a_misspelt_method_does_not_hide_behind_gpu_seconds(tmp_path: Path) -> None:
    problems = refused(tmp_path, axes="{method: [lora, ful]}", objectives="[cost.gpu_seconds]", resources="{gpus_per_trial: 1}")
    assert [problem.path for problem in problems] == ["axes.method[1]"]
