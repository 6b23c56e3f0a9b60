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
from netdial.core.layout import Layout, Params

_CACHEFUL = 1 << 16


class Fields:
    """Fields of K members: means ``[K, P]`` and, unless the posterior is a point, log_std ``[K, P]``.

    ``kl`` and ``leaves`` share one pass over memory, which on small networks is most of a training step.
    """

    def __init__(self, layout: Layout, mean: Tensor, log_std: Tensor | None = None) -> None:
        self.layout = layout
        self.mean = mean
        self.log_std = log_std
        self._spread: tuple[Params, Params] | None = None

    @property
    def members(self) -> int:
        """K."""
        return self.mean.shape[0]

    @property
    def var(self) -> Tensor | None:
        """Variances ``[K, P]``, or None for a point."""
        return None if self.log_std is None else (2 * self.log_std).exp()

    def leaves(self) -> tuple[Params, Params]:
        """Returns means and variances by leaf, ``name -> [K, *shape]``; no variances for a point."""
        if self._spread is None and self.log_std is not None:
            self.kl(torch.ones_like(self.mean[:, 0]))
        return self._spread or (self.layout.split(self.mean), {})

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
        kl, *leaves = _SpreadAndKL.apply(self.mean, self.log_std, prior_var, self.layout)
        names = self.layout.names
        means = dict(zip(names, leaves[: len(names)], strict=True))
        self._spread = means, dict(zip(names, leaves[len(names) :], strict=True))
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
    """(mean, log_std, prior_var) -> (kl, means by leaf, variances by leaf), forward and backward by hand.

    Members are handled a few at a time so that what one operation writes is still in the cache for the next, and the
    gradients of the leaves are joined by the operation that adds the divergence's own gradient to them.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, prior_var: Tensor, layout: Layout
    ) -> tuple[Tensor, ...]:
        members, size = mean.shape
        var = torch.empty_like(log_std)
        spread, entropy = mean.new_empty(members), mean.new_empty(members)
        for rows in _runs(members, size):
            torch.sum(log_std[rows], dim=1, out=entropy[rows])
            torch.mul(log_std[rows], 2, out=var[rows]).exp_()
            torch.sum(var[rows], dim=1, out=spread[rows])
            spread[rows] += torch.linalg.vector_norm(mean[rows], dim=1).square_()
        kl = 0.5 * (spread / prior_var + size * (prior_var.log() - 1)) - entropy
        ctx.save_for_backward(mean, var, prior_var)
        ctx.layout = layout
        leaves = [*layout.split(mean.view_as(mean)).values(), *layout.split(var).values()]
        return kl, *leaves

    @staticmethod
    def backward(ctx: Any, grad_kl: Tensor, *grads: Tensor) -> Any:
        mean, var, prior_var = ctx.saved_tensors
        count = len(grads) // 2
        pull = (grad_kl / prior_var)[:, None]
        half, push = 0.5 * pull, -grad_kl[:, None]
        grad_mean, grad_log_std = torch.empty_like(mean), torch.empty_like(mean)
        start = 0
        for of_mean, of_var in zip(grads[:count], grads[count:], strict=True):
            of_mean, of_var = of_mean.flatten(1), of_var.flatten(1)
            here = slice(start, start + of_mean.shape[1])
            for rows in _runs(len(mean), of_mean.shape[1]):
                torch.addcmul(
                    of_mean[rows], pull[rows], mean[rows, here], out=grad_mean[rows, here]
                )
                lift = of_var[rows] + half[rows]
                torch.addcmul(
                    push[rows], lift, var[rows, here], value=2, out=grad_log_std[rows, here]
                )
            start = here.stop
        return grad_mean, grad_log_std, None, None


def _runs(members: int, size: int) -> list[slice]:
    """Returns slices of members such that each holds a cacheful of numbers, or one member."""
    step = max(1, min(members, _CACHEFUL // size))
    return [slice(first, first + step) for first in range(0, members, step)]
