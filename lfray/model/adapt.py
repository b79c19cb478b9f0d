"""How the base is adapted: one `match` over the methods. The only module that names peft.

What was asked for is read back from the built model: a target that matches nothing, or a LoRA layer that is missing, is an
error, never a trial that quietly trains something else.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from torch import nn

from lfray.errors import ModelError, did_you_mean
from lfray.model.count import elements
from lfray.space.trial import BaseMethod, FullMethod, HeadMethod, LoraMethod

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lfray.model.base import LoadedModel
    from lfray.space.trial import Method

NO_TARGETS = "dummy-target-modules"
"""PEFT's own marker for an adapter without low-rank layers (0.21: tuners_utils): `head` is saved so, and loads with plain peft."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """The model as it will train. `peft` tells whether it is a PeftModel."""

    model: nn.Module
    peft: bool
    adapter_parameters: int
    """Low-rank parameters added to the base; the head is not counted here."""
    total_parameters: int
    trainable_parameters: int
    backbone_learns: bool


def adapt(loaded: LoadedModel, method: Method) -> Adapted:
    """Make the parameters that the method trains trainable, and no others.

    Raises:
        ModelError: A target matches no linear module (the message lists what there is), `head` has no head to train, or the
            head of `base` would be a drawn one.
    """
    base_parameters = sum(elements(parameter) for parameter in loaded.model.parameters())
    for parameter in loaded.model.parameters():
        parameter.requires_grad_(False)
    match method:
        case BaseMethod():
            if loaded.fresh_keys:
                raise ModelError(
                    "methods.base: the checkpoint's head must be trained for these classes "
                    f"(got {', '.join(loaded.fresh_keys)} to draw). Use the method head"
                )
            model, is_peft = loaded.model, False
        case HeadMethod():
            if not loaded.head_keys:
                raise ModelError(
                    "methods.head: this model has no classification head. Use task.head: sequence, or the method base"
                )
            model, is_peft = _peft(loaded, targets=NO_TARGETS, rank=1, alpha=1.0), True
        case LoraMethod():
            model, is_peft = _lora(loaded, method), True
        case FullMethod():
            for parameter in loaded.model.parameters():
                parameter.requires_grad_(True)
            model, is_peft = loaded.model, False
        case _:
            assert_never(method)
    added = sum(elements(p) for name, p in model.named_parameters() if "lora_" in name) if is_peft else 0
    return Adapted(
        model=model,
        peft=is_peft,
        adapter_parameters=added,
        total_parameters=base_parameters + added,
        trainable_parameters=sum(elements(p) for p in model.parameters() if p.requires_grad),
        backbone_learns=isinstance(method, LoraMethod | FullMethod),
    )


def preload() -> None:
    """Import peft now: a worker's first trial should not read less memory than its second because it never needed it."""
    import peft  # noqa: F401


def linear_modules(loaded: LoadedModel) -> dict[str, nn.Module]:
    """Linear layers (GPT-2's Conv1D included) outside the head, by full name."""
    from transformers.pytorch_utils import Conv1D

    heads = head_modules(loaded)
    output = getattr(loaded.model, "get_output_embeddings", lambda: None)()
    return {
        name: module
        for name, module in loaded.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name not in heads and module is not output
    }


def head_modules(loaded: LoadedModel) -> tuple[str, ...]:
    """Modules that own head parameters, by full name."""
    return tuple(sorted({key.rpartition(".")[0] for key in loaded.head_keys}))


def _lora(loaded: LoadedModel, method: LoraMethod) -> nn.Module:
    linear = linear_modules(loaded)
    leaves = sorted({name.rpartition(".")[2] for name in linear})
    wanted = (
        leaves
        if method.targets == "all-linear"
        else [method.targets]
        if isinstance(method.targets, str)
        else list(method.targets)
    )
    expected: set[str] = set()
    for target in wanted:
        hits = {name for name in linear if name == target or name.endswith(f".{target}")}
        if not hits:
            raise ModelError(
                f"methods.lora.targets: must match a linear module of the model (got {target!r}). "
                f"{did_you_mean(target, leaves)} The model has: {', '.join(leaves)}"
            )
        expected |= hits
    model = _peft(
        loaded,
        targets=wanted,
        rank=method.rank,
        alpha=method.alpha,
        dropout=method.dropout,
        rslora=method.alpha_policy == "rslora",
        dora=method.variant == "dora",
    )
    placed = {name.removeprefix("base_model.model.") for name, module in model.named_modules() if hasattr(module, "lora_A")}
    if placed != expected:
        raise ModelError(
            f"methods.lora.targets: the built model must carry the requested layers (missing {sorted(expected - placed)}, "
            f"unexpected {sorted(placed - expected)}). Name the modules in full"
        )
    return model


def _peft(
    loaded: LoadedModel,
    *,
    targets: str | list[str],
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    rslora: bool = False,
    dora: bool = False,
) -> nn.Module:
    import peft
    from transformers.pytorch_utils import Conv1D

    heads = list(head_modules(loaded))
    transposed = any(isinstance(module, Conv1D) for module in loaded.model.modules())
    config = peft.LoraConfig(
        task_type="SEQ_CLS" if loaded.head_keys else "CAUSAL_LM",
        r=rank,
        lora_alpha=alpha if not float(alpha).is_integer() else int(alpha),
        lora_dropout=dropout,
        use_rslora=rslora,
        use_dora=dora,
        target_modules=targets,
        # A head that lives inside the backbone (BERT's fresh pooler) trains whole, so it must not also get low-rank layers.
        exclude_modules=[head for head in heads if isinstance(targets, list) and head.rpartition(".")[2] in targets] or None,
        modules_to_save=heads or None,
        fan_in_fan_out=transposed,
        bias="none",
    )
    with _quiet_peft():
        built: nn.Module = peft.get_peft_model(loaded.model, config)
    _only_once(built, heads)
    return built


def _only_once(model: nn.Module, heads: Iterable[str]) -> None:
    """Hold PEFT to its word: the head copies train, the originals do not."""
    for name, parameter in model.named_parameters():
        if "original_module" in name and parameter.requires_grad:
            raise ModelError(f"peft: the original head must stay frozen (got {name} trainable). Heads: {', '.join(heads)}")


def save_adapted(adapted: Adapted, folder: Path, *, base_name: str) -> int:
    """Save what must be kept beside the base: the PEFT adapter, or the whole model for `full`; returns bytes of weights.

    `base_name` goes into adapter_config.json, so that plain peft code knows which base to load.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = adapted.model
    if adapted.peft:
        model.peft_config["default"].base_model_name_or_path = base_name
        # `auto` would ask the hub whether the base's vocabulary changed; nothing here resizes it.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    else:
        model.save_pretrained(folder, safe_serialization=True)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def load_adapter(model: nn.Module, folder: Path) -> nn.Module:
    """Put a saved adapter on its base, for scoring."""
    import peft

    with _quiet_peft():
        loaded: nn.Module = peft.PeftModel.from_pretrained(model, folder)
    return loaded


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Keep two notices of PEFT 0.21 off the terminal; they ask for nothing that a user could do."""
    with warnings.catch_warnings():
        # GPT-2 mixes Conv1D and Linear; PEFT corrects the flag for each layer by itself and says so each time.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        # PEFT reads a property that transformers 5.23 renames.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
