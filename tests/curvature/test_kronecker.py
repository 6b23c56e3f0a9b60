"""Kronecker factors where they are exact, their definition elsewhere, and which layers have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.curvature import Factors, diagonal, full, gradient, kronecker

KINDS = ["classification", "regression"]


def block(problem: Any, matrix: Tensor, factors: Factors) -> Tensor:
    """Returns the rows and columns of a matrix that belong to a layer."""
    index = problem.layout.split(torch.arange(problem.layout.size))
    names = [name for name in (factors.weight, factors.bias) if name is not None]
    here = torch.cat([index[name].flatten() for name in names])
    return matrix[here][:, here]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_factors_of_one_example_are_the_blocks_of_the_matrix(
    named: Callable[..., Any], name: str, kind: str
) -> None:
    problem = named(name, kind, examples=1)
    matrix = full(problem.net, problem.data, kind=kind)
    found = kronecker(problem.net, problem.data, kind=kind)
    assert len(found) == 2
    for factors in found.values():
        torch.testing.assert_close(factors.dense(), block(problem, matrix, factors))


@pytest.mark.parametrize("bias", [True, False])
def test_factors_of_linear_regression_are_the_matrix(bias: bool, source: torch.Generator) -> None:
    net = nn.Linear(4, 3, bias=bias).double()
    x = torch.randn(9, 4, dtype=torch.float64, generator=source)
    data = x, torch.zeros(9, 3, dtype=torch.float64)
    found = kronecker(net, data, kind="regression", batch_size=4)[""]
    torch.testing.assert_close(found.dense(), full(net, data, kind="regression"))


@pytest.mark.parametrize("kind", KINDS)
def test_last_layer_of_a_deep_regression_is_exact(named: Callable[..., Any], kind: str) -> None:
    """The gradient of a unit-variance normal's root is the same for all examples; that of a softmax is not."""
    problem = named("relu", kind)
    matrix = full(problem.net, problem.data, kind=kind)
    factors = kronecker(problem.net, problem.data, kind=kind)["2"]
    exact = torch.allclose(factors.dense(), block(problem, matrix, factors))
    assert exact == (kind == "regression")


def test_factors_are_means_over_examples_and_positions(named: Callable[..., Any]) -> None:
    problem = named("convolutional", "classification")
    found = kronecker(problem.net, problem.data, batch_size=3)
    net = problem.net.eval()
    inputs = nn.functional.unfold(net[:1](problem.x), (1, 2), padding=(0, 1))
    rows = inputs.transpose(1, 2).reshape(-1, 2)
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
    torch.testing.assert_close(found["1"].inputs, rows.T @ rows / len(rows))

    nodes = nn.functional.conv2d(net[0](problem.x), net[1].weight, net[1].bias, padding=(0, 1))
    nodes = nodes.detach().requires_grad_()
    outputs = net[2:](nodes.clone())
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for i, out in enumerate(outputs):
        for k, p in enumerate(out.softmax(0)):
            root = p.sqrt() * (torch.eye(3, dtype=torch.float64)[k] - out.softmax(0))
            (grad,) = torch.autograd.grad(out @ root.detach(), nodes, retain_graph=True)
            g = grad[i].flatten(1).T
            expected += g.T @ g
    torch.testing.assert_close(found["1"].outputs, expected)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("relu", {"0", "2"}),
        ("convolutional", {"1", "4", "8"}),
        ("tied", {"head"}),
        ("functional", {"head"}),
        ("twice", {"layer", "head"}),
        ("tokens-first", {"head"}),
        ("attention", {"lift", "head"}),
        ("recurrent", {"head"}),
    ],
)
def test_layers_that_have_factors(named: Callable[..., Any], name: str, layers: set[str]) -> None:
    problem = named(name, "classification")
    found = kronecker(problem.net, problem.data)
    assert set(found) == layers
    assert all(f.weight == f"{layer}.weight" for layer, f in found.items())


def test_a_network_without_such_layers_has_none() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x

    data = torch.ones(3, 2), torch.zeros(3).long()
    assert kronecker(Scale(), data) == {}
    torch.testing.assert_close(full(Scale(), data), torch.tensor([[0.75, -0.75], [-0.75, 0.75]]))


def test_callers_may_have_gradients_off_or_autocast_on() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    data = (torch.randn(12, 4), torch.arange(12) % 3)
    measured: list[Callable[[], Tensor]] = [
        lambda: kronecker(net, data)["0"].outputs,
        lambda: full(net, data),
        lambda: gradient(net, data)[1]["0.weight"],
        lambda: diagonal(net, data)["0.weight"],
    ]
    for measure in measured:
        due = measure()
        for context in (torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
            with context:
                assert torch.equal(measure(), due)
