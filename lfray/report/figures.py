"""The figure of a front: trials over two objectives with the staircase of the best, or a ranking for one objective."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.cbook import pts_to_poststep, pts_to_prestep
from matplotlib.lines import Line2D

from lfray.names import Better
from lfray.report.canvas import (
    INK,
    LINES,
    METHOD_LOOK,
    MUTED,
    apply_scale,
    axis_label,
    new_figure,
    place_labels,
    plain_axes,
    styled,
)
from lfray.report.groups import method_of
from lfray.report.wording import display_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lfray.pareto.front import Front
    from lfray.pareto.objective import Objective

MAX_LABELS: Final = 14
MAX_RANKED: Final = 25


def front_figure(front: Front) -> Figure:
    """The trials over two objectives with the front as a staircase; for one objective a ranking.

    Marker and colour name the method, size the downsampling ratio; trials on the front are filled and labelled, dominated ones
    pale, and a trial without a value on one axis stands hollow at its edge. With three objectives or more the plane shows two of
    them (a cost on x where there is one) and no staircase, since the front is no line there.
    """
    with styled():
        return _ranking(front) if len(front.objectives) == 1 else _plane(front)


def axes_of(front: Front) -> tuple[Objective, Objective]:
    """Which objectives stand on x and y: the first cost on x, the first other on y."""
    cost = next((o for o in front.objectives if o.metric.key.startswith("cost.")), front.objectives[-1])
    return cost, next(o for o in front.objectives if o is not cost)


def _plane(front: Front) -> Figure:
    across, up = axes_of(front)
    table = front.table
    known = table[table["pareto_rank"].notna()]
    figure = new_figure(8.0, 5.0)
    axes = figure.subplots()
    plain_axes(axes)
    apply_scale(axes, "x", across, table[across.key].to_numpy(dtype=np.float64))
    apply_scale(axes, "y", up, table[up.key].to_numpy(dtype=np.float64))
    sizes = _sizes(table)
    _scatter(axes, known, across, up, sizes)
    if len(front.objectives) == 2:
        _staircases(axes, front, across, up)
    _edge_marks(axes, table[table["pareto_rank"].isna()], across, up)
    axes.set_xlabel(axis_label(across), color=INK)
    axes.set_ylabel(axis_label(up), color=INK)
    beyond = "" if len(front.objectives) == 2 else f" (front over {len(front.objectives)} objectives, two of them shown)"
    title = f"{display_name(up.key)} against {display_name(across.key)}{beyond}"
    axes.set_title(title[0].upper() + title[1:], loc="left", color=INK, fontsize=11)
    note = figure.supxlabel(_note(front, 0), x=0.01, ha="left", fontsize=8, color=MUTED)
    figure.legend(handles=_legend(front, sizes), loc="outside right upper", frameon=False, fontsize=8, labelspacing=0.7)
    note.set_text(_note(front, _write_labels(axes, front, known, (across, up))))
    if not len(known):
        axes.text(0.5, 0.5, "no trial can be compared yet", transform=axes.transAxes, ha="center", color=MUTED, fontsize=11)
    return figure


def _write_labels(axes: Axes, front: Front, known: pd.DataFrame, shown_on: tuple[Objective, Objective]) -> int:
    across, up = shown_on
    shown = front.trials.drop_duplicates([across.key, up.key, "method_label"]).head(MAX_LABELS)
    labels = [(row[across.key], row[up.key], text) for row, text in zip(_rows(shown), _labels(shown, front.table), strict=True)]
    points = known[[across.key, up.key]].to_numpy(dtype=np.float64).tolist()
    return place_labels(axes, labels, points, good=(-int(across.sign), -int(up.sign)))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _sizes(table: pd.DataFrame) -> dict[float, float]:
    """Marker area for each downsampling ratio, largest for 1: ratios stay told apart in black and white."""
    ratios = sorted(set(table["downsampling_ratio"].dropna()), reverse=True)
    areas = np.linspace(72.0, 18.0, max(len(ratios), 1))
    return dict(zip(ratios, areas, strict=False)) if len(ratios) > 1 else dict.fromkeys(ratios, 48.0)


def _scatter(axes: Axes, known: pd.DataFrame, across: Objective, up: Objective, sizes: Mapping[float, float]) -> None:
    for (label, ratio, on_front), part in known.fillna({"downsampling_ratio": 1.0}).groupby(
        ["method_label", "downsampling_ratio", "on_front"], sort=True
    ):  # fmt: skip
        color, marker = METHOD_LOOK[method_of(str(label))]
        axes.scatter(
                part[across.key], part[up.key], s=sizes.get(float(str(ratio)), 48.0), marker=marker, color=color,
                alpha=1.0 if on_front else 0.32, edgecolors="black" if on_front else color,
                linewidths=0.9 if on_front else 0.5, zorder=5 if on_front else 3,
            )  # fmt: skip


def _staircases(axes: Axes, front: Front, across: Objective, up: Objective) -> None:
    """The border of what each front dominates: a horizontal run from each trial towards the worse side of x."""
    for index, (_, points) in enumerate(_fronts(front)):
        points = points.sort_values([across.key, up.key]).drop_duplicates(across.key)
        xs, ys = points[across.key].to_numpy(dtype=float), points[up.key].to_numpy(dtype=float)
        worst_x = axes.get_xlim()[0 if across.metric.better is Better.HIGHER else 1]
        worst_y = axes.get_ylim()[0 if up.metric.better is Better.HIGHER else 1]
        if across.metric.better is Better.LOWER:
            corners = pts_to_poststep(np.r_[xs[:1], xs, worst_x], np.r_[worst_y, ys, ys[-1:]])
        else:
            corners = pts_to_prestep(np.r_[worst_x, xs, xs[-1:]], np.r_[ys[:1], ys, worst_y])
        axes.plot(*corners, color=INK, linewidth=1.3, linestyle=LINES[index % len(LINES)], zorder=4)
        axes.fill_between(corners[0], corners[1], worst_y, color=MUTED, alpha=0.07, linewidth=0, zorder=1)


def _fronts(front: Front) -> list[tuple[str, pd.DataFrame]]:
    """Each comparison class with its front's rows."""
    if not len(front.trials):
        return []
    if not front.separates_hardware:
        return [("", front.trials)]
    return [(str(key), rows) for key, rows in front.trials.groupby("hardware_key", sort=True)]


