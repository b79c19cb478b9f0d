"""The tree of models, asked by a path of the file: which fields stand at a level, and where a field belongs."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from lfray.spec.sweep import SweepSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from lfray.spec.yaml_text import Path


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Name in the file -> field."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def options_of(annotation: Any) -> Iterator[Any]:
    """The forms a value may have: the members of a union, or the one there is."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from options_of(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from options_of(option)
    else:
        yield annotation


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models among the forms."""
    return [option for option in options_of(annotation) if isinstance(option, type) and issubclass(option, BaseModel)]


def _below(annotation: Any, key: str | int) -> Any:
    for model in models_in(annotation):
        if key in fields_of(model):
            return fields_of(model)[str(key)].annotation
    for option in options_of(annotation):
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) is tuple and isinstance(key, int):
            return get_args(option)[0]
    return None


def _annotation(path: Path) -> Any:
    annotation: Any = SweepSpec
    for key in path:
        annotation = _below(annotation, key)
    return annotation


def keys_at(path: Path) -> list[str]:
    """The keys that may stand in the mapping at `path`; none where it takes any, or is no mapping."""
    annotation = _annotation(path)
    for model in models_in(annotation):
        return list(fields_of(model))
    for option in options_of(annotation):
        if get_origin(option) is dict:
            return [name for key in options_of(get_args(option)[0]) if get_origin(key) is Literal for name in get_args(key)]
    return []


def field_at(path: Path) -> FieldInfo | None:
    """The field at `path`, or None where no model has one there (an entry of a free mapping, an item of a list)."""
    if not path:
        return None
    for model in models_in(_annotation(path[:-1])):
        if path[-1] in fields_of(model):
            return fields_of(model)[str(path[-1])]
    return None


@cache
def places() -> dict[str, tuple[str, ...]]:
    """Field -> dotted paths of the levels that have it (free mappings as `<name>`)."""
    found: dict[str, list[str]] = {}

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in fields_of(model).items():
            found.setdefault(name, []).append(prefix)
            for option in options_of(field.annotation):
                inside = get_args(option)[1] if get_origin(option) is dict else option
                middle = f"{name}.<name>" if get_origin(option) is dict else name
                for below in models_in(inside):
                    walk(below, f"{prefix}.{middle}".removeprefix("."))

    walk(SweepSpec, "")
    return {name: tuple(prefixes) for name, prefixes in found.items()}
