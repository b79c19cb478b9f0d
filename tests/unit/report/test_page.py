"""The report as files: complete, the same to the byte, and harmless whatever the data say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from lfray.pareto.front import front_of
from lfray.report.page import write_report
from tests.unit.records import make_failure, make_record
from tests.unit.report.sweep import HOSTILE, OBJECTIVES, bias_gaps, small_context, small_sweep

NAMES = ["front.png", "front.svg", "groups.png", "groups.svg", "report.md", "report.html"]


def test_writes_figures_markdown_and_one_html_page(tmp_path: Path) -> None:
    records = small_sweep()
    derived = bias_gaps(records)
    front = front_of(records, OBJECTIVES, derived=derived)
    files = write_report(front, records, tmp_path / "deep" / "folder", context=small_context(), derived=derived)
    assert [path.name for path in files] == NAMES
    page, text = files[5].read_text(), files[4].read_text()
    headings = [
        "The front", "Accuracy by sentiment", "Gaps and their noise floor", "Harmful bias gap", "Undefined and failed",
        "Settings", "Environment", "What these numbers do and do not say about people",
    ]  # fmt: skip
    assert re.findall(r"<h2>(.*?)</h2>", page) == headings
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == headings
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "](front.svg)" in text
    assert "](groups.svg)" in text


def test_the_same_sweep_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name, records in (("a", small_sweep()), ("b", small_sweep()[::-1])):
        front = front_of(records, OBJECTIVES)
        files = write_report(front, sorted(records, key=lambda record: record.trial_id), tmp_path / name, context=small_context())
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]


def test_hostile_names_stay_text_and_nothing_is_requested(tmp_path: Path) -> None:
    records = [*small_sweep(minority=HOSTILE), make_record("full", seed=7, failure=make_failure(HOSTILE, stage=HOSTILE))]
    context = replace(small_context(minority=HOSTILE), name=HOSTILE, spec_yaml=HOSTILE, created_at=HOSTILE)
    derived = bias_gaps(records, group=HOSTILE)
    files = write_report(front_of(records, OBJECTIVES, derived=derived), records, tmp_path, context=context, derived=derived)
    page = files[5].read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert page.count("<img") == 2
    assert re.findall(r'(?:src|href)="(?!data:image/svg\+xml;base64,)', page) == []
    for svg in (files[1], files[3]):
        assert b"<script" not in svg.read_bytes()
        assert b"evil.example" not in svg.read_bytes()


def test_a_sweep_without_results_still_has_a_page(tmp_path: Path) -> None:
    records = [make_record(failure=make_failure())]
    files = write_report(front_of(records, OBJECTIVES), records, tmp_path, context=small_context())
    assert [path.name for path in files] == ["front.png", "front.svg", "report.md", "report.html"]
    assert "None of the 1 trial can be compared" in files[3].read_text()


def test_a_ranking_has_a_page_too(tmp_path: Path) -> None:
    records = small_sweep()
    files = write_report(front_of(records, OBJECTIVES[:1]), records, tmp_path, context=small_context())
    assert "<h2>The ranking</h2>" in files[5].read_text()
