from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from lfray.pareto.front import front_of
from lfray.record import CurvePoint, TrialRecord
from lfray.terminal import Progress, duration, front_table, number
from tests.unit.jobs import make_job
from tests.unit.records import make_failure, make_record

OBJECTIVES = ["accuracy", "cost.trainable_parameters"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (math.nan, "-"), (0.81234567, "0.8123"), (1.0, "1"), (1234567, "1,234,567"), (1234567.0, "1,234,567"),
        (12.345, "12.3"), (-0.5, "-0.5000"), (math.inf, "inf"), ("lora", "lora"), (0, "0"),
    ],
)  # fmt: skip
def test_numbers_for_people(value: Any, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7620, "2 h 07 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def shown(*, terminal: bool, records: list[TrialRecord]) -> str:
    """What a sweep of these records leaves on a terminal, or in a file."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=200, color_system=None, _environ={})
    with Progress(total=5, skipped=2, objectives=OBJECTIVES, console=console) as progress:
        for record in records:
            progress.trial_started(make_job(record.config))
            progress.trial_progressed(make_job(record.config), [CurvePoint(1, 0.5, 0.6931, 1e-4)])
            progress.trial_ended(make_job(record.config), record)
    return stream.getvalue()


RECORDS = [
    make_record(seed=1, measures={"accuracy": 0.75, "cost.trainable_parameters": 1000}),
    make_record(seed=2, failure=make_failure("got [nan] at step 7")),
]


def test_without_a_terminal_every_trial_has_its_lines() -> None:
    lines = shown(terminal=False, records=RECORDS).splitlines()
    assert lines == [
        "start   lora-r8 ratio-1 seed-1",
        "done    lora-r8 ratio-1 seed-1  accuracy 0.7500  trainable_parameters 1,000  1 s  [3/5]",
        "start   lora-r8 ratio-1 seed-2",
        "FAILED  lora-r8 ratio-1 seed-2  train: got [nan] at step 7  [4/5]",
    ]


def test_on_a_terminal_the_last_state_stays() -> None:
    text = shown(terminal=True, records=RECORDS)
    assert "1 done  0 running  1 failed  2 skipped  of 5" in text
    assert "front so far" in text


def test_a_table_of_the_front_is_cut_with_a_count() -> None:
    records = [
        make_record(rank=rank, measures={"accuracy": 0.5 + rank / 100, "cost.trainable_parameters": 100 * rank})
        for rank in (1, 2, 4, 8)
    ]
    stream = io.StringIO()
    console = Console(file=stream, width=200, color_system=None)
    console.print(front_table(front_of(records, OBJECTIVES), limit=3))
    text = stream.getvalue()
    assert "accuracy (max)" in text
    assert "cost.trainable_parameters (min)" in text
    assert "lora-r1 ratio-1 seed-13" in text
    assert "lora-r8 ratio-1" not in text
    assert "... and 1 more" in text
