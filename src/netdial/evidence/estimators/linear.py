"""Bayesian linear regression in closed form: evidence, posterior, and the best mean-field bound.

    y = Φ w + ε,     w ~ N(0, diag(s²)),     ε ~ N(0, σ² 1)                    (Bishop 2006, §3.3-3.5; MacKay 1992)

Here nothing is approximate, so it is what approximations are measured by.

Shapes: N examples, D features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, ShapeError

Variance = float | Tensor


def log_evidence(
    features: Tensor, targets: Tensor, *, prior_var: Variance, noise_var: float
) -> float:
    """Returns log N(y | 0, σ² 1 + Φ diag(s²) Φᵀ) in nats, in time N³.

    Args:
        features: Φ ``[N, D]``.
        targets: y ``[N]`` or ``[N, 1]``.
        prior_var: s², for all weights or ``[D]``; positive.
        noise_var: σ², positive.

    Raises:
        ShapeError: shapes do not fit.
        ConfigError: a variance is not positive.
    """
    phi, y, prior = _checked(features, targets, prior_var, noise_var)
    covariance = phi * prior @ phi.T
    covariance.diagonal().add_(noise_var)
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
    log_det = 2 * factor.diagonal().log().sum()
    return -0.5 * float(white.square().sum() + log_det + len(y) * math.log(2 * math.pi))


def posterior(
    features: Tensor, targets: Tensor, *, prior_var: Variance, noise_var: float
) -> tuple[Tensor, Tensor]:
    """Returns the mean ``[D]`` and the precision ``[D, D]`` of the exact posterior (Bishop 2006, eqs. 3.53-3.54)."""
    phi, y, prior = _checked(features, targets, prior_var, noise_var)
    precision = phi.T @ phi / noise_var + torch.diag(1 / prior)
    return torch.linalg.solve(precision, phi.T @ y / noise_var), precision


def bound(
    mean: Tensor,
    var: Tensor,
    features: Tensor,
    targets: Tensor,
    *,
    prior_var: Variance,
    noise_var: float,
) -> float:
    """Returns E_q log p(y | w) - KL(q || p) in nats for q = N(mean, diag(var)); never above ``log_evidence``.

    Args:
        mean: ``[D]``.
        var: ``[D]``, positive.
        features: Φ ``[N, D]``.
        targets: y ``[N]`` or ``[N, 1]``.
        prior_var: s², for all weights or ``[D]``.
        noise_var: σ².
    """
    phi, y, prior = _checked(features, targets, prior_var, noise_var)
    mean, var = mean.double(), var.double()
    error = (y - phi @ mean).square().sum() + (phi.square() @ var).sum()
    fit = 0.5 * (error / noise_var + len(y) * math.log(2 * math.pi * noise_var))
    kl = 0.5 * ((var + mean.square()) / prior - 1 - (var / prior).log()).sum()
    return -float(fit + kl)


def _checked(
    features: Tensor, targets: Tensor, prior_var: Variance, noise_var: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns features, targets ``[N]`` and prior variances ``[D]`` in double precision."""
    if features.ndim != 2 or targets.numel() != len(features):
        raise ShapeError(
            f"linear regression: features are {list(features.shape)}, targets {list(targets.shape)}; expected [N, D] and "
            "one target for each row"
        )
    phi, y = features.double(), targets.double().flatten()
    prior = torch.as_tensor(prior_var, dtype=torch.float64, device=phi.device)
    if not noise_var > 0 or not bool((prior > 0).all()):
        raise ConfigError(
            f"linear regression: noise_var={noise_var}, prior_var={prior_var}; expected positive variances"
        )
    if prior.ndim > 1 or (prior.ndim and len(prior) != phi.shape[1]):
        raise ShapeError(
            f"linear regression: prior_var is {list(prior.shape)}, expected one variance or [{phi.shape[1]}]"
        )
    return phi, y, prior.expand(phi.shape[1])
