"""Fields: what a family knows about its leaves at given complexity values, as flat vectors of several members at once.

``Fields`` holds the flat fields of K members at once: means, and for a diagonal normal posterior log standard deviations.
The Kullback-Leibler divergence from the prior N(0, s²) has a closed form and needs no sample:

    KL = ½ Σ_p [ (σ_p² + μ_p²) / s² - 1 - log σ_p² + log s² ]        (Graves 2011, eq. 15, with zero prior mean)

Shapes: K members, P numbers of the tree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout, Params
from netdial.family.blend import LOG2_VAR, Blend, Order
from netdial.family.groups import GroupFields

_CACHEFUL = 1 << 16
_LEAST = 1e-30
_CURE = "train with an objective that has a posterior of the weights, such as 'ard' or 'scaled-kl'"


class Anchor(NamedTuple):
    """What the prior is centred on, in place of zero.

    Attributes:
        at: centre ``[P]``.
        scale: unit of distances from it ``[P]``, positive: where it is large, a weight may go far.
    """

    at: Tensor
    scale: Tensor


class Fields:
    """Fields of K members: means ``[K, P]`` and, unless the posterior is a point, log_std ``[K, P]``.

    ``kl`` and ``leaves`` share one pass over memory, which on small networks is most of a training step. Fields given as
    blends of pivots are not made unless somebody asks for them.

    Args:
        layout: how the leaves lie in the P numbers.
        mean: means, or a blend of them.
        log_std: log standard deviations, or a blend of them with the same shares, or None.
        kept: bool ``[P]``: numbers that were not pruned; None keeps all. A pruned number is 0 for certain: it has no
            variance, no divergence, and no gradient reaches it.
        anchor: centre of the prior, which norms and divergences are counted from; None for zero.
        groups: fields of leaves under other posteriors. What is said here of fields, norms and divergences is of the weights
            alone; an objective adds the groups (``Objective``).
    """

    def __init__(
        self,
        layout: Layout,
        mean: Tensor | Blend,
        log_std: Tensor | Blend | None = None,
        kept: Tensor | None = None,
        *,
        anchor: Anchor | None = None,
        groups: Sequence[GroupFields] = (),
    ) -> None:
        self.layout = layout
        self.anchor = anchor
        self.groups = groups
        self.kept = kept
        self._mean = mean
        self._log_std = log_std
        self._spread: tuple[Tensor, Tensor] | None = None

    @functools.cached_property
    def mean(self) -> Tensor:
        """Means ``[K, P]``, 0 where pruned."""
        return self._made(self._mean)

    @functools.cached_property
    def log_std(self) -> Tensor | None:
        """Log standard deviations ``[K, P]``, 0 where pruned, or None for a point."""
        return None if self._log_std is None else self._made(self._log_std)

    @property
    def members(self) -> int:
        """K."""
        first = self._mean.shares if isinstance(self._mean, Blend) else self._mean
        return first.shape[0]

    def member(self, row: int) -> Fields:
        """Returns the means of one of the K members, as fields of one."""
        groups = [group.member(row) for group in self.groups]
        return Fields(self.layout, self.mean[row : row + 1], groups=groups)

    def by_leaf(self) -> dict[str, Params]:
        """Returns all fields by name and leaf, ``field -> name -> [K, *shape]``, those of groups among them."""
        found = {"mean": self.layout.split(self.mean)}
        if self.log_std is not None:
            found["log_std"] = self.layout.split(self.log_std)
        for group in self.groups:
            for field, flat in group.values.items():
                found.setdefault(field, {}).update(group.layout.split(flat))
        return found

    def group_means(self) -> Params:
        """Returns the means of leaves under other posteriors, ``name -> [K, *shape]``."""
        return {name: leaf for group in self.groups for name, leaf in group.means().items()}

    @property
    def var(self) -> Tensor | None:
        """Variances ``[K, P]``, 0 where pruned, or None for a point."""
        if self.log_std is None:
            return None
        var = (2 * self.log_std).exp()
        return var if self.kept is None else var * self.kept

    def leaves(self) -> tuple[Params, Params]:
        """Returns means and variances by leaf, ``name -> [K, *shape]``; no variances for a point."""
        means, variances = self.flats()
        split = self.layout.split
        return split(means), split(variances) if variances is not None else {}

    @functools.cached_property
    def from_anchor(self) -> Fields:
        """The same posterior in units of the prior: how far the weights are from its centre. KL(q || p) is as it was."""
        if self.anchor is None:
            return self
        centre, scale = self.anchor
        log_std = None if self.log_std is None else self.log_std - scale.log()
        return Fields(self.layout, (self.mean - centre) / scale, log_std, self.kept)

    def flats(self) -> tuple[Tensor, Tensor | None]:
        """Returns means and variances ``[K, P]``; no variances for a point."""
        if self._log_std is None:
            return self.mean, None
        if self.anchor is not None:
            return self.mean, self.var
        if self._spread is None:
            self.kl(self._mean[0].new_ones(self.members))
        assert self._spread is not None
        return self._spread

    def kl(self, prior_var: Tensor) -> Tensor:
        """Returns KL(q || N(0, prior_var)) in nats ``[K]``; with an anchor KL(q || N(at, scale² prior_var)).

        Args:
            prior_var: prior variances ``[K]``, positive.

        Raises:
            ConfigError: for a point posterior, whose divergence from a normal prior is infinite.
        """
        if self._log_std is None:
            raise ConfigError(
                f"kl: a point posterior has no finite divergence from a normal prior; {_CURE}"
            )
        if self.anchor is not None:
            return self.from_anchor.kl(prior_var)
        kl, means, variances = self._spread_and_kl(prior_var)
        if self.kept is not None:
            kl = kl - (~self.kept).sum() * 0.5 * (1 / prior_var + prior_var.log() - 1)
            variances = variances * self.kept
        self._spread = means, variances
        return kl

    def _spread_and_kl(self, prior_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (KL, means, variances): from the pivots, unless the fields exist already."""
        mean, log_std = self._mean, self._log_std
        if isinstance(mean, Blend) and isinstance(log_std, Blend) and not self._touched:
            return mean.spread_and_kl(log_std, prior_var)
        found: Any = _SpreadAndKL.apply(self.mean, self.log_std, prior_var)  # type: ignore[no-untyped-call]
        return cast(tuple[Tensor, Tensor, Tensor], found)

    @property
    def _touched(self) -> bool:
        """Whether the fields exist, or have to because some numbers were pruned."""
        return self.kept is not None or "mean" in vars(self)

    def _made(self, given: Tensor | Blend) -> Tensor:
        field = given.fields() if isinstance(given, Blend) else given
        return field if self.kept is None else field.where(self.kept, field.new_zeros(()))

    def relevance(self) -> Tensor:
        """Returns min over prior variances of KL(q || N(0, diag s²)) in nats ``[K]``: ½ Σ log(1 + μ²/σ²).

        The minimum is at s² = μ² + σ², for each number by itself.

        Raises:
            ConfigError: for a point posterior.
        """
        if self.log_std is None:
            raise ConfigError(f"relevance: a point posterior has no variances; {_CURE}")
        own = self.from_anchor
        assert own.log_std is not None
        ratio = (own.mean * torch.exp(-own.log_std)).square()
        return 0.5 * torch.log1p(ratio).sum(dim=1)

    def fitted_prior(self) -> Tensor:
        """Returns the prior variance that suits each number best, s² = μ² + σ² ``[K, P]``: that of ``relevance``."""
        own = self.from_anchor
        moment = own.mean.square()
        return (moment if own.var is None else moment + own.var).clamp_min(_LEAST)

    def effective_parameters(self, prior_var: Tensor) -> Tensor:
        """Returns Σ (1 - σ²/α) ``[K]`` over what is kept, each term clipped at 0 (MacKay 1992).

        Args:
            prior_var: prior variances α ``[K]``, or one for each number ``[K, P]``; positive.

        Raises:
            ConfigError: for a point posterior.
        """
        return self.effective_shares(prior_var).sum(dim=1)

    def effective_shares(self, prior_var: Tensor) -> Tensor:
        """Returns 1 - σ²/α of each number ``[K, P]``, clipped at 0, and 0 where pruned; see ``effective_parameters``."""
        var = self.from_anchor.var
        if var is None:
            raise ConfigError(f"effective_parameters: a point posterior has no variances; {_CURE}")
        each = prior_var[:, None] if prior_var.ndim == 1 else prior_var
        share = (1 - var / each).clamp_min(0)
        return share if self.kept is None else share * self.kept

    def square_norm(self) -> Tensor:
        """Returns ‖mean‖² ``[K]``, from the anchor if there is one."""
        return self._norm(2)

    def absolute_norm(self) -> Tensor:
        """Returns ‖mean‖₁ ``[K]``, from the anchor if there is one."""
        return self._norm(1)

    def log_norm(self, scale: float) -> Tensor:
        """Returns ``scale Σ log(1 + |mean| / scale)`` ``[K]``, from the anchor if there is one."""
        return scale * torch.log1p(self.from_anchor.mean.abs() / scale).sum(dim=1)

    def _norm(self, order: Order) -> Tensor:
        """Returns a norm of the means ``[K]``: with the means from the pivots, unless these exist already."""
        if isinstance(self._mean, Blend) and self.anchor is None and not self._touched:
            norm, vars(self)["mean"] = self._mean.with_norm(order)
            return norm
        mean = self.from_anchor.mean
        return (mean.abs() if order == 1 else mean.square()).sum(dim=1)


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
    """(mean, log_std, prior_var) -> (kl, means, variances), forward and backward by hand.

    The gradients of means and variances are joined by the operation that adds the divergence's own gradient to them.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_std: Tensor, prior_var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        members, size = mean.shape
        var = torch.empty_like(log_std)
        spread, entropy = mean.new_empty(members), mean.new_empty(members)
        for mean_, log_std_, var_, spread_, entropy_ in _cachefuls(
            mean, log_std, var, spread, entropy
        ):
            torch.sum(log_std_, dim=-1, out=entropy_)
            torch.mul(log_std_, LOG2_VAR, out=var_).exp2_()
            torch.sum(var_, dim=-1, out=spread_)
            spread_ += torch.linalg.vector_norm(mean_, dim=-1).square_()
        kl = 0.5 * (spread / prior_var + size * (prior_var.log() - 1)) - entropy
        ctx.save_for_backward(mean, var, prior_var)
        return kl, mean.view_as(mean), var

    @staticmethod
    def backward(ctx: Any, grad_kl: Tensor, of_mean: Tensor, of_var: Tensor) -> Any:
        mean, var, prior_var = ctx.saved_tensors
        pull = (grad_kl / prior_var)[:, None]
        half, push = 0.5 * pull, -grad_kl[:, None]
        grad_mean, grad_log_std = torch.empty_like(mean), torch.empty_like(mean)
        for g_mean, g_var, mean_, var_, out_mean, out_log_std, pull_, half_, push_ in _cachefuls(
            of_mean, of_var, mean, var, grad_mean, grad_log_std, pull, half, push
        ):
            torch.addcmul(g_mean, pull_, mean_, out=out_mean)
            torch.addcmul(push_, g_var + half_, var_, value=2, out=out_log_std)
        return grad_mean, grad_log_std, None


def _cachefuls(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Yields the tensors ``[K, ...]`` as they are if small, and member by member otherwise.

    One member of a large network fits the cache where K do not, and what one operation writes is still there for the
    next.
    """
    if tensors[0].numel() <= _CACHEFUL:
        return [tensors]
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=True)
