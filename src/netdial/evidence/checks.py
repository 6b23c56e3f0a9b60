"""Is the family what it claims to be? Checks of a trained family that need no reference but itself.

Slopes. A perfect member minimises fit + penalty_λ, so along the path nothing is gained to first order by moving with the
penalty held at λ:  d nll / d penalty_λ = -1.  Under ``scaled-kl`` that reads d nll / d KL = -λ: the path is an L-curve
with slope -λ (Hansen 1992), a rate-distortion curve (Alemi et al. 2018). ``Slope.ratio`` is the measured slope over the
due one; where it is far from 1 the map or the training falls short (the amortisation gap).

Spreads. A log σ that has not moved from its start says nothing of the weight, and relative density (eq. 17 of the 2022
paper) is then the order of |μ|. A weight whose divergence is near 0 has collapsed to the prior: the data do not need it.

Distances. The same member against a network trained directly at its λ: what the objective exceeds, and the symmetrised
divergence (Grebenkova et al. 2022, §4.1).

Shapes: L complexity values, P numbers of the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.arguments import Several, checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.data.memory import Data
from netdial.data.memory.weights import unweighted
from netdial.evidence.estimators.bounds import fit_trace, kept_mask, leaf_sums
from netdial.evidence.subject import EvidenceSubject
from netdial.family.family import Family
from netdial.family.fields import Fields, symmetrised_kl
from netdial.objective import OBJECTIVES
from netdial.task import Task
from netdial.task.rehearsal import admit

STEP = 0.05
"""Half the distance in log λ over which slopes are measured; the curvature of an L-curve then adds 0.04 %."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are given of a distribution over weights."""

_COLLAPSED_NATS = 0.01
_UNMOVED = 0.05
_ASTRAY = 2.0


@dataclass(frozen=True)
class Slope:
    """How the fit pays for the penalty at one λ.

    Attributes:
        lam: complexity value.
        nll: E_q nll (nll of the mean weights for points) in nats of the data set.
        penalty: KL, or squared or absolute norm, without the factor λ.
        ratio: -d nll / d penalty_λ, 1 for a perfect member.
        error: its standard error.
    """

    lam: float
    nll: float
    penalty: float
    ratio: float
    error: float


@dataclass(frozen=True)
class Spread:
    """The state of a member's log σ and of its weights; quantiles at ``QUANTILES``.

    Attributes:
        lam: complexity value.
        movement: quantiles of log σ minus where it started.
        snr: quantiles of |μ|/σ.
        leaf_kl_bits: divergence of each leaf from the prior, bits.
        collapsed: share of weights with a divergence below 0.01 nats: back at the prior.
        effective_parameters: Σ (1 - σ²/α), each term clipped at 0 (MacKay 1992).
    """

    lam: float
    movement: tuple[float, ...]
    snr: tuple[float, ...]
    leaf_kl_bits: dict[str, float]
    collapsed: float
    effective_parameters: float


@dataclass(frozen=True)
class Distance:
    """A member against a network trained directly at its λ.

    Attributes:
        lam: complexity value.
        excess: objective of the member minus that of the direct network, nats per example.
        error: its standard error.
        divergence: symmetrised KL in nats; the squared distance of the weights for points.
    """

    lam: float
    excess: float
    error: float
    divergence: float


@dataclass(frozen=True)
class Health:
    """What was found; ``findings`` says in words what deserves attention."""

    slopes: tuple[Slope, ...]
    spreads: tuple[Spread, ...]
    distances: tuple[Distance, ...]

    def findings(self) -> list[str]:
        """Returns one sentence for each thing out of order; none if all is well."""
        found = []
        astray = [s for s in self.slopes if not 1 / _ASTRAY <= s.ratio <= _ASTRAY]
        if astray:
            worst = max(astray, key=lambda s: abs(math.log(s.ratio)) if s.ratio > 0 else math.inf)
            found.append(
                f"the slope of fit against penalty is off by more than a factor {_ASTRAY:g} at {_lams(astray)} "
                f"(worst {worst.ratio:.2g} times the due one at λ = {worst.lam:.3g}): train longer, or with a more flexible map"
            )
        unmoved = [s for s in self.spreads if max(abs(q) for q in s.movement) < _UNMOVED]
        if unmoved:
            found.append(
                f"log σ has not moved from its start at {_lams(unmoved)}: evidence and relative density mean little there; "
                "train longer or with a larger std_rate"
            )
        gone = [s for s in self.spreads if s.collapsed > 0.99]
        if gone:
            found.append(f"nearly all weights are back at the prior at {_lams(gone)}")
        return found


