"""The documentation against the code: what exists stands in it, what it links to exists, what it shows can be read."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from pydantic import BaseModel

import lfray
from lfray.__main__ import CRASHED, parser
from lfray.data.lab import ReviewOptions
from lfray.metric import REASONS
from lfray.names import METRICS
from lfray.record import CurvePoint, Execution, Failure, Measure
from lfray.space.facts import AttributeFacts, DataFacts, ModelFacts
from lfray.space.trial import DataConfig, LoraMethod, TaskConfig, TrainConfig, TrialConfig
from lfray.spec.axis import axis_names
from lfray.spec.fields import fields_of, models_in, options_of
from lfray.spec.load import load_sweep
from lfray.spec.stages import MethodsSpec
from lfray.spec.sweep import SweepSpec
from tests.test_architecture import OWNERS, PACKAGE, modules, noun

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "mlflow").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
MACHINE_PATH = re.compile(rf"(?<![\w.])/{'work'}/|(?<![\w.])/{'root'}/")
"""Folders of the machine that the code was written on; cut in two, since this file is searched too."""


def page(name: str) -> str:
    return (ROOT / name).read_text()


def named(word: str, text: str) -> bool:
    """Whether the word stands in the text as code: between backquotes, alone or in a list."""
    return f"`{word}`" in text


def sections(text: str) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)


def test_every_metric_stands_in_measures() -> None:
    text = page("docs/measures.md")
    assert [key for key in METRICS if not named(key, text)] == []


def test_measures_names_no_metric_that_is_not_measured() -> None:
    written = re.findall(r"`((?:fair|calib|margin|cost)\.[a-z0-9_]+)`", page("docs/measures.md"))
    assert sorted(set(written) - METRICS.keys()) == []


def test_every_reason_stands_in_measures_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+?) \|$", page("docs/measures.md").partition("## Why a value is")[2], re.M))
    assert rows.keys() == REASONS.keys()
    for code, meaning in REASONS.items():
        assert rows[code].replace("`", "").startswith(meaning), code


METHOD_BLOCK = re.compile(rf"^resources\.({'|'.join(MethodsSpec.model_fields)})\.")
"""Every method has the same fields there: they are documented once."""


def sweep_fields(model: type[BaseModel] = SweepSpec, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Dotted path -> default as JSON, `required`, or None for a block that only holds further fields."""
    for name, field in fields_of(model).items():
        path = f"{prefix}{name}"
        path = METHOD_BLOCK.sub("resources.<method>.", path)
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        below: list[tuple[type[BaseModel], str]] = []
        for option in options_of(field.annotation):
            free = get_origin(option) is dict
            inside = get_args(option)[1] if free else option
            below += [(part, f"{path}.<name>." if free else f"{path}.") for part in models_in(inside)]
        block = isinstance(default, BaseModel) or (bool(below) and default == "required" and path != "data.groups")
        yield path, None if block else default if default == "required" else json.dumps(default)
        for part, start in below:
            yield from sweep_fields(part, start)


