"""Evidence from temperature: thermodynamic integration along the family, and WBIC; see ``temperature`` for the path.

What integration adds to the ELBO: by the envelope theorem d[β g - KL]/dβ = g for members that are best *among their
posteriors*, so a perfectly trained mean-field family gives back its own ELBO, exact posteriors give the exact evidence, and
``excess`` (this minus the ELBO) measures training and the map: it is 0 for a perfect family.

WBIC (Watanabe 2013) is E log p(D | w) at one temperature, β = 1/log N: -log p(D) = -g(1/log N) + O(√log N), for singular models
too, under the exact tempered posterior.

Of a regression whose noise variance σ² is not known, σ² is a parameter of the model like the weights, under the prior of
``task.regression``: integration goes over it as well, and WBIC averages over the tempered posterior of weights and σ²
together. Both say which σ² they found (``noise_var``, its posterior mean), in units of standardised targets, and name the
member that is the posterior under it, λ = σ²/τ²: that is how they choose λ. At a known σ² the path starts from that member.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence.estimators.temperature import (
    Grid,
    Ladder,
    fitted_weights,
    grid,
    integration_weights,
    ladder,
    log_prior,
    masses,
    nodes_from,
    noise_factor,
)
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading
from netdial.task.regression import Regression


@ESTIMATORS.add("wbic")
def wbic(subject: EvidenceSubject) -> list[Reading]:
    """Returns E nll at the temperature log N (Watanabe 2013), an estimate of -log p(D).

    Raises:
        ConfigError: the trained range does not hold the member, or the likely values of the noise variance; or N is 1.
    """
    if subject.n_data < 2:
        raise ConfigError("wbic: the temperature log N is 0 for 1 example; give 2 or more")
    factor, heat = noise_factor(subject, "wbic"), math.log(subject.n_data)
    if factor is None:
        return [_wbic_of_all(subject, heat)]
    lam = factor * heat
    lo, hi = subject.family.domain.lo, subject.family.domain.hi
    if not lo <= lam <= hi:
        times = "" if factor == 1 else f"{factor:.4g} "
        raise ConfigError(
            f"wbic: needs the member at lam = {times}log N = {lam:.4g}, outside the trained range [{lo:g}, {hi:g}]; train with "
            "a range that holds it"
        )
    path = ladder(subject, [lam])
    value = _shift(path, factor) + path.traces[0].value / factor
    trace = path.joined(torch.tensor([1 / factor], dtype=torch.float64))
    return [Reading(lam, value, trace.error(), trace=trace)]


@ESTIMATORS.add("thermodynamic")
def thermodynamic(subject: EvidenceSubject) -> list[Reading]:
    """Returns -log p(D) by integration over temperature, one reading for the whole family.

    ``end`` is what lies below the smallest β, ``excess`` the difference to the ELBO of the member that is the posterior, or
    of the best one if the noise variance is unknown. The error joins that of the draws (the same ones at every node) and that
    of the rule.

    Raises:
        ConfigError: the trained range does not reach from that member upwards, or over the likely noise variances.
    """
    factor = noise_factor(subject, "thermodynamic")
    if factor is None:
        return [_integral_of_all(subject)]
    path = ladder(subject, nodes_from(subject, "thermodynamic", factor))
    nll = path.energy + path.constant
    weights = integration_weights(path.beta)
    end = float(path.beta[-1] * nll[-1]) + path.kl
    value = _shift(path, factor) + float(weights @ nll) + end
    rule = abs(float((weights - fitted_weights(path.beta)) @ nll))
    weights[-1] += path.beta[-1]
    kl = float(subject.along([path.lams[0]]).kl[0])
    bound = _shift(path, factor) + float(nll[0]) / factor + kl
    error = math.hypot(path.joined(weights).error(), rule)
    return [Reading(math.nan, value, error, {"end": end, "excess": value - bound})]


def _shift(path: Ladder, factor: float) -> float:
    """Returns what the nll under s times the noise variance of training has beside nll/s."""
    return 0.5 * path.count * math.log(factor) + path.constant * (1 - 1 / factor)


def _integral_of_all(subject: EvidenceSubject) -> Reading:
    """Returns -log p(D) with the noise variance integrated out."""
    path = ladder(subject, nodes_from(subject, "thermodynamic", None))
    value, shares, points = integrated(path, extrapolated=True)
    rule = abs(value - integrated(path, extrapolated=False)[0])
    error = math.hypot(path.joined(shares @ points.integral).error(), rule)
    end = float(path.beta[-1] * path.energy[-1]) + path.kl
    parts = {"end": end, "excess": value - float(_bounds(subject, path).min())}
    factor = float(shares @ points.log_lam.exp())
    notes = {"noise_var": path.unit * factor}
    return Reading(_nearest(subject, factor), value, error, parts, notes)


def integrated(path: Ladder, *, extrapolated: bool) -> tuple[float, Tensor, Grid]:
    """Returns -log p(D), the posterior shares of log s ``[G]``, and the grid."""
    points = grid(path, extrapolated=extrapolated)
    log_lik = -path.constant - 0.5 * path.count * points.log_lam
    log_lik = log_lik - points.integral @ path.energy - path.kl
    density = log_prior(path, points.log_lam) + log_lik
    total, shares = masses(density, path, points, "thermodynamic")
    return -total, shares, points


def _bounds(subject: EvidenceSubject, path: Ladder) -> Tensor:
    """Returns the ELBO's code lengths ``[J]`` with the noise variance, shared by the targets, integrated out."""
    sums = 2 * path.unit * path.energy
    found = [Regression().marginal(one[None], path.count)[0] for one in sums]
    return torch.tensor(found, dtype=torch.float64) + subject.along(path.lams).kl.cpu()


def _wbic_of_all(subject: EvidenceSubject, heat: float) -> Reading:
    """Returns E nll under the posterior of weights and noise variance at the temperature log N.

    The member at λ is the tempered posterior of the weights at s = λ/log N.
    """
    path = ladder(subject, nodes_from(subject, "wbic", None))
    points = grid(path)
    log_factor = points.log_lam - math.log(heat)
    normal = path.constant + 0.5 * path.count * log_factor
    density = log_prior(path, log_factor) - normal / heat - points.integral @ path.energy - path.kl
    _, shares = masses(density, path, points, "wbic")
    per_factor = points.energy * (-log_factor).exp()[:, None]
    nll = normal + per_factor @ path.energy
    value = float(shares @ nll)
    moved = (shares * (nll - value)) @ points.integral
    trace = path.joined(shares @ per_factor - moved)
    factor = float(shares @ log_factor.exp())
    notes = {"noise_var": path.unit * factor}
    return Reading(_nearest(subject, factor), value, trace.error(), {}, notes)


def _nearest(subject: EvidenceSubject, factor: float) -> float:
    """Returns the complexity value asked for that is nearest to the posterior under s times the noise variance of training."""
    return min(subject.lams, key=lambda lam: abs(math.log(lam / factor)))
