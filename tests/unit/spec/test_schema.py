from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from lfray.errors import SpecError
from lfray.spec.load import json_schema, load_sweep
from lfray.spec.schema import DIALECT
from lfray.spec.yaml_text import read_yaml
from tests.unit.spec.builders import load

ROOT = Path(__file__).parents[3]
GOOD = [
    Path(__file__).parent / "sample.yaml",
    *sorted((ROOT / "sweeps").glob("*.yaml")),
    *sorted((ROOT / "lfray/presets").glob("*.yaml")),
]
CHECKER = jsonschema.Draft202012Validator(json_schema())


def as_json(path: Path) -> Any:
    """As an editor sees it: keys are text."""
    return json.loads(json.dumps(read_yaml(path.read_text(), file=str(path), environ={"X": "x"}).written))


def objects(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    mine = [schema] if schema.get("type") == "object" else []
    return mine + [found for item in schema.values() for found in objects(item)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == DIALECT
    assert json_schema()["title"] == "lfray sweep file"


def test_every_object_is_closed_or_a_free_mapping() -> None:
    for found in objects(json_schema()):
        assert "additionalProperties" in found or "properties" not in found
        if "properties" in found and "axes" not in str(found.get("title", "")).lower():
            assert found["additionalProperties"] is False


def test_every_field_is_described() -> None:
    schema = json_schema()
    blank = [
        f"{title}.{name}"
        for title, part in [("sweep", schema), *schema["$defs"].items()]
        for name, field in part.get("properties", {}).items()
        # pydantic leaves out a description that says the same as the model's.
        if "description" not in field and "$ref" not in field
    ]
    assert blank == []


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_files_fit(path: Path) -> None:
    CHECKER.validate(as_json(path))


@pytest.mark.parametrize("path", sorted((ROOT / "tests/broken").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_the_schema_refuses_the_loader_refuses(path: Path) -> None:
    try:
        document = as_json(path)
    except SpecError:
        return
    if not CHECKER.is_valid(document):
        try:
            load_sweep(path, environ={})
        except SpecError:
            return
        # The rest are axes, which the loader reads and the checks judge.
        assert {str(error.absolute_path[0]) for error in CHECKER.iter_errors(document)} == {"axes"}


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("train", "{epoch: 3}"),
        ("train", "{epochs: 0}"),
        ("train", "{schedule: fast}"),
        ("methods", "{lora: null}"),
        ("axes", "{rank: [-1]}"),
        ("axes", "{method: [lor]}"),
        ("axes", "{downsampling_ratio: [0]}"),
        ("axes", "{epochs: [x]}"),
        ("axes", "{seed: 1}"),
        ("name", "two words"),
    ],
)
def test_it_refuses(section: str, text: str) -> None:
    document = as_json(GOOD[0])
    document[section] = json.loads(json.dumps(read_yaml(text, file="", environ={}).value))
    assert not CHECKER.is_valid(document)


def test_variables_may_stand_for_numbers(tmp_path: Path) -> None:
    document = load(tmp_path, {"N": "3"}, train="\n  epochs: ${N}\n  learning_rate: {lora: 1e-3}").document
    assert document["train"]["epochs"] == "${N}"
    CHECKER.validate(document)
