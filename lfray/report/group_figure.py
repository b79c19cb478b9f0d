"""The figure of accuracy by group against the downsampling ratio, one panel a method (paper A's Figure 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lfray.names import ACCURACY
from lfray.report.canvas import INK, LINES, MARKERS, MUTED, OKABE_ITO, new_figure, plain_axes, styled
from lfray.report.groups import group_accuracy, groups_by_support

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lfray.record import TrialRecord

MAX_GROUPS: Final = len(OKABE_ITO)
PANELS_A_ROW: Final = 4


def group_accuracy_figure(
    records: Sequence[TrialRecord], attribute: str, *, bayes: Mapping[str, float] | None = None, first: str | None = None
) -> Figure:
    """Accuracy of each group against the downsampling ratio, one panel a method: paper A's Figure 4.

    Lines are means over seeds, faint marks the seeds; a dotted line is the best accuracy any model could reach on the group.

    Args:
        records: The trials; failed ones are left out.
        attribute: Whose groups.
        bayes: Group -> Bayes-optimal accuracy, where the data's generator is known.
        first: Group that is drawn first (the minority); at most seven groups are drawn, the rest named in a note.
    """
    table = group_accuracy(records, attribute)
    groups = groups_by_support(table)
    groups = [group for group in groups if group == first] + [group for group in groups if group != first]
    drawn, left_out = groups[:MAX_GROUPS], groups[MAX_GROUPS:]
    panels = list(dict.fromkeys(table["variant"])) or ["no completed trial"]
    down = -(-len(panels) // PANELS_A_ROW)
    across = -(-len(panels) // down)
    with styled():
        figure = new_figure(max(5.6, 2.5 * across + 0.8), 2.5 * down + 1.0)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(panels):
                axes.set_visible(False)
                continue
            _group_panel(axes, table[table["variant"] == panels[index]], drawn, bayes or {})
            axes.set_title(
                panels[index] + (" (not trained)" if panels[index] == "base" else ""), fontsize=9, color=INK, loc="left"
            )
            axes.tick_params(labelbottom=index + across >= len(panels), labelleft=index % across == 0)
        _ratio_axis(grid.flat[0], sorted(set(table["ratio"].dropna())))
        figure.supxlabel("downsampling ratio (share of the minority's training rows kept)", fontsize=9, color=INK)
        figure.supylabel(f"accuracy by {attribute}", fontsize=9, color=INK)
        figure.legend(
            handles=_group_legend(drawn, left_out, bayes or {}), loc="outside upper left", frameon=False, fontsize=8, ncols=4
        )
    return figure


def _group_panel(axes: Axes, rows: pd.DataFrame, groups: Sequence[str], bayes: Mapping[str, float]) -> None:
    plain_axes(axes)
    for index, group in enumerate(groups):
        color, marker, line = OKABE_ITO[index], MARKERS[index], LINES[index]
        own = rows[rows["group"] == group]
        trained = own[own["ratio"].notna()]
        untouched = own[own["ratio"].isna()][ACCURACY.key]
        if len(untouched):
            axes.axhline(float(untouched.mean()), color=color, linestyle=line, linewidth=1.6)
        means = trained.groupby("ratio")[ACCURACY.key].mean()
        axes.scatter(
            trained["ratio"], trained[ACCURACY.key], color=color, marker=marker, s=18, alpha=0.33, linewidths=0, zorder=2
        )
        axes.plot(means.index, means, color=color, marker=marker, linestyle=line, linewidth=1.6, markersize=4, zorder=3)
        if group in bayes:
            axes.axhline(bayes[group], color=color, linestyle=":", linewidth=1.1, zorder=1)


def _ratio_axis(axes: Axes, ratios: Sequence[float]) -> None:
    """Ticks at the ratios that were run; a logarithmic axis where they span more than a factor of four."""
    if not ratios:
        axes.set_xticks([])
        return
    if ratios[-1] > 4 * ratios[0]:
        axes.set_xscale("log")
        axes.set_xlim(ratios[0] / 1.25, ratios[-1] * 1.25)
    elif len(ratios) == 1:
        axes.set_xlim(ratios[0] - 0.2, ratios[0] + 0.2)
    axes.xaxis.set_major_locator(FixedLocator(list(ratios)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _group_legend(groups: Sequence[str], left_out: Sequence[str], bayes: Mapping[str, float]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=OKABE_ITO[i], marker=MARKERS[i], linestyle=LINES[i], markersize=5, label=_short(group))
        for i, group in enumerate(groups)
    ]
    if any(group in bayes for group in groups):
        handles.append(Line2D([], [], color=MUTED, linestyle=":", label="Bayes-optimal"))
    if left_out:
        handles.append(Line2D([], [], linestyle="none", label=f"{len(left_out)} more groups in the table"))
    return handles


def _short(text: str) -> str:
    # matplotlib hides a legend entry that starts with an underscore.
    text = text if len(text) <= 28 else text[:27] + "..."
    return f" {text}"
