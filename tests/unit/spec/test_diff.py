from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lfray.spec.diff import non_axis_differences
from lfray.spec.load import load_sweep
from tests.unit.spec.builders import load

SAMPLE = Path(__file__).parent / "sample.yaml"


def differences(folder: Path, old: dict[str, str], new: dict[str, str]) -> list[str]:
    environ = {"N": "3"}
    return non_axis_differences(load(folder, environ, **old).document, load(folder, environ, **new).document)


@pytest.mark.parametrize(
    "new",
    [
        {"axes": "{rank: [2, 4], seed: [1]}"},
        {"axes": "{weight_decay: {uniform: [0, 1]}}", "search": "{samples: 3, seed: 9}"},
        {"resources": "{cpus_per_trial: 4}", "storage": "elsewhere", "tracking": "{uri: none}"},
        {"methods": "{base: {}, head: {}, lora: {}, full: {}}"},
        {"train": "{epochs: 3, batch_size: 16, max_grad_norm: 1, adam_betas: [0.9, 0.999]}"},
        {"train": "{learning_rate: {head: 0.001, lora: 2e-4, full: 2e-5}}"},
        {"methods": "{head: {}, lora: {alpha: {policy: proportional, factor: 2}, rank: 8, dropout: 0}, full: {}}"},
        {"task": "{head: sequence}", "evaluation": "{}", "keep_adapters": "all"},
        {"objectives": "[fair.worst_group_accuracy, cost.trainable_parameters]"},
    ],
)
def test_the_same_question(tmp_path: Path, new: dict[str, str]) -> None:
    """More values, more methods, other machines, defaults spelled out."""
    assert differences(tmp_path, {}, new) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"train": "{epochs: 5}"}, {}, ["train.epochs: 5 -> 3"]),
        ({}, {"train": "{learning_rate: 1e-3}"}, ["train.learning_rate: {head: 0.001, lora: 0.0002, full: 2e-05} -> 0.001"]),
        ({}, {"methods": "{head: {}, lora: {}}"}, ["methods.full: {} -> absent"]),
        ({}, {"methods": "{head: {}, lora: {variant: dora}, full: {}}"}, ["methods.lora.variant: 'lora' -> 'dora'"]),
        ({}, {"methods": "{head: {}, lora: {alpha: {factor: 1}}, full: {}}"}, ["methods.lora.alpha.factor: 2.0 -> 1"]),
        (
            {"methods": "{lora: {alpha: {policy: constant}}}"},
            {"methods": "{lora: {alpha: {policy: rslora, value: 8}}}"},
            ["methods.lora.alpha.policy: 'constant' -> 'rslora'", "methods.lora.alpha.value: 16.0 -> 8"],
        ),
        ({"train": "\n  epochs: ${N}"}, {}, ["train.epochs: '${N}' -> 3"]),
        ({}, {"train": "{max_grad_norm: null}"}, ["train.max_grad_norm: 1.0 -> null"]),
        ({"objectives": "[f1]"}, {"objectives": "[accuracy]"}, ["objectives: ['f1'] -> ['accuracy']"]),
        ({"task": "{labels: [a, b]}"}, {}, ["task.labels: ['a', 'b'] -> absent"]),
        (
            {"axes": "{epochs: {uniform: [1, 2]}}", "search": "{samples: 3}"},
            {"axes": "{epochs: {uniform: [1, 2]}}", "search": "{samples: 9, seed: 1}"},
            ["search.seed: 0 -> 1"],
        ),
    ],
)  # fmt: skip
def test_another_question(tmp_path: Path, old: dict[str, str], new: dict[str, str], lines: list[str]) -> None:
    assert differences(tmp_path, old, new) == lines


def test_a_group_renamed(tmp_path: Path) -> None:
    new = "{source: lab:reviews, groups: {community: {column: community, names: {a: first, b: other}}}}"
    assert differences(tmp_path, {}, {"data": new}) == ["data.groups.community.names.b: 'second' -> 'other'"]


def test_the_sample_is_itself() -> None:
    document: dict[str, Any] = load_sweep(SAMPLE, environ={}).document
    assert non_axis_differences(document, document) == []
