from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lfray.engine.kernels import THIN, amd_with_avx512, onednn, speed_up_linear

pytestmark = pytest.mark.skipif(not onednn(), reason="this torch has no oneDNN")


def pair(inputs: int, outputs: int, *, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias)
    fast = copy.deepcopy(plain)
    speed_up_linear(fast)
    return plain, fast


def passes(layer: nn.Linear, source: Tensor) -> list[Tensor]:
    """Output and every gradient."""
    source = source.clone().requires_grad_(True)
    output = layer(source)
    output.square().mean().backward()
    assert source.grad is not None
    return [output.detach(), source.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("shape", [(16, 13, 96), (5, 96), (96,)])
@pytest.mark.parametrize("bias", [True, False])
def test_both_passes_equal_torchs(shape: tuple[int, ...], bias: bool) -> None:
    plain, fast = pair(96, 160, bias=bias)
    source = torch.randn(shape)
    for ours, theirs in zip(passes(fast, source), passes(plain, source), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_error_against_float64_is_that_of_single_precision() -> None:
    plain, fast = pair(1536, 384)
    source = torch.randn(208, 1536)
    exact = functional.linear(source.double(), plain.weight.double(), plain.bias.double())
    with torch.inference_mode():
        assert float((fast(source).double() - exact).abs().max()) < 1536 * torch.finfo(torch.float32).eps * float(
            exact.abs().max()
        )


def test_the_same_bits_every_time() -> None:
    _, fast = pair(384, 1536)
    source = torch.randn(16, 21, 384)
    first = passes(fast, source)
    for _ in range(5):
        fast.zero_grad()
        assert all(torch.equal(a, b) for a, b in zip(passes(fast, source), first, strict=True))


def test_training_and_scoring_passes_give_the_same_bits() -> None:
    _, fast = pair(128, 128)
    source = torch.randn(4, 7, 128)
    with torch.inference_mode():
        scored = fast(source)
    assert torch.equal(scored, fast(source).detach())


def test_a_frozen_layer_passes_gradients_on_and_gets_none() -> None:
    _, fast = pair(96, 96)
    fast.requires_grad_(False)
    source = torch.randn(3, 96, requires_grad=True)
    fast(source).sum().backward()
    assert source.grad is not None
    assert fast.weight.grad is None


def test_thin_layers_other_types_and_other_classes_are_left_alone() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(96, THIN - 1), Special(96, 96), nn.Embedding(96, 96), nn.Linear(96, 96))
    assert speed_up_linear(model) == 1
    half = model[3].to(torch.bfloat16)
    assert half(torch.randn(2, 96, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_a_copy_of_the_model_and_its_saved_weights_know_nothing_of_it() -> None:
    plain, fast = pair(96, 96)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert nn.Linear.forward is type(fast).forward


def test_the_choice_is_the_processors() -> None:
    assert amd_with_avx512() is amd_with_avx512()
