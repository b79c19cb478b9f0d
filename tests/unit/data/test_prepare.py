from __future__ import annotations

import csv
import gzip
import io
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lfray.data.prepare import prepare_data
from lfray.data.prepared import PreparedData, open_data
from lfray.errors import DataError
from lfray.spec.rows import DataSpec
from lfray.spec.stages import TaskSpec
from tests.unit.data.builders import Row, data_spec, people, write_rows


def prepare(folder: Path, spec: DataSpec | None = None, *, root: str = "data", **task: Any) -> PreparedData:
    return prepare_data(spec or data_spec(), TaskSpec.model_validate(task), folder=folder, root=folder / root)


def test_facts_of_a_small_set(tmp_path: Path) -> None:
    write_rows(tmp_path / "all.csv", [*people(60), *people(5)])
    facts = prepare(tmp_path).facts
    assert facts.split_rows == {"train": 42, "validation": 6, "test": 12}
    assert facts.counts == {
        "read": 65, "conflicts_dropped": 0, "group_conflicts_dropped": 0, "cross_split_dropped": 0, "duplicates_dropped": 5,
        "limited": 0, "kept": 60,
    }  # fmt: skip
    assert (facts.class_names, facts.positive) == (("0", "1"), 1)
    assert (facts.minority_attribute, facts.minority_group) == ("group", "b")
    (attribute,) = facts.attributes
    assert attribute.rows == {"a": 45, "b": 15}
    assert sum(attribute.train_rows.values()) == 42
    assert facts.bayes_accuracy == {}
    assert facts.mean_characters == pytest.approx(sum(len(row["text"]) for row in people(60)) / 60)


def test_neither_files_nor_order_nor_format_nor_column_names_matter(tmp_path: Path) -> None:
    rows = people(90)
    shuffled = random.Random(5).sample(rows, len(rows))
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    write_rows(tmp_path / "one" / "all.csv", rows)
    for part in range(3):
        write_rows(tmp_path / "two" / f"part{part}.x.jsonl.gz", shuffled[part::3])
    renamed = [{"kind": row["group"], "sentence": row["text"] + " ", "y": row["label"]} for row in shuffled]
    write_rows(tmp_path / "three" / "t.tsv", renamed, newline="\r\n")
    other = data_spec(source="file:three", columns={"text": "sentence", "label": "y"}, groups={"group": {"column": "kind"}})
    found = [prepare(tmp_path, spec, root=f"data-{i}") for i, spec in enumerate(
        [data_spec(source="file:one"), data_spec(source="file:two"), other])]  # fmt: skip
    assert len({prepared.facts.fingerprint for prepared in found}) == 1
    assert len({str(prepared.facts.split_manifests) for prepared in found}) == 1
    assert found[0].dataset[:] == found[1].dataset[:] == found[2].dataset[:]


@pytest.mark.parametrize(
    "change",
    [
        {"split_seed": 1}, {"splits": {"test": 0.3}}, {"limit": {"train": 20}}, {"groups": {"other": {"column": "group"}}},
        {"groups": {"group": {"column": "group", "names": {"b": "b", "a": "a"}}}},
    ],
)  # fmt: skip
def test_what_a_trial_can_see_is_in_the_fingerprint(tmp_path: Path, change: dict[str, Any]) -> None:
    write_rows(tmp_path / "all.csv", people(60))
    base = prepare(tmp_path).facts.fingerprint
    assert prepare(tmp_path, data_spec(**change)).facts.fingerprint != base
    assert prepare(tmp_path, positive=0).facts.fingerprint != base
    assert prepare(tmp_path, labels=[1, 0]).facts.fingerprint != base


def test_what_it_cannot_see_is_not(tmp_path: Path) -> None:
    write_rows(tmp_path / "all.csv", people(60))
    base = prepare(tmp_path)
    other = prepare(tmp_path, data_spec(minority={"group": "group", "value": "a"}, min_group_rows=3, max_tokens=9))
    assert other.facts.fingerprint == base.facts.fingerprint
    assert (base.facts.minority_group, other.facts.minority_group) == ("b", "a")
    assert prepare(tmp_path, data_spec(minority={"group": "group", "value": "a"})).facts.minority_group == "a"


