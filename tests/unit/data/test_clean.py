from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfray.data.clean import clean
from lfray.errors import DataError
from tests.unit.data.builders import Row, built, data_spec, people

GIVEN = {"train": "train", "validation": "dev", "test": "test"}


def row(text: str, label: int = 0, group: str = "a") -> Row:
    return {"text": text, "label": label, "group": group}


def test_repeats_leave_and_are_counted() -> None:
    rows = [*people(9), *people(4), row(" text 5 ", label=0, group="a")]
    kept, counts = clean(built({"x": rows}), data_spec())
    assert sorted(kept.text) == sorted(r["text"] for r in people(9))
    assert counts == {"conflicts_dropped": 0, "group_conflicts_dropped": 0, "cross_split_dropped": 0, "duplicates_dropped": 5}


def test_repeats_stay_where_they_are_wanted() -> None:
    rows = [*people(9), *people(4)]
    kept, counts = clean(built({"x": rows}), data_spec(deduplicate="none"))
    assert len(kept) == 13
    assert counts["duplicates_dropped"] == 0


def test_conflicting_labels_are_refused_with_examples() -> None:
    rows = [*people(6), row("same", 0), row("same ", 1), row("other", 0), row("other", 1), row("other", 1)]
    spec = data_spec()
    with pytest.raises(DataError, match=r"got 2 texts in 5 rows: .*'same' as 0 and 1.*conflicts: drop`"):
        clean(built({"x": rows}), spec)
    for mode in ("columns", "none"):
        with pytest.raises(DataError, match="copies of one text must have one label"):
            clean(built({"x": rows}), data_spec(deduplicate=mode))


def test_conflicting_labels_are_dropped_with_all_copies() -> None:
    rows = [*people(6), row("same", 0), row("same ", 1), row("other", 0), row("other", 1), row("other", 1)]
    kept, counts = clean(built({"x": rows}), data_spec(conflicts="drop"))
    assert sorted(kept.text) == sorted(r["text"] for r in people(6))
    assert counts["conflicts_dropped"] == 5


def test_one_text_in_two_groups_is_no_repeat_to_choose_from() -> None:
    rows = [*people(6), row("same", 0, "a"), row("same", 0, "b"), row("same", 0, "b")]
    with pytest.raises(DataError, match=r"must have one group \(got 1 text in 3 rows: 'same' as a and b\).*deduplicate: columns"):
        clean(built({"x": rows}), data_spec())
    kept, counts = clean(built({"x": rows}), data_spec(deduplicate="columns"))
    assert (len(kept), counts["duplicates_dropped"]) == (8, 1)
    kept, counts = clean(built({"x": rows}), data_spec(conflicts="drop"))
    assert (len(kept), counts["group_conflicts_dropped"], counts["conflicts_dropped"]) == (6, 3, 0)


@pytest.mark.parametrize("mode", ["text", "columns", "none"])
def test_a_text_in_two_given_splits_stays_in_the_later_one(mode: str) -> None:
    splits = {
        "train": [*people(6), row("in all"), row("train and dev"), row("train and test")],
        "dev": [row("in all"), row("train and dev"), row("dev and test"), row("only dev")],
        "test": [row("in all"), row("dev and test"), row("train and test ")],
    }
    spec = data_spec(splits=GIVEN, deduplicate=mode)
    kept, counts = clean(built(splits, spec), spec)
    where = dict(zip(kept.text, kept.role, strict=True))
    assert where["in all"] == where["dev and test"] == where["train and test"] == "test"
    assert where["train and dev"] == where["only dev"] == "validation"
    assert counts["cross_split_dropped"] == 5
    assert len(kept) == 6 + 5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(list(GIVEN.values()))), min_size=30, max_size=60))
def test_no_text_is_ever_in_two_splits(drawn: list[tuple[int, str]]) -> None:
    # Label and group follow from the text, so nothing contradicts.
    splits: dict[str, list[Row]] = {name: [row(f"own {name} 0", 0), row(f"own {name} 1", 1, "b")] for name in GIVEN.values()}
    for text, split in drawn:
        splits[split].append(row(f"text {text}", text % 2, "ab"[text % 3 == 0]))
    for mode in ("text", "columns", "none"):
        spec = data_spec(splits=GIVEN, deduplicate=mode)
        kept, counts = clean(built(splits, spec), spec)
        for key in np.unique(kept.text_key):
            assert len(set(kept.role[kept.text_key == key])) == 1
        assert len(kept) + sum(counts.values()) == 6 + len(drawn)
