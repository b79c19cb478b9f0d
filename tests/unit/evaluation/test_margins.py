from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lfray.evaluation.cells import cells
from lfray.evaluation.intervals import wilson
from lfray.evaluation.margins import margin_measures, margins
from lfray.record import Measure, Predictions


def test_margin_is_the_label_against_the_best_other() -> None:
    scores = np.array([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [3.0, 3.0, 0.0]])
    before = scores.copy()
    assert margins(scores, np.array([1, 2, 0])).tolist() == [2.0, -2.0, 0.0]
    assert (scores == before).all()


@pytest.mark.parametrize("num_classes", [2, 5])
def test_summaries_equal_sorting_by_hand(
    num_classes: int, random_table: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    table = random_table(4, 101, 2, num_classes=num_classes)
    found = indexed(margin_measures(table, cells(table), "test"))
    logits = table.logits.astype(float)
    by_hand, near = [], []
    for row, label in zip(logits, table.label, strict=True):
        others = [value for index, value in enumerate(row) if index != label]
        by_hand.append(row[label] - max(others))
        p = np.exp(row) / np.exp(row).sum()
        near.append(abs(p[label] - max(np.delete(p, label))) <= 0.1)
    ordered = sorted(by_hand)
    assert found["margin.mean"].value == pytest.approx(sum(by_hand) / 101)
    # 101 rows: the quantiles are single rows.
    for level in (5, 25, 50, 75, 95):
        assert found[f"margin.q{level:02d}"].value == pytest.approx(ordered[level])
    assert found["margin.share_within_0_1"].value == pytest.approx(np.mean(near))
    assert found["margin.share_within_0_1"].interval == pytest.approx(wilson(float(np.mean(near)), 101))
    member = table.groups[0].member[:, 1]
    assert found["margin.mean/g/g1"].value == pytest.approx(np.asarray(by_hand)[member].mean())
    assert found["margin.mean/g/g1"].n == member.sum()


def test_no_rows_and_no_scores_have_a_reason(
    build: Callable[..., Predictions], indexed: Callable[..., dict[str, Measure]]
) -> None:
    for table, reason in ((build([], []), "empty_group"), (build([0], [0], logits=np.zeros((1, 0))), "no_scores")):
        found = indexed(margin_measures(table, cells(table), "test"))
        assert {measure.undefined_reason for measure in found.values()} == {reason}
        assert len(found) == 7
