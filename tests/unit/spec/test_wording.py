from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lfray.spec.sweep import SweepSpec
from lfray.spec.wording import Finding, findings, show, value_at
from tests.unit.spec.builders import refused

if TYPE_CHECKING:
    from pathlib import Path


G = "{source: lab:x, groups: {g: {column: c}}"


@pytest.mark.parametrize(
    ("section", "text", "path", "rule", "remedy"),
    [
        ("train", "{learning_rate: fast}", "train.learning_rate", "must be a number or a mapping", "One number, or one a method"),
        ("train", "{learning_rate: {}}", "train.learning_rate", "must hold at least 1 entry", "Add one"),
        ("train", "{adam_betas: [0.9]}", "train.adam_betas", "must hold at least 2 entries", "Add one"),
        ("train", "{adam_betas: [0.9, 1]}", "train.adam_betas[1]", "must be less than 1", "Lower it"),
        ("train", "{batch_size: true}", "train.batch_size", "must be a whole number", "Rows in one"),
        ("train", "{select: true}", "train.select", "must be one of last", "Which epoch's"),
        ("train", "[epochs, 3]", "train", "must be a mapping", "Its fields: epochs"),
        ("train", "", "train", "must be a mapping", "Fill it"),
        ("objectives", "accuracy", "objectives", "must be a list", "Write [accuracy]"),
        ("objectives", "[]", "objectives", "must hold at least 1 entry", "Add one"),
        ("objectives", "['']", "objectives[0]", "must not be empty", "Fill it"),
        ("axes", "{rank: {logu: [1, 2]}}", "axes.rank.logu", "unknown field", "uniform"),
        ("axes", "{rank: {int: [1, 2.5]}}", "axes.rank.int[1]", "must be a whole number", ""),
        ("axes", "{rank: {uniform: [0, 1], int: [1, 2]}}", "axes.rank", "exactly one of uniform", "Give one"),
        ("axes", "{rank: {}}", "axes.rank", "exactly one of uniform", "Give one"),
        ("axes", "{5: [1]}", "axes[5]", "a key here must be text", "Quote it"),
        ("resources", "{cpus: 2}", "resources.cpus", "unknown field", "Did you mean 'cpus_per_trial'"),
        ("resources", "{full: {worker: 2}}", "resources.full.worker", "unknown field", "Did you mean 'workers'"),
        ("resources", "{full: {zero_stage: 4}}", "resources.full.zero_stage", "must be one of 0, 1, 2, 3", "Default"),
        ("resources", "{full: {gpus_per_trial: 1}}", "resources.full.gpus_per_trial", "unknown field", "belongs under resources"),
        ("resources", "{micro_batch: most}", "resources.micro_batch", "must be a whole number or auto", ""),
        ("resources", "{nccl: {OMP_NUM_THREADS: 1}}", "resources.nccl", "NCCL_*", "Remove it"),
        ("resources", "{dora: {workers: 2}}", "resources.dora", "unknown field", "Did you mean 'lora'"),
        ("methods", "{full: {workers: 2}}", "methods.full.workers", "unknown field", "It belongs under resources.full"),
        ("train", "{workers: 2}", "train.workers", "unknown field", "It belongs under resources.<method>"),
        ("train", "{zero_stage: 2}", "train.zero_stage", "unknown field", "It belongs under resources or resources.<method>"),
        ("resources", "{max_concurrent: 0}", "resources.max_concurrent", "must be at least 1", "Raise it"),
        ("tracking", "{urk: x}", "tracking.urk", "unknown field", "Did you mean 'uri'"),
        ("methods", "{head: {rank: 3}}", "methods.head.rank", "unknown field", "It is an axis"),
        ("methods", "{lora: {targets: []}}", "methods.lora.targets", "must hold at least 1 entry", "Add one"),
        ("methods", "{lora: {targets: [1]}}", "methods.lora.targets[0]", "must be text", 'Quote it: "1"'),
        ("task", "{labels: [1.5, 2]}", "task.labels[0]", "must be text or a whole number", 'Quote it: "1.5"'),
        ("data", "{source: lab:x, groups: {g: {colum: c}}}", "data.groups.g.colum", "unknown field", "Did you mean 'column'"),
        ("data", "{source: lab:x, groups: {g: {column: c, names: {0.5: x}}}}", "data.groups.g.names.0.5", "a key here", "Quote"),
        ("data", G + ", minority: {grp: g}}", "data.minority.grp", "unknown field", "group"),
        ("data", G + ", minority: smallest}", "data.minority", "must be a mapping or auto", ""),
        ("data", G + ", splits: {test: 1.5}}", "data.splits.test", "must be less than 1", "Lower"),
        ("data", G + ", splits: {test: [a]}}", "data.splits.test", "must be text or a number", ""),
        ("data", G + ", options: {a: [1]}}", "data.options.a", "must be text or", ""),
        ("data", G + ", text: body}", "data.text", "unknown field", "belongs under data.columns"),
        ("data", "{source: lab:x, groups: [g]}", "data.groups", "must be a mapping", "Attribute"),
    ],
)  # fmt: skip
def test_one_slip_one_plain_problem(tmp_path: Path, section: str, text: str, path: str, rule: str, remedy: str) -> None:
    found = refused(tmp_path, **{section: text or "\n"})
    slip = [problem for problem in found if problem.path == path]
    assert len(slip) == 1, found
    assert slip[0].rule.startswith(rule) or rule in slip[0].rule
    assert remedy in slip[0].remedy
    assert slip[0].remedy


KEYS = st.sampled_from(["head", "lora", "rank", "alpha", "int", "x"])
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["auto", "x", "hub:x", "lora"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(SweepSpec.model_fields)), TREES))
def test_every_finding_is_placed_in_the_document(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate(document)
    found = findings(caught.value, document)
    assert found
    assert len({finding.path for finding in found}) == len(found)
    for finding in found:
        assert isinstance(value_at(document, finding.path[:-1]), dict | list)
        assert finding.remedy
        assert "Input should" not in finding.rule
        assert "input should" not in finding.rule


def test_a_finding_per_value_not_per_form() -> None:
    document = {"train": {"learning_rate": "fast"}}
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate(document)
    rates = [finding for finding in findings(caught.value, document) if finding.path == ("train", "learning_rate")]
    assert isinstance(rates[0], Finding)
    assert len(rates) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("a", "'a'"), (2e-4, "0.0002"), ([1, "b"], "[1, 'b']"), ({"a": [1]}, "{a: [1]}")],
)
def test_show(value: object, text: str) -> None:
    assert show(value) == text


def test_show_is_short() -> None:
    assert len(show(["x" * 50] * 50)) <= 60
