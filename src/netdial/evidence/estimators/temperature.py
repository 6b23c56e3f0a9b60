"""The path of temperatures: what members from small β = 1/λ upwards say of log p(D), at one noise variance or at all.

A member of ``scaled-kl`` at λ stands for p(w) p(D | w)^β, β = 1/λ, under the likelihood of training. With e(w) what is divided
by the temperature,

    Φ(β) = log ∫ p(w) exp(-β e(w)) dw,     Φ' = -E_{q_β} e,     Φ(0) = 0     (Gelman & Meng 1998; Lartillot & Philippe 2006)

No member reaches β = 0. What lies below β_0 = 1/hi is bounded by the top member itself: Φ(β_0) >= -β_0 E e - KL, with
equality for exact tempered posteriors. Between nodes E e is taken as a + b/β, the law of a regular model, and the rule on all
nodes is extrapolated with the rule on every other one.

A regression trained under a noise variance τ² has e = Σ (y - f)²/(2τ²): its member at λ is the posterior under the noise
variance λτ² itself. So one path says log p(D | σ²) of N rows and T targets for every σ² = sτ² in the trained range,

    log p(D | σ²) = -C - (NT/2) log s + Φ(1/s),     C = (N/2) Σ_t log 2πτ_t²

and, with σ² integrated out under the prior of ``task.regression``, log p(D). Targets share s: variances of their own are not on
the path.

Shapes: J nodes by rising λ, G points of a fine grid over log λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence.estimators.bounds import fit_trace
from netdial.evidence.subject import EvidenceSubject, Trace
from netdial.task import Regression
from netdial.task.regression import PRIOR

NODES = 17
"""Nodes over two decades of λ; odd, so that every other one is a path too."""
_FINE = 50
"""Points of the grid between two nodes that are kept."""
_ENDS = 0.01
"""Density of the noise variance at an end of the range, over the highest one, from which on the range is too short."""


@dataclass(frozen=True)
class Ladder:
    """Members along a path of temperatures, and what their energies add up to.

    Attributes:
        lams: J complexity values, rising.
        traces: E nll of each under the likelihood of training.
        kl: divergence of the member at the top, nats.
        constant: C; 0 where there is no noise variance.
        count: NT; 0 likewise.
        unit: geometric mean of τ² over the targets.
    """

    lams: tuple[float, ...]
    traces: tuple[Trace, ...]
    kl: float
    constant: float
    count: int
    unit: float

    @property
    def beta(self) -> Tensor:
        """Inverse temperatures ``[J]``, falling."""
        return 1 / torch.tensor(self.lams, dtype=torch.float64)

    @property
    def energy(self) -> Tensor:
        """E e of each member ``[J]`` in nats."""
        nll = torch.tensor([trace.value for trace in self.traces], dtype=torch.float64)
        return nll - self.constant

    def joined(self, weights: Tensor) -> Trace:
        """Returns the trace of a weighted sum ``[J]`` of energies, for its error."""
        return Trace(
            torch.tensordot(weights, torch.stack([trace.draws for trace in self.traces]), dims=1),
            weights @ torch.stack([trace.examples for trace in self.traces]),
            self.traces[0].share,
        )


def ladder(subject: EvidenceSubject, lams: list[float]) -> Ladder:
    """Returns the path of a family's members at complexity values, rising."""
    task = subject.task.in_training()
    path = replace(subject, lams=tuple(lams), integrated=False, task=task)
    constant, count, unit = 0.0, 0, 1.0
    if isinstance(task, Regression):
        var = task.training_var(subject.data.y.shape[1])
        constant = 0.5 * subject.n_data * float((2 * math.pi * var).log().sum())
        count, unit = subject.n_data * len(var), float(var.log().mean().exp())
    traces = tuple(fit_trace(path, k) for k in range(len(lams)))
    return Ladder(tuple(lams), traces, float(path.kl[-1]), constant, count, unit)


def noise_factor(subject: EvidenceSubject, name: str) -> float | None:
    """Returns s, the noise variance to judge under over that of training; 1 without noise, None if it is unknown.

    Raises:
        ConfigError: it is another for each target, which no member stands for.
    """
    task = subject.task
    if not (isinstance(task, Regression) and subject.integrated):
        return 1.0
    if task.precision is None:
        return None
    ratios = 1 / (task.precision * task.training_var(len(task.precision)))
    if float(ratios.max() / ratios.min()) > 1 + 1e-6:
        raise ConfigError(
            f"{name}: noise variances {tuple((1 / task.precision).tolist())} are not in proportion to those of training, "
            f"{tuple(task.training_var(len(ratios)).tolist())}, so no member stands for them; train under them"
        )
    return float(ratios.mean())


