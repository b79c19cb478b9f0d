"""From a sweep file to `SweepSpec`: everything that one file by itself can be wrong in, found at once, each with its line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lfray.errors import Problem, SpecError, did_you_mean
from lfray.spec import yaml_text
from lfray.spec.schema import json_schema
from lfray.spec.strict import UNSAID
from lfray.spec.sweep import SweepSpec
from lfray.spec.wording import findings, show, value_at

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_BYTES", "LoadedSweep", "json_schema", "load_sweep"]

MAX_BYTES = 1_000_000
"""A sweep file has a page or two; more is another file given by mistake."""


@dataclass(frozen=True)
class LoadedSweep:
    """A sweep file, read. What came from the environment is in `spec` alone: store `text` or `document` instead."""

    spec: SweepSpec = field(repr=False)
    path: Path
    """As given."""
    folder: Path
    """Where the file stands, absolute: paths in it are relative to this."""
    text: str = field(repr=False)
    """The file as written, `${VAR}` unexpanded."""
    document: dict[str, Any] = field(repr=False)
    """The same as plain values."""
    lines: Mapping[yaml_text.Path, int] = field(repr=False)

    def line(self, path: yaml_text.Path) -> int | None:
        """Line of the key or item at `path`, or of the nearest level above it that the file holds; None where that is the top."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def problem(self, path: yaml_text.Path, rule: str, *, got: Any = UNSAID, remedy: str = "") -> Problem:
        """A problem at `path`. What came is `got` (text stands as it is), else the value at `path` as written."""
        return _problem(self.document, self.lines, path, rule, got=got, remedy=remedy)

    def resolve(self, path: str) -> Path:
        """A path of the file, made absolute."""
        return self.folder / Path(path).expanduser()


def load_sweep(path: Path, *, environ: Mapping[str, str] | None = None) -> LoadedSweep:
    """Read a sweep file strictly.

    Args:
        path: The file.
        environ: Where `${VAR}` is looked up; by default the process' environment.

    Raises:
        SpecError: The file cannot be read or cannot mean what it says; every problem found, in the order of the file.
    """
    text = _read(path)
    document = yaml_text.read_yaml(text, file=str(path), environ=os.environ if environ is None else environ)
    if not isinstance(document.value, dict):
        rule = "a sweep file is a mapping of fields"
        raise SpecError(str(path), [Problem("", rule, show(document.written), "Start with version: 1", document.lines[()])])
    problems = dict(document.problems)
    for at, problem in _invalid(document).items():
        if not any(at[: len(known)] == known for known in problems):
            problems[at] = problem
    if problems:
        raise SpecError(str(path), list(problems.values()))
    spec = SweepSpec.model_validate(document.value)
    return LoadedSweep(spec, path, path.resolve().parent, text, document.written, document.lines)


def _read(path: Path) -> str:
    def refused(rule: str, got: str, remedy: str, line: int | None = None) -> SpecError:
        return SpecError(str(path), [Problem("", rule, got, remedy, line)])

    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except FileNotFoundError:
        siblings = [sibling.name for sibling in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        remedy = did_you_mean(path.name, siblings) or "`lfray init` writes one to start from"
        raise refused("there is no such file", "", remedy) from None
    except IsADirectoryError:
        raise refused("a sweep is a file", "a folder", "Name a file in it") from None
    except OSError as error:
        raise refused("the file cannot be read", error.strerror or "", "Check its permissions") from None
    if content is None:
        raise refused(f"a sweep file has at most {MAX_BYTES:,} bytes", "a larger one", "Is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refused("a sweep file is UTF-8", f"byte 0x{content[error.start]:02x}", "Save it as UTF-8", line) from None


def _problem(
    document: Any, lines: Mapping[yaml_text.Path, int], path: yaml_text.Path, rule: str, *, got: Any = UNSAID, remedy: str = ""
) -> Problem:
    line = next((lines[path[:length]] for length in range(len(path), -1, -1) if path[:length] in lines), None)
    if got is UNSAID:
        written = value_at(document, path)
        got = "" if written is UNSAID else show(written)
    return Problem(yaml_text.dotted(path), rule, got if isinstance(got, str) else show(got), remedy, line)


def _invalid(document: yaml_text.Document) -> dict[yaml_text.Path, Problem]:
    """What the models refuse, by path."""
    found: dict[yaml_text.Path, Problem] = {}
    methods = document.value.get("methods")
    for method, block in methods.items() if isinstance(methods, dict) else ():
        if block is None:
            at = ("methods", method)
            remedy = f"Write {method}: {{}}; without the braces nothing is declared"
            found[at] = _problem(document.written, document.lines, at, "a method is a mapping", remedy=remedy)
    try:
        SweepSpec.model_validate(document.value)
    except ValidationError as error:
        for finding in findings(error, document.value):
            got, remedy = finding.got, finding.remedy
            if finding.path in document.references:
                # Neither may show what the variable holds.
                got, remedy = (
                    UNSAID,
                    f'The value is from the environment: check it; "{document.references[finding.path]}" is text',
                )
            found.setdefault(
                finding.path, _problem(document.written, document.lines, finding.path, finding.rule, got=got, remedy=remedy)
            )
    return found
