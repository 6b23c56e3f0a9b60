"""Search over structures: from a search space and data to one trained network, beside random search at equal cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Unpack

import torch
from torch import Tensor

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import evaluating
from netdial.core.size import parse_target
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, Loader
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.latency import measure_table
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.guards import (
    GuardReport,
    before_rise,
    count_skips,
    most_skips,
    note_curvature,
    with_few_skips,
)
from netdial.structure.search.limits import SizeLimit, latency_limit
from netdial.structure.search.outcome import Gap, RandomBaseline, SearchOutcome
from netdial.structure.search.running import GradientMethod, gradient_feeds, run_trials
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategies.random_search import RandomSearch
from netdial.structure.search.strategy import (
    Asked,
    GradientStrategy,
    Scope,
    StepContext,
    TrialStrategy,
    Tried,
    strategy_of,
)
from netdial.structure.search.training import losses, mean_loss, try_network, weighted_mean
from netdial.task import Task
from netdial.task.rehearsal import admit, admit_training
from netdial.train.config import make
from netdial.train.loop import Epoch, Session, going_on, train
from netdial.train.session import launch


def _nothing(*told: Any) -> None:
    """Takes what is told, and does nothing."""


@dataclass
class SearchJob:
    """A search that is set up; ``run`` does it.

    Attributes:
        space: the search space.
        data: training part.
        valid: validation part.
        task: what is predicted.
        config: settings.
        limit: limit of size.
        augment: how training images are varied.
        told: is told of every structure that was trained, with its part: ``search`` or ``baseline``.
        report: is told of every epoch of a search by gradient, with the state and the probabilities of the operations.
        done: results of an earlier run of the same search, by part.
    """

    space: SearchSpace
    data: Dataset | Loader
    valid: Dataset
    task: Task
    config: SearchConfig
    limit: SizeLimit
    augment: str | None = None
    told: Callable[[str, Tried], None] = _nothing
    report: Callable[[Epoch, SearchState, Gamma], None] = _nothing
    done: dict[str, list[Tried]] = field(default_factory=dict)

    def run(self, test: Dataset | None = None, **session: Unpack[Session]) -> SearchOutcome:
        """Searches, trains the network that was found, and compares it with random search.

        Args:
            test: part to compare on.
            **session: how the search is watched, saved and resumed.
        """
        strategy = strategy_of(self.config.strategy, self.config.options)
        if isinstance(strategy, TrialStrategy):
            outcome = self._by_trials(strategy)
        else:
            assert isinstance(strategy, GradientStrategy)
            outcome = self._by_gradient(strategy, session)
        if not self.config.compare or isinstance(strategy, RandomSearch):
            return outcome
        return self._beside_random(outcome, test)

    @property
    def scope(self) -> Scope:
        """What strategies by trials search in."""
        config = self.config
        limit = self.limit
        return Scope(self.space, config.passes, config.seed, limit.allows, limit.nearest)

    def _by_trials(self, strategy: TrialStrategy) -> SearchOutcome:
        results = run_trials(
            strategy,
            self.scope,
            self._tried,
            self.done.get("search", []),
            lambda tried: self.told("search", tried),
        )
        best = self._best(strategy, results)
        network = self._trained(best.genotype, best.epochs)[0]
        return SearchOutcome(
            network,
            best.genotype,
            self.limit.costs.of(best.genotype),
            best,
            None,
            None,
            None,
            tuple(results),
            sum(each.examples for each in results),
            sum(each.seconds for each in results),
        )

    def _best(self, strategy: TrialStrategy, results: list[Tried]) -> Tried:
        """Returns the best result whose network is within the limit when it is measured."""
        left = list(results)
        while left:
            best = strategy.best(left)
            if self.limit.holds(best.genotype):
                return best
            left = [each for each in left if each.genotype != best.genotype]
        raise ConfigError(
            f"none of the {len(results)} structures that were tried is within {self.limit.target}"
        )

    def _by_gradient(self, strategy: GradientStrategy, session: Session) -> SearchOutcome:
        state, seconds = self._searched(strategy, session)
        curvature, epoch = before_rise(state)
        probabilities = {k: p.detach().cpu() for k, p in strategy.probabilities(state).items()}
        most = most_skips(self.space) if self.config.max_skips is None else self.config.max_skips
        before = count_skips(self.space, self.limit.choose(probabilities))
        genotype = with_few_skips(self.space, probabilities, most, self.limit.choose)
        skips = count_skips(self.space, genotype)
        network, tried = self._trained(genotype, self.config.passes)
        gamma = {key: row.detach() for key, row in strategy.mixture(state).items()}
        with evaluating(state.supernet):
            mixed = losses(
                state.supernet, self.valid, self.task, lambda x: state.supernet(x, gamma)
            )
        inherited = mean_loss(derive(state.supernet, dict(genotype.chosen)), self.valid, self.task)
        gap = Gap(weighted_mean(mixed, self.valid), inherited, tried.loss)
        return SearchOutcome(
            network,
            genotype,
            self.limit.costs.of(genotype),
            tried,
            probabilities,
            gap,
            GuardReport(skips, most, before, curvature, epoch),
            (),
            state.examples + tried.examples,
            seconds + tried.seconds,
        )

    def _searched(self, strategy: GradientStrategy, session: Session) -> tuple[SearchState, float]:
        """Returns the state at the end of a search by gradient, and the processor time that it took, over all its runs."""
        config = self.config
        _, device = launch(config.training(config.epochs))
        feeds = gradient_feeds(self.data, self.valid, config, device)
        steps = config.epochs * feeds.steps
        context = StepContext(self.task, steps, config.seed, self.limit.objective, config.clip)
        method = GradientMethod(strategy, context, config.training(config.epochs))
        state = method.init(self.space, device)
        progress = going_on(state, session)
        begun = time.process_time() - state.seconds

        def report(epoch: Epoch) -> None:
            if config.curvature:
                note_curvature(state, strategy, context, self.valid)
            state.seconds = time.process_time() - begun
            with torch.no_grad():
                self.report(epoch, state, strategy.probabilities(state))

        train(
            method,
            state,
            feeds,
            epochs=config.epochs,
            progress=progress,
            report=report,
            advance=session.get("advance"),
            checkpoint=session.get("checkpoint"),
            saved=session.get("saved"),
            identity=session.get("identity"),
        )
        state.module.eval()
        return state, state.seconds

    def _tried(self, asked: Asked) -> Tried:
        return self._trained(asked.genotype, asked.epochs)[1]

    def _trained(self, genotype: Genotype, epochs: int) -> tuple[DerivedNetwork, Tried]:
        """Returns the network of a genotype trained from fresh weights, and what came of it."""
        network = derive(self.space, genotype, seed=self.config.seed)
        if self.config.precision == "64-true":
            network = network.double()
        config = self.config.training(epochs)
        _, device = launch(config)
        network.to(device)
        found = try_network(network, self.data, self.valid, self.task, config, augment=self.augment)
        return network, found

    def _beside_random(self, outcome: SearchOutcome, test: Dataset | None) -> SearchOutcome:
        """Returns the outcome with random search that took as much processor time."""
        source, scope = self.scope.source("baseline"), self.scope
        known, done = list(self.done.get("baseline", [])), list[Tried]()
        spent = 0.0
        while not done or spent + done[-1].seconds <= outcome.seconds:
            genotype = scope.draw(source)
            assert genotype is not None, "the structure that was found is within the limits"
            if known:
                tried = known.pop(0)
            else:
                tried = self._tried(Asked(genotype, self.config.passes))
                self.told("baseline", tried)
            done.append(tried)
            spent += tried.seconds
        best = min(done, key=lambda tried: tried.loss)
        rival = self._trained(best.genotype, best.epochs)[0]
        part = test if test is not None else self.valid
        difference = self._losses(outcome.network, part) - self._losses(rival, part)
        error = (
            float(difference.std() / math.sqrt(len(difference)))
            if len(difference) > 1
            else math.nan
        )
        mean = weighted_mean(difference, part)
        name = "valid" if test is None else "test"
        baseline = RandomBaseline(tuple(done), best, mean, error, name)
        return SearchOutcome(**{**vars(outcome), "baseline": baseline})

    def _losses(self, network: DerivedNetwork, part: Dataset) -> Tensor:
        with evaluating(network):
            return losses(network, part, self.task).double().cpu()


@checked
def search(
    space: SearchSpace,
    train: Data,
    valid: Data,
    *,
    strategy: str = "darts",
    size: str | None = None,
    test: Data | None = None,
    kind: str | Task | None = None,
    config: SearchConfig | None = None,
    **settings: Any,
) -> SearchOutcome:
    """Returns the best network of a search space that a strategy finds, trained, beside random search at equal cost.

    Args:
        space: the search space; ``netdial.structure.spaces.ready_space`` makes ready ones.
        train: training part, in any of the forms of ``netdial.data.memory``.
        valid: validation part, by which structures are compared.
        strategy: name in ``netdial.structure.search.SEARCHES``.
        size: largest size of the network: ``"20k params"``, ``"1M macs"``, ``"80 KB"``; or ``"0.4 ms"`` for one example, for
            which operations are timed first, on this machine.
        test: part on which the network is compared with random search; by default the validation part.
        kind: ``classification``, ``regression``, another task or its name; by default what the targets suggest.
        config: all settings at once; or give them by name (see ``SearchConfig``).
        **settings: fields of ``SearchConfig``, for example ``epochs=10, options={"structure_lr": 0.01}``.

    Raises:
        ConfigError: an option is unknown or out of range, the space is not sound, or no structure is within the limit of size.
        DataError, ShapeError: the data cannot be used, or do not fit the space.
    """
    if config is not None and (settings or strategy != "darts" or size is not None):
        raise ConfigError("search: give either config or settings by name, not both")
    config = config or make(SearchConfig, {"strategy": strategy, "size": size, **settings})
    job = prepare(space, train, valid, config, kind=kind)
    part = None
    if test is not None:
        part = admit(_probe(space), test, job.task, part="test part")[0]
    return job.run(part)


def prepare(
    space: SearchSpace,
    data: Data,
    valid: Data,
    config: SearchConfig,
    *,
    kind: str | Task | None = None,
    augment: str | None = None,
) -> SearchJob:
    """Returns a search that is set up; data, space, limit and options of the strategy are checked."""
    strategy_of(config.strategy, config.options)
    net = _probe(space)
    admitted, task = admit_training(net, data, kind)
    part, _ = admit(net, valid, task, part="validation part")
    if config.size is not None and parse_target(config.size).kind == "ms":
        limit = latency_limit(space, config.size, measure_table(space))
    else:
        limit = SizeLimit(space, config.size)
    return SearchJob(space, admitted, part, task.in_training(), config, limit, augment)


def _probe(space: SearchSpace) -> DerivedNetwork:
    """Returns a network of a space with as much in it as there is, to try data on."""
    chosen = {}
    for key, choice in space.choices.items():
        able = [name for i, name in enumerate(choice.operations) if i not in choice.zeros]
        chosen[key] = (able or list(choice.operations))[0]
    return derive(space, chosen)
