"""Every broken file is refused at its line, by its rule, with a way out. The first line of each file says which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lfray.errors import SpecError
from lfray.spec.checks import check_sweep
from lfray.spec.load import load_sweep

FOLDER = Path(__file__).parents[2] / "broken"
FILES = sorted(FOLDER.glob("*.yaml"))
EXPECTED = re.compile(r"# expect: (\d+): (.+) \| (.+)")


def expected(path: Path) -> tuple[int, str, str]:
    match = EXPECTED.fullmatch(path.read_text(encoding="utf-8").split("\n")[0])
    assert match is not None, f"{path.name} does not say what it expects"
    return int(match[1]), match[2], match[3]


def refusal(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        check_sweep(load_sweep(path, environ={}), environ={})
    return caught.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_refused_with_line_rule_and_remedy(path: Path) -> None:
    line, rule, remedy = expected(path)
    error = refusal(path)
    fitting = [p for p in error.problems if p.line == line and rule in p.rule and remedy in p.remedy]
    assert fitting, f"expected line {line}: {rule} | {remedy}\n{error}"
    assert f"{path}:{line}:" in str(error)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_fault_gives_one_problem(path: Path) -> None:
    """No second problem hides the first, but where one slip has two effects."""
    limit = {"unknown_top_level": 1, "unknown_method": 1, "alias_bomb": 1}.get(path.stem[3:], 1)
    assert len(refusal(path).problems) == limit, str(refusal(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_problem_is_whole(path: Path) -> None:
    for problem in refusal(path).problems:
        text = problem.text(str(path))
        assert problem.line is not None
        assert problem.rule
        assert problem.remedy
        assert "Input should" not in text
        assert "valid dictionary" not in text
        assert ".." not in text.replace("...", "").replace("../", "")


def test_the_files_are_of_different_kinds() -> None:
    assert len(FILES) >= 40
    assert len({expected(path)[1:] for path in FILES}) > 75
