"""Directions, scales, bounds and default reference points of objectives."""

from __future__ import annotations

import numpy as np
import pytest

from lfray.errors import LfrayError
from lfray.names import ACCURACY, METRICS, TRAINABLE_PARAMETERS, Better
from lfray.pareto.objective import bounds, objective, objectives_of


def test_a_metric_knows_its_direction() -> None:
    assert objective("fair.worst_group_accuracy").metric.better is Better.HIGHER
    assert objective("cost.trainable_parameters", Better.LOWER).metric.better is Better.LOWER


def test_a_wrong_direction_is_refused_with_the_reason() -> None:
    with pytest.raises(LfrayError, match=r"lower is better here, because .* \(got maximize\)\. Use minimize"):
        objective("cost.trainable_parameters", Better.HIGHER)
    with pytest.raises(LfrayError, match=r"higher is better here, because .* \(got minimize\)\. Use maximize"):
        objective("accuracy", Better.LOWER)


def test_a_description_takes_the_direction_it_is_given_and_needs_one() -> None:
    assert objective("selection_rate", Better.HIGHER).metric.better is Better.HIGHER
    with pytest.raises(LfrayError, match="State maximize or minimize"):
        objective("selection_rate")


def test_keys_are_normalised() -> None:
    assert objective("accuracy/race/African American").key == "accuracy/race/African:20:American"
    assert objective("accuracy/race/African:20:American").key == "accuracy/race/African:20:American"
    assert objective("validation.accuracy").key == "validation.accuracy"


def test_number_of_objectives() -> None:
    keys = ["accuracy", "error_rate", "f1", "precision", "macro_f1", "cross_entropy"]
    assert [item.key for item in objectives_of([keys[0], objective(keys[1])])] == keys[:2]
    for asked in ([], keys):
        with pytest.raises(LfrayError, match=r"one \(a ranking\) to five"):
            objectives_of(asked)
    with pytest.raises(LfrayError, match="each counts once"):
        objectives_of(["accuracy", "accuracy"])
    with pytest.raises(LfrayError, match=r"Did you mean 'accuracy'\?"):
        objectives_of(["acuracy"])


def test_counts_are_logarithmic_and_keep_zero() -> None:
    cost = objective(TRAINABLE_PARAMETERS.key)
    assert cost.scale == "log10(1+x)"
    assert cost.scaled(np.array([0.0, 9.0, 999.0])).tolist() == pytest.approx([0.0, 1.0, 3.0])
    assert objective(ACCURACY.key).scale == "raw"


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("accuracy", [0.8, 0.9], 0.0),
        ("fair.accuracy_gap", [0.1], 1.0),
        ("fair.harmful_bias_gap/a/b", [-0.1], 1.0),
        ("calib.brier", [0.1], 2.0),
        ("cost.train_seconds", [1.0, 10.0], 11.0),
        ("cost.train_seconds", [0.0], 0.1),
        ("cost.tokens_per_second", [100.0, 400.0], 90.0),
        ("cost.trainable_parameters", [99.0, 999.0], 10**3.3 - 1),
        ("cost.trainable_parameters", [], 10**0.1 - 1),
    ],
)
def test_default_reference(key: str, values: list[float], expected: float) -> None:
    assert objective(key).default_reference(np.array(values)) == pytest.approx(expected)


def test_every_bounded_metric_is_a_share_or_gap() -> None:
    assert {metric.unit for metric in METRICS.values() if bounds(metric) is not None} == {"1"}
    assert bounds(METRICS["margin.mean"]) is None
    assert bounds(METRICS["margin.q05"]) is None
    assert bounds(METRICS["cross_entropy"]) is None
    assert bounds(METRICS["calib.ece_top_null_corrected"]) == (-1.0, 1.0)
