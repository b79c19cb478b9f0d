"""What the front's figure shows, read back from its artists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lfray.pareto.front import front_of
from lfray.report.canvas import figure_bytes
from lfray.report.figures import axes_of, front_figure
from tests.unit.records import make_record
from tests.unit.report.sweep import OBJECTIVES, SECONDS, SIZE, WORST, small_sweep, trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = "fair.accuracy_gap"


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_comparable_trial_is_drawn_once() -> None:
    front = front_of(small_sweep(), OBJECTIVES)
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in front_figure(front).axes[0].collections[:-2]])
    known = front.table[front.table["pareto_rank"].notna()]
    shown = {(float(x), float(y)) for x, y in drawn}
    assert {(x, y) for x, y in known[[SIZE, WORST]].to_numpy()} <= shown


def test_front_trials_are_labelled_and_the_rest_is_in_the_legend() -> None:
    figure = front_figure(front_of(small_sweep(), OBJECTIVES))
    assert sorted(texts(figure)) == [
        "head, ratio 1, seed 13", "lora-r2, ratio 1, seed 13", "lora-r64, ratio 1, seed 13", "lora-r8, ratio 1, seed 13",
    ]  # fmt: skip
    assert legend(figure) == ["head", "lora", "dora", "full", "ratio 1", "ratio 0.5", "front", "dominated", "undefined"]
    note = figure.get_supxlabel().replace("\n", " ")
    assert note.startswith("18 trials, 4 on the front (labelled).")
    assert "1 x fewer than two covered groups; 1 x the trial failed" in note


def test_the_staircase_passes_through_the_front() -> None:
    front = front_of(small_sweep(), OBJECTIVES)
    (line,) = front_figure(front).axes[0].lines
    corners = {(float(x), float(y)) for x, y in np.asarray(line.get_xydata())}
    assert {(x, y) for x, y in front.trials[[SIZE, WORST]].to_numpy()} <= corners


def test_a_trial_without_a_value_stands_hollow_at_the_edge() -> None:
    axes = front_figure(front_of(small_sweep(), OBJECTIVES)).axes[0]
    hollow = [points for points in axes.collections if np.allclose(np.asarray(points.get_facecolor())[:1, :3], 1.0)]
    assert [np.asarray(points.get_offsets()).tolist() for points in hollow] == [[[500.0, 0.0]]]


def test_cost_stands_on_x_whatever_the_order() -> None:
    for asked in (OBJECTIVES, OBJECTIVES[::-1]):
        across, up = axes_of(front_of(small_sweep(), asked))
        assert (across.key, up.key) == (SIZE, WORST)
    two = [WORST, GAP]
    across, up = axes_of(front_of(small_sweep(), two))
    assert (across.key, up.key) == (GAP, WORST)


def test_other_shapes_of_fronts_draw_without_warning() -> None:
    machines = [
        *small_sweep(),
        *(make_record(rank=r, seed=r, hardware_key="h2", measures={WORST: 0.5, SECONDS: r}) for r in (1, 2)),
    ]
    for records, objectives in (
        (small_sweep(), [WORST]),
        (small_sweep(), [SIZE]),
        (small_sweep(), [WORST, GAP, SIZE, SECONDS]),
        (small_sweep(), [GAP, WORST]),
        (machines, [WORST, SECONDS]),
        ([trial("full", 0, 1.0, 1)], OBJECTIVES),
        ([], OBJECTIVES),
        ([], [WORST]),
    ):
        assert figure_bytes(front_figure(front_of(records, objectives)), "png").startswith(b"\x89PNG")


def test_each_machine_has_a_staircase_of_its_own() -> None:
    others = [make_record(rank=r, seed=r, hardware_key="h2", measures={WORST: 0.5 + r / 10, SECONDS: float(r)}) for r in (1, 2)]
    figure = front_figure(front_of([*small_sweep(), *others], [WORST, SECONDS]))
    assert len(figure.axes[0].lines) == 2
    assert {"front, cpu-test", "front, h2"} <= set(legend(figure))


def test_more_than_two_objectives_have_no_staircase() -> None:
    figure = front_figure(front_of(small_sweep(), [WORST, SIZE, GAP]))
    assert len(figure.axes[0].lines) == 0
    assert "front over 3 objectives" in figure.axes[0].get_title(loc="left")


def test_no_trial_yet_is_said() -> None:
    assert texts(front_figure(front_of([], OBJECTIVES))) == ["no trial can be compared yet"]


def test_a_ranking_lists_the_best_first() -> None:
    axes = front_figure(front_of(small_sweep(), [WORST])).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "1. lora-r64 ratio-1 seed-13"
    assert len(labels) == 16
