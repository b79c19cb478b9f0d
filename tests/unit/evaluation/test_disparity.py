from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fairlearn import metrics as fairlearn

from lfray.errors import DataError
from lfray.evaluation.disparity import disparity_measures
from lfray.evaluation.intervals import gap_noise_floor, overall_noise_floor, overlapping_worst_floor, worst_rate_floor
from lfray.evaluation.rates import confusion, group_rates
from lfray.evaluation.settings import MeasureSettings
from lfray.names import ACCURACY, FALSE_POSITIVE_RATE, METRICS, SELECTION_RATE, TRUE_POSITIVE_RATE
from lfray.record import GroupColumn, Measure, Predictions

Tables = Callable[..., Predictions]
Columns = Callable[..., GroupColumn]
Index = Callable[..., dict[str, Measure]]
LABEL_FREE = [key for key, metric in METRICS.items() if metric.label_free_of_group]


def _settings(rows: int = 1, group: str = "a") -> MeasureSettings:
    return MeasureSettings(rows, "g", group)


def test_every_value_equals_the_oracle(oracles: Mapping[str, Any], oracle_table: Predictions, indexed: Index) -> None:
    expected = oracles["classification"]["fairlearn"]
    found = indexed(disparity_measures(oracle_table, _settings()))
    for name in (
        "demographic_parity_difference", "demographic_parity_difference_to_overall", "demographic_parity_ratio",
        "equalized_odds_difference", "equalized_odds_difference_mean", "equal_opportunity_difference", "worst_group_accuracy",
    ):  # fmt: skip
        assert found[f"fair.{name}"].value == pytest.approx(expected[name], abs=1e-9), name
    assert found["fair.accuracy_gap"].value == pytest.approx(expected["accuracy_difference"], abs=1e-9)
    assert found["fair.error_spread"].value == pytest.approx(found["fair.accuracy_gap"].value, abs=1e-12)
    assert found["fair.worst_group_error"].value == pytest.approx(1 - expected["worst_group_accuracy"], abs=1e-9)
    assert found["fair.worst_group_accuracy"].options["worst_group"] == "c"


def test_group_rates_equal_the_oracle(oracles: Mapping[str, Any], oracle_table: Predictions) -> None:
    column = oracle_table.groups[0]
    short = {"acc": ACCURACY, "sel": SELECTION_RATE, "tpr": TRUE_POSITIVE_RATE, "fpr": FALSE_POSITIVE_RATE}
    for index, name in enumerate(column.names):
        mask = column.member[:, index]
        found = group_rates(confusion(oracle_table.label[mask], oracle_table.prediction[mask], 1))
        for key, metric in short.items():
            expected = oracles["classification"]["fairlearn"]["by_group"][name][key]
            assert found[metric].value == pytest.approx(expected, abs=1e-9)


def test_signed_difference_equals_aif360(oracles: Mapping[str, Any], oracle_table: Predictions, indexed: Index) -> None:
    two = oracle_table.rows(~oracle_table.groups[0].member[:, 2])
    signed = indexed(disparity_measures(two, _settings(group="b")))["fair.demographic_parity_signed"]
    expected = oracles["classification"]["aif360_groups_a_b_priv_a"]["statistical_parity_difference"]
    assert signed.value == pytest.approx(expected, abs=1e-9)
    assert (signed.options["group"], signed.options["n_minority"], signed.options["n_rest"]) == ("b", 20, 30)


@pytest.mark.parametrize("seed", range(50))
def test_differences_equal_fairlearn_where_both_are_defined(seed: int, random_table: Tables, indexed: Index) -> None:
    table = random_table(seed, 40 + 10 * seed, 2 + seed % 4)
    names = np.array(table.groups[0].names)[table.groups[0].member.argmax(axis=1)]
    found = indexed(disparity_measures(table, _settings(group="g0")))
    arguments: dict[str, Any] = {"y_true": table.label, "y_pred": table.prediction, "sensitive_features": names}
    accuracy = fairlearn.MetricFrame(metrics=lambda y, p: float((y == p).mean()), **arguments)
    expected = {
        "accuracy_gap": accuracy.difference(),
        "worst_group_accuracy": accuracy.group_min(),
        "demographic_parity_difference": fairlearn.demographic_parity_difference(**arguments),
        "demographic_parity_difference_to_overall": fairlearn.demographic_parity_difference(method="to_overall", **arguments),
        "demographic_parity_ratio": fairlearn.demographic_parity_ratio(**arguments),
        "equalized_odds_difference": fairlearn.equalized_odds_difference(**arguments),
        "equalized_odds_difference_mean": fairlearn.equalized_odds_difference(agg="mean", **arguments),
        "equal_opportunity_difference": fairlearn.equal_opportunity_difference(**arguments),
    }
    for name, value in expected.items():
        measure = found[f"fair.{name}"]
        if measure.undefined_reason is None:
            assert measure.value == pytest.approx(value, abs=1e-12), name
    assert found["fair.accuracy_gap"].undefined_reason is None


