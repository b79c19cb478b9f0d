"""What the page says of the front, of undefined values and of settings."""

from __future__ import annotations

import pytest

from lfray.names import HARMFUL_BIAS_GAP
from lfray.pareto.front import front_of
from lfray.record import Derived, undefined
from lfray.report.blocks import Block, Facts, Grid, Points, Source, Text
from lfray.report.sections import answer, front_table, limits, numbers, settings
from lfray.report.sections import undefined as undefined_section
from tests.unit.records import make_config, make_record
from tests.unit.report.sweep import OBJECTIVES, SECONDS, SIZE, WORST, small_context, small_sweep


def grids(blocks: list[Block]) -> list[Grid]:
    return [block for block in blocks if isinstance(block, Grid)]


def said(blocks: list[Block]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Text))


def test_numbers() -> None:
    (facts,) = numbers(front_of(small_sweep(), OBJECTIVES))
    assert isinstance(facts, Facts)
    assert facts.items[:4] == (("trials", "18"), ("on the front", "4"), ("failed", "1"), ("undefined", "1"))
    assert facts.items[4][0] == "hypervolume"


def test_the_answer_is_one_plain_sentence() -> None:
    text = said(answer(front_of(small_sweep(), OBJECTIVES)))
    assert text.startswith(
        "Of 18 trials, 4 are on the front: no other trial is at least as good on worst group accuracy and trainable parameters, "
        "and better on one of them."
    )
    assert "The front bends most at lora-r8 ratio-1 seed-13 (worst group accuracy 0.785, trainable parameters 8,100)" in text


def test_the_answer_of_other_fronts() -> None:
    assert "is first by worst group accuracy" in said(answer(front_of(small_sweep(), [WORST])))
    assert "None of the 0 trials can be compared" in said(answer(front_of([], OBJECTIVES)))
    assert "run on the same kind of machine" in said(answer(front_of(small_sweep(), [WORST, SECONDS])))


def test_front_table_runs_along_the_front_and_marks_the_knee() -> None:
    records = [make_record(rank=r, measures={WORST: w, SIZE: s}) for r, w, s in [(1, 0.5, 0.0), (2, 0.8, 99.0), (4, 0.81, 1e6)]]
    (table,) = grids(front_table(front_of(records, OBJECTIVES)))
    assert table.columns == ("method", "rank", "ratio", "seed", "worst group accuracy", "trainable parameters")
    assert table.rows == (
        ("lora-r1", "1", "1", "13", "0.500", "0"),
        ("lora-r2", "2", "1", "13", "0.800", "99"),
        ("lora-r4", "4", "1", "13", "0.810", "1,000,000"),
    )
    assert table.marked == {1}
    assert table.numeric == {1, 2, 3, 4, 5}


def test_front_table_tells_apart_what_else_was_varied() -> None:
    configs = [make_config(train={"learning_rate": rate, "schedule": how}) for rate, how in ((1e-4, "linear"), (1e-3, "cosine"))]
    records = [make_record(config=config, measures={WORST: 0.5, SIZE: 1.0}) for config in configs]
    (table,) = grids(front_table(front_of(records, OBJECTIVES)))
    assert table.columns[4:6] == ("learning rate", "schedule")
    assert sorted(row[4:6] for row in table.rows) == [("0.0001", "linear"), ("0.001", "cosine")]
    assert 4 in table.numeric
    assert 5 not in table.numeric


def test_a_ranking_lists_all_with_their_place() -> None:
    (table,) = grids(front_table(front_of(small_sweep(), [WORST])))
    assert table.columns[0] == "place"
    assert [row[0] for row in table.rows][:2] == ["1.", "2."]
    assert len(table.rows) == 16


def test_machines_are_named_where_they_matter() -> None:
    (table,) = grids(front_table(front_of(small_sweep(), [WORST, SECONDS])))
    assert table.columns[-1] == "machine"
    assert {row[-1] for row in table.rows} == {"cpu-test"}


def test_undefined_and_failed_are_listed_with_reasons() -> None:
    records = small_sweep()
    gap = Derived(records[0].trial_id, (), undefined(HARMFUL_BIAS_GAP, "no_reference", attribute="sentiment"), "test")
    apart, failed, values = grids(undefined_section(front_of(records, OBJECTIVES), records, [gap]))
    assert apart.rows == (("dora-r4 ratio-1 seed-13", "worst group accuracy", "fewer than two covered groups"),)
    assert failed.rows == (("full ratio-1 seed-13", "train", "TrialError: loss is <NaN> at step 7"),)
    assert ("equalized odds difference", "sentiment", "-", "the label determines the group", "16") in values.rows
    assert any(row[0] == "harmful bias gap" and row[-1] == "1" for row in values.rows)


def test_nothing_undefined_is_said_too() -> None:
    records = [make_record(measures={WORST: 0.5, SIZE: 1.0})]
    assert (
        said(undefined_section(front_of(records, OBJECTIVES), records, [])) == "Every trial completed and every value is defined."
    )


def test_settings_write_down_scale_reference_and_machines() -> None:
    records = small_sweep()
    front = front_of(records, OBJECTIVES, where="rank < 1000")
    blocks = settings(front, records, small_context())
    objectives, environment = grids(blocks)
    assert objectives.rows[0][1:5] == (WORST, "higher", "raw", "0.000")
    assert objectives.rows[1][1:4] == (SIZE, "lower", "log10(1+x)")
    assert ("machine (hardware key)", "cpu-test") in environment.rows
    assert ("torch", "2.13.0") in environment.rows
    (points,) = [block for block in blocks if isinstance(block, Points)]
    assert "Only trials with: rank < 1000" in points.items
    assert any("Hypervolume" in item for item in points.items)
    assert Source("Sweep file", "version: 1\nname: small\n") in blocks


@pytest.mark.parametrize("objectives", [OBJECTIVES, [WORST, SECONDS]])
def test_limits_never_call_a_trial_fair(objectives: list[str]) -> None:
    (points,) = [block for block in limits(front_of(small_sweep(), objectives)) if isinstance(block, Points)]
    assert any("no trial is called fair" in item for item in points.items)
    assert any("machine" in item for item in points.items) == (SECONDS in objectives)
    assert not any("debias" in item for item in points.items)
