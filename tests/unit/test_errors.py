from __future__ import annotations

import pytest

from lfray.errors import LfrayError, Problem, SpecError, TrialError, did_you_mean


def test_a_problem_reads_where_rule_got_remedy() -> None:
    problem = Problem("methods.lora.rank", "a rank is a whole number", got="8.5", remedy="Write 8", line=14)
    assert problem.text("a.yaml") == "a.yaml:14: methods.lora.rank: a rank is a whole number (got 8.5). Write 8"


def test_a_problem_leaves_out_what_it_does_not_know() -> None:
    assert Problem("", "must be a mapping").text("a.yaml") == "a.yaml: must be a mapping"


def test_a_spec_error_lists_its_problems_in_file_order() -> None:
    error = SpecError("a.yaml", [Problem("b", "two", line=9), Problem("a", "one", line=3), Problem("c", "none")])
    assert [problem.line for problem in error.problems] == [None, 3, 9]
    assert str(error).splitlines() == ["a.yaml: c: none", "a.yaml:3: a: one", "a.yaml:9: b: two"]


def test_a_trial_error_names_trial_and_stage() -> None:
    error = TrialError("0" * 16, "train", "loss must be finite")
    assert str(error) == f"trial {'0' * 16}: train: loss must be finite"
    assert isinstance(error, LfrayError)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("rnak", ["rank", "seed"], "Did you mean 'rank'?"),
        ("zzz", ["seed", "rank"], "Known: rank, seed"),
        ("zzz", [], ""),
        ("zzz", [f"k{index:02d}" for index in range(13)], "Known: " + ", ".join(f"k{i:02d}" for i in range(12)) + ", ..."),
    ],
)
def test_did_you_mean(word: str, known: list[str], said: str) -> None:
    assert did_you_mean(word, known) == said
