"""The planted rows have what the sweep asks for, and something to learn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lfray.spec.sweep import SweepSpec
from lfray.tiny_rows import planted, texts_of


def spec(task: dict[str, Any] | None = None, objectives: tuple[str, ...] = ("error_rate",), **data: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "version": 1,
            "name": "x",
            "task": task or {},
            "data": {"source": "hub:lfray-tiny/rows", "groups": {"community": {"column": "community"}}} | data,
            "model": {"base": "hub:lfray-tiny/base"},
            "methods": {"head": {}},
            "objectives": objectives,
        }
    )


def test_the_class_label_as_group_makes_the_minority_the_rarer_label() -> None:
    groups = {"sentiment": {"column": "label", "names": {0: "negative", 1: "positive"}}}
    tables = planted(
        spec(
            columns={"text": "sentence"},
            groups=groups,
            minority={"group": "sentiment", "value": "negative"},
            splits={"train": "train", "validation": 0.1, "test": "validation"},
        )
    )
    assert set(tables) == {"train", "validation"}
    counts = Counter(tables["train"]["label"])
    assert set(counts) == {0, 1}
    assert 0 < counts[0] < 0.85 * counts[1]
    assert len(set(tables["train"]["sentence"] + tables["validation"]["sentence"])) == sum(
        len(t["label"]) for t in tables.values()
    )


def test_overlapping_groups_have_flags_without_a_tie_for_the_smallest() -> None:
    names = ["atheist", "buddhist", "christian", "hindu", "jewish", "mormon", "muslim", "other"]
    flags = {name: f"target_{name}" for name in names}
    rows = planted(spec(task={"labels": [0, 1, 2]}, groups={"religion": {"flags": flags}}))["train"]
    assert set(rows["label"]) == {0, 1, 2}
    sizes = sorted(sum(rows[column]) for column in flags.values())
    assert 40 < sizes[0] < sizes[1]
    assert all(isinstance(cell, bool) for cell in rows["target_hindu"])


def test_names_of_groups_labels_and_splits_are_the_sweeps() -> None:
    tables = planted(
        spec(
            task={"labels": ["no", "yes"], "positive": "yes"},
            objectives=("accuracy/community/hill", "fair.worst_group_accuracy"),
            columns={"text": "a", "text_pair": "b", "label": "c"},
            minority={"group": "community", "value": "shore"},
            groups={
                "community": {"column": "community", "missing": "unknown"},
                "age": {"column": "age", "names": {1: "old", 2: "young"}},
            },
            splits={"train": ["one", "two"], "validation": "dev", "test": "held"},
        )
    )
    assert set(tables) == {"one", "two", "dev", "held"}
    rows = tables["one"]
    assert set(rows) == {"a", "b", "c", "community", "age"}
    assert set(rows["c"]) == {"no", "yes"}
    assert set(rows["community"]) == {"shore", "hill", None}
    assert rows["community"].count("shore") < rows["community"].count("hill")
    assert set(rows["age"]) == {1, 2}


def test_a_split_column_puts_all_rows_in_one_table() -> None:
    tables = planted(spec(split_column="part", splits={"validation": "dev", "test": "train"}))
    assert set(tables) == {"train"}
    assert set(tables["train"]["part"]) == {"dev", "train", "rest"}


@pytest.mark.parametrize("task", [{}, {"labels": ["x", "y", "z"]}])
def test_one_word_tells_the_label(task: dict[str, Any]) -> None:
    rows = planted(spec(task=task, minority={"group": "community", "value": "south"}))["train"]
    label_of: dict[str, set[Any]] = {}
    for text, label in zip(rows["text"], rows["label"], strict=True):
        for word in text.split():
            label_of.setdefault(word, set()).add(label)
    telling = {word for word, labels in label_of.items() if len(labels) == 1 and not word[0].isdigit()}
    assert all(telling & set(text.split()) for text in rows["text"])
    assert planted(spec(task=task, minority={"group": "community", "value": "south"}))["train"] == rows, "not the same again"


def test_the_tokenizer_hears_of_template_and_answers() -> None:
    verbalizer = {"template": "Review: {text}\nVerdict:", "answers": {"0": "bad", "1": "good"}}
    texts = texts_of(spec(task={"head": "verbalizer", "verbalizer": verbalizer}))
    assert "Verdict:" in texts[-1]
    assert "good" in texts[-1]
