"""What the page says of groups: accuracies, gaps beside their floor, the harmful bias gap."""

from __future__ import annotations

from lfray.pareto.front import front_of
from lfray.report.blocks import Block, Grid
from lfray.report.group_sections import gaps, group_table, harmful_bias
from tests.unit.records import make_record
from tests.unit.report.sweep import OBJECTIVES, SIZE, WORST, bias_gaps, small_context, small_sweep


def only_grid(blocks: list[Block]) -> Grid:
    (found,) = [block for block in blocks if isinstance(block, Grid)]
    return found


def test_accuracy_by_group_is_a_mean_with_its_range() -> None:
    table = only_grid(group_table(small_sweep(), small_context()))
    assert table.columns == ("method", "ratio", "seeds", "negative (40 test rows)", "positive (60 test rows)")
    assert table.rows[0] == ("Bayes-optimal", "-", "-", "0.950", "0.970")
    assert table.rows[1] == ("head", "0.5", "2", "0.652 (0.638 to 0.667)", "0.873 (0.858 to 0.887)")
    assert [row[:2] for row in table.rows[1:]] == [
        (method, ratio) for method in ("head", "lora-r2", "lora-r8", "lora-r64") for ratio in ("0.5", "1")
    ]


def test_gaps_stand_beside_their_noise_floor() -> None:
    records = small_sweep()
    table = only_grid(gaps(front_of(records, OBJECTIVES), records))
    assert table.columns == ("trial", "accuracy gap")
    assert table.rows[0] == ("head ratio-1 seed-13", "0.120 / 0.040")
    assert [row[0].split()[0] for row in table.rows] == ["head", "lora-r2", "lora-r8", "lora-r64"]


def test_no_floor_no_section() -> None:
    records = [make_record(measures={WORST: 0.5, SIZE: 1.0})]
    assert gaps(front_of(records, OBJECTIVES), records) == []


def test_harmful_bias_gap_is_signed_and_ordered_like_the_accuracies() -> None:
    records = small_sweep()
    table = only_grid(harmful_bias(records, bias_gaps(records), small_context()))
    assert table.columns == ("method", "ratio", "seeds", "negative")
    assert [row[0] for row in table.rows] == ["lora-r2", "lora-r2", "lora-r8", "lora-r8", "lora-r64", "lora-r64"]
    assert table.rows[0] == ("lora-r2", "0.5", "2", "+0.020 (+0.020 to +0.020)")


def test_no_derived_values_no_section() -> None:
    assert harmful_bias(small_sweep(), [], small_context()) == []
