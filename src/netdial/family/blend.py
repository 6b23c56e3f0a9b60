"""Blends: fields that are weighted sums of pivots, kept apart so that a training step need not pass over them.

Under a linear or piecewise-linear map K fields are ``shares @ pivots`` with few pivots. What a step needs of them is the
divergence, the leaves, and the gradients of the pivots, and some of that is cheaper from the pivots themselves:

    Σ_p log σ_kp   = c_k · Σ_p S_p           the entropy
    ∂(α_k Σ_p μ²/2)/∂V = (Cᵀ diag(α) C) V    the gradient of the means' part of the KL

so what is left are passes over means, variances and their gradients, ``[K, P]`` each. The law it is tested against
is the general way: fields first, then ``posterior`` on them.

Shapes: K members, J pivots, P numbers of the tree; C shares ``[K, J]``, V pivots of the means, S of the log_std.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

LOG2_VAR = 2 / math.log(2)
"""A log_std times this is the logarithm of the variance to base 2: powers of 2 take a third of the time of powers of e."""


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

    def fields(self) -> Tensor:
        """Returns the fields ``[K, P]``."""
        return self.shares @ self.pivots


class _SpreadAndKL(torch.autograd.Function):
    """(pivots of mean, pivots of log_std, shares, prior_var) -> (kl, means, variances), by hand."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_stds: Tensor, shares: Tensor, prior_var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        var = torch.mm(LOG2_VAR * shares, log_stds).exp2_()
        mean = torch.mm(shares, means)
        spread = torch.linalg.vector_norm(mean, dim=1).square_() + var.sum(dim=1)
        kl = 0.5 * (spread / prior_var + means.shape[1] * (prior_var.log() - 1))
        kl -= shares @ log_stds.sum(dim=1)
        ctx.save_for_backward(means, var, shares, prior_var)
        return kl, mean, var

    @staticmethod
    def backward(ctx: Any, grad_kl: Tensor, of_mean: Tensor, of_var: Tensor) -> Any:
        means, var, shares, prior_var = ctx.saved_tensors
        back, pull = shares.mT.contiguous(), (grad_kl / prior_var)[:, None]
        grad_means = torch.mm(back @ (pull * shares), means).addmm_(back, of_mean)
        grad_log_stds = torch.mm(back, (2 * of_var).add_(pull).mul_(var))
        grad_log_stds -= (back @ grad_kl)[:, None]
        return grad_means, grad_log_stds, None, None