def _edge_marks(axes: Axes, undefined: pd.DataFrame, across: Objective, up: Objective) -> None:
    """Hollow markers on the edge of the axis on which a trial has no value, where it has one on the other."""
    for row in _rows(undefined):
        color, marker = METHOD_LOOK[method_of(row["method_label"])]
        x, y = row[across.key], row[up.key]
        look: dict[str, Any] = {
            "marker": marker,
            "facecolors": "white",
            "edgecolors": color,
            "s": 40,
            "clip_on": False,
            "zorder": 5,
        }
        if np.isfinite(x) and not np.isfinite(y):
            axes.scatter([x], [0.0], transform=axes.get_xaxis_transform(), **look)
        elif np.isfinite(y) and not np.isfinite(x):
            axes.scatter([0.0], [y], transform=axes.get_yaxis_transform(), **look)


def _labels(shown: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Method, and of ratio and seed what varies in the sweep."""
    several_ratios = table["downsampling_ratio"].nunique() > 1
    several_seeds = table["seed"].nunique() > 1
    texts = []
    for row in _rows(shown):
        ratio, seed = row["downsampling_ratio"], row["seed"]
        parts = [row["method_label"]]
        parts += [f"ratio {ratio:g}"] if several_ratios and np.isfinite(ratio) else []
        parts += [f"seed {seed}"] if several_seeds and isinstance(seed, int) else []
        texts.append(", ".join(parts))
    return texts


def _note(front: Front, num_labels: int) -> str:
    total, found = len(front.table), int(front.table["on_front"].sum())
    text = f"{total} trials, {found} on the front"
    text += "." if not found else " (labelled)." if num_labels >= found else f" ({num_labels} of them labelled)."
    reasons = Counter(item.meaning for item in {u.trial_id: u for u in front.undefined}.values())
    if reasons:
        text += " Apart, hollow where one axis is known: " + "; ".join(f"{n} x {why}" for why, n in sorted(reasons.items())) + "."
    return textwrap.fill(text, 128)


def _legend(front: Front, sizes: Mapping[float, float]) -> list[Line2D]:
    def mark(label: str, color: str, marker: str, area: float = 48.0, **more: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, color=color, marker=marker, markersize=area**0.5, **more)

    present = {method_of(label) for label in front.table["method_label"]}
    handles = [mark(name, *METHOD_LOOK[name]) for name in METHOD_LOOK if name in present]
    if len(sizes) > 1:
        handles += [mark(f"ratio {ratio:g}", MUTED, "o", area) for ratio, area in sizes.items()]
    if len(front.objectives) == 2:
        for index, (key, _) in enumerate(_fronts(front)):
            label = f"front, {key}" if key else "front"
            handles.append(Line2D([], [], color=INK, linewidth=1.3, linestyle=LINES[index % len(LINES)], label=label))
    if (front.table["pareto_rank"] > 0).any():
        handles.append(mark("dominated", MUTED, "o", alpha=0.32))
    if front.undefined:
        handles.append(mark("undefined", MUTED, "o", 40.0, markerfacecolor="white"))
    return handles


def _ranking(front: Front) -> Figure:
    """One objective: the best trials from the top, one line each."""
    (objective,) = front.objectives
    shown = front.table[front.table["pareto_rank"].notna()].head(MAX_RANKED)
    figure = new_figure(8.0, 1.6 + 0.24 * max(len(shown), 3))
    axes = figure.subplots()
    plain_axes(axes)
    apply_scale(axes, "x", objective, shown[objective.key].to_numpy(dtype=np.float64))
    for place, row in enumerate(_rows(shown)):
        color, marker = METHOD_LOOK[method_of(row["method_label"])]
        axes.scatter(
            [row[objective.key]], [place], color=color, marker=marker, s=48, edgecolors="black", linewidths=0.8, zorder=3
        )
    axes.set_yticks(range(len(shown)), [f"{row['pareto_rank'] + 1}. {row['label']}" for row in _rows(shown)])
    axes.set_ylim(max(len(shown), 3) - 0.5, -0.5)
    axes.set_xlabel(axis_label(objective), color=INK)
    axes.set_title(f"ranking by {display_name(objective.key)}", loc="left", color=INK, fontsize=11)
    note = f"{len(shown)} of {len(front.table)} trials shown; {len(front.undefined)} failed or undefined."
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=MUTED)
    return figure
