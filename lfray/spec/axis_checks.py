"""Axes: does each name a field, does each value fit it, and is there a method in the sweep that has it?"""

from __future__ import annotations

import json
import math
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lfray.errors import Problem, did_you_mean
from lfray.names import METHOD_LABELS
from lfray.spec.axis import AxisTarget, axis_names, resolve_axis
from lfray.spec.method_checks import methods_in_use, trained_in_use
from lfray.spec.sweep import RangeAxis, SweepSpec
from lfray.spec.wording import findings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.spec.load import LoadedSweep
    from lfray.spec.yaml_text import Path

MAX_SEED = 2**32 - 1
"""NumPy's generators take no more."""
_ALPHA = ("alpha",)


def axis_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    """Problems of `axes` and `search`."""
    spec = loaded.spec
    used = methods_in_use(spec)
    known = set(used) <= set(METHOD_LABELS)
    seen: dict[tuple[str, tuple[str, ...]], str] = {}
    for name, axis in spec.axes.items():
        target = resolve_axis(name)
        if target is None or name in ("lora.rank", "methods.lora.rank"):
            remedy = "Write rank" if target else did_you_mean(name.removeprefix("train."), axis_names())
            yield loaded.problem(("axes", name), "an axis is a field of train or of a method", got=name, remedy=remedy)
            continue
        other = seen.setdefault((target.kind, target.path), name)
        if other != name:
            yield loaded.problem(
                ("axes", name), "two axes may not move the same field", got=f"{other} and {name}", remedy="Remove one"
            )
        yield from _values(loaded, name, axis, target)
        if known and used and len(target.methods) == 1 and target.methods[0] not in used:
            remedy = f"Add {target.methods[0]} to the methods, or remove the axis"
            got = f"methods {', '.join(used)}"
            yield loaded.problem(
                ("axes", name), f"applies to {target.methods[0]}, which the sweep does not use", got=got, remedy=remedy
            )
    yield from _nested(loaded, seen)
    yield from _search(loaded)
    yield from _alpha_pairs(loaded)


def axis_warnings(loaded: LoadedSweep) -> Iterator[Problem]:
    """What is written and has no effect."""
    spec, used = loaded.spec, {*methods_in_use(loaded.spec), *trained_in_use(loaded.spec)}
    for method in spec.methods.declared:
        if method not in used:
            yield loaded.problem(("methods", method), "declared, but not in axes.method: it is not tried", got="")
    for name in spec.axes:
        target = resolve_axis(name)
        if target is None or target.kind == "method":
            continue
        if not set(target.methods) & set(used):
            yield loaded.problem(("axes", name), "has no effect: no method of the sweep trains", got=", ".join(sorted(used)))
        path = _field(target)
        if path in loaded.lines:
            yield loaded.problem(path, f"not used: axes.{name} gives this field its values")


def _values(loaded: LoadedSweep, name: str, axis: Any, target: AxisTarget) -> Iterator[Problem]:
    at: Path = ("axes", name)
    if isinstance(axis, RangeAxis):
        yield from _range(loaded, name, axis, target)
        return
    if not axis:
        yield loaded.problem(at, "an axis needs at least one value", remedy="Give it values, or remove it")
    seen: dict[str, int] = {}
    for index, value in enumerate(axis):
        written = json.dumps(_plain(value), sort_keys=True, default=str)
        first = seen.setdefault(written, index)
        if first != index:
            yield loaded.problem(
                (*at, index), "a value may stand once in an axis", remedy="Remove the repeat: it is the same trial"
            )
        yield from _value(loaded, value, target, (*at, index))


def _range(loaded: LoadedSweep, name: str, axis: RangeAxis, target: AxisTarget) -> Iterator[Problem]:
    form, (low, high) = axis.form
    at: Path = ("axes", name, form)
    if target.kind == "method":
        yield loaded.problem(
            at, "methods are listed, not drawn", remedy=f"Write a list, e.g. [{', '.join(loaded.spec.methods.declared)}]"
        )
        return
    if form != "int":
        if target.kind in ("rank", "seed") or list(_value(loaded, 2, target, at)) == [] != list(_value(loaded, 1.5, target, at)):
            yield loaded.problem(at, "this field takes whole numbers", remedy="Write {int: [low, high]}")
            return
        high = math.nextafter(high, low)  # [low, high): the upper end itself is never drawn.
    for index, end in enumerate((low, high)):
        found = list(_value(loaded, end, target, (*at, index)))
        yield from found
        if found:
            return


