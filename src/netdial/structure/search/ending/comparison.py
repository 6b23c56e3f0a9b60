"""Random search beside a search, at equal processor time and on the same examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.structure.derived import DerivedNetwork
from netdial.structure.search.outcome import RandomBaseline, SearchOutcome
from netdial.structure.search.strategy import Asked, Tried
from netdial.structure.search.training import error_of_mean, losses, weighted_mean

if TYPE_CHECKING:
    from netdial.structure.search.job import SearchJob


def beside_random_search(
    job: SearchJob, outcome: SearchOutcome, test: Dataset | None
) -> SearchOutcome:
    """Returns the outcome with random search that took as much processor time."""
    source, scope = job.scope.source("baseline"), job.scope
    train, done = job.trainer("baseline"), list[Tried]()
    spent = 0.0
    while not done or spent + done[-1].seconds <= outcome.seconds:
        genotype = scope.draw(source)
        assert genotype is not None, "the structure that was found is within the limits"
        done.append(train(Asked(genotype, job.config.passes)))
        spent += done[-1].seconds
    best = min(done, key=lambda tried: tried.loss)
    rival = job.trained(best)[0]
    part = test if test is not None else job.valid
    difference = _losses(job, outcome.network, part) - _losses(job, rival, part)
    mean, error = weighted_mean(difference, part), error_of_mean(difference, part)
    name = "valid" if test is None else "test"
    baseline = RandomBaseline(tuple(done), best, mean, error, name)
    return SearchOutcome(**{**vars(outcome), "baseline": baseline})


def _losses(job: SearchJob, network: DerivedNetwork, part: Dataset) -> Tensor:
    with evaluating(network):
        return losses(network, part, job.task).double().cpu()
