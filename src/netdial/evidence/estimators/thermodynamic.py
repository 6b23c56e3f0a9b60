"""Evidence from temperature: thermodynamic integration along the family, and WBIC.

A member of ``scaled-kl`` at λ stands for the tempered posterior p(w) p(D | w)^β with β = 1/λ, so the members from λ = 1 upwards
are the path from posterior to prior along which (Gelman & Meng 1998; Lartillot & Philippe 2006)

    log p(D) = ∫_0^1 g(β) dβ,     g(β) = E_{q_β} log p(D | w).

No member reaches β = 0. What lies below β_0 = 1/hi is log ∫ p(w) p(D | w)^β_0 dw, bounded from below by the top member itself:
β_0 g(β_0) - KL(q_β_0 || p), with equality for exact tempered posteriors. Between nodes g is taken as a + b/β, the law of a
regular model (g' = P/2β²), and the rule on all nodes is extrapolated with the rule on every other one.

What it adds to the ELBO: by the envelope theorem d[β g - KL]/dβ = g for members that are best *among their posteriors*, so
a perfectly trained mean-field family gives back its own ELBO at λ = 1, exact posteriors give the exact evidence, and
``excess`` (this minus the ELBO at λ = 1) measures training and the map: it is 0 for a perfect family.

Members of a regression are posteriors under a noise variance of 1, in units of standardised targets; so is this evidence.

WBIC (Watanabe 2013) is g at one temperature, β = 1/log N: -log p(D) = -g(1/log N) + O(√log N), for singular models
too, under the exact tempered posterior.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence.estimators.bounds import fit_trace
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading, Trace

NODES = 17
"""Members along the path of temperatures; odd, so that every other one is a path too."""


@ESTIMATORS.add("wbic")
def wbic(subject: EvidenceSubject) -> list[Reading]:
    """Returns E nll of the member at λ = log N (Watanabe 2013), an estimate of -log p(D).

    Raises:
        ConfigError: log N is outside the trained range.
    """
    lam = math.log(subject.n_data)
    lo, hi = subject.family.domain.lo, subject.family.domain.hi
    if not lo <= lam <= hi:
        raise ConfigError(
            f"wbic: needs the member at lam = log N = {lam:.4g}, outside the trained range [{lo:g}, {hi:g}]; train with a "
            "range that holds it"
        )
    trace = fit_trace(replace(subject, lams=(lam,), integrated=False), 0)
    return [Reading(lam, trace.value, trace.error(), trace=trace)]


@ESTIMATORS.add("thermodynamic")
def thermodynamic(subject: EvidenceSubject) -> list[Reading]:
    """Returns -log p(D) by integration over temperature, one reading for the whole family.

    ``end`` is what lies below the smallest β, ``excess`` the difference to the ELBO at λ = 1. The error joins that of the
    draws (the same ones at every node) and that of the rule.

    Raises:
        ConfigError: the trained range does not reach from λ = 1 upwards.
    """
    nodes = _nodes(subject)
    path = replace(subject, lams=tuple(nodes), integrated=False)
    beta = torch.tensor([1 / lam for lam in nodes], dtype=torch.float64)
    traces = [fit_trace(path, k) for k in range(len(nodes))]
    nll = torch.tensor([trace.value for trace in traces], dtype=torch.float64)
    kl = path.kl.cpu()
    weights = integration_weights(beta)
    end = float(beta[-1] * nll[-1] + kl[-1])
    value = float(weights @ nll) + end
    rule = abs(float((weights - _fitted(beta)) @ nll))
    weights[-1] += beta[-1]
    drawn = Trace(
        torch.tensordot(weights, torch.stack([trace.draws for trace in traces]), dims=1),
        weights @ torch.stack([trace.examples for trace in traces]),
        traces[0].share,
    )
    parts = {"end": end, "excess": value - float(nll[0] + kl[0])}
    return [Reading(math.nan, value, math.hypot(drawn.error(), rule), parts)]


def integration_weights(beta: Tensor) -> Tensor:
    """Returns w with Σ_j w_j g(β_j) ≈ ∫ g dβ from the last to the first of falling β ``[J]``.

    Exact for g = a + b/β on every interval; with an odd count of nodes extrapolated (Richardson) by the rule on every
    other node.
    """
    fine = _fitted(beta)
    if len(beta) % 2 == 0 or len(beta) < 3:
        return fine
    coarse = torch.zeros_like(fine)
    coarse[::2] = _fitted(beta[::2])
    return fine + (fine - coarse) / 3


def _fitted(beta: Tensor) -> Tensor:
    """Returns the weights of the rule that takes g as a + b/β between neighbours."""
    high, low = beta[:-1], beta[1:]
    span, log_span = high - low, (high / low).log()
    per_slope = (log_span - span / high) / (1 / low - 1 / high)
    weights = torch.zeros_like(beta)
    weights[:-1] += span - per_slope
    weights[1:] += per_slope
    return weights


def _nodes(subject: EvidenceSubject) -> list[float]:
    """Returns complexity values from 1 to the top of the range, rising."""
    family = subject.family
    domain, rows = family.domain, sorted(set(family.config.lams))
    if family.config.map == "table":
        nodes = [lam for lam in rows if lam > 1 - 1e-9]
        if len(nodes) < 3 or abs(nodes[0] - 1) > 1e-6:
            raise ConfigError(
                "thermodynamic: directly trained networks must stand at λ = 1 and at two values above it or more, "
                f"got {', '.join(f'{lam:g}' for lam in rows)}"
            )
        return nodes
    if not domain.lo <= 1 < domain.hi:
        raise ConfigError(
            f"thermodynamic: needs the members from λ = 1 upwards, the trained range is [{domain.lo:g}, {domain.hi:g}]; "
            "train with a range that reaches from 1 or below to 100 or more"
        )
    steps = torch.linspace(0, math.log(domain.hi), NODES, dtype=torch.float64)
    nodes = steps.exp().tolist()
    return [*nodes[:-1], domain.hi]
