"""Blends: fields that are weighted sums of pivots, kept apart so that a training step need not pass over them.

Under a linear or piecewise-linear map K fields are ``shares @ pivots`` with few pivots. What a step needs of them is the
divergence, the leaves, and the gradients of the pivots, and much of that is cheaper from the pivots themselves:

    Σ_p μ_kp²      = c_k (V Vᵀ) c_k          the means' part of the KL; V Vᵀ is [J, J]
    Σ_p log σ_kp   = c_k · Σ_p S_p           the entropy
    ∂(α_k Σ_p μ²/2)/∂V = (Cᵀ diag(α) C) V    its gradient

so only the variances and the gradients of the leaves are passes over ``[K, P]``. The law it is tested against is the
general way: fields first, then ``posterior`` on them.

Shapes: K members, J pivots, P numbers of the tree; C shares ``[K, J]``, V pivots of the means, S of the log_std.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from netdial.core.layout import Layout


class Blend(NamedTuple):
    """K fields ``shares @ pivots``: shares ``[K, J]``, pivots ``[J, P]``."""

    shares: Tensor
    pivots: Tensor

    def spread_and_kl(
        self, log_std: Blend, prior_var: Tensor, layout: Layout
    ) -> tuple[Tensor, ...]:
        """Returns KL(q || N(0, prior_var)) ``[K]``, then means and variances by leaf, ``[K, *shape]`` each.

        Args:
            log_std: blend of the log standard deviations, with the shares of this one, which is of the means.
            prior_var: prior variances ``[K]``, positive.
            layout: how the leaves lie in the P numbers.
        """
        found: Any = _SpreadAndKL.apply(  # type: ignore[no-untyped-call]
            self.pivots, log_std.pivots, self.shares, prior_var, layout
        )
        return cast(tuple[Tensor, ...], found)

    def fields(self) -> Tensor:
        """Returns the fields ``[K, P]``."""
        return self.shares @ self.pivots


class _SpreadAndKL(torch.autograd.Function):
    """(pivots of mean, pivots of log_std, shares, prior_var) -> (kl, means by leaf, variances by leaf), by hand."""

    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_stds: Tensor, shares: Tensor, prior_var: Tensor, layout: Layout
    ) -> tuple[Tensor, ...]:
        var = torch.mm(2 * shares, log_stds).exp_()
        square_norm = ((shares @ torch.mm(means, means.mT)) * shares).sum(dim=1)
        spread = square_norm + var.sum(dim=1)
        kl = 0.5 * (spread / prior_var + layout.size * (prior_var.log() - 1))
        kl -= shares @ log_stds.sum(dim=1)
        ctx.save_for_backward(means, var, shares, prior_var)
        ctx.layout = layout
        leaves = [*layout.split(shares @ means).values(), *layout.split(var).values()]
        return kl, *leaves

    @staticmethod
    def backward(ctx: Any, grad_kl: Tensor, *grads: Tensor) -> Any:
        means, var, shares, prior_var = ctx.saved_tensors
        count, sizes = len(grads) // 2, ctx.layout.sizes
        back = shares.mT.contiguous()
        pull = back * (grad_kl / prior_var)
        grad_means = torch.mm(pull @ shares, means)
        grad_log_stds = torch.mm(pull, var)
        grad_log_stds -= (back @ grad_kl)[:, None]
        flats = (flat.split(sizes, dim=1) for flat in (var, grad_means, grad_log_stds))
        for of_mean, of_var, var_, out_mean, out_log_std in zip(
            grads[:count], grads[count:], *flats, strict=True
        ):
            out_mean.addmm_(back, of_mean.reshape_as(var_))
            out_log_std.addmm_(back, of_var.reshape_as(var_) * var_, alpha=2)
        return grad_means, grad_log_stds, None, None, None
