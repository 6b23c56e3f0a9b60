"""WAIC and PSIS-LOO: what the members would predict of examples they have not seen, from posterior draws alone.

Neither estimates the evidence: both estimate the expected log loss on a new example, from the log-likelihoods ℓ_sn of every
training example n under S draws of the weights. A member at inverse temperature β stands for p(w) p(D | w)^β, and

    WAIC        Σ_n [ -log mean_s e^ℓ_sn + β var_s ℓ_sn ]                              (Watanabe 2010: T + (β/n) V)
    PSIS-LOO    Σ_n [ -log Σ_s r_sn e^ℓ_sn / Σ_s r_sn ],   r_sn ~ e^(-β ℓ_sn)          (Vehtari, Gelman, Gabry 2017, eq. 10)

Taking example n out of a tempered posterior divides it by p(y_n | x_n, w)^β, hence the β in both. Members of a regression are
trained under an assumed noise variance and judged under their own: then the likelihood of training ℓ' is divided by, and
β var ℓ becomes β cov(ℓ, ℓ'). The largest ratios of each
example are replaced by quantiles of a generalised Pareto law fitted to them (Zhang & Stephens 2009); its shape k̂ says whether
that can be trusted. Under a mean-field posterior both inherit its underestimate of variance.

The error is over examples, √N times their standard deviation, as is usual: a new set of N examples would differ by this.

Shapes: S draws, M examples, T draws in the tail.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence.estimators.bounds import log_mean_exp
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading, Trace

_AT_ONCE = 4096  # examples smoothed together
_LEAST_TAIL = 5
_TINY, _LEVEL = 1e-100, 1e-3
_NO_DRAWS = torch.empty(0, 1)


@ESTIMATORS.add("waic")
def waic(subject: EvidenceSubject) -> list[Reading]:
    """Returns WAIC in nats; ``model`` is the effective number of parameters β Σ_n var_s ℓ_sn.

    Examples whose variance exceeds 0.4 (share ``unsure``) make it unreliable (Vehtari et al. 2017, §2.2).
    """
    _refuse_few(subject, "waic", 2)
    readings = []
    for k, beta in enumerate(subject.inverse_temperature):
        log_lik = subject.pointwise.log_lik[k].double()
        variance = beta * _covariance(log_lik, subject.pointwise.trained[k].double())
        data = -log_mean_exp(log_lik)
        unsure = float((variance > 0.4).double().mean())
        readings.append(_reading(subject, k, data, variance, {"unsure": unsure}))
    return readings


@ESTIMATORS.add("psis-loo")
def psis_loo(subject: EvidenceSubject) -> list[Reading]:
    """Returns the leave-one-out log loss in nats by Pareto-smoothed importance sampling.

    ``khat`` is the largest shape, ``unsure`` the share of examples above min(1 - 1/log10 S, 0.7), where smoothing fails
    (Vehtari et al. 2024, §3.2.4). ``model`` is the loss over that on the examples themselves.

    Raises:
        ConfigError: fewer than 25 draws, whose tail is too short to fit.
    """
    _refuse_few(subject, "psis-loo", 5 * _LEAST_TAIL)
    limit = min(1 - 1 / math.log10(subject.n_samples), 0.7)
    readings = []
    for k, beta in enumerate(subject.inverse_temperature):
        losses, shapes, data = [], [], []
        seen = subject.pointwise
        for some, trained in zip(
            seen.log_lik[k].split(_AT_ONCE, dim=1),
            seen.trained[k].split(_AT_ONCE, dim=1),
            strict=True,
        ):
            log_lik = some.double()
            log_weights, shape = pareto_smoothed(-beta * trained.double())
            losses.append(-(log_weights + log_lik).logsumexp(dim=0))
            data.append(-log_mean_exp(log_lik))
            shapes.append(shape)
        khat = torch.cat(shapes)
        notes = {"khat": float(khat.max()), "unsure": float((khat > limit).double().mean())}
        fit = torch.cat(data)
        readings.append(_reading(subject, k, fit, torch.cat(losses) - fit, notes))
    return readings


def _covariance(first: Tensor, second: Tensor) -> Tensor:
    """Returns the covariance over draws ``[M]`` of ``[S, M]`` and ``[S, M]``."""
    gaps = (first - first.mean(dim=0)) * (second - second.mean(dim=0))
    return gaps.sum(dim=0) / (len(first) - 1)


def pareto_smoothed(log_ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Returns normalised log weights ``[S, M]`` with smoothed tails, and the shape k̂ of each tail ``[M]``.

    Follows Vehtari et al. 2024, Algorithm 1: the T = min(S/5, 3√S) largest ratios (rounded up) are replaced by the
    expected order statistics of the fitted law and cut off at the largest raw ratio. A tail whose ratios differ by less
    than 0.1 % is left as it is, with shape 0.

    Args:
        log_ratios: ``[S, M]``, known up to a constant of each column.
    """
    count = log_ratios.shape[0]
    tail = math.ceil(min(0.2 * count, 3 * math.sqrt(count)))
    ratios, order = (log_ratios - log_ratios.max(dim=0).values).sort(dim=0)
    cutoff = ratios[count - tail - 1].exp()
    exceeding = (ratios[count - tail :].exp() - cutoff).clamp_min(_TINY)
    shape, scale = fit_pareto(exceeding)
    level = cutoff > 1 - _LEVEL
    quantile = (torch.arange(tail, dtype=ratios.dtype, device=ratios.device) + 0.5) / tail
    exceeding = pareto_quantile(quantile[:, None], shape, scale)
    largest = (cutoff + exceeding).log().clamp_max(0.0)
    ratios[count - tail :] = torch.where(level, ratios[count - tail :], largest)
    smoothed = torch.empty_like(ratios).scatter_(0, order, ratios)
    return smoothed - smoothed.logsumexp(dim=0), torch.where(level, 0.0, shape)


