from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from lfray.model.count import elements, logical_shape


def test_a_plain_parameter_counts_its_numbers() -> None:
    assert (logical_shape(nn.Parameter(torch.ones(3, 4))), elements(nn.Parameter(torch.ones(3, 4)))) == ((3, 4), 12)
    assert elements(nn.Parameter(torch.tensor(1.0))) == 1


def test_a_packed_or_shared_out_parameter_counts_what_it_stands_for() -> None:
    packed = nn.Parameter(torch.zeros(6, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=torch.Size([3, 4]))  # type: ignore[attr-defined]  # as bitsandbytes does
    shared = nn.Parameter(torch.empty(0))
    shared.ds_shape = torch.Size([3, 4])  # type: ignore[attr-defined]  # as DeepSpeed does
    assert logical_shape(packed) == logical_shape(shared) == (3, 4)
    assert elements(packed) == elements(shared) == 12
