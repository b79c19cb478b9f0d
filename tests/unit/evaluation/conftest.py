"""Tables to measure: small ones written out, random ones by seed, and the shared oracles where they are at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lfray.record import GroupColumn, Measure, Predictions, index_measures

Build = Callable[..., Predictions]


def _build(
    label: Sequence[int],
    prediction: Sequence[int],
    groups: Sequence[GroupColumn] = (),
    *,
    logits: Any = None,
    classes: Sequence[str] = ("neg", "pos"),
    parsed: Sequence[bool] | None = None,
    split: str = "test",
) -> Predictions:
    n = len(label)
    if logits is None:
        logits = np.zeros((n, len(classes)))
        for row, chosen in enumerate(prediction):
            if chosen >= 0:
                logits[row, chosen] = 1.5
    return Predictions(
        row_id=np.array([f"row{index:05d}" for index in range(n)], dtype=np.str_),
        split=np.array([split] * n, dtype=np.str_),
        label=np.asarray(label, dtype=np.int64),
        prediction=np.asarray(prediction, dtype=np.int64),
        logits=np.asarray(logits, dtype=np.float32).reshape(n, -1) if n else np.zeros((0, len(classes)), dtype=np.float32),
        class_names=tuple(classes),
        positive=1,
        groups=tuple(groups),
        parsed=None if parsed is None else np.asarray(parsed, dtype=bool),
    )


@pytest.fixture(scope="session")
def build() -> Build:
    """Predictions from lists."""
    return _build


@pytest.fixture(scope="session")
def partition() -> Callable[..., GroupColumn]:
    """A partition attribute from one group name a row."""

    def make(
        values: Sequence[str], names: Sequence[str] | None = None, attribute: str = "g", is_label: bool = False
    ) -> GroupColumn:
        names = tuple(names if names is not None else sorted(set(values)))
        member = np.array([[value == name for name in names] for value in values], dtype=bool).reshape(len(values), len(names))
        return GroupColumn(attribute, names, member, overlapping=False, is_label=is_label)

    return make


@pytest.fixture(scope="session")
def random_table() -> Callable[..., Predictions]:
    """A random table; prediction is the largest logit, which leans to the label."""

    def make(seed: int, n: int = 200, num_groups: int = 4, *, num_classes: int = 2, overlapping: bool = False) -> Predictions:
        rng = np.random.default_rng(seed)
        label = rng.integers(0, num_classes, n)
        logits = rng.normal(size=(n, num_classes)) + 0.8 * np.eye(num_classes)[label]
        if overlapping:
            member = rng.random((n, num_groups)) < 0.3
        else:
            member = np.eye(num_groups, dtype=bool)[rng.integers(0, num_groups, n)]
        column = GroupColumn("g", tuple(f"g{index}" for index in range(num_groups)), member, overlapping)
        classes = [f"c{index}" for index in range(num_classes)]
        table = _build(label.tolist(), [0] * n, [column], logits=logits, classes=classes)
        object.__setattr__(table, "prediction", table.logits.argmax(axis=1).astype(np.int64))
        return table

    return make


@pytest.fixture(scope="session")
def indexed() -> Callable[..., dict[str, Measure]]:
    """Flat key -> measure; refuses two measures of one key."""

    def index(measures: Sequence[Measure], minority_attribute: str = "g") -> dict[str, Measure]:
        keys = [measure.key for measure in measures]
        assert len(set(keys)) == len(keys), "two measures share a key"
        return index_measures(measures, minority_attribute)

    return index


@pytest.fixture(scope="session")
def oracles() -> Mapping[str, Any]:
    """The fixtures file, made with other libraries."""
    path = os.environ.get("LFRAY_TEST_ORACLES")
    if not path or not Path(path).is_file():
        pytest.skip("shared data absent: oracles.json (LFRAY_TEST_ORACLES)")
    with open(path, encoding="utf-8") as file:
        loaded: dict[str, Any] = json.load(file)
    return loaded


@pytest.fixture(scope="session")
def oracle_table(oracles: Mapping[str, Any], partition: Callable[..., GroupColumn]) -> Predictions:
    """The oracle's 60 rows as a predictions table."""
    block = oracles["classification"]
    p1 = np.asarray(block["p1"])
    return _build(block["y"], block["pred"], [partition(block["group"])], logits=np.log(np.stack([1 - p1, p1], axis=1)))
