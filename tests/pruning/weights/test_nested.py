"""The nested product against dense products of each level."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from netdial.pruning.weights.nested import FirstLayer, NestedLinear, is_worthwhile


def layer(seed: int, members: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(members, 4, 6, generator=source)
    levels = torch.randint(0, count + 1, weight.shape, generator=source, dtype=torch.int16)
    return weight, levels, torch.randn(5, 6, generator=source)


@given(seed=st.integers(0, 100), members=st.integers(1, 3), count=st.integers(1, 5))
@pytest.mark.parametrize("bias", ["none", "one", "each"])
def test_each_level_is_the_product_of_what_stays(
    seed: int, members: int, count: int, bias: str
) -> None:
    weight, levels, x = layer(seed, members, count)
    biases = {
        "none": None,
        "one": torch.randn(4),
        "each": torch.randn(members * count, 4),
    }[bias]
    found = NestedLinear(weight, levels, count)(x, biases)
    assert found.shape == (members * count * 5, 4)
    found = found.view(members, count, 5, 4)
    for k in range(members):
        for s in range(count):
            own = biases if biases is None or biases.ndim == 1 else biases[k * count + s]
            expected = F.linear(x, weight[k] * (levels[k] > s), own)
            assert torch.allclose(found[k, s], expected, atol=1e-5)


def test_everything_removed_leaves_the_bias() -> None:
    weight, levels, x = layer(0, 2, 3)
    found = NestedLinear(weight, torch.zeros_like(levels), 3)(x, torch.arange(4.0))
    assert torch.equal(found, torch.arange(4.0).expand(30, 4))


def test_it_is_taken_where_it_pays() -> None:
    weight, levels, _ = layer(0, 2, 10)
    assert is_worthwhile(weight, levels, 10)
    assert not is_worthwhile(weight, levels.clamp(max=2), 2)
    assert not is_worthwhile(weight.double(), levels, 10)


def test_only_layers_that_meet_the_data_are_replaced() -> None:
    class Inner(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            return "inner"

    weight, other, bias = torch.zeros(2, 4, 6), torch.zeros(2, 4, 6), torch.zeros(2, 4)
    products = {id(weight): lambda x, b: x.sum()}
    x, longer, deeper = torch.ones(3, 6), torch.ones(6, 6), torch.ones(3, 2, 6)
    with FirstLayer(Inner(), products, examples=3):
        taken = F.linear(x, weight, bias)
        missed = [
            F.linear(x, other, bias),
            F.linear(longer, weight, bias),
            F.linear(deeper, weight, bias),
        ]
        plain = torch.relu(bias)
    assert float(taken) == 18
    assert missed == ["inner"] * 3
    assert torch.equal(plain, bias)
