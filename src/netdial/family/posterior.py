"""Posteriors: what a family knows about its leaves at given complexity values.

``Fields`` holds the flat fields of K members at once: means, and for a diagonal normal posterior log standard deviations.
The Kullback-Leibler divergence from the prior N(0, s²) has a closed form and needs no sample:

    KL = ½ Σ_p [ (σ_p² + μ_p²) / s² - 1 - log σ_p² + log s² ]        (Graves 2011, eq. 15, with zero prior mean)

Shapes: K members, P numbers of the tree.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import ConfigError


class Fields:
    """Means ``[K, P]`` and, unless the posterior is a point, log standard deviations ``[K, P]``."""

    def __init__(self, mean: Tensor, log_std: Tensor | None = None) -> None:
        self.mean = mean
        self.log_std = log_std
        self._var: Tensor | None = None

    @property
    def var(self) -> Tensor | None:
        """Variances ``[K, P]``, or None for a point."""
        if self._var is None and self.log_std is not None:
            self._var = (2 * self.log_std).exp()
        return self._var

    def kl(self, prior_var: Tensor) -> Tensor:
        """Returns KL(q || N(0, prior_var)) in nats ``[K]``.

        Args:
            prior_var: prior variances ``[K]``, positive.

        Raises:
            ConfigError: for a point posterior, whose divergence from a normal prior is infinite.
        """
        if self.log_std is None:
            raise ConfigError(
                "kl: a point posterior has no finite divergence from a normal prior; use posterior='normal', "
                "or the objective 'l2'"
            )
        self.mean, self._var, kl = _SpreadAndKL.apply(self.mean, self.log_std, prior_var)
        return kl

    def square_norm(self) -> Tensor:
        """Returns ‖mean‖² ``[K]``."""
        return self.mean.square().sum(dim=1)


def kl_between(first: Fields, second: Fields) -> Tensor:
    """Returns KL(first || second) in nats ``[K]`` between diagonal normal posteriors."""
    if first.log_std is None or second.log_std is None:
        raise ConfigError("kl_between: both posteriors must be normal; a point has no density")
    gap = first.log_std - second.log_std
    spread = (2 * gap).exp() + (first.mean - second.mean).square() * (-2 * second.log_std).exp()
    return 0.5 * (spread - 1 - 2 * gap).sum(dim=1)


def symmetrised_kl(first: Fields, second: Fields) -> Tensor:
    """Returns KL(first || second) + KL(second || first) ``[K]`` (Grebenkova et al. 2022, §4.1)."""
    return kl_between(first, second) + kl_between(second, first)


class _SpreadAndKL(torch.autograd.Function):
    """(mean, log_std, prior_var) -> (mean, var, kl) with one fused backward.

    The mean passes through so that the gradient of the divergence is added to the network's gradient in place
    instead of in passes of its own; on small networks these passes are a tenth of a step.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, prior_var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        var = (log_std * 2).exp_()
        size = mean.shape[1]
        squares = torch.linalg.vector_norm(mean, dim=1).square()
        spread = (var.sum(dim=1) + squares) / prior_var
        kl = 0.5 * (spread - size + size * prior_var.log()) - log_std.sum(dim=1)
        ctx.save_for_backward(mean, var, prior_var)
        return mean.view_as(mean), var, kl

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_var: Tensor, grad_kl: Tensor) -> Any:
        mean, var, prior_var = ctx.saved_tensors
        pull = (grad_kl / prior_var)[:, None]
        grad_mean = torch.addcmul(grad_mean, pull, mean)
        grad_log_std = torch.addcmul(-grad_kl[:, None], grad_var + 0.5 * pull, var, value=2)
        return grad_mean, grad_log_std, None
