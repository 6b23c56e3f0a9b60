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

Asked for what is not legal, ``check`` refuses and says what is.
"""

from __future__ import annotations

from collections.abc import Sequence

from netdial.core.errors import ConfigError, unknown

LAPLACE = ("laplace-diagonal", "laplace-kronecker", "laplace-full")
_NORMAL = (
    "elbo",
    "eb-elbo",
    "ard-elbo",
    "iwae",
    "mdl",
    "mdl-two-part",
    *LAPLACE,
    "waic",
    "psis-loo",
    "pac-bayes",
)
LEGAL: dict[str, tuple[str, ...]] = {
    "scaled-kl": (*_NORMAL, "wbic", "thermodynamic"),
    "scaled-prior": _NORMAL,
    "ard": ("ard-elbo", "eb-elbo", "mdl", "mdl-two-part", "waic", "psis-loo"),
    "l2": LAPLACE,
    "l1": (),
}
"""Objective to the estimators that apply to it."""

DEFAULT = {
    "scaled-kl": ("elbo", "eb-elbo", "mdl"),
    "scaled-prior": ("elbo", "eb-elbo", "mdl"),
    "ard": ("ard-elbo",),
    "l2": ("laplace-kronecker",),
    "l1": (),
}
"""What is estimated unless something is asked for."""

WHY = {
    "scaled-kl": "members are tempered posteriors p(w) p(D|w)^(1/λ): E log p - KL bounds the evidence at every λ, the "
    "objective itself only at λ = 1; under the training prior a perfect family peaks at λ = 1, so let the re-fitted prior "
    "(eb-elbo, mdl) choose",
    "scaled-prior": "λ indexes the prior N(0, α/λ): the objective is an evidence lower bound at every λ, and choosing by it is "
    "type-II maximum likelihood; there is no temperature, so wbic and thermodynamic do not apply",
    "ard": "members are tempered posteriors under a prior variance for each weight, fitted: ard-elbo bounds the evidence of "
    "that prior at every λ, and a perfect family peaks at λ = 1",
    "l2": "members are points under a prior of precision 2λ: no divergence and no draws, so only the Laplace evidence applies",
    "l1": "members are points under a Laplace prior, which has no second derivative at zero: choose λ on validation data",
}
"""One line for each objective."""

WHOLE_FAMILY = ("wbic", "thermodynamic")
"""Estimators of the evidence itself; they judge prior and architecture and choose no λ."""

_WHY = {
    "elbo": "lower bound of log p(D) under the training prior",
    "eb-elbo": "lower bound under the prior that suits best, one variance per leaf",
    "ard-elbo": "lower bound under the prior that suits best, one variance per weight",
    "iwae": "lower bound in expectation; degenerate when ess is near 1",
    "mdl": "length of a complete code, hyperparameters included",
    "mdl-two-part": "length of a code that sends the rounded network",
    "laplace": "approximation around the mean weights, no bound",
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
    if objective not in LEGAL:
        raise unknown("objective", objective, LEGAL)
    if points != (objective in ("l1", "l2")):
        have, fits = (
            ("points", "l2 or l1")
            if points
            else ("normal posteriors", "scaled-kl, scaled-prior or ard")
        )
        raise ConfigError(
            f"evidence: objective={objective!r}, but the family has {have}; say what it was trained under ({fits})"
        )
    for name in by:
        if name == "objective":
            raise ConfigError(
                f"evidence: the value of {objective!r} is not comparable along λ: {WHY[objective]} "
                f"(legal: {_listed(objective)})"
            )
        if name not in LEGAL[objective]:
            raise ConfigError(
                f"evidence: {name!r} does not apply to {objective!r}: {WHY[objective]} (legal: {_listed(objective)})"
            )
    if not by:
        raise ConfigError(f"evidence: nothing applies to {objective!r}: {WHY[objective]}")


def why(name: str) -> str:
    """Returns in a few words what an estimator's number is."""
    return _WHY["laplace" if name in LAPLACE else name]


def _listed(objective: str) -> str:
    return ", ".join(LEGAL[objective]) or "none"
