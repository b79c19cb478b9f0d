"""The JSON schema of a sweep file, for editors: completion, descriptions, and most of the refusals while typing."""

from __future__ import annotations

from typing import Any

from lfray.names import METHOD_LABELS
from lfray.spec.sweep import SweepSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema, every object closed, each field with its description.

    It knows single values; what only `lfray check` can know (pairs of fields, names of axes, files) is not in it. Beside a number
    or a flag it admits `${VAR}`.
    """
    schema = SweepSpec.model_json_schema(by_alias=True)
    parts: dict[str, Any] = schema["$defs"]
    for method in METHOD_LABELS:
        field = parts["MethodsSpec"]["properties"][method]
        field["$ref"] = next(option["$ref"] for option in field.pop("anyOf") if "$ref" in option)
        field.pop("default")
    axes = schema["properties"]["axes"]
    axes["properties"] = _axes(parts["TrainSpec"]["properties"])
    axes["additionalProperties"] = _axis({})
    schema = _with_references(schema)
    return {"$schema": DIALECT, **schema, "title": "lfray sweep file"}


def _axis(item: dict[str, Any]) -> dict[str, Any]:
    listed = {"type": "array", "minItems": 1, "uniqueItems": True, "items": item}
    return {"anyOf": [listed, {"$ref": "#/$defs/RangeAxis"}]}


def _axes(train: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {
        "method": {"enum": list(METHOD_LABELS)},
        "rank": {"type": "integer", "minimum": 0, "description": "LoRA's rank; 0 trains the head only."},
        "downsampling_ratio": {
            "type": "number", "exclusiveMinimum": 0, "maximum": 1, 
            "description": "Share of the minority's training rows that is kept.",
        },
        "seed": {"type": "integer", "minimum": 0, "description": "Seed of training; the split has its own."},
    }  # fmt: skip
    known |= {name: {key: value for key, value in field.items() if key != "default"} for name, field in train.items()}
    about = {name: field.get("description", "") for name, field in known.items()}
    return {name: _axis(field) | ({"description": about[name]} if about[name] else {}) for name, field in known.items()}


def _with_references(schema: Any) -> Any:
    """Beside every number and flag, text that holds `${...}`: the loader expands it first."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("number", "integer", "boolean"):
        about = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        bare = {key: value for key, value in schema.items() if key not in about}
        return {"anyOf": [bare, {"type": "string", "pattern": r"\$\{"}], **about}
    return {key: _with_references(value) for key, value in schema.items()}
