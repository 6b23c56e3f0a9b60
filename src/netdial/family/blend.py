"""Blends: fields that are weighted sums of pivots, kept apart so that a training step need not pass over them.

Under a linear or piecewise-linear map K fields are ``shares @ pivots`` with few pivots. What a step needs of them is the
divergence, the leaves, and the gradients of the pivots, and some of that is cheaper from the pivots themselves:

    Σ_p log σ_kp   = c_k · Σ_p S_p           the entropy
    ∂(α_k Σ_p μ²/2)/∂V = (Cᵀ diag(α) C) V    the gradient of the means' part of the KL, and of ‖μ‖²

so what is left are passes over means, variances and their gradients, ``[K, P]`` each. The law it is tested against
is the general way: fields first, then ``posterior`` on them.

Shapes: K members, J pivots, P numbers of the tree; C shares ``[K, J]``, V pivots of the means, S of the log_std.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

LOG2_VAR = 2 / math.log(2)
"""A log_std times this is the logarithm of the variance to base 2: powers of 2 take a third of the time of powers of e."""


_CACHEFUL, _LEAST_WIDTH = 1 << 18, 1 << 10

Order = Literal[1, 2]


class Blend(NamedTuple):
    """K fields ``shares @ pivots``: shares ``[K, J]``, pivots ``[J, P]``."""

    shares: Tensor
    pivots: Tensor

    def spread_and_kl(self, log_std: Blend, prior_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns KL(q || N(0, prior_var)) ``[K]``, means and variances ``[K, P]``.

        Args:
            log_std: blend of the log standard deviations, with the shares of this one, which is of the means.
            prior_var: prior variances ``[K]``, positive.
        """
        found: Any = _SpreadAndKL.apply(  # type: ignore[no-untyped-call]
            self.pivots, log_std.pivots, self.shares, prior_var
        )
        return cast(tuple[Tensor, Tensor, Tensor], found)

    def with_norm(self, order: Order) -> tuple[Tensor, Tensor]:
        """Returns ‖μ‖₁ for order 1, ‖μ‖² for order 2 ``[K]``, and the means μ ``[K, P]``."""
        found: Any = _MeansWithNorm.apply(self.pivots, self.shares, order)  # type: ignore[no-untyped-call]
        return cast(tuple[Tensor, Tensor], found)

    def fields(self) -> Tensor:
        """Returns the fields ``[K, P]``."""
        return self.shares @ self.pivots


class _MeansWithNorm(torch.autograd.Function):
    """(pivots of mean, shares, order) -> (norms, means), by hand.

    The gradients of means and norms meet in a cache: written by autograd, those of the norms take as long as all else together.
    """

    @staticmethod
    def forward(ctx: Any, pivots: Tensor, shares: Tensor, order: Order) -> tuple[Tensor, Tensor]:
        (members, _), size = shares.shape, pivots.shape[1]
        mean, norm = pivots.new_empty(members, size), pivots.new_zeros(members)
        for here in _cachefuls(members, size):
            mean_ = torch.mm(shares, pivots[:, here], out=mean[:, here])
            if order == 1:  # the norm of order 1 that torch has takes twice as long
                norm += mean_.abs().sum(dim=1)
            else:
                norm += torch.linalg.vector_norm(mean_, dim=1).square_()
        ctx.order = order
        ctx.save_for_backward(pivots, shares, mean)
        return norm, mean

    @staticmethod
    def backward(ctx: Any, grad_norm: Tensor, of_mean: Tensor) -> Any:
        pivots, shares, mean = ctx.saved_tensors
        back, pull = shares.mT.contiguous(), grad_norm[:, None]
        among, grad = back @ (2 * pull * shares), torch.empty_like(pivots)
        for here in _cachefuls(*mean.shape):
            if ctx.order == 1:
                of_both = torch.addcmul(of_mean[:, here], pull, mean[:, here].sgn())
                torch.mm(back, of_both, out=grad[:, here])
            else:
                torch.mm(among, pivots[:, here], out=grad[:, here])
                grad[:, here].addmm_(back, of_mean[:, here])
        return grad, None, None


class _SpreadAndKL(torch.autograd.Function):
    """(pivots of mean, pivots of log_std, shares, prior_var) -> (kl, means, variances), by hand."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_stds: Tensor, shares: Tensor, prior_var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (members, _), size = shares.shape, means.shape[1]
        mean, var = means.new_empty(members, size), means.new_empty(members, size)
        spread, scaled = means.new_zeros(members), LOG2_VAR * shares
        for here in _cachefuls(members, size):
            mean_ = torch.mm(shares, means[:, here], out=mean[:, here])
            var_ = torch.mm(scaled, log_stds[:, here], out=var[:, here]).exp2_()
            spread += torch.linalg.vector_norm(mean_, dim=1).square_()
            spread += var_.sum(dim=1)
        kl = 0.5 * (spread / prior_var + size * (prior_var.log() - 1))
        kl -= shares @ log_stds.sum(dim=1)
        ctx.save_for_backward(means, var, shares, prior_var)
        return kl, mean, var

    @staticmethod
    def backward(ctx: Any, grad_kl: Tensor, of_mean: Tensor, of_var: Tensor) -> Any:
        means, var, shares, prior_var = ctx.saved_tensors
        back, pull = shares.mT.contiguous(), (grad_kl / prior_var)[:, None]
        among, push = back @ (pull * shares), (back @ grad_kl)[:, None]
        grad_means, grad_log_stds = torch.empty_like(means), torch.empty_like(means)
        for here in _cachefuls(*var.shape):
            torch.mm(among, means[:, here], out=grad_means[:, here])
            grad_means[:, here].addmm_(back, of_mean[:, here])
            of_log_std = torch.add(pull, of_var[:, here], alpha=2).mul_(var[:, here])
            torch.mm(back, of_log_std, out=grad_log_stds[:, here]).sub_(push)
        return grad_means, grad_log_stds, None, None


def _cachefuls(members: int, size: int) -> Iterator[slice]:
    """Yields ranges of the P numbers, such that those of all members fit the cache.

    What one operation writes is then still there for the next.
    """
    width = max(_CACHEFUL // members, _LEAST_WIDTH)
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))