def fit_pareto(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns shape k and scale σ ``[M]`` of generalised Pareto laws fitted to rising columns ``[T, M]`` of positive values.

    The density is (1/σ) (1 + k x/σ)^(-1/k - 1). Quasi-Bayesian mean over a grid of profile likelihoods (Zhang & Stephens 2009,
    §3), the shape drawn towards ½ by the weight of ten observations (Vehtari et al. 2024, appendix G).
    """
    count = values.shape[0]
    largest, quarter = values[-1], values[int(count / 4 + 0.5) - 1]
    grid = torch.arange(1, 31 + math.isqrt(count), dtype=values.dtype, device=values.device) - 0.5
    offset = 1 - ((30 + math.isqrt(count)) / grid).sqrt()
    theta = 1 / largest + offset[:, None] / (3 * quarter)
    shapes = (-theta[:, None] * values).log1p().mean(dim=1)
    profile = count * ((-theta / shapes).log() - shapes - 1)
    theta = (profile.softmax(dim=0) * theta).sum(dim=0)
    shape = (-theta * values).log1p().mean(dim=0)
    scale = -shape / theta
    return (count * shape + 5) / (count + 10), scale


def pareto_quantile(share: Tensor, shape: Tensor, scale: Tensor) -> Tensor:
    """Returns quantiles of generalised Pareto laws: σ ((1 - p)^(-k) - 1) / k."""
    return scale * (-shape * (-share).log1p()).expm1() / shape


def _reading(
    subject: EvidenceSubject, k: int, data: Tensor, model: Tensor, notes: dict[str, float]
) -> Reading:
    """Returns the reading of losses ``[M]`` on the examples themselves and of what new ones cost more."""
    trace = Trace(_NO_DRAWS, subject.n_data * (data + model), share=1.0)
    parts = {"data": subject.scale * float(data.sum()), "model": subject.scale * float(model.sum())}
    return Reading(subject.lams[k], sum(parts.values()), trace.error(), parts, notes, trace=trace)


def _refuse_few(subject: EvidenceSubject, name: str, least: int) -> None:
    if subject.n_samples < least:
        raise ConfigError(f"{name}: n_samples={subject.n_samples}; expected at least {least}")
