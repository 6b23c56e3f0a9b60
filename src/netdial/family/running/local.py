"""Samples of weights, and of pre-activations of a linear layer in their place (local reparametrisation, Kingma et al. 2015).

Where a layer meets each example once, drawing its pre-activation is drawing its weights: exact, and of lower variance than one
draw of the weights for all examples.

Shapes: K members; n blocks of b examples, each shared by K / n members; o outputs, i inputs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

TINY = 1e-20
"""Added to variances under a root, whose derivative is infinite at 0."""


def weights(mean: Tensor, var: Tensor, eps: Tensor) -> Tensor:
    """Returns ``mean + sqrt(var) eps``; where a variance is 0, its gradient is finite."""
    return cast(Tensor, _Weights.apply(mean, var, eps))  # type: ignore[no-untyped-call]


class _Weights(torch.autograd.Function):
    """``weights``, which keeps the derivative by the variance and nothing else."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, var: Tensor, eps: Tensor) -> Tensor:
        std = var.add(TINY).sqrt_()
        found = torch.addcmul(mean, std, eps)
        ctx.save_for_backward((eps / std).mul_(0.5))
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return grad, grad * slope, None


def local_linear(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    bias: Tensor | None,
    bias_var: Tensor | None,
    eps: Tensor,
) -> Tensor:
    """Returns sampled pre-activations of a linear layer for K members.

    With weights and biases independent normal, the pre-activation of one example is normal with mean ``x W + b`` and
    variance ``x² var(W) + var(b)`` (Kingma, Salimans, Welling 2015, eq. 6).

    Args:
        x: inputs ``[n, b, i]``; block j is shared by members ``j K/n … (j + 1) K/n - 1``.
        mean: weight means ``[K, o, i]``.
        var: weight variances ``[K, o, i]``.
        bias: bias means ``[K, 1, o]`` or None.
        bias_var: bias variances ``[K, 1, o]`` or None.
        eps: standard normal numbers ``[K, b, o]``.
    """
    if torch.is_autocast_enabled(x.device.type):
        out = product(x, mean)
        spread = product(x.square(), var)
        out = out if bias is None else out + bias
        spread = spread if bias_var is None else spread + bias_var
        return torch.addcmul(out.float(), (spread.float() + TINY).sqrt(), eps)
    return cast(Tensor, _LocalLinear.apply(x, mean, var, bias, bias_var, eps))  # type: ignore[no-untyped-call]


class _LocalLinear(torch.autograd.Function):
    """``local_linear`` with a hand-written backward: four products and few passes over memory.

    Inside, examples come last (``[K, o, b]``): that is the faster product, and members that share a block lie in it one
    after another with nothing to rearrange.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        bias: Tensor | None,
        bias_var: Tensor | None,
        eps: Tensor,
    ) -> Tensor:
        offset = bias.mT if bias is not None else None
        spread = bias_var.mT if bias_var is not None else None
        out, squares, slope = sampled_across(x.mT, mean, var, offset, spread, eps)
        ctx.save_for_backward(x, squares, mean, var, slope)
        return out.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, squares, mean, var, slope = ctx.saved_tensors
        blocks, examples = x.shape[:2]
        grad = grad.mT.contiguous()
        grad_spread = grad * slope
        lines = grad.shape[0] // blocks * grad.shape[1]
        side = grad.view(blocks, lines, examples)
        side_spread = grad_spread.view(blocks, lines, examples)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = side_spread.mT @ stack(var, blocks)
            grad_x = (side.mT @ stack(mean, blocks)).addcmul_(grad_x, x, value=2)
        return (
            grad_x,
            torch.bmm(side, x).view(mean.shape),
            torch.bmm(side_spread, squares.mT).view(var.shape),
            grad.sum(dim=2).unsqueeze(1) if ctx.needs_input_grad[3] else None,
            grad_spread.sum(dim=2).unsqueeze(1) if ctx.needs_input_grad[4] else None,
            None,
        )


def sampled_across(
    inside: Tensor,
    mean: Tensor,
    var: Tensor,
    bias: Tensor | None,
    bias_var: Tensor | None,
    eps: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns sampled pre-activations ``[K, o, b]``, squared inputs, and the derivative of the noise by the variance.

    Args:
        inside: inputs ``[n, i, b]``, examples last.
        mean: weight means ``[K, o, i]``.
        var: weight variances ``[K, o, i]``.
        bias: bias means ``[K, o, 1]`` or None.
        bias_var: bias variances ``[K, o, 1]`` or None.
        eps: standard normal numbers ``[K, b, o]``.
    """
    squares = inside * inside
    out, std = across(inside.mT, mean), across(squares.mT, var)
    if bias is not None:
        out += bias
    if bias_var is not None:
        std += bias_var
    std.add_(TINY).sqrt_()
    eps = eps.mT.contiguous()
    out.addcmul_(std, eps)
    return out, squares, eps.div_(std).mul_(0.5)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Returns ``[K, b, o]``: each member's inputs ``[n, b, i]`` times its weights ``[K, o, i]``."""
    return across(x, weight).mT


def across(x: Tensor, weight: Tensor) -> Tensor:
    """Returns ``[K, o, b]``: each member's weights ``[K, o, i]`` times its inputs ``[n, b, i]``, which members may share."""
    stacked = torch.bmm(stack(weight, x.shape[0]), x.mT)
    return stacked.view(*weight.shape[:2], x.shape[1])


def stack(weight: Tensor, blocks: int) -> Tensor:
    """Returns ``[n, K/n o, i]``: the weights ``[K, o, i]`` of the members that share a block, on top of one another."""
    members, outputs, inputs = weight.shape
    return weight.reshape(blocks, members // blocks * outputs, inputs)