def test_a_cell_without_positives_makes_the_difference_undefined(build: Tables, partition: Columns, indexed: Index) -> None:
    # fairlearn 0.15 reads 1.0 here: a perfect group beside one that has no positives at all.
    table = build([1, 0, 0, 0], [1, 0, 0, 0], [partition(list("aabb"))])
    found = indexed(disparity_measures(table, _settings()))
    for name in ("equalized_odds_difference", "equalized_odds_difference_mean", "equal_opportunity_difference"):
        measure = found[f"fair.{name}"]
        assert math.isnan(measure.value)
        assert measure.undefined_reason == "undefined_cell"
        assert measure.options["left_out"] == {"b": "no_positives"}
    assert found["fair.demographic_parity_difference"].value == 0.5
    assert found["fair.accuracy_gap"].value == 0.0


def test_a_cell_without_negatives_spares_equal_opportunity(build: Tables, partition: Columns, indexed: Index) -> None:
    table = build([1, 0, 1, 1], [1, 0, 1, 0], [partition(list("aabb"))])
    found = indexed(disparity_measures(table, _settings()))
    assert found["fair.equalized_odds_difference"].undefined_reason == "undefined_cell"
    assert found["fair.equal_opportunity_difference"].value == 0.5


def test_small_groups_leave_and_are_named(build: Tables, partition: Columns, indexed: Index) -> None:
    values = ["a"] * 10 + ["b"] * 10 + ["c"] * 3
    label = [0, 1] * 5 + [1] * 2 + [0] * 8 + [1] * 3
    prediction = [0, 1] * 5 + [0] * 10 + [0] * 3
    table = build(label, prediction, [partition(values, ["a", "b", "c", "nobody"])])
    found = indexed(disparity_measures(table, _settings(rows=5)))
    left_out = {"c": "below_n_min", "nobody": "empty_group"}
    worst = found["fair.worst_group_accuracy"]
    assert (worst.value, worst.n, worst.options["worst_group"]) == (0.8, 10, "b")
    assert (worst.options["covers"], worst.options["left_out"]) == (["a", "b"], left_out)
    gap = found["fair.accuracy_gap"]
    assert (gap.options["covers"], gap.options["left_out"]) == (["a", "b"], left_out)
    assert gap.value == pytest.approx(0.2)
    # b has rows enough, but two positives: it leaves the difference that is made of positives, and one group is left.
    opportunity = found["fair.equal_opportunity_difference"]
    assert opportunity.undefined_reason == "single_group"
    assert opportunity.options["left_out"] == {"b": "below_n_min"} | left_out


def test_one_group_has_a_worst_value_and_no_difference(build: Tables, partition: Columns, indexed: Index) -> None:
    found = indexed(disparity_measures(build([0, 1], [0, 0], [partition(["a", "a"])]), _settings()))
    assert found["fair.worst_group_accuracy"].value == 0.5
    assert found["fair.accuracy_gap"].undefined_reason == "single_group"
    assert found["fair.demographic_parity_difference"].undefined_reason == "single_group"
    assert found["fair.demographic_parity_signed"].undefined_reason == "empty_group"


def test_no_group_with_rows_enough(build: Tables, partition: Columns, indexed: Index) -> None:
    found = indexed(disparity_measures(build([0, 1], [0, 0], [partition(["a", "b"])]), _settings(rows=5)))
    assert found["fair.worst_group_accuracy"].undefined_reason == "below_n_min"
    assert found["fair.accuracy_gap"].undefined_reason == "single_group"
    assert found["fair.demographic_parity_signed"].undefined_reason == "below_n_min"


def test_nobody_selected_has_a_difference_and_no_ratio(build: Tables, partition: Columns, indexed: Index) -> None:
    found = indexed(disparity_measures(build([0, 1, 0, 1], [0] * 4, [partition(list("aabb"))]), _settings()))
    assert found["fair.demographic_parity_difference"].value == 0.0
    assert found["fair.demographic_parity_ratio"].undefined_reason == "zero_denominator"