def test_one_changed_letter_is_another_set(tmp_path: Path) -> None:
    rows = people(60)
    write_rows(tmp_path / "all.csv", rows)
    base = prepare(tmp_path).facts.fingerprint
    write_rows(tmp_path / "all.csv", [{**rows[0], "text": "Text 0"}, *rows[1:]])
    assert prepare(tmp_path).facts.fingerprint != base


def test_a_second_call_takes_the_shortcut_to_the_same_facts(tmp_path: Path) -> None:
    write_rows(tmp_path / "all.csv", people(60))
    first = prepare(tmp_path)
    (index,) = (tmp_path / "data" / "index").iterdir()
    # Leave a mark in what the shortcut reads: a second call must return it, for it must not prepare again.
    index.write_text(index.read_text().replace('"read": 60', '"read": 61'))
    second = prepare(tmp_path)
    assert second.facts.counts["read"] == 61
    assert second.dataset[:] == first.dataset[:]
    index.write_text("{torn")
    assert prepare(tmp_path).facts == first.facts


def test_several_preparers_at_once_agree(tmp_path: Path) -> None:
    write_rows(tmp_path / "all.csv", people(200))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepare(tmp_path).facts, range(4)))
    assert all(facts == found[0] for facts in found)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == sorted([found[0].fingerprint, "index"])


def test_a_tied_minority_is_refused_naming_both(tmp_path: Path) -> None:
    rows = [{**row, "group": "abc"[i % 3], "label": i % 2} for i, row in enumerate(people(120))]
    write_rows(tmp_path / "all.csv", rows)
    with pytest.raises(DataError, match=r"auto needs one smallest group of group .*got a and b and c with \d+ rows each"):
        prepare(tmp_path)


def test_the_minority_is_chosen_on_training_rows(tmp_path: Path) -> None:
    train = [{**row, "group": "a" if i % 3 else "b"} for i, row in enumerate(people(60))]
    write_rows(tmp_path / "train.csv", [{**row, "label": i % 2} for i, row in enumerate(train)])
    write_rows(tmp_path / "test.csv", [{**row, "group": "b"} for row in people(90, prefix="t")])
    facts = prepare(tmp_path, data_spec(splits={"test": "test"})).facts
    assert facts.minority_group == "b"
    assert facts.attributes[0].rows["b"] > facts.attributes[0].rows["a"]


@pytest.mark.parametrize(
    ("minority", "message"),
    [
        ({"group": "group", "value": "c"}, r"must be a group of group \(got 'c'\). Known: a, b, empty"),
        ({"group": "group", "value": "empty"}, r"must have training rows and leave others \(got 0 rows of 42"),
    ],
)
def test_a_minority_without_rows_is_refused(tmp_path: Path, minority: dict[str, str], message: str) -> None:
    write_rows(tmp_path / "all.csv", people(60))
    spec = data_spec(groups={"group": {"column": "group", "names": {"a": "a", "b": "b", "x": "empty"}}}, minority=minority)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, spec)
    auto = data_spec(groups=spec.model_dump()["groups"])
    assert prepare(tmp_path, auto).facts.minority_group == "b"


def test_a_minority_of_everybody_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "all.csv", [{**row, "group": "one"} for row in people(60)])
    with pytest.raises(DataError, match=r"leave others \(got 42 rows of 42 in group 'one'\)"):
        prepare(tmp_path)


def test_no_test_or_validation_text_is_trained_on(tmp_path: Path) -> None:
    rows = people(50)
    write_rows(tmp_path / "train.csv", [*rows, *people(20, prefix="dev"), *people(20, prefix="test")])
    write_rows(tmp_path / "dev.csv", [*people(30, prefix="dev"), *people(10, prefix="test")])
    write_rows(tmp_path / "test.csv", people(30, prefix="test"))
    prepared = prepare(tmp_path, data_spec(splits={"validation": "dev", "test": "test"}))
    assert prepared.facts.split_rows == {"train": 50, "validation": 30, "test": 30}
    assert prepared.facts.counts["cross_split_dropped"] == 50


def shared(name: str) -> Path:
    folder = os.environ.get("LFRAY_TEST_DATA")
    if folder is None or not (Path(folder) / name).exists():
        pytest.skip(f"shared data absent: {name}")
    return Path(folder) / name


