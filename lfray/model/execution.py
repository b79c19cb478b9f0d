"""How a model computes what it computes: which attention, and whether activations are kept or made again. No number means another thing.

What was asked for is read back from the built model, because transformers may put something else in its place.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from lfray.errors import CapacityError, ModelError

if TYPE_CHECKING:
    from torch import nn

AUTO = "auto"
FLASH = "flash_attention_2"


def check_attention(skeleton: nn.Module, attention: str) -> None:
    """Refuse an attention that the machine or the model has not, before any weight is read.

    Args:
        skeleton: The model without weights.
        attention: `eager`, `sdpa` or `flash_attention_2`.

    Raises:
        CapacityError: flash_attention_2 without a GPU or without the package flash_attn.
        ModelError: The model has other implementations; the message names them.
    """
    known = ["eager"]
    known += ["sdpa"] if getattr(skeleton, "_supports_sdpa", False) else []
    known += [FLASH] if getattr(skeleton, "_supports_flash_attn", False) else []
    if attention not in known:
        raise ModelError(
            f"resources.attention: must be one that {type(skeleton).__name__} has ({', '.join(known)}; got {attention}). Or use auto"
        )
    if attention != FLASH:
        return
    # transformers would fetch a kernel from the hub in its place.
    for absent, what in ((find_spec("flash_attn") is None, "the package flash_attn"), (not torch.cuda.is_available(), "a GPU")):
        if absent:
            raise CapacityError(
                f"resources.attention: {FLASH} needs the package flash_attn and a GPU ({what} is absent). "
                "Install flash-attn where the workers run, or use sdpa"
            )


def attention_of(model: nn.Module) -> str:
    """Implementation of attention that a model runs (`eager`, `sdpa`, `flash_attention_2`); `unknown` where it does not say."""
    found = getattr(getattr(model, "config", None), "_attn_implementation", None)
    return found if isinstance(found, str) else "unknown"


def evaluate_with(model: nn.Module, attention: str) -> None:
    """Have a model's forward passes in evaluation mode, and no others, run another attention.

    Evaluation is fp32, which flash attention has not: it takes 16-bit inputs only.
    """
    trained = attention_of(model)
    # On the backbone: PEFT calls the whole model's `forward` past its hooks. The configurations are looked up anew, because a
    # trial works on a copy of the model that these hooks were made for.
    backbone = getattr(model, getattr(model, "base_model_prefix", ""), model)

    def before(module: nn.Module, _: Any) -> None:
        if not module.training:
            _switch(module, attention)

    def after(module: nn.Module, *_: Any) -> None:
        _switch(module, trained)

    backbone.register_forward_pre_hook(before)
    backbone.register_forward_hook(after, always_call=True)


def _switch(model: nn.Module, attention: str) -> None:
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    for config in {id(config): config for config in configs if config is not None}.values():
        config._attn_implementation = attention


def checkpoint_activations(model: nn.Module) -> None:
    """Keep the inputs of the layers only, and compute the rest again in the backward pass; random numbers are drawn as before.

    Gradients keep their bits with sdpa without dropout, and are equal up to rounding elsewhere (fp32: 1e-5 relative). For the
    adapted model, whatever the method; evaluation is untouched.

    Raises:
        ModelError: The model has no layers that can be computed again.
    """
    inner: Any = getattr(model, "get_base_model", lambda: model)()  # PeftModel has it
    if not getattr(inner, "supports_gradient_checkpointing", False):
        raise ModelError(
            f"resources.gradient_checkpointing: must be supported by the model (got {type(inner).__name__}). Set it to false"
        )
    inner.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    # transformers makes the embeddings' output require gradients, which re-entrant checkpointing alone needs: `head` would then
    # go back through layers that learn nothing.
    inner.disable_input_require_grads()
    inner.config.use_cache = False


class PrecisionSeen:
    """Which precision a model trains in, seen on what a matrix product gives: autocast may be off where it was asked for."""

    def __init__(self, model: nn.Module) -> None:
        """Look at the first forward pass in training mode of the model's first linear layer (GPT-2's Conv1D is one)."""
        self.name: str | None = None
        """`fp32` or `bf16` (another type by torch's name); None before any such pass."""
        first = next((m for m in model.modules() if isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D"), None)
        self._hook = None if first is None else first.register_forward_hook(self._look)

    def _look(self, module: nn.Module, _: Any, output: torch.Tensor) -> None:
        if not module.training or self._hook is None:
            return
        self.name = _NAMES.get(output.dtype, str(output.dtype))
        self._hook.remove()


_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
