"""Which methods a sweep uses, and whether the task and the learning rates go with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lfray.names import METHOD_LABELS
from lfray.spec.axis import TRAINED, resolve_axis
from lfray.spec.sweep import RangeAxis, SweepSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.errors import Problem
    from lfray.spec.load import LoadedSweep
    from lfray.spec.resources import MethodKind
    from lfray.spec.yaml_text import Path


def methods_in_use(spec: SweepSpec) -> tuple[str, ...]:
    """Methods that the sweep tries: those of `axes.method`, else every declared one."""
    axis = spec.axes.get("method")
    return tuple(map(str, axis)) if isinstance(axis, tuple) else spec.methods.declared


def trained_in_use(spec: SweepSpec) -> tuple[str, ...]:
    """Methods in use that train, `head` also where rank 0 stands for it."""
    used = set(methods_in_use(spec)) & set(TRAINED)
    if "lora" in used and _has_rank_zero(spec):
        used.add("head")
    return tuple(method for method in TRAINED if method in used)


def kinds_in_use(spec: SweepSpec) -> tuple[MethodKind, ...]:
    """Methods of which there will be trials, `base` first, `head` also for rank 0. Unknown names are left out: they are refused."""
    tried = {*methods_in_use(spec), *trained_in_use(spec)}
    return cast("tuple[MethodKind, ...]", tuple(method for method in ("base", *TRAINED) if method in tried))


def where_method(loaded: LoadedSweep, method: str) -> Path:
    """Where the file asks for a method: its value in `axes.method`, else its declaration."""
    axis = loaded.spec.axes.get("method")
    if isinstance(axis, tuple) and method in axis:
        return ("axes", "method", axis.index(method))
    return ("methods", method)


def method_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    """Problems of `methods` and of `train.learning_rate`."""
    if not loaded.spec.methods.declared:
        yield loaded.problem(("methods",), "a sweep needs at least one method", remedy=f"Known: {', '.join(METHOD_LABELS)}")
    yield from _head_and_verbalizer(loaded)
    yield from _learning_rates(loaded)
    yield from _quantized(loaded)


def _has_rank_zero(spec: SweepSpec) -> bool:
    ranks = spec.axes.get("rank")
    if isinstance(ranks, RangeAxis):
        return ranks.form[1][0] == 0
    return ranks is not None and 0 in ranks


def _head_and_verbalizer(loaded: LoadedSweep) -> Iterator[Problem]:
    spec = loaded.spec
    if spec.task.head != "verbalizer":
        return
    remedy = "Remove it; the untouched model is the method base"
    if "head" in methods_in_use(spec):
        rule = "the method head trains a classification head, which head: verbalizer has not"
        yield loaded.problem(where_method(loaded, "head"), rule, remedy=remedy)
    ranks = spec.axes.get("rank")
    if _has_rank_zero(spec):
        at: Path = ("axes", "rank", ranks.index(0)) if isinstance(ranks, tuple) else ("axes", "rank")
        yield loaded.problem(at, "rank 0 trains a classification head, which head: verbalizer has not", remedy=remedy)


def _learning_rates(loaded: LoadedSweep) -> Iterator[Problem]:
    """Every method that trains must have a rate."""
    spec = loaded.spec
    rates = spec.train.learning_rate
    targets = {name: resolve_axis(name) for name in spec.axes}
    moved = {t.path: name for name, t in targets.items() if t is not None and t.kind == "train" and t.path[0] == "learning_rate"}
    given: list[tuple[Path, Any]] = [(("train", "learning_rate"), rates)]
    if ("learning_rate",) in moved:
        name = moved["learning_rate",]
        axis = spec.axes[name]
        given = [(("axes", name, index), value) for index, value in enumerate(axis)] if isinstance(axis, tuple) else []
    elif isinstance(rates, float):
        for path, name in moved.items():
            remedy = f"Write train.learning_rate as a mapping: {{{path[1]}: {rates:g}, ...}}"
            yield loaded.problem(
                ("axes", name), "one rate for all methods cannot be moved for one", got=f"{rates:g}", remedy=remedy
            )
    for at, value in given:
        missing = [method for method in trained_in_use(spec) if isinstance(value, dict) and method not in value]
        missing = [method for method in missing if ("learning_rate", method) not in moved]
        if missing:
            remedy = f"Add {missing[0]}: <rate>"
            yield loaded.problem(at, f"needs a rate for every method that trains, also for {', '.join(missing)}", remedy=remedy)


def _quantized(loaded: LoadedSweep) -> Iterator[Problem]:
    """A 4-bit base needs a GPU, and each worker holds it whole."""
    spec = loaded.spec
    places = _variant(loaded, "qlora")
    if not places or "lora" not in methods_in_use(spec):
        return
    shape = spec.resources.of("lora")
    for at in places:
        if shape.gpus == 0:
            rule = "qlora needs a GPU for each worker: its 4-bit kernels are run on GPUs only"
            remedy = "Set resources.lora.gpus (or gpus_per_trial), or use lora or dora"
            yield loaded.problem(at, rule, got="gpus: 0", remedy=remedy)
        if shape.zero_stage == 3:
            rule = "qlora does not run under ZeRO-3: each worker holds the packed 4-bit weights whole"
            yield loaded.problem(at, rule, got="zero_stage: 3", remedy="Set resources.lora.zero_stage to 2 or less")


def _variant(loaded: LoadedSweep, variant: str) -> list[Path]:
    """Where the file asks for a variant of LoRA: values of its axis, else `methods.lora.variant`."""
    spec = loaded.spec
    for name, axis in spec.axes.items():
        target = resolve_axis(name)
        if target is not None and target.kind == "method_field" and target.path == ("variant",):
            return (
                [("axes", name, index) for index, value in enumerate(axis) if value == variant] if isinstance(axis, tuple) else []
            )
    declared = spec.methods.lora is not None and spec.methods.lora.variant == variant
    return [("methods", "lora", "variant")] if declared else []