def nodes_from(subject: EvidenceSubject, name: str, low: float | None) -> list[float]:
    """Returns complexity values from ``low`` to the top of the range, rising; from the bottom if it is None.

    Raises:
        ConfigError: the range does not hold them.
    """
    family = subject.family
    domain, rows = family.domain, sorted(set(family.config.lams))
    if family.config.map == "table":
        nodes = [lam for lam in rows if low is None or lam > low * (1 - 1e-6)]
        if len(nodes) < 3 or (low is not None and abs(nodes[0] / low - 1) > 1e-6):
            place = "" if low is None else f"at λ = {low:.4g} and "
            above = "three values or more" if low is None else "at two values above it or more"
            raise ConfigError(
                f"{name}: directly trained networks must stand {place}{above}, got {', '.join(f'{lam:g}' for lam in rows)}"
            )
        return nodes
    low = domain.lo if low is None else low
    if not domain.lo * (1 - 1e-9) <= low < domain.hi:
        raise ConfigError(
            f"{name}: needs the members from λ = {low:.4g} upwards, the trained range is [{domain.lo:g}, {domain.hi:g}]; "
            f"train with a range that reaches from {low:.4g} or below to {100 * low:.4g} or more"
        )
    span = math.log(domain.hi / low)
    pairs = max(1, round((NODES - 1) / 2 * span / math.log(100)))
    steps = torch.linspace(math.log(low), math.log(domain.hi), 2 * pairs + 1, dtype=torch.float64)
    return [low, *steps.exp().tolist()[1:-1], domain.hi]


def integration_weights(beta: Tensor) -> Tensor:
    """Returns w with Σ_j w_j g(β_j) ≈ ∫ g dβ from the last to the first of falling β ``[J]``.

    Exact for g = a + b/β on every interval; with an odd count of nodes extrapolated (Richardson) by the rule on every
    other node.
    """
    fine = fitted_weights(beta)
    if len(beta) % 2 == 0 or len(beta) < 3:
        return fine
    coarse = torch.zeros_like(fine)
    coarse[::2] = fitted_weights(beta[::2])
    return fine + (fine - coarse) / 3


def fitted_weights(beta: Tensor) -> Tensor:
    """Returns the weights of the rule that takes g as a + b/β between neighbours."""
    high, low = beta[:-1], beta[1:]
    span, log_span = high - low, (high / low).log()
    per_slope = (log_span - span / high) / (1 / low - 1 / high)
    weights = torch.zeros_like(beta)
    weights[:-1] += span - per_slope
    weights[1:] += per_slope
    return weights


@dataclass(frozen=True)
class Grid:
    """-Φ and E e on a fine grid over log λ, both linear in the energies of the nodes.

    Attributes:
        log_lam: ``[G]``, evenly spaced between neighbouring nodes that are kept.
        width: share of log λ of each point ``[G]``, for sums.
        integral: A ``[G, J]``; -Φ = A e + KL.
        energy: B ``[G, J]``; E e = B e.
    """

    log_lam: Tensor
    width: Tensor
    integral: Tensor
    energy: Tensor


def grid(path: Ladder, *, extrapolated: bool = True) -> Grid:
    """Returns the grid: -Φ by cubic Hermite polynomials in log λ between every other node, E e linear in λ between all."""
    beta, size = path.beta, len(path.lams)
    kept = list(range((size - 1) % 2, size, 2))
    rule = integration_weights if extrapolated else fitted_weights
    values = torch.zeros(len(kept), size, dtype=torch.float64)
    slopes = torch.zeros_like(values)
    for row, node in enumerate(kept):
        if node < size - 1:
            values[row, node:] = rule(beta[node:])
        values[row, -1] += beta[-1]
        slopes[row, node] = -beta[node]
    place = -beta.log()[kept]
    part = torch.arange(_FINE, dtype=torch.float64)[:, None] / _FINE
    pieces = []
    for left in range(len(kept) - 1):
        gap = place[left + 1] - place[left]
        pieces.append(
            (1 + 2 * part) * (1 - part) ** 2 * values[left]
            + part**2 * (3 - 2 * part) * values[left + 1]
            + gap * part * (1 - part) ** 2 * slopes[left]
            - gap * part**2 * (1 - part) * slopes[left + 1]
        )
    integral = torch.cat([*pieces, values[-1:]])
    gaps = place.diff().repeat_interleave(_FINE) / _FINE
    log_lam = torch.cat([place[:1], place[0] + gaps.cumsum(0)])
    width = torch.zeros_like(log_lam)
    width[:-1] += gaps / 2
    width[1:] += gaps / 2
    lam, known = log_lam.exp(), 1 / beta
    right = torch.searchsorted(known, lam).clamp(1, size - 1)
    share = ((lam - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    energy = torch.zeros(len(lam), size, dtype=torch.float64)
    rows = torch.arange(len(lam))
    energy[rows, right - 1] = 1 - share
    energy[rows, right] = share
    return Grid(log_lam, width, integral, energy)


def log_prior(path: Ladder, log_factor: Tensor) -> Tensor:
    """Returns the log density over log s ``[G]`` of the inverse gamma prior of the noise variance."""
    a, b = PRIOR
    log_var = log_factor + math.log(path.unit)
    return a * math.log(b) - math.lgamma(a) - a * log_var - b * (-log_var).exp()


def masses(log_density: Tensor, path: Ladder, points: Grid, name: str) -> tuple[float, Tensor]:
    """Returns log ∫ and the share of each point ``[G]`` in it.

    Raises:
        ConfigError: much of it lies beyond an end of the range.
    """
    ends = (log_density[[0, -1]] - log_density.max()).exp()
    for end, lam, way in zip(
        ends.tolist(), (path.lams[0], path.lams[-1]), ("lo", "hi"), strict=True
    ):
        if end > _ENDS:
            raise ConfigError(
                f"{name}: the noise variance is likely to lie beyond the end λ = {lam:.4g} of the trained range, where no "
                f"member stands for it; train with a {'lower' if way == 'lo' else 'higher'} {way} (--{way})"
            )
    logs = log_density + points.width.log()
    total = float(logs.logsumexp(0))
    return total, (logs - total).exp()
