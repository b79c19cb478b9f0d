"""What every figure shares: colours that survive colour blindness and a photocopier, axes, labels that do not collide, saving.

Figures are built on matplotlib's objects alone (no pyplot, so no global state and no display). Files are the same to the byte for
the same input: no date, no version and a fixed salt in the SVG.
"""

from __future__ import annotations

import io
import itertools
import math
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from lfray.report.wording import short_count, with_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from lfray.pareto.objective import Objective

    Floats = NDArray[np.float64]

DPI: Final = 150

INK, MUTED, GRID = "#1a1a1a", "#5c6470", "#dfe3e8"

# Okabe and Ito 2008: told apart with any of the common colour deficiencies. Yellow is left out: too pale on white.
OKABE_ITO: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)))

METHOD_LOOK: Final = {
    "base": ("#000000", "X"),
    "head": ("#E69F00", "s"),
    "lora": ("#0072B2", "o"),
    "dora": ("#CC79A7", "D"),
    "qlora": ("#56B4E9", "v"),
    "full": ("#009E73", "^"),
}
"""Colour and marker of each method; each differs in both, so either alone is enough."""

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so the same everywhere
    "font.size": 9.0,
    "svg.hashsalt": "lfray",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar sign in a group's name is a dollar sign
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) that keeps its labels and legend inside."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """Two spines, a faint grid below the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5)


def axis_label(objective: Objective) -> str:
    """Name, unit, scale and which way is good."""
    scale = "" if objective.scale == "raw" else ", log10(1 + x) axis"
    return f"{with_unit(objective)}{scale} ({objective.metric.better.value} is better)"


def apply_scale(axes: Axes, which: Literal["x", "y"], objective: Objective, values: Floats) -> None:
    """Give the x or y axis the objective's scale and limits that leave 7 % free around the finite values.

    A count's ticks are 0 and the powers of ten, or 1-2-5 steps where fewer than two powers fit.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    is_count = objective.scale != "raw"
    forward, backward = (_log1p, _power1m) if is_count else (np.asarray, np.asarray)
    finite = np.asarray(values)[np.isfinite(values)]
    if is_count:
        (axes.set_xscale if which == "x" else axes.set_yscale)("function", functions=(_log1p, _power1m))
        axis.set_major_locator(FixedLocator(_count_ticks(finite)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    if len(finite):
        low, high = float(forward(finite.min())), float(forward(finite.max()))
        free = 0.07 * (high - low) or 0.1 * abs(high) or 0.1
        set_limits(*(float(backward(np.array(edge))) for edge in (low - free, high + free)))


def _log1p(values: Floats) -> Floats:
    # The margin left of 0 lies between -1 and 0, where the scale is still defined.
    return np.log10(1.0 + np.maximum(values, -0.999))


def _power1m(values: Floats) -> Floats:
    return np.asarray(10.0**values - 1.0)


def _count_ticks(values: Floats) -> list[float]:
    if not len(values):
        return [0.0, 10.0]
    low, high = float(values.min()), float(values.max())
    top = max(1, math.ceil(math.log10(1.0 + high)))
    tens = [10.0**power for power in range(top + 1)]
    inside = [tick for tick in tens if low <= tick <= high]
    if len(inside) >= 2:
        return [0.0, *tens]
    return [0.0, *(step * ten for ten in tens for step in (1.0, 2.0, 5.0))]


_STEPS: Final = (7, 20, 38, 60)
_LABEL_POINTS: Final = 8
_MOST_HIDDEN: Final = 100.0


def _offsets(right: int, up: int) -> list[tuple[int, int]]:
    """Offsets in points, nearest first; at each distance the good corner before its neighbours."""
    corners = [(right, up), (right, 0), (0, up), (-right, up), (right, -up), (-right, 0), (0, -up), (-right, -up)]
    return [(step * x, round(step * y * (1.0 if x else 1.5))) for step in _STEPS for x, y in corners]


def place_labels(
    axes: Axes, labels: Sequence[tuple[float, float, str]], others: Iterable[Sequence[float]], *, good: tuple[int, int]
) -> int:
    """Write a label beside each point (x, y, text) where it covers no other label, few points, and stays inside the axes.

    Greedy and in a fixed order, so the figure is the same from run to run. A label without room is left out,
    and so is one that would hide a crowd.

    Args:
        axes: Where; its limits must be settled.
        labels: Points and their texts.
        others: Points (x, y) that a label should not cover.
        good: Signs of the better side of x and y: beyond a point of the front nothing can stand there.

    Returns:
        How many labels were written.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    settle(figure)
    to_pixels = axes.transData.transform
    pixels = np.vstack([to_pixels(np.array([*others], dtype=np.float64).reshape(-1, 2)), _along_lines(axes)])
    labelled = to_pixels(np.array([(x, y) for x, y, _ in labels], dtype=np.float64).reshape(-1, 2))
    frame = axes.get_window_extent()
    taken: list[Bbox] = []
    for (x, y, text), (at_x, at_y) in zip(labels, labelled, strict=True):
        width, height = _text_size(axes, text)
        best: tuple[float, tuple[int, int], Bbox] | None = None
        for rank, (dx, dy) in enumerate(_offsets(*good)):
            left = at_x + dx * DPI / 72 - width * (0.5 - 0.5 * np.sign(dx))
            low = at_y + dy * DPI / 72 - height * (0.5 - 0.5 * np.sign(dy))
            box = Bbox.from_bounds(left, low, width, height)
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
            if outside or any(box.overlaps(other) for other in taken):
                continue
            # A label beside somebody else's labelled point reads as that point's: worse than hiding a few pale ones.
            cost = 4.0 * _inside(box, pixels) + 40.0 * _inside(box.padded(6), labelled) + 0.5 * rank
            if cost < _MOST_HIDDEN and (best is None or cost < best[0]):
                best = (cost, (dx, dy), box)
        if best is not None:
            _write_label(axes, (x, y), best[1], text)
            taken.append(best[2].padded(4))
    return len(taken)


