"""The Laplace evidence of each member, as readings like any other.

The approximation itself is in ``laplace``. Under ``l2`` and ``scaled-prior`` λ is in the prior, which is used as it is:
the evidence is a function of λ and chooses it (MacKay 1992). Under ``scaled-kl`` all members have one prior; as for
``eb-elbo`` it is re-fitted for each leaf. The means are taken for a mode. How far they are from one is said by
``correction`` (what a first-order term would take off the code length); when that is not small, the number should not be
trusted.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from netdial.evidence.bounds import refuse_examples
from netdial.evidence.laplace import laplace
from netdial.evidence.subject import ESTIMATORS, Reading, Subject
from netdial.family.family import Family
from netdial.objective import LAPLACE


def curved(subject: Subject, structure: str) -> list[Reading]:
    """Returns -log p(D) by Laplace's method with one structure of the curvature; no sampling, so no error."""
    refuse_examples(subject, f"laplace-{structure}")
    readings = []
    for lam, prior_var in zip(subject.lams, subject.prior_var.tolist(), strict=True):
        found = laplace(
            subject.family.export(lam),
            subject.data,
            prior_var=prior_var,
            structure=structure,
            kind=subject.task,
            optimise_prior="none" if subject.traits.prior_moves else "per-leaf",
            kept=_kept(subject.family),
        )
        parts = {"data": found.fit, "model": found.complexity, "correction": found.correction}
        notes = {"effective_parameters": found.effective_parameters}
        readings.append(Reading(lam, -found.log_evidence, 0.0, parts, notes))
    return readings


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
