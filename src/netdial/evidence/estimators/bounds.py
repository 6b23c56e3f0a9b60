"""Lower bounds of the log evidence: the ELBO, with the prior as given or re-fitted, and its importance-weighted tightening.

For every distribution q over weights (Jordan et al. 1999)

    log p(D) >= F(q) = E_q log p(D | w) - KL(q || p)                                                   ELBO

whatever q was trained under, so each member of a family gives a bound. A member of ``scaled-kl`` maximises
E_q log p - λ KL instead, whose value bounds nothing unless λ = 1; F is what is comparable along λ. If the family is
perfect, F is largest at λ = 1, so there F tests the family more than it chooses.

Empirical Bayes asks which prior would have suited: with one variance for each leaf the best has a closed form,
s² = mean(μ² + σ²), and the divergence becomes ½ Σ (log s² - log σ²). This bound is not flat around λ = 1 and does choose.
With one variance for each weight (automatic relevance determination) it is ½ Σ log(1 + μ²/σ²); a family trained under
``ard`` has this prior, and like the ELBO of ``scaled-kl`` its bound then is largest at λ = 1 if the family is perfect.

Readings are code lengths in nats, -F.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading, Trace
from netdial.family.fields import Fields


@ESTIMATORS.add("elbo")
def elbo(subject: EvidenceSubject) -> list[Reading]:
    """Returns -F(q) under each member's own prior: α, or α/λ under ``scaled-prior`` (Graves 2011)."""
    return from_divergence(subject, subject.kl)


@ESTIMATORS.add("eb-elbo")
def eb_elbo(subject: EvidenceSubject) -> list[Reading]:
    """Returns -F(q) under the prior that suits best, one variance for each leaf (MacKay 1992; Graves 2011)."""
    return from_divergence(subject, empirical_kl(subject.fields))


@ESTIMATORS.add("ard-elbo")
def ard_elbo(subject: EvidenceSubject) -> list[Reading]:
    """Returns -F(q) with a prior variance for each weight, at its best, s² = μ² + σ² (MacKay 1994; Tipping 2001)."""
    return from_divergence(subject, subject.fields.relevance())


@ESTIMATORS.add("iwae")
def iwae(subject: EvidenceSubject) -> list[Reading]:
    """Returns -log (1/S) Σ_s p(D | w_s) p(w_s) / q(w_s) over all data (Burda et al. 2016, §3).

    In expectation never above the ELBO's code length and never below -log p(D), and it falls with S. The ratios live on the
    scale of the whole data set: with thousands of weights their logarithms spread over many nats, one draw carries all
    the weight and the estimate is the ELBO of the luckiest of S draws. ``ess`` tells: (Σ r)² / Σ r², near 1 when degenerate.
    The error is the jackknife's, which notices when it hangs on one draw.

    Raises:
        ConfigError: only some examples are looked at; the exponential of a scaled-up sum bounds nothing.
    """
    refuse_examples(subject, "iwae")
    draws = subject.pointwise
    totals = draws.totals
    variance = subject.prior_var.cpu()[:, None]
    log_prior = -0.5 * draws.square_norm / variance
    log_prior = log_prior - 0.5 * kept_count(subject.fields) * (2 * math.pi * variance).log()
    ratios = totals + log_prior - draws.log_q
    return [
        Reading(
            lam,
            value=-float(log_mean_exp(ratio)),
            error=_jackknife(ratio),
            notes={"ess": float((2 * ratio.logsumexp(0) - (2 * ratio).logsumexp(0)).exp())},
        )
        for lam, ratio in zip(subject.lams, ratios, strict=True)
    ]


def from_divergence(subject: EvidenceSubject, divergence: Tensor) -> list[Reading]:
    """Returns the code lengths E_q nll + divergence; the divergence ``[K]`` in nats is exact."""
    readings = []
    for k, lam in enumerate(subject.lams):
        trace = fit_trace(subject, k)
        data, model = trace.value, float(divergence[k])
        readings.append(
            Reading(lam, data + model, trace.error(), {"data": data, "model": model}, trace=trace)
        )
    return readings


def fit_trace(subject: EvidenceSubject, k: int) -> Trace:
    """Returns E_q nll of the whole data set for member k, by draws and by examples."""
    seen, n = subject.expected, subject.n_data
    share = 1 - len(subject.part) / n
    return Trace(-subject.scale * seen.batches[k], -n * seen.examples[k], share)


def empirical_prior(fields: Fields) -> Tensor:
    """Returns s² = mean(μ² + σ²) of each leaf, which minimises the divergence, ``[K, leaves]``; 1 where all is pruned."""
    assert fields.var is not None
    moment = leaf_sums(fields, fields.mean.square() + fields.var)
    count = leaf_sums(fields, kept_mask(fields))
    return torch.where(count > 0, moment / count.clamp_min(1), torch.ones_like(moment))


def empirical_kl(fields: Fields) -> Tensor:
    """Returns KL(q || N(0, s²)) in nats ``[K]`` with the best s² of each leaf: ½ Σ (log s² - log σ²)."""
    assert fields.log_std is not None
    log_var = leaf_sums(fields, 2 * fields.log_std)
    count = leaf_sums(fields, kept_mask(fields))
    return 0.5 * (count * empirical_prior(fields).log() - log_var).sum(dim=1)


def leaf_sums(fields: Fields, values: Tensor) -> Tensor:
    """Returns the sums over each leaf ``[K, leaves]`` of values ``[K, P]``."""
    pieces = values.split(fields.layout.sizes, dim=1)
    return torch.stack([piece.sum(dim=1) for piece in pieces], dim=1)


def kept_mask(fields: Fields) -> Tensor:
    """Returns 1 for numbers that were not pruned and 0 for others, ``[K, P]``."""
    if fields.kept is None:
        return torch.ones_like(fields.mean)
    return fields.kept.to(fields.mean).expand_as(fields.mean)


def kept_count(fields: Fields) -> int:
    """Returns the count of numbers that were not pruned."""
    return fields.layout.size if fields.kept is None else int(fields.kept.sum())


def mask_nats(fields: Fields) -> float:
    """Returns the nats that tell which numbers were not pruned: how many, then which of all choices of so many."""
    if fields.kept is None:
        return 0.0
    size, kept = fields.layout.size, int(fields.kept.sum())
    choices = math.lgamma(size + 1) - math.lgamma(kept + 1) - math.lgamma(size - kept + 1)
    return choices + math.log(size + 1)


def refuse_examples(subject: EvidenceSubject, name: str) -> None:
    """Refuses to look at some examples only.

    Raises:
        ConfigError: n_examples is below the size of the data.
    """
    if len(subject.part) < subject.n_data:
        raise ConfigError(
            f"{name}: needs all {subject.n_data} examples, n_examples={len(subject.part)}; leave n_examples out"
        )


def log_mean_exp(values: Tensor) -> Tensor:
    """Returns log mean exp over the first dimension."""
    return values.logsumexp(dim=0) - math.log(values.shape[0])


def _jackknife(values: Tensor) -> float:
    """Returns the jackknife standard error of log mean exp of ``[S]``."""
    count = len(values)
    if count < 2:
        return math.inf
    others = values.repeat(count, 1)
    others.fill_diagonal_(-math.inf)
    left_out = others.logsumexp(dim=1) - math.log(count - 1)
    return math.sqrt((count - 1) * float(left_out.var(unbiased=False)))
