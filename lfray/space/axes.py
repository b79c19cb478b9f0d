"""Axes crossed: from a sweep's axes to one assignment a trial, each axis only where its method has it.

Ranges are drawn by hashing (search seed, axis, draw), not by a generator's state: raising `samples` keeps every earlier draw,
and so every trial already trained.
"""

from __future__ import annotations

import hashlib
import math
from itertools import product
from typing import TYPE_CHECKING, Any

from lfray.spec.axis import resolve_axis
from lfray.spec.sweep import RangeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lfray.spec.sweep import SweepSpec

Assignment = dict[str, Any]
"""Axis name -> value."""


def draw(axis: RangeAxis, *, name: str, index: int, seed: int) -> float | int:
    """The `index`-th draw of a range axis: uniform, log-uniform, or a whole number with both ends included."""
    digest = hashlib.sha256(f"{seed}:{name}:{index}".encode()).digest()
    unit = int.from_bytes(digest[:7], "big") / 2**56
    if axis.int_ is not None:
        low, high = axis.int_
        return low + int(unit * (high - low + 1))
    if axis.log_uniform is not None:
        low_log, high_log = (math.log(bound) for bound in axis.log_uniform)
        # Six digits: the value is read by people and hashed into the trial's id.
        return float(f"{math.exp(low_log + unit * (high_log - low_log)):.6g}")
    assert axis.uniform is not None
    low_value, high_value = axis.uniform
    return float(f"{low_value + unit * (high_value - low_value):.6g}")


def methods_of(spec: SweepSpec) -> tuple[str, ...]:
    """Methods the sweep tries: `axes.method`, or every declared one."""
    axis = spec.axes.get("method")
    return tuple(axis) if isinstance(axis, tuple) else spec.methods.declared


def assignments(spec: SweepSpec, method: str) -> Iterator[Assignment]:
    """Every combination of the axes that `method` has; the others do not multiply its trials."""
    listed: dict[str, tuple[Any, ...]] = {}
    ranged: dict[str, RangeAxis] = {}
    for name, axis in spec.axes.items():
        target = resolve_axis(name)
        if target is None or target.kind == "method" or method not in target.methods:
            continue
        if isinstance(axis, RangeAxis):
            ranged[name] = axis
        else:
            listed[name] = axis
    samples = spec.search.samples if spec.search is not None and ranged else 1
    seed = spec.search.seed if spec.search is not None else 0
    for values in product(*listed.values()):
        for index in range(samples):
            drawn = {name: draw(axis, name=name, index=index, seed=seed) for name, axis in ranged.items()}
            yield dict(zip(listed, values, strict=True)) | drawn


def put(tree: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of `tree` with the value at `path`; a leaf on the way is replaced by a mapping."""
    head, *rest = path
    below = tree.get(head)
    return {**tree, head: put(below if isinstance(below, dict) else {}, tuple(rest), value) if rest else value}
