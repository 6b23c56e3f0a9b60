"""Objective: a penalty on a posterior, and what follows from it for whoever reads the trained members.

``OBJECTIVES`` holds them by name. To add one, register a function (posterior's fields, λ, α) -> nats of the whole data set
``[K]``; all that looks at members later reads its traits:

    @OBJECTIVES.add("half-kl", tempered=False)
    def half_kl(fields, lam, prior_var):
        return 0.5 * lam * fields.kl(torch.full_like(lam, prior_var))

Traits that are not given are those of which nothing has to be known: a normal posterior under the prior N(0, α), judged by
the bounds that hold whatever it was trained under.

Shapes: K members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.core.registry import Registry

if TYPE_CHECKING:
    from jaxtyping import Float

LAPLACE = ("laplace-diagonal", "laplace-kronecker", "laplace-full")
"""Estimators by Laplace's method around the mean weights."""
BOUNDS = ("elbo", "eb-elbo", "ard-elbo", "iwae", "mdl", "mdl-two-part", "pac-bayes")
"""Estimators that hold for every normal posterior, whatever it was trained under."""

Penalty = Callable[[Any, Tensor, float], Tensor]
"""(fields, λ ``[K]``, α) -> penalty of the whole data set in nats ``[K]``."""


class Terms(NamedTuple):
    """Fit and complexity ``[K]`` in nats per example."""

    fit: Tensor
    complexity: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum ``[K]``, to be minimised."""
        return self.fit + self.complexity


def constant(lam: Tensor, alpha: float) -> Tensor:
    """Returns α ``[K]``, the same prior variance at every λ."""
    return torch.full_like(lam, alpha)


@dataclass(frozen=True)
class Objective:
    """A penalty and its traits.

    Attributes:
        penalty: (fields, λ, α) -> nats of the whole data set ``[K]``.
        posterior: ``normal``, or ``point`` if only the means are penalised.
        prior_var: (λ ``[K]``, α) -> variance of the normal prior of each member ``[K]``; None if there is none of one
            variance.
        fitted_prior: whether every number has a prior variance of its own, fitted (automatic relevance determination).
        tempered: whether a member approximates p(w) p(D | w)^(1/λ), a posterior at inverse temperature 1/λ.
        scales: whether the penalty is λ times something that depends on λ through the weights alone.
        range: complexity values (lo, hi) that a family covers unless its settings say otherwise.
        estimators: estimators of ``netdial.evidence`` that apply; one that is registered later applies to every objective.
        default: estimators that are used unless something is asked for.
        why: one sentence: what a member is, and what follows for evidence.
    """

    penalty: Penalty
    posterior: Literal["normal", "point"] = "normal"
    prior_var: Callable[[Tensor, float], Tensor] | None = constant
    fitted_prior: bool = False
    tempered: bool = False
    scales: bool = False
    range: tuple[float, float] = (1e-3, 1e2)
    estimators: tuple[str, ...] = BOUNDS
    default: tuple[str, ...] = ("elbo", "eb-elbo", "mdl")
    why: str = (
        "E log p - KL bounds the evidence whatever a posterior was trained under; nothing is known of its temperature, so what "
        "needs one does not apply"
    )

    def __call__(
        self,
        fields: Any,
        lam: Float[Tensor, " K"],
        prior_var: float,
        noise: Noise | None = None,
    ) -> Float[Tensor, " K"]:
        """Returns the penalty ``[K]`` in nats: that of the weights, and of each group of leaves under another posterior.

        A group adds its divergence from its prior, times λ where the objective ``scales``; otherwise λ acts through the
        variance of the prior, ``prior_var(λ, α)``.

        Args:
            fields: fields of the K members.
            lam: complexity values ``[K]``.
            prior_var: α.
            noise: random numbers for divergences that are estimated; by default the same at every call.

        Raises:
            ConfigError: there are groups, and the objective does not say how λ acts on them.
        """
        penalty = self.penalty(fields, lam, prior_var)
        for group in fields.groups:
            penalty = penalty + self._of_group(group, lam, prior_var, noise)
        return penalty

    def _of_group(self, group: Any, lam: Tensor, alpha: float, noise: Noise | None) -> Tensor:
        if not self.reaches_groups:
            raise ConfigError(f"parameter {group.layout.names[0]!r}: {self.unreached()}")
        if self.scales:
            nats: Tensor = group.divergence(lam, constant(lam, alpha), noise).nats
            return lam * nats
        assert self.prior_var is not None
        moved: Tensor = group.divergence(lam, self.prior_var(lam, alpha), noise).nats
        return moved

    @property
    def is_point(self) -> bool:
        """Whether members are points."""
        return self.posterior == "point"

    @property
    def prior_moves(self) -> bool:
        """Whether λ is in the prior."""
        if self.prior_var is None:
            return False
        low, high = self.prior_var(torch.tensor([1.0, 2.0]), 1.0).tolist()
        return bool(low != high)

    @property
    def reaches_groups(self) -> bool:
        """Whether it is known how λ acts on leaves under posteriors of their own."""
        return self.scales or self.prior_moves

    def unreached(self, name: str = "") -> str:
        """Returns what to say of leaves under posteriors of their own where λ would not act on them."""
        return (
            f"the objective {repr(name) + ' ' if name else ''}does not say how lam acts on parameters with posteriors of their "
            "own; register it with scales=True (lam times the divergence) or prior_var=(lam, alpha) -> variance"
        )

    def inverse_temperature(self, lam: float) -> float:
        """Returns β: a member approximates p(w) p(D | w)^β."""
        return 1 / lam if self.tempered else 1.0

    def factor(self, lam: float) -> float:
        """Returns what the penalty multiplies its divergence or norm with."""
        return lam if self.scales else 1.0


class Objectives:
    """Objectives by name."""

    def __init__(self) -> None:
        self._registry: Registry[Objective] = Registry("objective")

    def add(self, name: str, **traits: Any) -> Callable[[Penalty], Penalty]:
        """Returns a decorator that registers a penalty under ``name``.

        Args:
            name: its name.
            **traits: attributes of ``Objective``; for points, only what is said applies.
        """
        if traits.get("posterior") == "point":
            nothing = {"prior_var": None, "estimators": (), "default": (), "scales": True}
            why = "members are points, of whose prior nothing is known: choose λ on validation data"
            traits = {**nothing, "why": why, **traits}

        def register(penalty: Penalty) -> Penalty:
            self._registry.add(name)(Objective(penalty, **traits))
            return penalty

        return register

    def __getitem__(self, name: str) -> Objective:
        return self._registry[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def of(self, posterior: str) -> list[str]:
        """Returns the names of the objectives of ``normal`` or ``point`` posteriors."""
        return [name for name in self if self[name].posterior == posterior]


OBJECTIVES = Objectives()
