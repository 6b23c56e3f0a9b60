"""Hypergradient: how the validation loss moves with structure parameters γ when the weights follow by one step of training.

w' = w - ξ ∇_w L(w, γ),        d Q(w', γ) / dγ = ∇_γ Q(w', γ) - ξ ∇²_{γw} L(w, γ) ∇_w Q(w', γ)

(Liu, Simonyan & Yang 2019, eq. 6-7), L the loss on the training part and Q that on the validation part. The second term is a
product of a matrix with a vector v = ∇_w Q(w', γ). ``exact`` differentiates ⟨∇_w L, v⟩; ``finite`` takes

(∇_γ L(w + εv, γ) - ∇_γ L(w - εv, γ)) / 2ε,

which needs no second derivatives of the operations, with ε‖v‖ = 2 ∛u for a rounding unit u: 0.01 in single precision. ``first``
leaves it out, as if the weights did not follow (ξ = 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, unknown

Order = Literal["first", "exact", "finite"]
ORDERS: tuple[Order, ...] = ("first", "exact", "finite")

Tensors = Sequence[Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]
"""(weights, structure parameters) -> a loss, differentiable by both."""


class Hypergradient(NamedTuple):
    """A hypergradient, with what was computed on the way.

    Attributes:
        gradient: one tensor for each structure parameter.
        valid: the validation loss at the weights after the step (with ``first`` at the weights).
        train: the training loss at the weights; None with ``first``, which does not need it.
    """

    gradient: list[Tensor]
    valid: Tensor
    train: Tensor | None


def hypergradient(
    train: Loss, valid: Loss, weights: Tensors, structure: Tensors, rate: float, order: Order
) -> Hypergradient:
    """Returns the gradient of the validation loss with respect to structure parameters.

    Args:
        train: L; it must give the same value at the same point (draws of dropout or of noise are made outside).
        valid: Q.
        weights: leaves w.
        structure: leaves γ, or parameters that they depend on.
        rate: ξ, the rate of the step that the weights would make.
        order: ``first``, ``exact`` or ``finite``.

    Raises:
        ConfigError: the order is unknown, or the rate is negative or not finite.
    """
    if order not in ORDERS:
        raise unknown("order of a hypergradient", order, ORDERS)
    if not 0 <= rate < float("inf"):
        raise ConfigError(f"rate={rate}; expected a finite number from 0 on")
    if order == "first" or rate == 0:
        loss = valid(weights, structure)
        return Hypergradient(_gradients(loss, structure), loss.detach(), None)
    exact = order == "exact"
    inner = train(weights, structure)
    slopes = _gradients(inner, weights, again=exact)
    moved = [(w - rate * s).detach().requires_grad_() for w, s in zip(weights, slopes, strict=True)]
    outer = valid(moved, structure)
    found = _gradients(outer, [*structure, *moved])
    direct, along = found[: len(structure)], found[len(structure) :]
    mixed = (
        _gradients(slopes, structure, along) if exact else _finite(train, weights, structure, along)
    )
    gradient = [a - rate * b for a, b in zip(direct, mixed, strict=True)]
    return Hypergradient(gradient, outer.detach(), inner.detach())


def _finite(train: Loss, weights: Tensors, structure: Tensors, along: Tensors) -> list[Tensor]:
    """Returns ∇²_{γw} L v by a central difference."""
    length = float(torch.stack([part.square().sum() for part in along]).sum().sqrt())
    if length == 0:
        return [torch.zeros_like(part) for part in structure]
    step = 2 * torch.finfo(along[0].dtype).eps ** (1 / 3) / length
    ends = []
    for sign in (step, -step):
        moved = [(w + sign * v).detach() for w, v in zip(weights, along, strict=True)]
        ends.append(_gradients(train(moved, structure), structure))
    return [(plus - minus) / (2 * step) for plus, minus in zip(*ends, strict=True)]


def _gradients(
    outputs: Tensor | Tensors, inputs: Tensors, along: Tensors | None = None, *, again: bool = False
) -> list[Tensor]:
    """Returns gradients, zeros where there is no way from an input to the outputs."""
    several = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    pairs = [
        (out, None if along is None else along[place])
        for place, out in enumerate(several)
        if out.requires_grad
    ]
    if not pairs:
        return [torch.zeros_like(part) for part in inputs]
    found = torch.autograd.grad(
        [out for out, _ in pairs],
        list(inputs),
        None if along is None else [v for _, v in pairs if v is not None],
        create_graph=again,
        allow_unused=True,
    )
    return [
        torch.zeros_like(part) if slope is None else slope
        for part, slope in zip(inputs, found, strict=True)
    ]
