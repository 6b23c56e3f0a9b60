"""The final of a search: the best of what it came to is trained again from other starts, and the better half stays each time.

One training says little where starts differ as much as structures do. So structures are compared by their mean loss over
starts, the same for all that are left: sequential halving (Karnin, Koren & Somekh 2013) over starts. The usual structure of the
space enters as well, where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from netdial.core.errors import ConfigError
from netdial.structure.graph.canonical import canonical_form
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma
from netdial.structure.search.guards import count_skips
from netdial.structure.search.shared.choosing import likeliest_first
from netdial.structure.search.strategy import Asked, TrialStrategy, Tried

if TYPE_CHECKING:
    from netdial.structure.search.job import SearchJob

_LEAST = 2
"""Structures that stay until the last start."""

_LOOKED_AT = 50
"""Structures that are looked at for each candidate."""


def candidates(job: SearchJob, probabilities: Gamma, likeliest: Genotype) -> list[Genotype]:
    """Returns what a search by gradient sends to the final: its likeliest structures within the limits, all different.

    Args:
        job: the search.
        probabilities: of the operations at its end.
        likeliest: the likeliest structure within the limits; it is the first.
    """
    most, found = job.config.candidates, {canonical_form(job.space, likeliest): likeliest}
    for genotype in islice(likeliest_first(job.space, probabilities), _LOOKED_AT * (most - 1)):
        if len(found) == most:
            break
        few = count_skips(job.space, genotype) <= job.most_skips
        form = canonical_form(job.space, genotype)
        if few and form not in found and _within(job, genotype):
            found[form] = genotype
    return list(found.values())


def finalists(job: SearchJob, strategy: TrialStrategy, results: Sequence[Tried]) -> list[Tried]:
    """Returns what a search by trials sends to the final: its best results that differ as networks, within the limits.

    Raises:
        ConfigError: none is within the limits when its network is measured.
    """
    left, found = list(results), dict[object, Tried]()
    while left and len(found) < job.config.candidates:
        best = strategy.best(left)
        if found and best.epochs < next(iter(found.values())).epochs:
            break
        if job.limit.holds(best.genotype):
            found.setdefault(canonical_form(job.space, best.genotype), best)
        left = [each for each in left if each.genotype != best.genotype]
    if not found:
        raise ConfigError(
            f"none of the {len(results)} structures that were tried is within {job.limit.target}"
        )
    return list(found.values())


def play_final(
    job: SearchJob, structures: Sequence[Genotype], first: Sequence[Tried] = ()
) -> tuple[Tried, list[Tried]]:
    """Returns the training of least loss of the best structure, and all trainings that were made to find out.

    Args:
        job: the search.
        structures: structures that enter.
        first: others, with what their trainings from the first start gave; all of one length.
    """
    epochs = first[0].epochs if first else job.config.passes
    train, made = job.trainer("candidate"), list[Tried]()
    runs = {each.genotype: [each] for each in first}

    def run(genotype: Genotype, start: int) -> None:
        made.append(train(Asked(genotype, epochs, start)))
        runs.setdefault(genotype, []).append(made[-1])

    for genotype in _with_usual(job, [*runs, *structures]):
        if genotype not in runs:
            run(genotype, 0)
    left = _ranked(runs, runs)
    for start in range(1, job.config.starts if len(left) > 1 else 1):
        left = left[: max(_LEAST, math.ceil(len(left) / 2))]
        for genotype in left:
            run(genotype, start)
        left = _ranked(left, runs)
    return min(runs[left[0]], key=lambda tried: tried.loss), made


def _with_usual(job: SearchJob, entered: list[Genotype]) -> list[Genotype]:
    """Returns structures with the usual one of the space, where it is within the limits and none of them."""
    if job.space.usual is None:
        return entered
    usual = job.space.genotype(job.space.usual)
    form = canonical_form(job.space, usual)
    known = any(canonical_form(job.space, each) == form for each in entered)
    return entered if known or not _within(job, usual) else [*entered, usual]


def _within(job: SearchJob, genotype: Genotype) -> bool:
    return job.limit.allows(genotype) and job.limit.holds(genotype)


def _ranked(genotypes: Iterable[Genotype], runs: dict[Genotype, list[Tried]]) -> list[Genotype]:
    """Returns structures from the one of least mean loss on; of equal ones the first comes first."""
    return sorted(genotypes, key=lambda one: math.fsum(tried.loss for tried in runs[one]))