def test_every_field_of_a_sweep_file_stands_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.<>]+)` \| (?:`([^`]+)`|required) \|", page("docs/sweep-file.md"), re.M))
    expected = {path: default for path, default in sweep_fields() if default is not None}
    assert sorted(expected.keys() - rows.keys()) == []
    assert sorted(rows.keys() - expected.keys()) == []
    assert {path: rows[path] or "required" for path in expected} == expected


def test_every_name_of_an_axis_and_option_of_the_lab_stands_in_the_sweep_file() -> None:
    text = page("docs/sweep-file.md")
    train = {name.rpartition(".")[2] for name, _ in sweep_fields() if name.startswith("train.")}
    wanted = [name.removeprefix("lora.") for name in axis_names() if name not in train]
    assert [name for name in wanted if not named(name, text)] == []
    assert [field.name for field in fields(ReviewOptions) if not named(field.name, text)] == []


def subcommands() -> dict[str, argparse.ArgumentParser]:
    action = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def test_every_command_with_its_options_stands_in_commands() -> None:
    text = page("docs/commands.md")
    for name, command in subcommands().items():
        assert f"`lfray {name}" in text, name
        for action in command._actions:
            long = [option for option in action.option_strings if option.startswith("--") and option != "--help"]
            assert all(re.search(rf"`[^`]*{option}\b", text) for option in long), (name, long)
    assert all(re.search(rf"^\| {code} \|", text, re.M) for code in range(CRASHED + 1))


def test_every_public_function_stands_in_commands() -> None:
    text = page("docs/commands.md")
    functions = [name for name in lfray.__all__ if name.islower()]
    assert [name for name in functions if f"lfray.{name}(" not in text] == []
    shown = set(re.findall(r"\blfray\.([a-z_]+)\(", text + page("README.md")))
    assert shown <= set(functions)


@pytest.mark.parametrize("group", ["dependencies", "dev"])
def test_every_dependency_stands_in_dependencies(group: str) -> None:
    project = tomllib.loads(page("pyproject.toml"))["project"]
    asked = project["dependencies"] if group == "dependencies" else project["optional-dependencies"]["dev"]
    run_time, _, dev = page("docs/dependencies.md").partition("## For development")
    rows = re.findall(r"^\| ([A-Za-z0-9._-]+) \|", run_time if group == "dependencies" else dev, re.M)
    names = {re.split(r"[\[=<>~ ]", text)[0] for text in asked}
    assert set(rows) - {"package"} == names


def test_every_stored_field_stands_in_record() -> None:
    text = page("docs/record.md")
    for stored in (Measure, Execution, Failure, CurvePoint):
        assert [field.name for field in fields(stored) if not named(field.name, text)] == [], stored
    for model in (TrialConfig, TaskConfig, DataConfig, LoraMethod, TrainConfig, DataFacts, AttributeFacts):
        assert [name for name in model.model_fields if not named(name, text)] == [], model
    assert [name for name in ModelFacts.model_fields if name != "folder" and not named(name, text)] == []


def test_every_part_of_the_package_and_every_owner_stands_in_architecture() -> None:
    text = page("docs/architecture.md")
    for part in {noun(module) for module in modules()}:
        path = f"lfray/{part}/" if (PACKAGE / part).is_dir() else f"lfray/{part}.py"
        assert named(path, text), path
    for places in OWNERS.values():
        standing = [place for place in places if (PACKAGE / place).exists() and not place.endswith("/")]
        assert not standing or any(named(place, text) for place in standing), places


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", sections(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", sections(path.read_text()))
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = path if not place else path.parent / place
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def whole_sweeps() -> list[Any]:
    """Every fenced block that is a sweep file from its first line to its last."""
    found = []
    for path in PAGES:
        for index, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.DOTALL | re.M)):
            if re.search(r"^version:", block, re.M):
                found.append(pytest.param(block, id=f"{path.stem}-{index}"))
    return found


@pytest.mark.parametrize("block", whole_sweeps())
def test_sweep_files_in_the_documentation_can_be_read(block: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(block)
    variables = set(re.findall(r"\$\{(\w+)", block))
    assert load_sweep(path, environ=dict.fromkeys(variables, "x")).spec.name


def test_json_in_the_documentation_can_be_read() -> None:
    for path in PAGES:
        for block in re.findall(r"^```json\n(.*?)^```", path.read_text(), re.DOTALL | re.M):
            assert json.loads(block), path


def test_no_tracked_text_names_a_folder_of_this_machine() -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}:{number}" for number, line in enumerate(text.splitlines(), start=1) if MACHINE_PATH.search(line)]
    assert found == []


def test_the_licence_is_whole() -> None:
    text = page("LICENSE")
    assert text.lstrip().startswith("Apache License")
    assert all(f"   {number}. " in text for number in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
