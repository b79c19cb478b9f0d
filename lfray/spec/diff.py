"""What separates two sweep files of one name: a sweep may grow by values of its axes and by methods, and change in nothing else.

Two documents are compared as written (`${VAR}` unexpanded), with the defaults filled in: to spell out a default is no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from lfray.spec.fields import fields_of, models_in, options_of
from lfray.spec.stages import DEFAULT_ALPHA_FACTOR, DEFAULT_ALPHA_VALUE, AlphaSpec
from lfray.spec.strict import UNSAID
from lfray.spec.sweep import SweepSpec
from lfray.spec.wording import show
from lfray.spec.yaml_text import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lfray.spec.yaml_text import Path

FREE = (("axes",), ("search",), ("resources",), ("storage",), ("tracking",))
"""What may change from one run of a sweep to the next; of `search`, the seed may not (see `non_axis_differences`)."""
GROWING = (("methods",), ("train", "learning_rate"))
"""Mappings that may gain entries."""


def non_axis_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences that make another sweep of it, as `train.epochs: 5 -> 3`, in the order of the fields.

    Args:
        old: Document of the sweep as it was recorded (`LoadedSweep.document`).
        new: Document of the same name now.

    Returns:
        One line a differing value. Empty: `new` asks the same question, or the same with more values on its axes.
    """
    before, after = _filled(old, SweepSpec), _filled(new, SweepSpec)
    lines = [f"{dotted(path)}: {_shown(was)} -> {_shown(now)}" for path, was, now in _differences(before, after, ())]
    was, now = old.get("search"), new.get("search")
    if isinstance(was, dict) and isinstance(now, dict) and was.get("seed", 0) != now.get("seed", 0):
        lines.append(f"search.seed: {_shown(was.get('seed', 0))} -> {_shown(now.get('seed', 0))}")
    return lines


def _differences(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    if path in FREE or (old == new and isinstance(old, bool) == isinstance(new, bool)):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key in old or path not in GROWING:
                yield from _differences(old.get(key, UNSAID), new.get(key, UNSAID), (*path, key))
    else:
        yield path, old, new


def _shown(value: Any) -> str:
    return "absent" if value is UNSAID else show(value)


def _filled(value: Any, annotation: Any) -> Any:
    """A value with what the file leaves out; a scalar as it stands, since a document may hold `${VAR}` where a number goes."""
    if not isinstance(value, dict):
        return value
    for model in models_in(annotation):
        filled = {key: item for key, item in _fields(value, model) if item is not UNSAID}
        return filled | _alpha(filled) if model is AlphaSpec else filled
    for option in options_of(annotation):
        if get_origin(option) is dict:
            return {key: _filled(item, get_args(option)[1]) for key, item in value.items()}
    return value


def _fields(value: Mapping[str, Any], model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in fields_of(model).items():
        default = UNSAID if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(by_alias=True)
        given = value.get(name, default)
        # Null where null is the default says nothing.
        yield name, UNSAID if given is None and default is None else _listed(_filled(given, field.annotation))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _alpha(alpha: dict[str, Any]) -> dict[str, Any]:
    """The default that depends on the policy."""
    if alpha.get("policy") == "proportional":
        return {"factor": alpha.get("factor", DEFAULT_ALPHA_FACTOR)}
    return {"value": alpha.get("value", DEFAULT_ALPHA_VALUE)}
