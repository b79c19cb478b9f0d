"""Whether the workers of a trial can share its rows, its GPUs and its state as `resources` says: method by method, before Ray starts.

Only methods that the sweep tries count, and a method's own value goes before the one for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, cast

from lfray.spec.axis import TRAINED, resolve_axis
from lfray.spec.deepspeed import ZeroFields, clashes, refused_options
from lfray.spec.method_checks import kinds_in_use
from lfray.spec.resources import MethodResourcesSpec
from lfray.spec.sweep import RangeAxis
from lfray.spec.wording import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lfray.errors import Problem
    from lfray.spec.load import LoadedSweep
    from lfray.spec.resources import MethodKind, Shape
    from lfray.spec.yaml_text import Path

_GENERAL = {"workers": "workers_per_trial", "cpus": "cpus_per_trial", "gpus": "gpus_per_trial"}
"""Field of a method's block -> its name for all methods, where they differ."""
_NEEDS = {"offload_optimizer": (1, "1, 2 or 3"), "offload_parameters": (3, "3")}
"""Offloading -> the lowest ZeRO stage that has it, and those that do."""


@dataclass(frozen=True)
class _Number:
    """One value that a field of `train` may take, and where it stands in the file, if it is a value of an axis."""

    value: Any
    at: Path | None


def resource_problems(loaded: LoadedSweep) -> Iterator[Problem]:
    """Problems of `resources`, one a value: methods that take the same value from one place share its problem."""
    used = kinds_in_use(loaded.spec)
    trained = tuple(method for method in TRAINED if method in used)
    found: dict[tuple[str, int | None], Problem] = {}
    for problem in (
        *_base(loaded),
        *(problem for method in used for problem in _gpus(loaded, method)),
        *(problem for method in trained for problem in _rows(loaded, method)),
        *(problem for method in trained for problem in _offload(loaded, method)),
        *_attention(loaded, used),
        *_deepspeed(loaded, trained),
    ):
        found.setdefault((problem.path, problem.line), problem)
    yield from found.values()


def resource_warnings(loaded: LoadedSweep) -> Iterator[Problem]:
    """Blocks that have no effect."""
    used = kinds_in_use(loaded.spec)
    for method in ("base", *TRAINED):
        if method in loaded.spec.resources.model_fields_set and method not in used:
            yield loaded.problem(("resources", method), "has no effect: the sweep does not try this method", got="")


def _own(loaded: LoadedSweep, method: MethodKind) -> MethodResourcesSpec:
    own: MethodResourcesSpec = getattr(loaded.spec.resources, method)
    return own


def _where(loaded: LoadedSweep, method: MethodKind, name: str) -> Path:
    """Where the value stands that counts for a method."""
    if getattr(_own(loaded, method), name) is not None:
        return ("resources", method, name)
    return ("resources", _GENERAL.get(name, name))


def _base(loaded: LoadedSweep) -> Iterator[Problem]:
    for name in ("zero_stage", "offload_optimizer", "offload_parameters", "micro_batch"):
        if getattr(loaded.spec.resources.base, name):
            rule = "the method base trains nothing: it has neither an optimizer nor an update"
            yield loaded.problem(("resources", "base", name), rule, remedy="Remove it")


def _gpus(loaded: LoadedSweep, method: MethodKind) -> Iterator[Problem]:
    shape = loaded.spec.resources.of(method)
    at = _where(loaded, method, "gpus")
    own = len(at) > 2
    if shape.gpus > 1:
        whole = shape.gpus == int(shape.gpus)
        workers = shape.workers * int(shape.gpus) if whole else 2
        write = f"{method}: {{workers: {workers}, gpus: 1}}" if own else f"workers_per_trial: {workers}, gpus_per_trial: 1"
        remedy = f"Write {write}" if whole else f"Write a value of at most 1; several GPUs are several workers: {write}"
        yield loaded.problem(at, "a worker computes on one GPU, or on a share of one GPU", remedy=remedy)
    elif shape.workers > 1 and 0 < shape.gpus < 1:
        rule = "the workers of one trial need a GPU each: NCCL refuses two of them on one"
        remedy = f"Write {'gpus' if own else 'gpus_per_trial'}: 1, or one worker"
        yield loaded.problem(at, rule, got=f"{shape.workers} workers with {shape.gpus:g} of a GPU", remedy=remedy)


def _rows(loaded: LoadedSweep, method: MethodKind) -> Iterator[Problem]:
    """Workers x micro-batch x accumulation must be the update's rows, for every value of every axis: the first that is not."""
    shape = loaded.spec.resources.of(method)
    share = shape.workers * (shape.micro_batch if isinstance(shape.micro_batch, int) else 1)
    if share == 1:
        return
    for batch, passes in product(_numbers(loaded, "batch_size", share), _numbers(loaded, "gradient_accumulation", share)):
        rule, remedy = _cut(shape, batch.value, passes.value)
        if rule:
            micro = isinstance(shape.micro_batch, int) and batch.value * passes.value % shape.workers == 0
            at = batch.at or passes.at or _where(loaded, method, "micro_batch" if micro else "workers")
            got = f"batch_size {batch.value} x gradient_accumulation {passes.value}, {shape.workers} workers"
            got += f" x micro_batch {shape.micro_batch}" if micro else ""
            got = f"{method}: {got}" if len(kinds_in_use(loaded.spec)) > 1 else got
            if at[0] == "axes" and len(at) == 2:
                remedy = "A range may draw it: list values that fit instead"
            yield loaded.problem(at, rule, got=got, remedy=remedy)
            return


