"""The shape of the package, held as data: who may import whom, who owns which heavy package, how long a module may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lfray.names import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lfray"
MAX_LINES = 300
TOP = 10

ROWS = {
    "errors": 1, "metric": 1, "names": 1,
    "fingerprint": 2,
    "spec": 3,
    "space": 4,
    "predictions": 5, "record": 5, "record_json": 5, "rows": 5, "storage": 5,
    "data": 6, "model": 6, "engine": 6, "tasks": 6, "evaluation": 6, "judges": 6, "pareto": 6, "tracking": 6,
    "trial": 7,
    "sweep": 8,
    "report": 9, "service": 9,
}  # fmt: skip
"""A module imports rows below its own and its own folder. What stands directly in lfray/ and is not named here is row 10."""

STRANGERS = (6, 9)
"""Folders of these rows do not know each other; single modules that share a row may."""

OWNERS = {
    "ray": ("sweep/tuner.py", "sweep/tune_parts.py", "trial/gang.py", "trial/keeper.py", "service/"),
    "deepspeed": ("engine/zero.py",),
    "peft": ("model/adapt.py",),
    "mlflow": ("tracking/mlflow_store.py",),
    "ruamel": ("spec/yaml_text.py", "spec/scalars.py"),
}
"""Heavy package -> the only places that name it."""

TORCH_FREE = (
    "spec/",
    "space/",
    "predictions.py",
    "record.py",
    "record_json.py",
    "evaluation/",
    "pareto/",
    "report/",
    "storage.py",
)

UNMIRRORED = {
    "test_main.py": "mirrors __main__, whose underscores would hide the test",
    "spec/test_broken.py": "runs the whole check on the broken sweep files that stand in tests/broken",
}
"""Tests of more than one module -> why they stand among the unit tests."""

HOMONYMS = {"report/sections.py": {"precision"}, "tiny_spec.py": {"precision"}}
"""Words that are a metric's key and stand for something else here: bf16 or fp32."""


@cache
def modules() -> tuple[str, ...]:
    """Every module, relative to lfray/."""
    return tuple(sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


def noun(module: str) -> str:
    """The part of lfray that a module belongs to: its folder, or its own name at the top."""
    return module.split("/")[0].removesuffix(".py")


def row(part: str) -> int:
    return ROWS.get(part, TOP)


def imports(module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import that runs, those inside functions included; `if TYPE_CHECKING` blocks do not run."""

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}:{child.lineno}: imports are absolute"
                assert child.module is not None
                if child.module == "lfray":
                    yield from ((child.lineno, f"lfray.{alias.name}") for alias in child.names)
                else:
                    yield child.lineno, child.module
            yield from walk(child)

    return walk(tree(module))


def within(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or (place.endswith("/") and module.startswith(place)) for place in places)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_rows_below_its_own(module: str) -> None:
    me = noun(module)
    wrong = []
    for line, name in imports(module):
        if not name.startswith("lfray.") or (other := name.split(".")[1]) == me:
            continue
        friends = row(other) == row(me) and row(me) not in STRANGERS
        if row(other) >= row(me) and not friends:
            wrong.append(f"lfray/{module}:{line}: row {row(me)} imports {name} (row {row(other)})")
    assert not wrong, "\n".join(wrong)


def test_every_row_of_the_table_is_a_part_or_still_to_come() -> None:
    to_come = {"judges", "service"}
    assert {part for part in ROWS if part not in {noun(module) for module in modules()}} <= to_come


@pytest.mark.parametrize("package", OWNERS)
def test_a_heavy_package_has_one_owner(package: str) -> None:
    found = [
        f"lfray/{module}:{line}"
        for module in modules()
        for line, name in imports(module)
        if name.split(".")[0] == package and not within(module, OWNERS[package])
    ]
    assert not found, f"{package} may be named in {OWNERS[package]} only: {found}"


def test_torch_stays_out_of_what_is_checked_without_it() -> None:
    found = [
        f"lfray/{module}:{line}"
        for module in modules()
        if within(module, TORCH_FREE)
        for line, name in imports(module)
        if name.split(".")[0] in ("torch", "transformers")
    ]
    assert not found


def test_importing_the_pure_core_loads_no_heavy_package() -> None:
    pure = ("spec.checks", "space.plan", "record_json", "storage", "evaluation.classification", "pareto.front", "names")
    heavy = ("torch", "transformers", "ray", "mlflow", "datasets", "peft", "matplotlib")
    program = f"import sys, {', '.join(f'lfray.{name}' for name in pure)}; print(*[m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("module", modules())
def test_a_module_is_short_and_says_why_it_exists(module: str) -> None:
    lines = len((PACKAGE / module).read_text().splitlines())
    assert lines <= MAX_LINES, f"lfray/{module} has {lines} lines"
    assert ast.get_docstring(tree(module)), f"lfray/{module} has no docstring"


def test_every_folder_of_the_package_has_an_init() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


@pytest.mark.parametrize("module", [module for module in modules() if module != "names.py"])
def test_no_string_key_of_a_metric_stands_outside_names(module: str) -> None:
    texts = [
        node
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value in METRICS
        and node.value not in HOMONYMS.get(module, ())
    ]
    assert not texts, [f"lfray/{module}:{node.lineno}: {node.value!r}" for node in texts]


def test_the_folder_mlflow_holds_no_python() -> None:
    # A package of that name at the root would shadow the real one for whoever runs from here.
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_unit_tests_mirror_the_package() -> None:
    unit = ROOT / "tests" / "unit"
    names = [str(path.relative_to(unit)) for path in unit.rglob("test_*.py")]
    lost = [
        name
        for name in names
        if not (PACKAGE / name).with_name(Path(name).name.removeprefix("test_")).is_file() and name not in UNMIRRORED
    ]
    assert not lost, f"no module of lfray for {lost}"


def test_no_public_name_is_hidden_by_a_folder_of_the_package() -> None:
    tree_of_init = {node.name for node in tree("__init__.py").body if isinstance(node, ast.FunctionDef)}
    assert not tree_of_init & {noun(module) for module in modules()}
