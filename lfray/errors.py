"""The errors lfray raises on purpose, each worded as: where, the rule, what came, the way out.

    LfrayError
    |-- SpecError        a sweep file that cannot mean what it says (every problem found, not only the first)
    |-- DataError        rows, columns, groups or splits that break a rule
    |-- ModelError       a base model, target module or tokenizer that does not fit the sweep
    |-- CapacityError    a trial that can never fit the machines at hand
    |-- StorageError     a record, checkpoint or table that is absent, torn or of another schema
    |-- TrackingError    the tracker refused or could not be reached
    `-- TrialError       one trial went wrong at a stage; becomes a FAILED record, never ends the sweep

The command line prints these without a traceback and exits with 2; anything else is a bug and exits with 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class LfrayError(Exception):
    """Base of every error that is the user's to mend."""


class DataError(LfrayError):
    """Rows, columns, groups or splits break a rule."""


class ModelError(LfrayError):
    """The base model, its tokenizer or a target module does not fit the sweep."""


class CapacityError(LfrayError):
    """A trial can never fit the machines at hand."""


class StorageError(LfrayError):
    """A stored record, checkpoint or table is absent, torn, or of another schema."""


class TrackingError(LfrayError):
    """The tracker refused a call or could not be reached."""


class TrialError(LfrayError):
    """One trial went wrong.

    Args:
        trial_id: The trial.
        stage: Stage of the straight line at which it went wrong (`model`, `train`, `predict`, ...).
        message: Rule, got, remedy.
    """

    def __init__(self, trial_id: str, stage: str, message: str) -> None:
        super().__init__(f"trial {trial_id}: {stage}: {message}")
        self.trial_id = trial_id
        self.stage = stage


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a sweep file.

    `path` is dotted (`methods.lora.rank`); `line` is 1-based, or None where the file gives none.
    """

    path: str
    rule: str
    got: str = ""
    remedy: str = ""
    line: int | None = None

    def text(self, file: str) -> str:
        """`file:line: path: rule (got ...). remedy`."""
        where = file if self.line is None else f"{file}:{self.line}"
        path = f" {self.path}:" if self.path else ""
        got = f" (got {self.got})" if self.got else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{where}:{path} {self.rule}{got}{remedy}"


class SpecError(LfrayError):
    """A sweep file is refused; `problems` holds every reason found, in file order."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(problem.text(file) for problem in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'rank'?`, or the known words when none is near (at most twelve of them)."""
    words = sorted(set(known))
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    shown = ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")
    return f"Known: {shown}" if words else ""
