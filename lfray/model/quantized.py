"""A base held in 4 bits: NF4 with double quantisation, computed in bf16 on a GPU (Dettmers et al. 2023, arXiv 2305.14314).

Head, embeddings and norms stay fp32, so PEFT's prepare_model_for_kbit_training has nothing left to do. bitsandbytes is an option
of the user's: nothing here imports it, transformers does.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from lfray.errors import CapacityError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

# A pooler that the checkpoint lacks is drawn from the seed and trains whole, and a packed weight can do neither.
_WHOLE = (".*pooler",)
"""Regular expressions, which transformers matches from the start of a module's full name."""


def four_bit_obstacle() -> str | None:
    """Why a 4-bit base cannot be held by this process; None where it can."""
    if find_spec("bitsandbytes") is None:
        return "bitsandbytes is not installed"
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        return "this GPU has no bf16"
    return None


def four_bit_config(skeleton: nn.Module) -> Any:
    """Transformers' BitsAndBytesConfig: every linear layer of the backbone in NF4, the head and a pooler as they are.

    Args:
        skeleton: The model without weights, for the names of its head's modules.

    Raises:
        CapacityError: bitsandbytes is absent, or the GPU has no bf16.
    """
    obstacle = four_bit_obstacle()
    if obstacle is not None:
        raise CapacityError(
            f"methods.lora.variant: qlora must find bitsandbytes and a GPU with bf16 ({obstacle}). "
            "Install it where the workers run: pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    backbone = getattr(skeleton, "base_model_prefix", "")
    heads = [name for name, _ in skeleton.named_children() if name != backbone]
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        # bitsandbytes' CPU kernels gain nothing from bf16 where the processor has none.
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        llm_int8_skip_modules=[*heads, *_WHOLE],
    )


def check_packed(model: nn.Module, head_keys: Iterable[str]) -> None:
    """Hold transformers to its word: the backbone is packed, the head is not.

    Raises:
        ModelError: Nothing was packed, or not all, or a parameter of the head was.
    """
    # A layer whose weights the checkpoint lacks is replaced and never packed: its quant_state is there, and None.
    packed = {name: p.quant_state for name, p in model.named_parameters() if hasattr(p, "quant_state")}
    heads = sorted(packed.keys() & set(head_keys))
    if not packed or heads or None in packed.values():
        got = f"packed: {', '.join(heads)}" if heads else "not every linear layer packed"
        raise ModelError(f"methods.lora.variant: qlora must pack the backbone and leave the head ({got}). Use lora for this base")