SST2: dict[str, Any] = {
    "columns": {"text": "sentence"},
    "groups": {"sentiment": {"column": "label", "names": {0: "negative", 1: "positive"}}},
    "minority": {"group": "sentiment", "value": "negative"},
    "splits": {"train": "train", "validation": "dev", "test": "test_labeled"},
}


@pytest.mark.data
def test_sst2(tmp_path: Path) -> None:
    spec = data_spec(source=f"file:{shared('sst2')}", **SST2)
    with pytest.raises(DataError, match=r"data.conflicts: .*got 5 texts in 10 rows"):
        prepare(tmp_path, spec)
    started = time.process_time()
    prepared = prepare(tmp_path, spec.model_copy(update={"conflicts": "drop"}))
    assert time.process_time() - started < 15
    facts = prepared.facts
    assert facts.counts["read"] == 67_349 + 872 + 1_821
    assert facts.counts["conflicts_dropped"] == 10
    # 371 texts stand twice in train; the five that contradict themselves have gone before.
    assert facts.counts["duplicates_dropped"] == 371 - 5
    assert facts.counts["cross_split_dropped"] == 2
    assert facts.split_rows == {"train": 67_349 - 10 - 366 - 2, "validation": 872, "test": 1_821}
    assert facts.attributes[0].is_label
    assert (facts.class_names, facts.positive, facts.minority_group) == (("0", "1"), 1, "negative")
    assert not any("\r" in text for text in prepared.dataset["text"])
    started = time.process_time()
    assert prepare(tmp_path, spec.model_copy(update={"conflicts": "drop"})).facts == facts
    assert time.process_time() - started < 1


TARGETS = ["African", "Islam", "Jewish", "Homosexual", "Women", "Refugee", "Arab", "Disability"]


@pytest.mark.data
def test_hatexplain_with_overlapping_targets(tmp_path: Path) -> None:
    text = gzip.decompress(shared("hatexplain/hatexplain_flat.csv.gz").read_bytes()).decode()
    rows: list[Row] = [
        {
            "text": row["text"], "toxic": int(row["label"] != "normal"), "split": row["split"],
            **{name: int(name in row["targets"].split(";")) for name in TARGETS},
        }
        for row in csv.DictReader(io.StringIO(text)) if row["split"]
    ]  # fmt: skip
    write_rows(tmp_path / "posts.csv", rows)
    fields: dict[str, Any] = {
        "source": "file:posts.csv", "columns": {"label": "toxic"}, "split_column": "split",
        "groups": {"target": {"flags": {name.lower(): name for name in TARGETS}}}, "conflicts": "drop",
    }  # fmt: skip
    given = prepare(tmp_path, data_spec(**fields, splits={"validation": "val", "test": "test"})).facts
    assert given.counts["read"] == 15_383 + 1_922 + 1_924
    said: dict[str, set[tuple[int, ...]]] = {}
    for row in rows:
        said.setdefault(row["text"].strip(), set()).add((row["toxic"], *(row[name] for name in TARGETS)))
    agreed = {text: next(iter(ways)) for text, ways in said.items() if len(ways) == 1}
    assert given.counts["kept"] == sum(given.split_rows.values()) == len(agreed)
    both = [row for row in rows if len({way[0] for way in said[row["text"].strip()]}) > 1]
    assert given.counts["conflicts_dropped"] == len(both) > 0
    assert given.counts["group_conflicts_dropped"] > 0
    (target,) = given.attributes
    assert target.overlapping
    assert not target.is_label
    assert target.rows == {name.lower(): sum(ways[i + 1] for ways in agreed.values()) for i, name in enumerate(TARGETS)}
    assert given.minority_group == "disability"
    again = prepare(tmp_path, data_spec(**fields))
    (target,) = again.facts.attributes
    for name, part in zip(("test", "validation"), map(again.split, ("test", "validation")), strict=True):
        share = {"test": 0.2, "validation": 0.1}[name]
        member = part.groups[0].member.sum(axis=0)
        for group, found in zip(target.groups, member, strict=True):
            assert abs(found - share * target.rows[group]) <= 3
    assert open_data(again.folder).facts == again.facts
