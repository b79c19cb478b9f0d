from __future__ import annotations

import random

import numpy as np
import pytest

from lfray.data.rows import row_ids
from lfray.errors import DataError
from lfray.spec.stages import TaskSpec
from tests.unit.data.builders import Row, built, data_spec, people

GIVEN = {"train": "train", "validation": "dev", "test": "test"}


def task(**fields: object) -> TaskSpec:
    return TaskSpec.model_validate(fields)


def test_rows_stand_in_content_order_whatever_the_order_they_came_in() -> None:
    rows = people(60)
    shuffled = random.Random(1).sample(rows, len(rows))
    one, two = built({"x": rows}), built({"y": shuffled[:20], "z": shuffled[20:]})
    assert one.text.tolist() == two.text.tolist() != [row["text"] for row in rows]
    assert one.content.tolist() == two.content.tolist() == sorted(one.content.tolist())
    assert (one.label == two.label).all()
    assert (one.groups[0].member == two.groups[0].member).all()


def test_content_is_text_label_and_groups_by_name() -> None:
    rows = people(12)
    flags = [{**row, "f": row["group"] == "b", "h": 1} for row in rows]
    groups = {"two": {"flags": {"h": "h", "f": "f"}}, "one": {"column": "group"}}
    plain = built({"x": flags}, data_spec(groups=dict(reversed(groups.items())), minority={"group": "one"}))
    turned = built({"x": flags}, data_spec(groups=groups, minority={"group": "one"}))
    assert plain.content.tolist() == turned.content.tolist()
    renamed = [{**row, "group": {"a": "A", "b": "b"}[row["group"]]} for row in rows]
    other = built({"x": renamed})
    same = built({"x": rows})
    assert set(other.text_key) == set(same.text_key)
    changed = set(same.content) - set(other.content)
    assert len(changed) == sum(row["group"] == "a" for row in rows)


def test_texts_are_stripped_and_pairs_count() -> None:
    rows = [{**row, "text": f"  {row['text']} \r", "second": f"pair {i} "} for i, row in enumerate(people(6))]
    paired = built({"x": rows}, data_spec(columns={"text_pair": "second"}))
    assert sorted(paired.text) == sorted(row["text"] for row in people(6))
    assert paired.text_pair is not None
    assert sorted(paired.text_pair) == [f"pair {i}" for i in range(6)]
    same_text = [{**row, "text": "one"} for row in rows]
    assert len(set(built({"x": same_text}, data_spec(columns={"text_pair": "second"})).text_key)) == 6


def test_empty_texts_are_refused_with_their_places() -> None:
    rows: list[Row] = [*people(3), {"text": "  ", "label": 0, "group": "a"}, {"text": None, "label": 0, "group": "a"}]
    with pytest.raises(DataError, match=r"data.columns.text: .*2 rows: split 'x' row 4, split 'x' row 5\)"):
        built({"x": rows})


def test_missing_labels_are_refused_with_their_places() -> None:
    rows: list[Row] = [*people(3), {"text": "t", "label": None, "group": "a"}]
    with pytest.raises(DataError, match=r"data.columns.label: every row needs a label \(got none in 1 row: split 'y' row 4\)"):
        built({"x": people(2, prefix="other"), "y": rows})


def test_a_hub_split_with_hidden_labels_is_refused_by_name_and_ignored_where_unused() -> None:
    hidden = [{**row, "label": -1} for row in people(4, prefix="hidden")]
    splits = {"train": people(9), "validation": people(5, prefix="v"), "test": hidden}
    with pytest.raises(DataError, match=r"split 'test' must have labels \(got -1 in all 4 rows.*data.splits.train"):
        built(splits, data_spec(splits={"test": "validation"}))
    assert len(built(splits, data_spec(splits={"train": "train", "test": "validation"}))) == 14
    signed = [{**row, "label": 1 if row["label"] else -1} for row in people(9)]
    assert built({"x": signed}).class_names == ("-1", "1")
    assert len(built({"x": signed, "y": hidden}, task=task(labels=[-1, 1]))) == 13


def test_classes_are_sorted_by_number_or_taken_as_given() -> None:
    rows = [{**row, "label": label} for row, label in zip(people(4), ["10", "9", 1.0, True], strict=True)]
    assert built({"x": rows[:3]}).class_names == ("1", "9", "10")
    given = built({"x": rows[:3]}, task=task(labels=[10, "9", 1, 7], positive="9"))
    assert given.class_names == ("10", "9", "1", "7")
    assert given.positive == 1
    assert [given.class_names[label] for label in given.label] == [
        {"text 0": "10", "text 1": "9", "text 2": "1"}[t] for t in given.text
    ]
    assert built({"x": rows[:3]}).positive == 1
    assert built({"x": rows[:3]}, task=task(positive="1")).positive == 0


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"task.labels: must list every label \(got '0' in 6 rows\)"):
        built({"x": people(9)}, task=task(labels=["1", "2"]))
    with pytest.raises(DataError, match=r"task.positive: must be a label"):
        built({"x": people(9)}, task=task(positive="yes"))
    with pytest.raises(DataError, match="at least two labels must occur"):
        built({"x": [{**row, "label": "a"} for row in people(9)]})


def test_the_label_as_group() -> None:
    rows = built({"x": people(9)}, data_spec(groups={"label": {"column": "label", "names": {0: "no", 1: "yes"}}}))
    assert rows.groups[0].is_label
    assert not built({"x": people(9)}).groups[0].is_label


def test_row_ids_number_exact_repeats() -> None:
    content = np.array(sorted(["a" * 64, "b" * 64, "a" * 64, "a" * 64]))
    assert row_ids(content).tolist() == ["a" * 16, "a" * 16 + "-1", "a" * 16 + "-2", "b" * 16]