def _cut(shape: Shape, batch: int, passes: int) -> tuple[str, str]:
    """Why these rows cannot be cut into equal shares, and the way out; empty where they can."""
    workers, micro, rows = shape.workers, shape.micro_batch, batch * passes
    if rows % workers:
        near = max(rows // workers, 1) * workers
        remedy = f"{'Lower' if near < rows else 'Raise'} batch_size x gradient_accumulation to {near}, or change the workers"
        return "workers must share the rows of an update equally", remedy
    if isinstance(micro, int) and rows % (workers * micro):
        fits = max(size for size in range(1, micro + 1) if rows % (workers * size) == 0)
        return "workers x micro_batch must divide the rows of an update", f"Write micro_batch: {fits}, or auto"
    if micro is None and batch % workers:
        remedy = f"Write micro_batch: {rows // workers}, or auto, or a batch_size that {workers} divides"
        return "without micro_batch, workers must share batch_size equally", remedy
    return "", ""


def _numbers(loaded: LoadedSweep, name: str, share: int) -> list[_Number]:
    """Every value that a whole-number field of `train` may take. Values that do not fit the field are refused elsewhere."""
    for axis_name, axis in loaded.spec.axes.items():
        target = resolve_axis(axis_name)
        if target is None or target.kind != "train" or target.path != (name,):
            continue
        if not isinstance(axis, RangeAxis):
            listed = [_Number(value, ("axes", axis_name, index)) for index, value in enumerate(axis)]
            return [number for number in listed if type(number.value) is int and number.value >= 1]
        if axis.int_ is None:
            return []
        low, high = axis.int_
        # Divisibility by `share` repeats after that many numbers.
        return [_Number(value, ("axes", axis_name)) for value in range(max(low, 1), min(high, low + share) + 1)]
    return [_Number(getattr(loaded.spec.train, name), None)]


def _offload(loaded: LoadedSweep, method: MethodKind) -> Iterator[Problem]:
    shape = loaded.spec.resources.of(method)
    for name, (lowest, stages) in _NEEDS.items():
        if getattr(shape, name) and shape.zero_stage < lowest:
            what = name.removeprefix("offload_").replace("_", " ")
            at = _where(loaded, method, name)
            rule = f"offloading the {what} needs zero_stage {stages}"
            remedy = f"Write {method}: {{zero_stage: {lowest}}}, or remove it"
            if len(at) == 2 and len(kinds_in_use(loaded.spec)) > 1:
                remedy = f"Write it under the methods that have one, or {method}: {{{name}: false}}"
            yield loaded.problem(at, rule, got=f"zero_stage {shape.zero_stage} for {method}", remedy=remedy)


def _attention(loaded: LoadedSweep, used: tuple[MethodKind, ...]) -> Iterator[Problem]:
    resources = loaded.spec.resources
    without = [method for method in used if resources.of(method).gpus == 0]
    if resources.attention == "flash_attention_2" and without:
        rule = "flash_attention_2 computes on GPUs only"
        got = f"{show(float(resources.of(without[0]).gpus))} GPUs for {', '.join(without)}"
        yield loaded.problem(("resources", "attention"), rule, got=got, remedy="Write sdpa or auto, or give every worker a GPU")


def _deepspeed(loaded: LoadedSweep, trained: tuple[MethodKind, ...]) -> Iterator[Problem]:
    extra, at = loaded.spec.resources.deepspeed, ("resources", "deepspeed")
    if not extra:
        return
    sharded = [method for method in trained if loaded.spec.resources.of(method).zero_stage > 0]
    if not sharded:
        rule = "options of DeepSpeed need a zero_stage, and no method that the sweep trains has one"
        yield loaded.problem(at, rule, remedy="Write zero_stage: 1, 2 or 3, or remove them")
        return
    for path, rule, remedy in refused_options(extra):
        yield loaded.problem((*at, *path), rule, remedy=remedy)
    for method in sharded:
        for fields in _zero_fields(loaded, method):
            for clash in clashes(fields, extra):
                rule = f"contradicts the sweep's own fields, which give {show(clash.ours)} for {method}"
                yield loaded.problem((*at, *clash.path), rule, remedy="Remove it; lfray sets it from the sweep's fields")


def _zero_fields(loaded: LoadedSweep, method: MethodKind) -> Iterator[ZeroFields]:
    """What DeepSpeed may be told for the trials of a method: each batch and clipping norm, largest and smallest micro-batch."""
    shape = loaded.spec.resources.of(method)
    batches = product(_numbers(loaded, "batch_size", 1), _numbers(loaded, "gradient_accumulation", 1), _norms(loaded))
    for batch, passes, norm in batches:
        share = max(batch.value * passes.value // shape.workers, 1)
        given = max(batch.value // shape.workers, 1) if shape.micro_batch is None else shape.micro_batch
        for micro in (share, 1) if given == "auto" else (given,):
            yield ZeroFields(
                zero_stage=cast("Literal[1, 2, 3]", shape.zero_stage),
                micro_batch=micro,
                accumulation=max(share // micro, 1),
                workers=shape.workers,
                max_grad_norm=norm,
                precision="fp32",  # DeepSpeed is told the same for bf16
                offload_optimizer=shape.offload_optimizer,
                offload_parameters=shape.offload_parameters,
            )


def _norms(loaded: LoadedSweep) -> list[float | None]:
    for name, axis in loaded.spec.axes.items():
        target = resolve_axis(name)
        if target is not None and target.kind == "train" and target.path == ("max_grad_norm",):
            values = list(axis.form[1]) if isinstance(axis, RangeAxis) else list(axis)
            return [value for value in values if value is None or type(value) in (int, float)]
    return [loaded.spec.train.max_grad_norm]
