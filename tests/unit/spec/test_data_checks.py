from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.unit.spec.builders import accepted, refused

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = "groups: {g: {column: who}}"
DEV = "source: file:dev.tsv, columns: {text: sentence}"
PAIR = "source: file:dev.tsv, columns: {text: sentence, text_pair: s2}"
ALL = "source: 'file:*.tsv*', columns: {text: sentence}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(b'sentence\tlabel\twho\n"a\t0\tx\n'))
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\twho\n")
    return tmp_path


def test_files_that_hold_what_is_named(folder: Path) -> None:
    accepted(
        folder, data=f"{{source: 'file:*.tsv*', columns: {{text: sentence}}, {GROUPS}, splits: {{train: train, test: dev}}}}"
    )


def test_a_path_from_the_environment(folder: Path) -> None:
    data = f'{{source: "file:${{ROWS}}/*.tsv*", columns: {{text: sentence}}, {GROUPS}}}'
    accepted(folder, {"ROWS": str(folder)}, data=data)


@pytest.mark.parametrize(
    ("data", "path", "rule", "remedy"),
    [
        (f"{{source: file:dev.tsv, {GROUPS}}}", "data.columns.text", "dev.tsv must have this column", "sentence"),
        (f"{{{DEV}, groups: {{g: {{flags: {{a: whom}}}}}}}}", "data.groups.g.flags.a", "this column", "who"),
        (f"{{{PAIR}, {GROUPS}}}", "data.columns.text_pair", "this column", "Known"),
        (f"{{{DEV}, {GROUPS}, split_column: part}}", "data.split_column", "this column", "Known"),
        (f"{{{DEV}, {GROUPS}, splits: {{test: dev}}}}", "data.splits", "none is left", "fraction"),
        (f"{{{ALL}, {GROUPS}, splits: {{train: [train, x]}}}}", "data.splits.train[1]", "split of", "Known"),
        (f"{{source: 'hub:a b', {GROUPS}}}", "data.source", "hub data set", "hub:stanfordnlp"),
        (f"{{source: lab:x, {GROUPS}, config: x}}", "data.config", "hub: sources only", "Remove"),
        (f"{{source: lab:x, columns: {{text: label}}, {GROUPS}}}", "data.columns.text", "another column", ""),
        (f"{{source: 'file:', {GROUPS}}}", "data.source", "must be hub:<id>", ""),
    ],
)  # fmt: skip
def test_refused(folder: Path, data: str, path: str, rule: str, remedy: str) -> None:
    (problem,) = refused(folder, data=data)
    assert problem.path == path
    assert rule in problem.rule
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("value", "right"), [("first", True), ("auto", True), ("rest", True), ("a", False), ("firs", False), ("1", False)]
)
def test_the_minority_is_a_named_group(tmp_path: Path, value: str, right: bool) -> None:
    group = "{column: c, names: {a: first, b: second}, missing: rest}"
    data = f"{{source: lab:x, groups: {{g: {group}}}, minority: {{group: g, value: {value}}}}}"
    if right:
        accepted(tmp_path, data=data)
    else:
        (problem,) = refused(tmp_path, data=data)
        assert problem.path == "data.minority.value"


def test_the_minority_of_unnamed_groups_is_left_to_the_plan(tmp_path: Path) -> None:
    accepted(tmp_path, data="{source: lab:x, groups: {g: {column: c}}, minority: {group: g, value: anything}}")


VERBALIZER = "{{head: verbalizer, verbalizer: {{template: {template}, answers: {{0: bad, 1: good}}}}}}"


def test_pairs_and_templates(tmp_path: Path) -> None:
    one, two = VERBALIZER.format(template="'{text}?'"), VERBALIZER.format(template="'{text} {text_pair}?'")
    pair = "{source: lab:x, columns: {text_pair: second}, groups: {g: {column: c}}}"
    methods = "{lora: {}}"
    accepted(tmp_path, task=two, data=pair, methods=methods)
    for sections in ({"task": two}, {"task": one, "data": pair}):
        (problem,) = refused(tmp_path, methods=methods, **sections)
        assert problem.path == "task.verbalizer.template"
