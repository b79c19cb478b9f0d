"""Pairs of fields that cannot go together (what a single field refuses stands in test_wording)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lfray.spec.stages import AlphaSpec
from tests.unit.spec.builders import load, refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("task", "path", "rule"),
    [
        ("{verbalizer: {answers: {0: a, 1: b}}}", "task.verbalizer", "head: verbalizer only"),
        ("{head: verbalizer, verbalizer: {answers: {0: a}}}", "task.verbalizer.answers", "at least 2"),
        ("{head: verbalizer, verbalizer: {answers: {0: a, 1: ' '}}}", "task.verbalizer.answers.1", "must not be empty"),
        ("{head: verbalizer, verbalizer: {answers: {0: a, 1: ' a'}}}", "task.verbalizer.answers.0", "start of another"),
        ("{head: verbalizer, verbalizer: {template: x, answers: {0: a, 1: b}}}", "task.verbalizer.template", "must hold {text}"),
        ("{head: verbalizer, verbalizer: {template: '{text}{x}', answers: {0: a, 1: b}}}", "task.verbalizer.template", "only"),
        ("{labels: [0, 1], head: verbalizer, verbalizer: {answers: {0: a, 2: b}}}", "task.verbalizer.answers", "every label"),
        ("{labels: [0, 0]}", "task.labels", "different labels"),
        ("{labels: [0]}", "task.labels", "different labels"),
        ("{labels: [bad, good], positive: god}", "task.positive", "one of the labels"),
    ],
)
def test_tasks_that_cannot_be(tmp_path: Path, task: str, path: str, rule: str) -> None:
    (problem,) = refused(tmp_path, task=task)
    assert problem.path == path
    assert rule in problem.rule
    assert problem.line == 6


def test_label_names_keep_their_type(tmp_path: Path) -> None:
    spec = load(tmp_path, task="{labels: [0, '1', yes], positive: '1'}").spec
    assert spec.task.labels == (0, "1", "yes")


@pytest.mark.parametrize(
    ("spec", "rank", "alpha"),
    [
        (AlphaSpec(), 4, 8.0),
        (AlphaSpec(factor=1), 4, 4.0),
        (AlphaSpec(policy="constant"), 4, 16.0),
        (AlphaSpec(policy="rslora", value=8), 64, 8.0),
    ],
)
def test_alpha(spec: AlphaSpec, rank: int, alpha: float) -> None:
    assert spec.resolved(rank) == alpha
