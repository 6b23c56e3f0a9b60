"""The seam of posteriors: what a posterior of some leaves must offer.

A posterior has fields, each shaped like the leaf and each a function of λ: means, log standard deviations, logits. To add
one, write a class in one file of this folder, register an instance of it with ``POSTERIORS.add("name")`` and import the file
in ``__init__``; the contract tests pick it up by name. Leaves are put under it by pattern, ``posterior={"gate": "name"}``.

Every method sees one leaf at a time, so that a posterior may treat the leaf's last dimension as one categorical variable.

Shapes: K members, ``*shape`` the shape of a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

from netdial.core.noise import Noise
from netdial.core.registry import Registry

if TYPE_CHECKING:
    from jaxtyping import Float

Values = Mapping[str, Tensor]
"""The fields of one leaf by name, ``[K, *shape]`` each."""


class Field(NamedTuple):
    """How one field of a posterior starts and moves.

    Attributes:
        start: (leaf of the network ``[*shape]``, setting ``log_std``) -> value of the field at every λ ``[*shape]``.
        additive: whether maps that multiply the start add to it instead: for logarithms and logits.
        spread: whether the field is a spread, which training moves at ``std_rate`` times the learning rate.
    """

    start: Callable[[Tensor, float], Tensor]
    additive: bool = False
    spread: bool = False


class Divergence(NamedTuple):
    """KL(posterior || prior).

    Attributes:
        nats: ``[K]``.
        error: its standard error ``[K]``; None where it is exact.
    """

    nats: Tensor
    error: Tensor | None = None

    def plus(self, other: Divergence) -> Divergence:
        """Returns the divergence of two independent parts."""
        errors = [part.error for part in (self, other) if part.error is not None]
        error = sum((e.square() for e in errors[1:]), errors[0].square()).sqrt() if errors else None
        return Divergence(self.nats + other.nats, error)


class Posterior(Protocol):
    """What is known of a leaf.

    Laws, tested for every registered posterior: draws at temperature 0 average to ``mean``; ``kl`` is at least 0, agrees
    with E log q/p over draws where both have densities, and is 0 where the posterior is the prior.

    Attributes:
        fields: its fields by name.
        random: whether draws differ from the mean.
        temperature: of the draws in training; 0 draws exactly, above 0 draws a relaxation that gradients pass through.
    """

    @property
    def fields(self) -> Mapping[str, Field]:
        """Its fields by name."""

    @property
    def random(self) -> bool:
        """Whether draws differ from the mean."""

    @property
    def temperature(self) -> float:
        """Temperature of the draws in training."""

    def mean(self, fields: Values) -> Float[Tensor, "K ..."]:
        """Returns the value ``[K, *shape]`` that an exported member has."""

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Float[Tensor, "K ..."]:
        """Returns one draw for each member ``[K, *shape]``.

        Args:
            fields: fields of the leaf.
            noise: source of random numbers, with a stream for each member.
            temperature: 0 for an exact draw.
        """

    def kl(
        self,
        fields: Values,
        lam: Float[Tensor, " K"],
        prior_var: Float[Tensor, " K"],
        noise: Noise,
    ) -> Divergence:
        """Returns the divergence of the leaf from its prior.

        Args:
            fields: fields of the leaf.
            lam: complexity values ``[K]``. What multiplies the divergence is for the objective to say.
            prior_var: variances of the prior of weights ``[K]``; a posterior of something else has a prior of its own.
            noise: source of random numbers, for an estimate.
        """


POSTERIORS: Registry[Posterior] = Registry("posterior")

WEIGHTS = ("normal", "point")
"""Posteriors that objectives have formulas for: one of them is that of all leaves that no pattern names."""
