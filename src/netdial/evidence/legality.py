"""Which estimator says something about which objective.

    scaled-kl      A member is a *tempered* posterior, p(w) p(D | w)^(1/λ). Its objective's own value bounds no evidence unless
                   λ = 1; F = E log p(D | w) - KL does, for every λ. Members are a path of temperatures.
    scaled-prior   λ indexes the *prior* N(0, α/λ). The objective's value is an evidence lower bound for every λ, and choosing
                   λ by it is type-II maximum likelihood. There is no temperature.
    ard            As scaled-kl, but every weight has a prior variance of its own, fitted; so what holds under one prior for all
                   does not apply.
    l2             A point: the mode under a prior of precision 2λ. It has no divergence and no draws; the Laplace approximation
                   around it does have an evidence.
    l1             A point under a Laplace prior, whose kinks at zero have no second derivative: nothing here applies.
    log-sum        As l1, under a prior of heavier tails.

The table itself is among the traits of each objective (``netdial.objective``). An objective of one's own that says nothing of
its members is judged by what holds for every normal posterior. Asked for what is not legal, ``check`` refuses and says what
is; an estimator of one's own is always asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netdial.core.errors import ConfigError
from netdial.objective import LAPLACE, OBJECTIVES

WHOLE_FAMILY = ("wbic", "thermodynamic")
"""Estimators of the evidence itself; they judge prior and architecture, and choose λ only through the noise that they find."""

_CURE = "for evidence train with objective='ard' (netdial fit --objective ard)"

_WHY = {
    "elbo": "lower bound of log p(D) under the training prior",
    "eb-elbo": "lower bound under the prior that suits best, one variance per leaf",
    "ard-elbo": "lower bound under the prior that suits best, one variance per weight",
    "iwae": "lower bound in expectation; degenerate when ess is near 1",
    "mdl": "length of a complete code, hyperparameters included",
    "mdl-two-part": "length of a code that sends the rounded network",
    **dict.fromkeys(LAPLACE, "approximation around the mean weights, no bound"),
    "waic": "expected loss on new examples, not evidence",
    "psis-loo": "leave-one-out loss, not evidence; see khat",
    "pac-bayes": "certain with probability 1 - delta for drawn weights, if prior and grid were fixed before the data",
    "wbic": "evidence of prior and architecture; chooses no λ",
    "thermodynamic": "evidence of prior and architecture; chooses no λ",
}


def check(objective: str, by: Sequence[str], *, points: bool) -> None:
    """Refuses estimators that say nothing about members of an objective.

    Args:
        objective: what the family was trained under.
        by: names of registered estimators.
        points: whether the family's members are points.

    Raises:
        ConfigError: the objective is unknown or does not fit the posterior, or an estimator does not apply.
    """
    traits = OBJECTIVES[objective]
    if points != traits.is_point:
        have, fits = (
            ("points", OBJECTIVES.of("point"))
            if points
            else ("normal posteriors", OBJECTIVES.of("normal"))
        )
        raise ConfigError(
            f"evidence: objective={objective!r}, but the family has {have}; say what it was trained under "
            f"({', '.join(fits)})"
        )
    listed = ", ".join(traits.estimators) or f"none; {_CURE}"
    for name in by:
        if name == "objective":
            raise ConfigError(
                f"evidence: the value of {objective!r} is not comparable along λ: {traits.why} (legal: {listed})"
            )
        if name in _WHY and name not in traits.estimators:
            raise ConfigError(
                f"evidence: {name!r} does not apply to {objective!r}: {traits.why} (legal: {listed})"
            )
    if not by:
        raise ConfigError(f"evidence: nothing applies to {objective!r}: {traits.why}; {_CURE}")


def chooses(name: str, parts: Mapping[str, float]) -> bool:
    """Returns whether an estimator chooses a λ: one of the whole family does where it found a noise variance.

    The member that is the posterior under it is the one to take.
    """
    return name not in WHOLE_FAMILY or "noise_var" in parts


def why(name: str, parts: Mapping[str, float]) -> str:
    """Returns in a few words what an estimator's number is."""
    if name in WHOLE_FAMILY and chooses(name, parts):
        return "evidence of prior and architecture; λ is that of the posterior under the noise variance found"
    return _WHY.get(name, "an estimator of your own")
