"""Small spaces of a lecture on structure selection.

One layer of two, all two-layer networks of one shape, convolution or pooling, polynomials.

Source: O. Bakhteev, Selection of model structure (lecture, 2022).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ShapeError
from netdial.structure.graph.operations import Shape
from netdial.structure.graph.space import SearchSpace
from netdial.structure.spaces.registry import counted, ready

ELEMENTARY: dict[str, Any] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}


@ready("one-layer")
def one_layer(input_shape: Shape, n_outputs: int, *, width: int = 8) -> SearchSpace:
    """Returns the choice between two hidden layers, f₁ = γ₀ σ(w₀ᵀx) + γ₁ σ(w₁ᵀx) (sigmoid or tanh), below a linear output.

    Softmax belongs to the likelihood.
    """
    counted("width", width)
    space = SearchSpace("one-layer")
    x, f1, f2 = space.input("f0", input_shape), space.node("f1"), space.node("f2")
    space.edge(x, f1, {name: _layer(width, ELEMENTARY[name]) for name in ("sigmoid", "tanh")})
    space.edge(f1, f2, {"output": _layer(n_outputs, nn.Identity)})
    space.output(f2)
    return space


@ready("two-layer")
def two_layer(input_shape: Shape, n_outputs: int, *, width: int = 3) -> SearchSpace:
    """Returns all networks σ₂(W²ᵀ σ₁(W¹ᵀ x)) of one shape: σ₁ and σ₂ are chosen of four elementary functions each."""
    counted("width", width)
    space = SearchSpace("two-layer")
    x, f1, f2 = space.input("f0", input_shape), space.node("f1"), space.node("f2")
    space.edge(x, f1, {name: _layer(width, made) for name, made in ELEMENTARY.items()})
    space.edge(f1, f2, {name: _layer(n_outputs, made) for name, made in ELEMENTARY.items()})
    space.output(f2)
    return space


@ready("convolution-or-pooling")
def convolution_or_pooling(input_shape: Shape, n_outputs: int, *, kernel: int = 3) -> SearchSpace:
    """Returns the choice between a convolution and a pooling of images, below a linear output."""
    counted("kernel", kernel)
    if len(input_shape) != 3 or min(input_shape[1:]) < kernel or kernel % 2 == 0:
        raise ShapeError(
            f"space 'convolution-or-pooling': inputs of shape {list(input_shape)}, kernel={kernel}; expected images [C, H, W] "
            "of at least the kernel's size, which is odd"
        )
    space = SearchSpace("convolution-or-pooling")
    x, f1, f2 = space.input("f0", input_shape), space.node("f1"), space.node("f2")
    half = kernel // 2
    convolution = lambda shape: nn.Conv2d(shape[0], shape[0], kernel, padding=half)  # noqa: E731
    pooling = lambda: nn.MaxPool2d(kernel, stride=1, padding=half)  # noqa: E731
    space.edge(x, f1, {"convolution": convolution, "pooling": pooling})
    space.edge(f1, f2, {"output": _layer(n_outputs, nn.Identity)})
    space.output(f2)
    return space


class PolynomialFeatures(nn.Module):
    """All products of up to ``degree`` inputs, without the constant: ``[B, D]`` to ``[B, F]``."""

    def __init__(self, degree: int, n_inputs: int) -> None:
        super().__init__()
        self.terms = [
            term
            for size in range(1, degree + 1)
            for term in itertools.combinations_with_replacement(range(n_inputs), size)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Returns the products."""
        x = x.flatten(1)
        return torch.stack([x[:, list(term)].prod(dim=1) for term in self.terms], dim=1)


@ready("polynomial")
def polynomial(input_shape: Shape, n_outputs: int, *, degree: int = 5) -> SearchSpace:
    """Returns polynomials of degree 1 to ``degree``, one operation each, on a single edge."""
    counted("degree", degree)
    space = SearchSpace("polynomial")
    x, y = space.input("x", input_shape), space.node("y")
    inputs = math.prod(input_shape)

    def of_degree(number: int) -> nn.Module:
        features = PolynomialFeatures(number, inputs)
        return nn.Sequential(features, nn.Linear(len(features.terms), n_outputs))

    operations = {
        f"degree{number}": lambda number=number: of_degree(number)
        for number in range(1, degree + 1)
    }
    space.edge(x, y, operations)
    space.output(y)
    return space


def _layer(width: int, activation: Any) -> Any:
    """Returns the factory of a linear layer with a function behind it."""
    return lambda shape: nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), width), activation()
    )