def _value(loaded: LoadedSweep, value: Any, target: AxisTarget, at: Path) -> Iterator[Problem]:
    """Whether one value fits the axis' field."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match target.kind:
        case "method":
            declared = loaded.spec.methods.declared
            if value not in METHOD_LABELS:
                yield loaded.problem(at, "must be a method", remedy=did_you_mean(str(value), METHOD_LABELS))
            elif value not in declared:
                yield loaded.problem(at, "must be declared under methods", remedy=f"Add {value}: {{}} under methods")
        case "rank":
            if not number or not isinstance(value, int) or value < 0:
                yield loaded.problem(at, "a rank is a whole number of at least 0", remedy="0 trains the head only")
        case "seed":
            if not number or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
                yield loaded.problem(at, f"a seed is a whole number from 0 to {MAX_SEED}", remedy="Any such number will do")
        case "downsampling_ratio":
            if not number or not 0 < value <= 1:
                remedy = "It is the share of the minority's training rows that is kept; 1.0 keeps all"
                yield loaded.problem(at, "a downsampling ratio is over 0 and at most 1", remedy=remedy)
        case _:
            yield from _field_value(loaded, value, _field(target), at)


def _field_value(loaded: LoadedSweep, value: Any, path: tuple[str, ...], at: Path) -> Iterator[Problem]:
    raw = loaded.spec.model_dump(by_alias=True, exclude_unset=True)
    full = loaded.spec.model_dump(by_alias=True)
    if not _put(raw, full, path, value):
        return
    if path[2:3] == _ALPHA and len(_alpha_axes(loaded.spec)) > 1:
        # Judged by itself here, under a policy that has the field; what goes with what is judged by `_alpha_pairs`.
        policy = {"factor": "proportional", "value": "constant"}.get(path[-1], value)
        raw["methods"]["lora"]["alpha"] = {path[-1]: value, "policy": policy} if len(path) > 3 else value
    try:
        SweepSpec.model_validate(raw)
    except ValidationError as error:
        for finding in findings(error, raw):
            below = finding.path[len(path) :] if finding.path[: len(path)] == path else ()
            yield loaded.problem((*at, *below), finding.rule, got=finding.got, remedy=finding.remedy)


def _put(raw: dict[str, Any], full: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    """Set a value where the file may have left its surroundings to the defaults; False where they are no mapping."""
    for key in path[:-1]:
        below = full.get(key)
        if not isinstance(below, dict):
            return False
        if not isinstance(raw.get(key), dict):
            raw[key] = dict(below) if key in ("alpha", "learning_rate") else {}
        raw, full = raw[key], below
    raw[path[-1]] = list(value) if isinstance(value, tuple) else value
    return True


def _field(target: AxisTarget) -> tuple[str, ...]:
    """Path of the field in the file; of the three that are axes only, a path that no file has."""
    match target.kind:
        case "train":
            return ("train", *target.path)
        case "method_field":
            return ("methods", target.methods[0], *target.path)
        case "rank":
            return ("methods", "lora", "rank")
        case _:
            return (target.kind,)


def _nested(loaded: LoadedSweep, seen: dict[tuple[str, tuple[str, ...]], str]) -> Iterator[Problem]:
    for (kind, path), name in seen.items():
        above = seen.get((kind, path[:1]))
        if len(path) > 1 and above is not None:
            got = f"{above} and {name}"
            yield loaded.problem(("axes", name), "two axes may not move the same field", got=got, remedy="Write both as one axis")


def _search(loaded: LoadedSweep) -> Iterator[Problem]:
    ranges = [name for name, axis in loaded.spec.axes.items() if isinstance(axis, RangeAxis)]
    if loaded.spec.search is None:
        for name in ranges:
            yield loaded.problem(("axes", name), "a range is drawn from, which needs search", remedy="Add search: {samples: 20}")
    elif not ranges:
        rule = "search applies to axes given as ranges, and there is none"
        yield loaded.problem(("search",), rule, remedy="Remove it: lists are crossed in full")


def _alpha_axes(spec: SweepSpec) -> dict[str, tuple[tuple[str, ...], tuple[Any, ...]]]:
    """The list axes inside alpha: name -> path under the method, values."""
    found: dict[str, tuple[tuple[str, ...], tuple[Any, ...]]] = {}
    for name, axis in spec.axes.items():
        target = resolve_axis(name)
        if target is not None and target.kind == "method_field" and target.path[:1] == _ALPHA and isinstance(axis, tuple):
            found[name] = (target.path, axis)
    return found


def _alpha_pairs(loaded: LoadedSweep) -> Iterator[Problem]:
    """Several axes inside alpha: every combination must make sense together (one axis alone is checked with its values)."""
    axes = _alpha_axes(loaded.spec)
    if len(axes) < 2 or math.prod(len(axis) for _, axis in axes.values()) > 1000:
        return
    for values in product(*(axis for _, axis in axes.values())):
        raw = loaded.spec.model_dump(by_alias=True, exclude_unset=True)
        full = loaded.spec.model_dump(by_alias=True)
        for (path, _), value in zip(axes.values(), values, strict=True):
            _put(raw, full, ("methods", "lora", *path), value)
        try:
            SweepSpec.model_validate(raw)
        except ValidationError as error:
            got = ", ".join(f"{name}: {value}" for name, value in zip(axes, values, strict=True))
            finding = findings(error, raw)[0]
            remedy = "Write alpha as one axis: [{policy: constant, value: 16}, {policy: proportional, factor: 2}]"
            yield loaded.problem(("axes", list(axes)[-1]), finding.rule, got=got, remedy=remedy)
            return


def _plain(value: Any) -> Any:
    """5 and 5.0 are one value of an axis."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
