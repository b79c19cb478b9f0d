"""What the figure of accuracy by group shows, read back from its artists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lfray.names import ACCURACY
from lfray.record import defined
from lfray.report.canvas import figure_bytes
from lfray.report.group_figure import MAX_GROUPS, group_accuracy_figure
from tests.unit.records import make_record
from tests.unit.report.sweep import HOSTILE, small_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text().strip() for text in figure.legends[0].get_texts()]


def test_one_panel_a_method_with_means_seeds_and_the_bayes_line() -> None:
    records = small_sweep()
    figure = group_accuracy_figure(records, "sentiment", bayes={"negative": 0.95}, first="negative")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["head", "lora-r2", "lora-r8", "lora-r64"]
    minority, bayes, majority = panels[1].lines
    means = [np.mean([0.9 - seed / 1000 - 0.1 / ratio - 0.02 / 3 for seed in (13, 42)]) for ratio in (0.5, 1.0)]
    assert np.asarray(minority.get_xdata()).tolist() == [0.5, 1.0]
    assert np.asarray(minority.get_ydata()).tolist() == pytest.approx(means)
    assert np.asarray(majority.get_ydata()).tolist() == pytest.approx([0.8725, 0.8725])
    assert set(np.asarray(bayes.get_ydata()).tolist()) == {0.95}
    assert bayes.get_linestyle() == ":"
    assert bayes.get_color() == minority.get_color()
    assert [len(points.get_offsets()) for points in panels[1].collections] == [4, 4]  # type: ignore[arg-type]
    assert legend(figure) == ["negative", "positive", "Bayes-optimal"]


def test_the_untouched_base_is_a_level_line() -> None:
    base = make_record("base", measures=[defined(ACCURACY, 0.5, attribute="sentiment", group="negative", n=40)])
    figure = group_accuracy_figure([*small_sweep(), base], "sentiment")
    panel = figure.axes[0]
    assert panel.get_title(loc="left") == "base (not trained)"
    assert {float(y) for line in panel.lines for y in np.asarray(line.get_ydata())} == {0.5}


def test_more_groups_than_colours_are_named_not_drawn() -> None:
    measures = [defined(ACCURACY, 0.5, attribute="target", group=f"g{index}", n=100 - index) for index in range(10)]
    figure = group_accuracy_figure([make_record(measures=measures)], "target", first="g9")
    assert legend(figure) == ["g9", *(f"g{index}" for index in range(MAX_GROUPS - 1)), "3 more groups in the table"]


def test_hostile_names_and_empty_sweeps_draw_without_warning() -> None:
    hostile = [
        make_record(
            measures=[defined(ACCURACY, 0.5, attribute="a", group=name, n=5) for name in (HOSTILE, "_hidden", "$x^{$", "")]
        )
    ]
    for records, attribute in ((hostile, "a"), ([], "sentiment"), (small_sweep(), "no such attribute")):
        assert figure_bytes(group_accuracy_figure(records, attribute), "svg").startswith(b"<?xml")
