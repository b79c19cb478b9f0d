"""What the name of an axis refers to: the one place that maps `learning_rate`, `train.epochs` or `lora.alpha.factor` to a field.

Used by the checks (is there such a field, does the value fit?) and by the plan (put the value there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lfray.spec.stages import FullMethodSpec, HeadMethodSpec, LoraMethodSpec, MethodsSpec, TrainSpec
from lfray.spec.strict import Strict

TRAINED = ("head", "lora", "full")
"""Methods that train; `base` has neither ratio, seed nor any field of `train`."""

_METHOD_SPECS: dict[str, type[Strict]] = {"head": HeadMethodSpec, "lora": LoraMethodSpec, "full": FullMethodSpec}


@dataclass(frozen=True)
class AxisTarget:
    """Where an axis' value goes. `path` is the path inside the `train` or method block; `methods` are those it applies to."""

    kind: Literal["method", "rank", "downsampling_ratio", "seed", "train", "method_field"]
    methods: tuple[str, ...]
    path: tuple[str, ...] = ()


def axis_names() -> list[str]:
    """Every name an axis may have, in its shortest form: for "did you mean"."""
    names = ["method", "rank", "downsampling_ratio", "seed", *TrainSpec.model_fields]
    return names + [f"lora.{field}" for field in LoraMethodSpec.model_fields if field != "rank"]


def resolve_axis(name: str) -> AxisTarget | None:
    """The field an axis names, or None where there is none.

    Bare names of `train` and of `lora` are understood; `train.x`, `lora.x` and `methods.lora.x` are the long forms;
    `learning_rate.<method>` and `lora.alpha.<field>` go one level deeper.
    """
    match name:
        case "method":
            return AxisTarget("method", tuple(MethodsSpec.model_fields))
        case "rank" | "lora.rank" | "methods.lora.rank":
            return AxisTarget("rank", ("lora",))
        case "downsampling_ratio" | "seed":
            return AxisTarget("downsampling_ratio" if name == "downsampling_ratio" else "seed", TRAINED)
    parts = tuple(name.removeprefix("methods.").split("."))
    if parts[0] == "train":
        return _train_axis(parts[1:])
    if parts[0] in TRAINED:
        return _method_axis(parts[0], parts[1:])
    return _train_axis(parts) or _method_axis("lora", parts)


def _train_axis(path: tuple[str, ...]) -> AxisTarget | None:
    if len(path) == 1 and path[0] in TrainSpec.model_fields:
        return AxisTarget("train", TRAINED, path)
    if len(path) == 2 and path[0] == "learning_rate" and path[1] in TRAINED:
        return AxisTarget("train", (path[1],), path)
    return None


def _method_axis(method: str, path: tuple[str, ...]) -> AxisTarget | None:
    fields = _METHOD_SPECS[method].model_fields
    if not path or path[0] not in fields or (method == "lora" and path[0] == "rank"):
        return None
    if len(path) == 2 and path[0] == "alpha" and path[1] in ("policy", "factor", "value"):
        return AxisTarget("method_field", (method,), path)
    return AxisTarget("method_field", (method,), path) if len(path) == 1 else None