@pytest.mark.parametrize("overlapping", [False, True])
def test_where_the_label_is_the_group_only_accuracies_stay(overlapping: bool, random_table: Tables, indexed: Index) -> None:
    table = random_table(0, overlapping=overlapping)
    table = replace(table, groups=(replace(table.groups[0], is_label=True),))
    found = indexed(disparity_measures(table, _settings(group="g0")))
    for key in LABEL_FREE:
        assert found[key].undefined_reason == "group_is_label"
    if overlapping:
        assert found["fair.demographic_parity_difference/g/g1"].undefined_reason == "group_is_label"
        assert found["fair.accuracy_gap/g/g1"].undefined_reason is None
    else:
        assert found["fair.accuracy_gap"].undefined_reason is None
    assert found["fair.worst_group_accuracy"].undefined_reason is None


@pytest.mark.parametrize("seed", range(10))
def test_overlapping_groups_meet_their_non_members(seed: int, random_table: Tables, indexed: Index) -> None:
    table = random_table(seed, 300, 3, overlapping=True)
    found = indexed(disparity_measures(table, _settings(rows=10, group="g1")))
    rows = list(zip(table.label.tolist(), table.prediction.tolist(), table.groups[0].member.tolist(), strict=True))

    def rate(inside: Callable[[int, bool], bool], hit: Callable[[int, int], bool], group: int, member: bool) -> float:
        chosen = [hit(y, p) for y, p, groups in rows if groups[group] is member and inside(y, groups[group])]
        return sum(chosen) / len(chosen)

    accuracies = []
    for group in range(3):
        sides = (True, False)
        accuracy = [rate(lambda y, m: True, lambda y, p: y == p, group, side) for side in sides]
        selection = [rate(lambda y, m: True, lambda y, p: p == 1, group, side) for side in sides]
        tpr = [rate(lambda y, m: y == 1, lambda y, p: p == 1, group, side) for side in sides]
        fpr = [rate(lambda y, m: y == 0, lambda y, p: p == 1, group, side) for side in sides]
        expected = {
            "accuracy_gap": abs(accuracy[0] - accuracy[1]),
            "error_spread": abs(accuracy[0] - accuracy[1]),
            "demographic_parity_difference": abs(selection[0] - selection[1]),
            "demographic_parity_ratio": min(selection) / max(selection),
            "equal_opportunity_difference": abs(tpr[0] - tpr[1]),
            "equalized_odds_difference": max(abs(tpr[0] - tpr[1]), abs(fpr[0] - fpr[1])),
            "equalized_odds_difference_mean": (abs(tpr[0] - tpr[1]) + abs(fpr[0] - fpr[1])) / 2,
        }
        for name, value in expected.items():
            measure = found[f"fair.{name}/g/g{group}"]
            assert measure.value == pytest.approx(value, abs=1e-12), name
            assert measure.options["variant"] == "member_vs_nonmember"
            assert measure.options["n_member"] + measure.options["n_nonmember"] == 300
            assert found[f"fair.{name}"].undefined_reason == "overlapping_groups"
        accuracies.append(accuracy[0])
        if group == 1:
            assert found["fair.demographic_parity_signed"].value == pytest.approx(selection[0] - selection[1], abs=1e-12)
    worst = found["fair.worst_group_accuracy"]
    assert worst.value == pytest.approx(min(accuracies))
    assert worst.options["worst_group"] == f"g{accuracies.index(min(accuracies))}"
    member = table.groups[0].member
    pooled = float((table.label == table.prediction)[member.any(axis=1)].mean())
    assert worst.options["noise_floor"] == overlapping_worst_floor(member, pooled)


def test_a_pair_gives_the_reason_of_its_small_side(build: Tables, indexed: Index) -> None:
    member = np.array([[True, False]] + [[False, False]] * 9)
    table = build([0, 1] * 5, [0] * 10, [GroupColumn("g", ("rare", "nobody"), member, overlapping=True)])
    found = indexed(disparity_measures(table, _settings(rows=3, group="rare")))
    assert found["fair.accuracy_gap/g/rare"].undefined_reason == "below_n_min"
    assert found["fair.accuracy_gap/g/nobody"].undefined_reason == "empty_group"
    found = indexed(disparity_measures(table, _settings(rows=1, group="rare")))
    assert found["fair.equal_opportunity_difference/g/rare"].undefined_reason == "undefined_cell"


