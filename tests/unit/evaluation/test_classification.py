from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lfray.evaluation.classification import MeasureSettings, measure_classification
from lfray.record import GroupColumn, Measure, Predictions
from lfray.record_json import measure_from_json, measure_to_json

Tables = Callable[..., Predictions]
Index = Callable[..., dict[str, Measure]]
SETTINGS = MeasureSettings(5, "g", "g0")


def _reordered(
    table: Predictions, order: np.ndarray[tuple[int], np.dtype[np.int64]], row_id: list[str] | None = None
) -> Predictions:
    return replace(
        table,
        row_id=table.row_id[order] if row_id is None else np.array(row_id),
        split=table.split[order],
        label=table.label[order],
        prediction=table.prediction[order],
        logits=table.logits[order],
        groups=tuple(replace(column, member=column.member[order]) for column in table.groups),
    )


def _values(found: dict[str, Measure]) -> dict[str, tuple[float | str, ...]]:
    return {key: (m.undefined_reason or m.value, *(m.interval or ())) for key, m in found.items()}


@pytest.mark.parametrize(("num_classes", "overlapping"), [(2, False), (2, True), (4, False), (4, True)])
def test_order_of_rows_does_not_change_a_bit(num_classes: int, overlapping: bool, random_table: Tables) -> None:
    table = random_table(0, 300, num_classes=num_classes, overlapping=overlapping)
    shuffled = _reordered(table, np.random.default_rng(1).permutation(300))
    first = [measure_to_json(measure) for measure in measure_classification(table, SETTINGS)]
    assert [measure_to_json(measure) for measure in measure_classification(shuffled, SETTINGS)] == first


@pytest.mark.parametrize("overlapping", [False, True])
def test_names_of_groups_do_not_matter(overlapping: bool, random_table: Tables, indexed: Index) -> None:
    table = random_table(1, overlapping=overlapping)
    names = ("zeta", "Ya/da", "x y", "w")
    renamed = replace(table, groups=(replace(table.groups[0], names=names),))
    before = measure_classification(table, SETTINGS)
    after = measure_classification(renamed, replace(SETTINGS, minority_group="zeta"))
    plain = [(m.measure, m.attribute, m.of_class, m.undefined_reason or m.value, m.interval, m.n) for m in before]
    assert [(m.measure, m.attribute, m.of_class, m.undefined_reason or m.value, m.interval, m.n) for m in after] == plain
    assert "accuracy/g/Ya:2f:da" in indexed(after)


def test_every_row_twice_changes_no_rate(random_table: Tables, indexed: Index) -> None:
    table = random_table(2, 150)
    order = np.repeat(np.arange(150), 2)
    twice = _reordered(table, order, [f"row{index:05d}" for index in range(300)])
    once, double = (indexed(measure_classification(each, SETTINGS)) for each in (table, twice))
    settled = [key for key in once if "null_corrected" not in key and "margin.q" not in key]
    for key in settled:
        if once[key].undefined_reason is None:
            assert double[key].value == pytest.approx(once[key].value, abs=1e-12), key
    assert double["accuracy"].n == 300


def test_every_measure_survives_json(random_table: Tables) -> None:
    for overlapping in (False, True):
        for measure in measure_classification(random_table(3, overlapping=overlapping), SETTINGS):
            back = measure_from_json(json.loads(json.dumps(measure_to_json(measure), allow_nan=False)))
            assert (back.key, back.undefined_reason, dict(back.options)) == (
                measure.key,
                measure.undefined_reason,
                dict(measure.options),
            )
            assert back.value == measure.value or back.undefined_reason


@pytest.mark.parametrize(("num_classes", "overlapping"), [(2, False), (2, True), (3, False), (3, True)])
def test_without_rows_everything_is_undefined(num_classes: int, overlapping: bool, random_table: Tables, indexed: Index) -> None:
    full = random_table(0, num_classes=num_classes, overlapping=overlapping)
    found = indexed(measure_classification(full, replace(SETTINGS, split="validation")))
    assert {measure.undefined_reason for measure in found.values()} == {"empty_group"}
    # The same keys whether there are rows or not: columns of a table of trials do not come and go.
    assert {key.removeprefix("validation.") for key in found} == set(indexed(measure_classification(full, SETTINGS)))


def test_splits_are_measured_apart(random_table: Tables, indexed: Index) -> None:
    table = random_table(4, 200)
    table = replace(table, split=np.where(np.arange(200) < 60, "validation", "test"))
    found = indexed(measure_classification(table, replace(SETTINGS, split="validation")))
    assert all(measure.split == "validation" for measure in found.values())
    assert found["validation.accuracy"].value == float((table.label == table.prediction)[:60].mean())
    assert indexed(measure_classification(table, SETTINGS))["accuracy"].n == 140


def test_summary_holds_every_family(random_table: Tables, indexed: Index) -> None:
    found = indexed(measure_classification(random_table(5), SETTINGS))
    for key in ("accuracy", "macro_f1", "cross_entropy", "f1/g/g3", "fair.worst_group_accuracy", "fair.equalized_odds_difference",
                "calib.ece_top_null_corrected/g/g1", "calib.brier", "margin.q50/g/g2"):  # fmt: skip
        assert found[key].undefined_reason is None, key


@pytest.mark.data
def test_disability_has_no_normal_post_in_hatexplain(build: Tables, indexed: Index) -> None:
    folder = os.environ.get("LFRAY_TEST_DATA")
    path = Path(folder or "") / "hatexplain" / "hatexplain_flat.csv.gz"
    if not folder or not path.is_file():
        pytest.skip("shared data absent: hatexplain/hatexplain_flat.csv.gz (LFRAY_TEST_DATA)")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        posts = [row for row in csv.DictReader(file) if row["label"] != "undecided"]
    targets = [set(filter(None, row["targets"].split(";"))) for row in posts]
    names = tuple(sorted(set().union(*targets)))
    member = np.array([[name in named for name in names] for named in targets])
    label = [int(row["label"] in ("hatespeech", "offensive")) for row in posts]
    assert (len(posts), sum(label)) == (19_229, 11_415)
    prediction = np.random.default_rng(0).integers(0, 2, len(posts)).tolist()
    table = build(label, prediction, [GroupColumn("target", names, member, overlapping=True)], classes=("normal", "toxic"))
    found = indexed(measure_classification(table, MeasureSettings(10, "target", "Disability")), "target")
    counts = {name: (found[f"accuracy/target/{name}"].n_pos, found[f"accuracy/target/{name}"].n_neg) for name in names}
    anchors = {"Islam": (1815, 296), "African": (2965, 201), "Women": (1267, 267), "Disability": (54, 0)}
    assert {name: counts[name] for name in anchors} == anchors
    assert found["false_positive_rate/target/Disability"].undefined_reason == "no_negatives"
    assert found["fair.equalized_odds_difference/target/Disability"].undefined_reason == "undefined_cell"
    assert found["fair.equal_opportunity_difference/target/Disability"].undefined_reason is None
    assert found["fair.equalized_odds_difference"].undefined_reason == "overlapping_groups"
    # A handful of posts cannot make the worst group: Indian has 10 named in all, fewer of them decided.
    worst = found["fair.worst_group_accuracy"]
    assert worst.options["left_out"]["Buddhism"] == "below_n_min"
    assert worst.options["worst_group"] in worst.options["covers"]
    assert found["accuracy/target/not Islam".replace(" ", ":20:")].n == len(posts) - sum(counts["Islam"])  # type: ignore[arg-type]
