"""Local reparametrisation: its distribution against sampled weights, its backward against finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.noise import Noise
from netdial.family.running.local import local_linear
from netdial.family.running.mode import Leaf, MemberMode

F64 = torch.float64
Z = 5.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("blocks", [3, 1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_hand_written_backward_by_finite_differences(blocks: int, with_bias: bool) -> None:
    x, mean = random(blocks, 4, 5, seed=1), random(3, 2, 5, seed=2)
    var, eps = random(3, 2, 5, seed=3).square() + 0.1, random(3, 4, 2, seed=4)
    bias = random(3, 1, 2, seed=5).requires_grad_() if with_bias else None
    bias_var = (random(3, 1, 2, seed=6).square() + 0.1).requires_grad_() if with_bias else None
    inputs = (x.requires_grad_(), mean.requires_grad_(), var.requires_grad_(), bias, bias_var, eps)
    assert torch.autograd.gradcheck(local_linear, inputs)


@pytest.mark.parametrize("blocks", [4, 2, 1])
def test_hand_written_form_is_the_formula(blocks: int) -> None:
    """Mean x W + b and variance x² var(W) + var(b), member by member; a block serves the members that share it."""
    x, mean, var = random(blocks, 6, 5), random(4, 2, 5, seed=1), random(4, 2, 5, seed=2).square()
    bias, bias_var, eps = (
        random(4, 1, 2, seed=3),
        random(4, 1, 2, seed=4).square(),
        random(4, 6, 2, seed=5),
    )
    found = local_linear(x, mean, var, bias, bias_var, eps)
    for k in range(4):
        piece = x[k * blocks // 4]
        centre = piece @ mean[k].T + bias[k]
        spread = piece.square() @ var[k].T + bias_var[k]
        assert torch.allclose(found[k], centre + spread.sqrt() * eps[k])


def test_certain_weights_of_zero_inputs_give_no_nan() -> None:
    x = torch.zeros(1, 3, 4, requires_grad=True)
    mean, var = torch.randn(1, 2, 4, requires_grad=True), torch.zeros(1, 2, 4, requires_grad=True)
    out = local_linear(x, mean, var, None, None, torch.randn(1, 3, 2))
    out.sum().backward()
    for tensor in (out, x.grad, mean.grad, var.grad):
        assert tensor is not None and bool(tensor.isfinite().all())


def run(
    layer: nn.Module, x: Tensor, mean: list[Tensor], var: list[Tensor], noise: Noise | None
) -> Tensor:
    """Runs a layer of two leaves (weight, bias) as a single member."""
    names = ["weight", "bias"]
    leaves = {
        name: (m, Leaf(m[None], v[None] if noise is not None else None))
        for name, m, v in zip(names, mean, var, strict=True)
    }
    tree = {name: placeholder for name, (placeholder, _) in leaves.items()}
    with MemberMode(leaves, examples=len(x), shared=1, noise=noise):
        out: Tensor = torch.func.functional_call(layer, tree, (x,))
    return out


LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (6, 4)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (4, 2, 5)),
    "conv2d-grouped": (lambda: nn.Conv2d(4, 2, 2, groups=2), (3, 4, 3, 3)),
    "conv2d-dilated": (lambda: nn.Conv2d(2, 3, 2, dilation=2, stride=2), (5, 2, 5, 5)),
    "conv2d-many-positions": (lambda: nn.Conv2d(1, 2, 2), (4, 1, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), (3, 1, 3, 3, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LAYERS))
def test_pre_activations_have_the_mean_and_variance_of_sampled_weights(
    name: str, seed: int
) -> None:
    """At each example and position, against moments in closed form: conv(x, μ) + b and conv(x², σ²) + var(b)."""
    make, shape = LAYERS[name]
    layer = make().double()
    x, count = random(*shape, seed=9), 3000
    mean = [p.detach() for p in layer.parameters()]
    var = [random(*p.shape, seed=10).square() * 0.5 for p in mean]
    draws = torch.stack(
        [run(layer, x, mean, var, Noise(seed, step, [0])) for step in range(count)]
    ).flatten(1)

    centre = torch.func.functional_call(
        layer, dict(zip(["weight", "bias"], mean, strict=True)), (x,)
    ).flatten()
    spread = torch.func.functional_call(
        layer, dict(zip(["weight", "bias"], var, strict=True)), (x.square(),)
    ).flatten()
    stderr = (spread / count).sqrt()
    assert bool(((draws.mean(dim=0) - centre).abs() < Z * stderr).all())
    # the variance of an estimated variance of normal numbers is 2 σ⁴ / n
    assert bool(((draws.var(dim=0) - spread).abs() < Z * spread * (2 / count) ** 0.5).all())


def test_convolution_at_many_positions_draws_one_weight_for_all_of_them() -> None:
    """The posterior has one weight for all positions, so outputs at equal inputs are equal."""
    layer = nn.Conv2d(1, 1, 1).double()
    x = torch.ones(8, 1, 6, 6, dtype=F64)
    mean = [p.detach() for p in layer.parameters()]
    out = run(layer, x, mean, [torch.ones_like(p) for p in mean], Noise(0, 0, [0]))
    assert torch.allclose(out, out.flatten()[0].expand_as(out))


@pytest.mark.parametrize("name", list(LAYERS))
def test_without_noise_the_means_are_run(name: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make().double(), random(*shape)
    mean = [p.detach().clone() for p in layer.parameters()]
    assert torch.allclose(run(layer, x, mean, mean, None), layer(x), rtol=0, atol=1e-12)


def test_a_weight_used_outside_known_operations_is_sampled_once_for_a_pass() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2, dtype=F64))
            self.bias = nn.Parameter(torch.zeros(2, dtype=F64))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.weight + 0, self.weight.T.T * 1]) + 0 * self.bias

    net = Twice()
    mean = [p.detach() for p in net.parameters()]
    first, second = run(
        net, random(2, 2), mean, [torch.ones_like(p) for p in mean], Noise(0, 0, [0])
    ).chunk(2)
    assert torch.equal(first, second)
    assert bool((first != 0).all())


def test_operations_without_leaves_are_left_alone() -> None:
    layer, x = nn.Linear(4, 3).double(), random(6, 4)
    weight = random(2, 3)
    leaves = {"weight": (layer.weight, Leaf(layer.weight[None], None))}
    with MemberMode(leaves, examples=6, shared=1, noise=None):
        assert torch.equal(F.linear(layer(x), weight), layer(x) @ weight.T)