def test_more_than_two_classes_are_one_against_the_rest(random_table: Tables, indexed: Index) -> None:
    table = random_table(5, 300, 3, num_classes=3)
    found = indexed(disparity_measures(table, _settings(rows=5, group="g0")))
    assert found["fair.accuracy_gap"].undefined_reason is None
    assert "fair.accuracy_gap.class_c1" not in found
    names = np.array(table.groups[0].names)[table.groups[0].member.argmax(axis=1)]
    for key in LABEL_FREE:
        assert found[key].undefined_reason == "multiclass"
    for index in range(3):
        arguments: dict[str, Any] = {
            "y_true": (table.label == index).astype(int),
            "y_pred": (table.prediction == index).astype(int),
            "sensitive_features": names,
        }
        odds = found[f"fair.equalized_odds_difference.class_c{index}"].value
        assert odds == pytest.approx(fairlearn.equalized_odds_difference(**arguments), abs=1e-12)
        parity = found[f"fair.demographic_parity_difference.class_c{index}"].value
        assert parity == pytest.approx(fairlearn.demographic_parity_difference(**arguments), abs=1e-12)


def test_floors_stand_beside_the_gaps(random_table: Tables, indexed: Index) -> None:
    table = random_table(7, 400, 4)
    found = indexed(disparity_measures(table, _settings(group="g0")))
    sizes = table.groups[0].member.sum(axis=0).tolist()
    accuracy = float((table.label == table.prediction).mean())
    assert found["fair.accuracy_gap"].options["noise_floor"] == pytest.approx(gap_noise_floor(sizes, accuracy))
    assert found["fair.error_spread"].options["noise_floor"] == pytest.approx(gap_noise_floor(sizes, accuracy), abs=1e-9)
    assert found["fair.worst_group_accuracy"].options["noise_floor"] == pytest.approx(worst_rate_floor(sizes, accuracy))
    assert found["fair.worst_group_error"].options["noise_floor"] == pytest.approx(1 - worst_rate_floor(sizes, accuracy))
    odds, opportunity = found["fair.equalized_odds_difference"], found["fair.equal_opportunity_difference"]
    assert odds.options["noise_floor"] > opportunity.options["noise_floor"] > 0
    assert found["fair.demographic_parity_difference_to_overall"].options["noise_floor"] > 0
    assert found["fair.demographic_parity_signed"].options["noise_floor"] > 0


def test_rows_of_left_out_groups_stay_in_the_overall_rate(build: Tables, partition: Columns, indexed: Index) -> None:
    values = ["a"] * 10 + ["b"] * 10 + ["c"] * 4
    table = build([0, 1] * 12, [1] * 5 + [0] * 15 + [1] * 4, [partition(values)])
    measure = indexed(disparity_measures(table, _settings(rows=10)))["fair.demographic_parity_difference_to_overall"]
    assert measure.value == pytest.approx(9 / 24)
    assert (measure.options["covers"], measure.options["overall"]) == (["a", "b"], 9 / 24)
    assert measure.options["noise_floor"] == overall_noise_floor([10, 10], 4, 9 / 24)


def test_groups_that_differ_by_luck_alone_read_their_floor(partition: Columns, build: Tables, indexed: Index) -> None:
    rng = np.random.default_rng(0)
    gaps, floors = [], []
    for _ in range(80):
        label = rng.integers(0, 2, 200)
        prediction = np.where(rng.random(200) < 0.85, label, 1 - label)
        table = build(label.tolist(), prediction.tolist(), [partition([f"g{row % 4}" for row in range(200)])])
        measure = indexed(disparity_measures(table, _settings(group="g0")))["fair.equalized_odds_difference"]
        gaps.append(measure.value)
        floors.append(measure.options["noise_floor"])
    assert np.mean(gaps) == pytest.approx(np.mean(floors), abs=0.025)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (MeasureSettings(1, "h", "a"), "minority attribute must be in the predictions"),
        (MeasureSettings(1, "g", "aa"), "minority group must be one of 'g' .got 'aa'"),
    ],
)
def test_an_unknown_minority_is_refused(settings: MeasureSettings, rule: str, build: Tables, partition: Columns) -> None:
    with pytest.raises(DataError, match=rule):
        disparity_measures(build([0, 1], [0, 1], [partition(["aaa", "b"])]), settings)
