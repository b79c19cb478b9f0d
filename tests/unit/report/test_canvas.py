"""Scales, labels and files that every figure shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lfray.pareto.objective import objective
from lfray.report.canvas import METHOD_LOOK, apply_scale, figure_bytes, new_figure, place_labels, save_figure

COUNT = objective("cost.trainable_parameters")


def test_zero_has_a_place_on_a_count_axis() -> None:
    axes = new_figure(4, 3).subplots()
    apply_scale(axes, "x", COUNT, np.array([0.0, 1e6]))
    low, high = axes.get_xlim()
    assert -1 < low < 0
    assert high > 1e6
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == [0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6]
    place = axes.transData.transform([(0.0, 0.0), (9.0, 0.0), (99.0, 0.0)])[:, 0]
    assert place[1] - place[0] == pytest.approx(place[2] - place[1])


def test_a_narrow_count_axis_has_ticks_too() -> None:
    axes = new_figure(4, 3).subplots()
    apply_scale(axes, "x", COUNT, np.array([1.5e5, 6e5]))
    low, high = axes.get_xlim()
    assert len([tick for tick in axes.get_xticks() if low <= tick <= high]) >= 2


def test_axes_without_values_or_spread() -> None:
    for values in (np.array([]), np.array([np.nan]), np.array([5.0]), np.array([0.0])):
        for which in ("x", "y"):
            axes = new_figure(4, 3).subplots()
            apply_scale(axes, which, COUNT, values)
            low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
            assert low < high


def test_methods_differ_in_colour_and_in_marker() -> None:
    colors, markers = zip(*METHOD_LOOK.values(), strict=True)
    assert len(set(colors)) == len(set(markers)) == len(METHOD_LOOK)


def test_labels_stay_inside_and_do_not_collide() -> None:
    figure = new_figure(6, 4)
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    labels = [(float(x), float(y), f"lora-r{index}, ratio 0.05") for index, (x, y) in enumerate(rng.random((10, 2)))]
    axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    written = place_labels(axes, labels, rng.random((100, 2)).tolist(), good=(-1, 1))
    boxes = [text.get_window_extent() for text in axes.texts]
    frame = axes.get_window_extent()
    assert written == len(boxes) > 5
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_a_label_without_room_is_left_out() -> None:
    axes = new_figure(2, 2).subplots()
    assert place_labels(axes, [(0.5, 0.5, "x" * 400)], [], good=(1, 1)) == 0
    assert place_labels(axes, [], [], good=(1, 1)) == 0


def test_files_are_the_same_to_the_byte(tmp_path: Path) -> None:
    def draw() -> list[bytes]:
        figure = new_figure(3, 2)
        figure.subplots().plot([1, 2], label="$not maths_")
        return [figure_bytes(figure, kind) for kind in ("png", "svg")]

    first, second = draw(), draw()
    assert first == second
    assert b"<dc:date>" not in first[1]
    figure = new_figure(3, 2)
    assert [path.name for path in save_figure(figure, tmp_path, "x")] == ["x.png", "x.svg"]
