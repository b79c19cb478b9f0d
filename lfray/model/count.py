"""How many numbers a parameter stands for, however it is held: whole, packed in 4 bits, or shared out between workers.

What a trial costs must not depend on that, and `numel()` does: it is half for a 4-bit weight and 0 for one that ZeRO-3 holds elsewhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def logical_shape(parameter: nn.Parameter) -> tuple[int, ...]:
    """Shape of the weight that the parameter stands for: of the matrix before 4-bit packing, of the whole under ZeRO-3."""
    packed = getattr(parameter, "quant_state", None)  # bitsandbytes: Params4bit, once quantised
    if packed is not None:
        return tuple(packed.shape)
    shared = getattr(parameter, "ds_shape", None)  # DeepSpeed ZeRO-3: the parameter itself is empty between uses
    return tuple(parameter.shape if shared is None else shared)


def elements(parameter: nn.Parameter) -> int:
    """Product of `logical_shape`; 1 for a single number."""
    return math.prod(logical_shape(parameter))