@checked
@in_usual_modes
def health(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    objective: str | None = None,
    kind: str | Task | None = None,
    direct: Family | None = None,
    n_samples: Several = 32,
    n_examples: Several | None = None,
    seed: int = 0,
) -> Health:
    """Returns checks of a trained family on its training data.

    Args:
        family: the family.
        data: the data it was trained on.
        lams: complexity values, or how many to space evenly over the trained range.
        objective: what the family was trained under, if it does not know (``Family.objective``).
        kind: the task: a name, or a ``Task``; by default that of the family.
        direct: networks trained directly (``fit_direct``), to be compared with the members at their λ.
        n_samples: draws of the weights, the same at every λ.
        n_examples: look at so many examples only.
        seed: seed of the draws.

    Raises:
        ConfigError: ``direct`` is not a table of networks of the same layout and posterior, or the objective does not fit.
    """
    family.weights_alone("health")
    part, task = admit(family.net, data, kind, family.task, "training part", family.columns)
    unweighted(part, "health")
    values = sorted(set(family.lams(lams)))
    objective = objective or family.objective
    if (family.log_std is None) != OBJECTIVES[objective].is_point:
        raise ConfigError(
            f"health: objective={objective!r} does not fit the family's posterior; say what it was trained under"
        )
    subject = EvidenceSubject(
        family,
        part,
        tuple(values),
        objective=objective,
        task=task.trained_as(family.task).in_training(),
        n_samples=n_samples,
        n_examples=n_examples,
        seed=seed,
    )
    return Health(
        () if family.config.map == "table" else tuple(slope(subject, lam) for lam in values),
        () if family.log_std is None else tuple(spreads(subject)),
        () if direct is None else tuple(distances(subject, direct)),
    )


def slope(subject: EvidenceSubject, lam: float) -> Slope:
    """Returns the slope at λ by a central difference over log λ (one-sided at the ends of the range)."""
    domain = subject.family.domain
    low, high = max(lam * math.exp(-STEP), domain.lo), min(lam * math.exp(STEP), domain.hi)
    near = subject.along([low, lam, high])
    penalty = _penalty(near, lam)
    below, here, above = (fit_trace(near, k) for k in range(3))
    paid = float(penalty[2] - penalty[0])
    change = above.minus(below)
    if paid == 0:
        return Slope(lam, here.value, float(penalty[1]) / _factor(subject, lam), math.nan, math.nan)
    return Slope(
        lam,
        nll=here.value,
        penalty=float(penalty[1]) / _factor(subject, lam),
        ratio=-change.value / paid,
        error=change.error() / abs(paid),
    )


def spreads(subject: EvidenceSubject) -> list[Spread]:
    """Returns the state of the posterior of each member."""
    fields = subject.fields
    assert fields.log_std is not None and fields.var is not None
    prior = fields.fitted_prior() if subject.traits.fitted_prior else subject.prior_var[:, None]
    kept = kept_mask(fields).bool()
    moment = (fields.mean.square() + fields.var) / prior
    nats = 0.5 * (moment - 1 - 2 * fields.log_std + prior.log()) * kept
    bits = leaf_sums(fields, nats) / math.log(2)
    names = fields.layout.names
    return [
        Spread(
            lam,
            movement=_quantiles((fields.log_std[k] - subject.family.config.log_std)[kept[k]]),
            snr=_quantiles((fields.mean[k].abs() / fields.log_std[k].exp())[kept[k]]),
            leaf_kl_bits=dict(zip(names, bits[k].tolist(), strict=True)),
            collapsed=float((nats[k][kept[k]] < _COLLAPSED_NATS).double().mean()),
            effective_parameters=float(fields.effective_parameters(prior)[k]),
        )
        for k, lam in enumerate(subject.lams)
    ]


def distances(subject: EvidenceSubject, direct: Family) -> list[Distance]:
    """Returns how far the members are from directly trained networks, at the λ of these."""
    if direct.config.map != "table" or direct.layout != subject.family.layout:
        raise ConfigError(
            "health: direct is not a table of directly trained networks of the same architecture; make it with fit_direct"
        )
    if (direct.log_std is None) != (subject.family.log_std is None):
        raise ConfigError(
            "health: direct and the family differ in posterior; train both under one objective"
        )
    found = []
    for lam in sorted(set(direct.config.lams)):
        ours = subject.along([lam])
        theirs = EvidenceSubject(
            direct,
            subject.data,
            (lam,),
            objective=subject.objective,
            task=subject.task,
            n_samples=subject.n_samples,
            n_examples=subject.n_examples,
            seed=subject.seed,
        )
        gap = fit_trace(ours, 0).minus(fit_trace(theirs, 0))
        charged = float(_penalty(ours, lam)[0] - _penalty(theirs, lam)[0])
        found.append(
            Distance(
                lam,
                excess=(gap.value + charged) / subject.n_data,
                error=gap.error() / subject.n_data,
                divergence=_divergence(ours.fields, theirs.fields),
            )
        )
    return found


def _penalty(subject: EvidenceSubject, lam: float) -> Tensor:
    """Returns the penalty of each member with λ held, nats ``[K]``."""
    held = torch.full_like(subject.fields.mean[:, 0], lam)
    return OBJECTIVES[subject.objective](
        subject.fields, held, subject.family.config.prior_var
    ).cpu()


def _factor(subject: EvidenceSubject, lam: float) -> float:
    """Returns what the objective multiplies its divergence or norm with."""
    return subject.traits.factor(lam)


def _divergence(first: Fields, second: Fields) -> float:
    if first.log_std is None:
        return float((first.mean - second.mean).square().sum())
    return float(symmetrised_kl(first, second)[0])


def _quantiles(values: Tensor) -> tuple[float, ...]:
    """Returns quantiles at ``QUANTILES``, those of 100 000 evenly chosen values when there are more."""
    some = values[:: -(-len(values) // 100_000)] if len(values) else values.new_zeros(1)
    return tuple(some.quantile(some.new_tensor(QUANTILES)).tolist())


def _lams(found: Sequence[Slope] | Sequence[Spread]) -> str:
    return "λ = " + ", ".join(f"{one.lam:.3g}" for one in found)
