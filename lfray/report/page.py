"""Writes a sweep's report: figures, a Markdown page and one self-contained HTML page, the same bytes for the same sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.report.blocks import Block, Heading, Picture, Text
from lfray.report.canvas import figure_bytes
from lfray.report.context import ReportContext
from lfray.report.figures import axes_of, front_figure
from lfray.report.group_figure import group_accuracy_figure
from lfray.report.group_sections import gaps, group_table, harmful_bias
from lfray.report.groups import group_accuracy
from lfray.report.html_page import html_page
from lfray.report.markdown_page import markdown_page
from lfray.report.sections import answer, front_table, limits, numbers, settings, undefined
from lfray.report.wording import display_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lfray.pareto.front import Front
    from lfray.record import Derived, TrialRecord

__all__ = ["ReportContext", "write_report"]


def write_report(
    front: Front, records: Sequence[TrialRecord], folder: Path, *, context: ReportContext, derived: Sequence[Derived] = ()
) -> list[Path]:
    """Write `front.{png,svg}`, `groups.{png,svg}` (where a group's accuracy is known), `report.md` and `report.html`.

    Args:
        front: The front to report.
        records: All trials of the sweep.
        folder: Where to write; made if absent, earlier files of these names are replaced.
        context: About the sweep.
        derived: Values that needed other trials, for the table of harmful bias gaps.

    Returns:
        The files written, figures first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []

    def write(name: str, content: bytes) -> bytes:
        (folder / name).write_bytes(content)
        files.append(folder / name)
        return content

    drawing = front_figure(front)
    write("front.png", figure_bytes(drawing, "png"))
    pictures = [_front_picture(front, write("front.svg", figure_bytes(drawing, "svg")))]
    has_groups = len(group_accuracy(records, context.attribute)) > 0
    if has_groups:
        drawing = group_accuracy_figure(records, context.attribute, bayes=context.bayes_accuracy, first=context.minority_group)
        write("groups.png", figure_bytes(drawing, "png"))
        pictures.append(_groups_picture(context, write("groups.svg", figure_bytes(drawing, "svg"))))
    blocks = _content(front, records, context, derived, pictures)
    started = f" of a sweep planned {context.created_at}" if context.created_at else ""
    under = f"Fairness and efficiency of {len(records)} fine-tuning trials{started}"
    write("report.md", markdown_page(context.name, under, blocks).encode())
    write("report.html", html_page(context.name, under, blocks).encode())
    return files


def _content(
    front: Front, records: Sequence[TrialRecord], context: ReportContext, derived: Sequence[Derived], pictures: Sequence[Picture]
) -> list[Block]:
    in_groups: list[Block] = [Text("No completed trial has accuracies by group.")]
    if len(pictures) > 1:
        in_groups = [pictures[1], *group_table(records, context)]
    return [
        *numbers(front),
        *answer(front),
        Heading("The front" if len(front.objectives) > 1 else "The ranking"),
        pictures[0],
        *front_table(front),
        Heading(f"Accuracy by {context.attribute}"),
        *in_groups,
        *gaps(front, records),
        *harmful_bias(records, derived, context),
        *undefined(front, records, derived),
        *settings(front, records, context),
        *limits(front),
    ]


def _front_picture(front: Front, svg: bytes) -> Picture:
    if len(front.objectives) == 1:
        name = display_name(front.objectives[0].key)
        return Picture(
            "front", f"Trials ranked by {name}; the values stand in the table below.", f"Trials ranked by {name}.", svg
        )
    across, up = (display_name(objective.key) for objective in axes_of(front))
    on_line = " For a trial on the line, no other is at least as good on both axes and better on one."
    return Picture(
        "front",
        f"Scatter of all trials: {up} against {across}; the trials on the front stand in the table below.",
        f"Each mark is one trial: {up} against {across}." + (on_line if len(front.objectives) == 2 else ""),
        svg,
    )


def _groups_picture(context: ReportContext, svg: bytes) -> Picture:
    return Picture(
        "groups",
        f"Accuracy of each group of {context.attribute} against the downsampling ratio, one panel a method; "
        "the values stand in the table below.",
        f"Accuracy by {context.attribute} as fewer training rows of {context.minority_group} are kept. "
        "Lines are means over seeds, faint marks single seeds.",
        svg,
    )
