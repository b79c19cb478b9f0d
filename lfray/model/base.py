"""The base model in memory, with a head that every method starts from alike.

A checkpoint without a trained head gets one
drawn here, from the trial's seed and a generator of its own, so the head is the same for every method at one seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lfray.errors import ModelError
from lfray.model.execution import AUTO, FLASH, attention_of, check_attention, evaluate_with
from lfray.model.quantized import check_packed, four_bit_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A base in memory. `head_keys` are the parameters that make up the classification head, freshly drawn ones included."""

    model: nn.Module
    head_keys: tuple[str, ...]
    fresh_keys: tuple[str, ...]
    """Head parameters that the checkpoint does not bring: drawn from the seed."""


def load_model(
    folder: Path,
    *,
    head: str,
    class_names: Sequence[str],
    pad_id: int,
    trust_remote_code: bool = False,
    attention: str = AUTO,
    quantized: bool = False,
) -> LoadedModel:
    """The base with the task's head, fp32, on the CPU; a quantised one on the GPU where there is one.

    Args:
        folder: Model folder.
        head: `sequence` (classification head of len(class_names) outputs) or `verbalizer` (language-model head).
        class_names: Names of the classes.
        pad_id: Padding token, set in the model's configuration: GPT-2-like heads look for the last token that is not padding.
        trust_remote_code: Whether the checkpoint's own code may run.
        attention: `auto` (transformers' choice), `eager`, `sdpa` or `flash_attention_2`, which trains; evaluation, in fp32, is `sdpa` then.
        quantized: Hold the backbone's linear layers in 4 bits (NF4); the head stays fp32.

    Raises:
        ModelError: transformers cannot build it, weights other than the head's are absent, or it has no such attention.
        CapacityError: This machine has not what the attention or the quantisation needs.
    """
    generates, names = head == "verbalizer", list(class_names)
    shared: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    if not generates:
        _same_order(folder, names)
        options |= {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
            "ignore_mismatched_sizes": True,
        }
    try:
        if attention != AUTO or quantized:
            skeleton = _skeleton(folder, generates, shared)
            if attention != AUTO:
                check_attention(skeleton, attention)
                options["attn_implementation"] = attention
            if quantized:
                options["quantization_config"] = four_bit_config(skeleton)
        model, info = _auto_class(generates).from_pretrained(folder, **options, **shared)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"model.base: {folder} cannot be loaded with head: {head} ({error}). Check model.base and task.head"
        ) from error
    if attention not in (AUTO, attention_of(model)):
        raise ModelError(f"resources.attention: must be what runs (got {attention_of(model)} for {attention}). Use auto")
    if attention_of(model) == FLASH:
        evaluate_with(model, "sdpa")
    if generates:
        _complete(folder, sorted(map(str, info["missing_keys"])))
        loaded = LoadedModel(model, (), ())
    else:
        model.config.pad_token_id = pad_id
        loaded = _with_head(folder, model, info)
    if quantized:
        check_packed(model, loaded.head_keys)
    return loaded


def _auto_class(generates: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForCausalLM if generates else AutoModelForSequenceClassification


def _skeleton(folder: Path, generates: bool, shared: dict[str, Any]) -> nn.Module:
    """The model without weights: its modules and what it can do."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, **shared)
    with torch.device("meta"):
        built: nn.Module = _auto_class(generates).from_config(config, **shared)
    return built


def _with_head(folder: Path, model: Any, info: dict[str, Any]) -> LoadedModel:
    """Which parameters are the head's, and which of them are to be drawn.

    Raises:
        ModelError: The checkpoint lacks weights of the backbone.
    """
    mismatched = {str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]}
    fresh = {str(key) for key in info["missing_keys"]} | mismatched
    known = {name for name, _ in model.named_parameters()}
    outside = {name for name in known if not name.startswith(f"{model.base_model_prefix}.")}
    # A pooler may be drawn: masked-language checkpoints have none, and classification reads it (BERT).
    _complete(folder, sorted(key for key in (fresh & known) - outside if "pooler" not in key.split(".")))
    return LoadedModel(model, tuple(sorted((fresh | outside) & known)), tuple(sorted(fresh & known)))


def _same_order(folder: Path, names: Sequence[str]) -> None:
    """Refuse a trained head whose classes have the task's names in another order: its outputs would be read swapped.

    Raises:
        ModelError: Names the checkpoint's order.
    """
    named = json.loads((folder / "config.json").read_text()).get("id2label") or {}
    theirs = [str(named[key]) for key in sorted(named, key=int)]
    if theirs != list(names) and sorted(map(str.casefold, theirs)) == sorted(map(str.casefold, names)):
        if [name.casefold() for name in theirs] == [name.casefold() for name in names]:
            return
        raise ModelError(
            f"task.labels: must be in the order of the checkpoint's classes ({', '.join(theirs)}; got {', '.join(names)}). "
            f"Write labels: [{', '.join(theirs)}]"
        )


def _complete(folder: Path, missing: Sequence[str]) -> None:
    """Refuse a checkpoint that lacks weights of the backbone or of the language model's output: they would be random.

    Raises:
        ModelError: Names the first three.
    """
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(
            f"model.base: {folder} must bring every weight of the base in the size that config.json says (missing {shown}). "
            "Save it whole with save_pretrained, or use a model made for this task.head"
        )


def draw_head(loaded: LoadedModel, seed: int) -> None:
    """Draw the fresh head parameters: matrices from N(0, initializer_range), biases 0, norm weights 1.

    From a generator of its own, in the order of their names: the head depends on the seed alone, not on the method,
    nor on what was drawn before.
    """
    generator = torch.Generator().manual_seed(seed)
    config = getattr(loaded.model, "config", None)
    # OPT names it init_std.
    spread = float(getattr(config, "initializer_range", getattr(config, "init_std", 0.02)))
    parameters = dict(loaded.model.named_parameters())
    with torch.no_grad():
        for key in loaded.fresh_keys:
            parameter = parameters[key]
            if parameter.ndim >= 2:
                # Drawn on the CPU: a quantised base lies on the GPU, whose generator would give another head.
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, spread, generator=generator))
            elif key.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1.0)
