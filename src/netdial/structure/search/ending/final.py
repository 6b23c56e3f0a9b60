"""The final of a search: the best of what it came to is trained again from other starts, and the better half stays each time.

One training says little where starts differ as much as structures do. So structures are compared by their mean loss over
starts, the same for all that are left: sequential halving (Karnin, Koren & Somekh 2013) over starts. The usual structure of the
space enters as well, where there is one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import TYPE_CHECKING

from netdial.core.errors import ConfigError, NonFiniteError
from netdial.structure.graph.canonical import canonical_form
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma
from netdial.structure.limits import NoStructureMeets
from netdial.structure.search.guards import count_skips
from netdial.structure.search.shared.choosing import likeliest_first
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import AlongStrategy, Asked, TrialStrategy, Tried

if TYPE_CHECKING:
    from netdial.structure.search.job import SearchJob

_LEAST = 2
"""Structures that stay until the last start."""

_LOOKED_AT = 50
"""Structures that are looked at for each candidate."""

_ALONG = 2
"""Structures that enter for each λ of a search along λ."""

_SMALLER = (0.75, 0.5)
"""Sizes that enter beside those at the highest λ, in its likeliest structure's own."""

Worth = Callable[[Genotype, float], float]
"""(structure, its mean validation loss) -> what is minimised: the loss, with what size or likeness adds."""


def candidates(
    job: SearchJob, probabilities: Gamma, likeliest: Genotype, most: int
) -> list[Genotype]:
    """Returns what a search by gradient sends to the final: its likeliest structures within the limits, all different.

    Args:
        job: the search.
        probabilities: of the operations at its end.
        likeliest: the likeliest structure within the limits; it is the first.
        most: how many, at most.
    """
    found = {canonical_form(job.space, likeliest): likeliest}
    for genotype in islice(likeliest_first(job.space, probabilities), _LOOKED_AT * (most - 1)):
        if len(found) == most:
            break
        if count_skips(job.space, genotype) > job.most_skips:
            continue
        form = canonical_form(job.space, genotype)
        if form not in found and _within(job, genotype):
            found[form] = genotype
    return list(found.values())


def candidates_along(job: SearchJob, strategy: AlongStrategy, state: SearchState) -> list[Genotype]:
    """Returns what a search along λ sends to the final: the likeliest at each λ, and smaller ones than at the highest."""
    found = dict[Genotype, None]()
    for lam in strategy.lams:
        strategy.settle(state, lam)
        probabilities, likeliest = job.chosen(strategy, state)
        found |= dict.fromkeys(candidates(job, probabilities, likeliest, _ALONG))
    for share in _SMALLER:
        with suppress(NoStructureMeets):
            smaller = job.limit.within(probabilities, share * job.limit.size(likeliest))
            if _free(job, smaller):
                found[smaller] = None
    return list(found)


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
    job: SearchJob,
    structures: Sequence[Genotype],
    first: Sequence[Tried] = (),
    *,
    worths: Sequence[Worth] = (lambda genotype, loss: loss,),
    part: str = "candidate",
) -> tuple[list[Tried], list[Tried]]:
    """Returns, for each of ``worths``, the training of least loss of the best structure; and all trainings that were made.

    Args:
        job: the search.
        structures: structures that enter.
        first: others, with what their trainings from the first start gave; all of one length.
        worths: what is minimised; each has a winner of its own, and trainings are shared.
        part: what trainings are told of as.

    Raises:
        NonFiniteError: all trainings of the best structure diverged.
    """
    epochs = first[0].epochs if first else job.config.passes
    train, made = job.trainer(part), list[Tried]()
    runs = {each.genotype: [each] for each in first}

    def run(genotype: Genotype, start: int) -> None:
        made.append(train(Asked(genotype, epochs, start)))
        runs.setdefault(genotype, []).append(made[-1])

    for genotype in _with_usual(job, [*runs, *structures]):
        if genotype not in runs:
            run(genotype, 0)

    def ranked(genotypes: Iterable[Genotype], worth: Worth) -> list[Genotype]:
        """Returns structures from the best on; of equal ones the first comes first."""
        return sorted(
            genotypes, key=lambda one: worth(one, statistics.fmean(t.loss for t in runs[one]))
        )

    left = [ranked(runs, worth)[: job.config.candidates + 1] for worth in worths]
    for start in range(1, job.config.starts if len(runs) > 1 else 1):
        left = [row[: max(_LEAST, math.ceil(len(row) / 2))] for row in left]
        for genotype in dict.fromkeys(chain.from_iterable(left)):
            run(genotype, start)
        left = [ranked(row, worth) for row, worth in zip(left, worths, strict=True)]
    winners = [min(runs[row[0]], key=lambda tried: tried.loss) for row in left]
    if not all(math.isfinite(each.loss) for each in winners):
        raise NonFiniteError(
            f"none of the {len(runs)} structures that were compared has a finite loss on validation data: trainings diverged; "
            "lower lr, set clip to 1, or look for values that are far too large in the data"
        )
    return winners, made


def _with_usual(job: SearchJob, entered: list[Genotype]) -> list[Genotype]:
    """Returns structures with the usual one of the space, where it is within the limits and none of them."""
    if job.space.usual is None:
        return entered
    usual = job.space.genotype(job.space.usual)
    form = canonical_form(job.space, usual)
    known = any(canonical_form(job.space, each) == form for each in entered)
    enters = not known and _free(job, usual) and _within(job, usual)
    return [*entered, usual] if enters else entered


def _free(job: SearchJob, genotype: Genotype) -> bool:
    """Returns whether a structure that enters for another reason than its probability has no more identities than asked for."""
    most = job.config.max_skips
    return most is None or count_skips(job.space, genotype) <= most


def _within(job: SearchJob, genotype: Genotype) -> bool:
    return job.limit.allows(genotype) and job.limit.holds(genotype)
