"""The Laplace evidence of each member, as readings like any other.

The approximation itself is in ``laplace``. Under ``l2`` and ``scaled-prior`` λ is in the prior, which is used as it is:
the evidence is a function of λ and chooses it (MacKay 1992). Under ``scaled-kl`` all members have one prior; as for ``eb-elbo``
it is re-fitted for each leaf. The noise variance σ² of a regression, unless it is known, is optimised with it; since training
assumed τ², the weights at λ are a mode under σ² as well if prior variances are multiplied by σ²/τ², so these move together.

The means are taken for a mode. How far they are from one is said by ``correction`` (what a first-order term would take off the
code length); when that is not small, the number should not be trusted.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from netdial.data.dataset import Dataset
from netdial.evidence.estimators.bounds import refuse_examples
from netdial.evidence.estimators.laplace import laplace
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading
from netdial.family.family import Family
from netdial.objective import LAPLACE
from netdial.task import Regression, Task


def curved(subject: EvidenceSubject, structure: str) -> list[Reading]:
    """Returns -log p(D) by Laplace's method with one structure of the curvature; no sampling, so no error."""
    refuse_examples(subject, f"laplace-{structure}")
    readings = []
    noisy = subject.integrated and subject.task.wants_held_out
    for lam, prior_var in zip(subject.lams, subject.prior_var.tolist(), strict=True):
        task = subject.task.at(lam) if noisy else subject.task
        found = laplace(
            subject.family.export(lam),
            subject.data,
            prior_var=prior_var * _noise_ratio(task, subject.data, noisy),
            structure=structure,
            kind=_relative(task) if noisy else task,
            optimise_prior=_way(subject, noisy),
            optimise_noise=noisy,
            kept=_kept(subject.family),
        )
        parts = {"data": found.fit, "model": found.complexity, "correction": found.correction}
        notes = {"effective_parameters": found.effective_parameters}
        readings.append(Reading(lam, -found.log_evidence, 0.0, parts, notes))
    return readings


def _way(subject: EvidenceSubject, noisy: bool) -> str:
    """Returns how prior variances are optimised: those that λ sets move with the noise variance, whose unit they are in."""
    if not subject.traits.prior_moves:
        return "per-leaf"
    return "with-noise" if noisy else "none"


def _noise_ratio(task: Task, data: Dataset, noisy: bool) -> float:
    """Returns the noise variance that ``laplace`` starts from over that of training, τ²; geometric means over the targets."""
    if not isinstance(task, Regression):
        return 1.0
    assumed = float(task.training_var(data.y.shape[1]).log().mean().exp())
    if noisy:
        return 1 / assumed
    known = task.precision
    return 1.0 if known is None else float((-known.log().mean()).exp()) / assumed


def _relative(task: Task) -> Task:
    """Returns a regression with noise variances of geometric mean 1, so that one factor is left to optimise."""
    if not isinstance(task, Regression):
        return task
    if task.precision is None:
        logs = torch.tensor(task.train_var or (1.0,), dtype=torch.float64).log()
    else:
        logs = -task.precision.log()
    return replace(task, noise_var=tuple((logs - logs.mean()).exp().tolist()), tails=0.0)


def _kept(family: Family) -> dict[str, Tensor]:
    """Returns which numbers have a posterior: neither pruned, nor the same for every λ."""
    whole = torch.ones(family.layout.size, dtype=torch.bool)
    kept = family.layout.split(whole if family.kept is None else family.kept.cpu())
    return {
        name: kept.get(name, torch.zeros(leaf.shape, dtype=torch.bool))
        for name, leaf in family.net.named_parameters()
    }


for _name in LAPLACE:
    ESTIMATORS.add(_name)(functools.partial(curved, structure=_name.removeprefix("laplace-")))