def _along_lines(axes: Axes) -> Floats:
    """A pixel every few along each line drawn, so that labels keep off them too."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        corners = axes.transData.transform(np.asarray(line.get_xydata(), dtype=np.float64))
        for start, end in itertools.pairwise(corners):
            steps = np.linspace(0.0, 1.0, 2 + int(np.abs(end - start).max() // 12))
            found.append(start + steps[:, None] * (end - start))
    return np.vstack(found)


def _inside(box: Bbox, pixels: Floats) -> int:
    return int(((pixels >= (box.x0, box.y0)) & (pixels <= (box.x1, box.y1))).all(axis=1).sum())


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    """Pixels that a label takes, measured by writing it and taking it away."""
    note = axes.text(0.5, 0.5, text, transform=axes.transAxes, fontsize=_LABEL_POINTS)
    extent = note.get_window_extent()
    note.remove()
    return extent.width + 4, extent.height + 4


def _write_label(axes: Axes, point: tuple[float, float], offset: tuple[int, int], text: str) -> None:
    dx, dy = offset
    far = max(abs(dx), abs(dy)) > 11
    axes.annotate(
        text, point, offset, textcoords="offset points", fontsize=_LABEL_POINTS, color=INK, zorder=6,
        ha="center" if dx == 0 else "left" if dx > 0 else "right",
        va="center" if dy == 0 else "bottom" if dy > 0 else "top",
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if far else None,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
    )  # fmt: skip


def settle(figure: Figure) -> None:
    """Lay the figure out once and hold it there: each later drawing would do it again (half of a save's time, measured)."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The file of a figure, `png` (150 dpi) or `svg` (text as outlines); the same bytes for the same figure."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context(_STYLE):
        settle(figure)
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save_figure(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg` into an existing folder; the paths, in this order."""
    paths = []
    for kind in ("png", "svg"):
        path = folder / f"{stem}.{kind}"
        path.write_bytes(figure_bytes(figure, kind))
        paths.append(path)
    return paths


def styled() -> Any:
    """Context in which a figure is built and saved: one font, no mathematics in texts."""
    return rc_context(_STYLE)
