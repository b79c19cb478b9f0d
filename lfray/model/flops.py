"""Training operations, estimated from the model's configuration.

Formula `matmul+attention` (Kaplan et al. 2020, Appendix B, with attention counted and backward split by what learns):

    forward   = 2 P T + 4 L d S          P: parameters of the linear layers a token passes, T: tokens, L: layers,
                                         d: hidden size, S: sum over rows of length^2
    backward  = forward (gradients of activations; 0 where only the head learns) + 2 P_trainable T (gradients of weights)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfray.model.count import elements, logical_shape

if TYPE_CHECKING:
    from torch import nn

FORMULA = "matmul+attention"


def linear_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Elements of the two-dimensional weights that multiply activations: embeddings, which only look up, are left out."""
    from torch import nn as torch_nn

    total = 0
    for name, module in model.named_modules():
        # peft keeps the untrained head beside its trained copy (ModulesToSaveWrapper): no token passes through it.
        if isinstance(module, torch_nn.Embedding) or "original_module" in name.split("."):
            continue
        for parameter in module.parameters(recurse=False):
            if len(logical_shape(parameter)) == 2 and (parameter.requires_grad or not trainable_only):
                total += elements(parameter)
    return total


def training_flops(model: nn.Module, *, tokens: int, squared_tokens: int, backbone_learns: bool) -> float | None:
    """Operations of a training run; None where the configuration names no layers or hidden size.

    Args:
        model: The adapted model.
        tokens: Training tokens, padding left out.
        squared_tokens: Sum over training rows of length^2.
        backbone_learns: Whether gradients flow through the layers (False where only the head learns).
    """
    config = getattr(model, "config", None)
    layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not isinstance(layers, int) or not isinstance(width, int):
        return None
    forward = 2.0 * linear_parameters(model) * tokens + 4.0 * layers * width * squared_tokens
    weights = 2.0 * linear_parameters(model, trainable_only=True) * tokens
    return forward + (forward if backbone_learns else 0.0) + weights
