"""A search that is set up: the strategy runs, what it found is trained, random search is run beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import torch

from netdial.core.errors import ConfigError
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.data.memory import Loader
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.latency import LatencyLookup
from netdial.structure.penalty import SizeKind, SizeShare
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.ending.comparison import beside_random_search
from netdial.structure.search.ending.final import (
    candidates,
    candidates_along,
    finalists,
    play_final,
)
from netdial.structure.search.guards import (
    GuardReport,
    before_rise,
    count_skips,
    most_skips,
    note_curvature,
    with_few_skips,
)
from netdial.structure.search.limits import Constraint, SizeLimit
from netdial.structure.search.objective import objective_of
from netdial.structure.search.outcome import Gap, PricedStructure, SearchOutcome
from netdial.structure.search.running import GradientMethod, gradient_feeds, run_trials
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategies.random_search import RandomSearch
from netdial.structure.search.strategy import (
    AlongStrategy,
    Asked,
    GradientStrategy,
    Objective,
    Scope,
    StepContext,
    Strategy,
    TrialStrategy,
    Tried,
    strategy_of,
)
from netdial.structure.search.training import losses, mean_loss, try_network, weighted_mean
from netdial.task import Task
from netdial.train.loop import Epoch, Session, going_on, train
from netdial.train.session import Interrupted, launch

_SEEDS_APART = 1000
"""Between the seeds of one start and the next."""


def _nothing(*told: Any) -> None:
    """Takes what is told, and does nothing."""


@dataclass
class SearchJob:
    """A search that is set up; ``run`` does it.

    Attributes:
        space: the search space.
        data: training part.
        valid: validation part.
        judged: the same with weights of mean 1, of classes as well; its loss moves the structure of a search by gradient.
        task: what is predicted.
        config: settings.
        limit: limit of size.
        augment: how training images are varied.
        told: is told of every structure that was trained, with its part: ``search``, ``candidate`` (in the final),
            ``front`` (structures along λ) or ``baseline``.
        report: is told of every epoch of a search by gradient, with the state and the probabilities of the operations.
        done: results of an earlier run of the same search, by part.
        times: returns times of the operations on this machine, for a penalty on latency; measured by default.
        unlike: structures that were found before -> λ_i, how much a search by gradient gains by being unlike them.
    """

    space: SearchSpace
    data: Dataset | Loader
    valid: Dataset
    judged: Dataset
    task: Task
    config: SearchConfig
    limit: SizeLimit
    augment: str | None = None
    told: Callable[[str, Tried], None] = _nothing
    report: Callable[[Epoch, SearchState, Gamma], None] = _nothing
    done: dict[str, list[Tried]] = field(default_factory=dict)
    times: Callable[[], LatencyLookup] | None = None
    unlike: Mapping[Genotype, float] = field(default_factory=dict)
    _shares: dict[SizeKind, SizeShare] = field(default_factory=dict, init=False, repr=False)

    def run(self, test: Dataset | None = None, **session: Unpack[Session]) -> SearchOutcome:
        """Searches, trains the network that was found, and compares it with random search.

        Args:
            test: part to compare on.
            **session: how the search is watched, saved and resumed.
        """
        strategy = self.strategy
        if isinstance(strategy, TrialStrategy):
            outcome = self._by_trials(strategy)
        else:
            assert isinstance(strategy, GradientStrategy)
            outcome = self._by_gradient(strategy, session)
        if not self.config.compare or isinstance(strategy, RandomSearch):
            return outcome
        return beside_random_search(self, outcome, test)

    @property
    def strategy(self) -> Strategy:
        """The strategy, with its options."""
        return strategy_of(self.config.strategy, self.config.options)

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
            self.tried,
            self.done.get("search", []),
            lambda tried: self.told("search", tried),
        )
        (best,), more = play_final(self, [], finalists(self, strategy, results))
        trials = [*results, *more]
        return SearchOutcome(
            self.trained(best)[0],
            best.genotype,
            self.limit.costs.of(best.genotype),
            best,
            None,
            None,
            None,
            tuple(trials),
            sum(each.examples for each in trials),
            sum(each.seconds for each in trials),
        )

    def _by_gradient(self, strategy: GradientStrategy, session: Session) -> SearchOutcome:
        state, seconds = self.searched(strategy, session)
        if isinstance(strategy, AlongStrategy):
            return self._along(strategy, state, seconds)
        curvature, epoch = before_rise(state)
        probabilities, likeliest = self.chosen(strategy, state)
        entered = candidates(self, probabilities, likeliest, self.config.candidates)
        (best,), trials = play_final(self, entered, worths=[self._worth])
        return SearchOutcome(
            self.trained(best)[0],
            best.genotype,
            self.limit.costs.of(best.genotype),
            best,
            probabilities,
            self._gap(strategy, state, best.genotype, best),
            self._guarded(probabilities, likeliest, best.genotype, curvature, epoch),
            tuple(trials),
            state.examples + sum(each.examples for each in trials),
            seconds + sum(each.seconds for each in trials),
        )

    def _along(self, strategy: AlongStrategy, state: SearchState, seconds: float) -> SearchOutcome:
        """Returns the structures along λ, and of them the one of least validation loss."""
        curvature, epoch = before_rise(state)
        front, tried = self.front(strategy, state)
        best = min(front, key=lambda point: point.tried.loss)
        strategy.settle(state, best.lam)
        probabilities, likeliest = self.chosen(strategy, state)
        return SearchOutcome(
            self.trained(best.tried)[0],
            best.genotype,
            best.cost,
            best.tried,
            probabilities,
            self._gap(strategy, state, best.genotype, best.tried),
            self._guarded(probabilities, likeliest, best.genotype, curvature, epoch),
            tuple(tried),
            state.examples + sum(each.examples for each in tried),
            seconds + sum(each.seconds for each in tried),
            front=tuple(front),
        )

    def front(
        self, strategy: AlongStrategy, state: SearchState
    ) -> tuple[list[PricedStructure], list[Tried]]:
        """Plays the final of a search along λ.

        Returns:
            At every λ the structure of least mean validation loss plus price; and all trainings.
        """
        share = self._share(strategy.cost)
        worths = [
            lambda genotype, loss, lam=lam: loss + lam * share.of(genotype) for lam in strategy.lams
        ]
        entered = candidates_along(self, strategy, state)
        best, made = play_final(self, entered, worths=worths, part="front")
        front = [
            PricedStructure(lam, tried.genotype, self.limit.costs.of(tried.genotype), tried)
            for lam, tried in zip(strategy.lams, best, strict=True)
        ]
        return front, made

    def chosen(self, strategy: GradientStrategy, state: SearchState) -> tuple[Gamma, Genotype]:
        """Returns the probabilities of operations, and the likeliest structure within the limits and with few identities."""
        with torch.no_grad():
            rows = {k: p.detach().cpu() for k, p in strategy.probabilities(state).items()}
        return rows, with_few_skips(self.space, rows, self.most_skips, self.limit.choose)

    def _worth(self, genotype: Genotype, loss: float) -> float:
        """Returns what a search by gradient minimises, at a vertex; infinity where that is not defined."""
        objective, _ = self._objective()
        try:
            return float(objective(torch.tensor(loss), self.space.gamma(genotype), 1.0))
        except ConfigError:  # the logarithm of a latency of at most 1
            return math.inf

    def _objective(self) -> tuple[Objective, Constraint | None]:
        return objective_of(self.space, self.config, self.limit, self.unlike, self._share)

    @property
    def most_skips(self) -> int:
        """Identities that a search by gradient may end with."""
        most = self.config.max_skips
        return most_skips(self.space) if most is None else most

    def _guarded(
        self,
        probabilities: Gamma,
        likeliest: Genotype,
        genotype: Genotype,
        curvature: tuple[float, ...],
        epoch: int,
    ) -> GuardReport:
        before, entered, skips = (
            count_skips(self.space, each)
            for each in (self.limit.choose(probabilities), likeliest, genotype)
        )
        return GuardReport(skips, self.most_skips, before, entered, curvature, epoch)

    def _gap(
        self, strategy: GradientStrategy, state: SearchState, genotype: Genotype, tried: Tried
    ) -> Gap:
        gamma = {key: row.detach() for key, row in strategy.mixture(state).items()}
        with evaluating(state.supernet):
            mixed = losses(
                state.supernet, self.valid, self.task, lambda x: state.supernet(x, gamma)
            )
        inherited = mean_loss(derive(state.supernet, dict(genotype.chosen)), self.valid, self.task)
        return Gap(weighted_mean(mixed, self.valid), inherited, tried.loss)

    def _share(self, kind: SizeKind) -> SizeShare:
        if kind not in self._shares:
            self._shares[kind] = SizeShare(self.limit.costs, kind, self.times)
        return self._shares[kind]

    def searched(self, strategy: GradientStrategy, session: Session) -> tuple[SearchState, float]:
        """Returns the state at the end of a search by gradient, and the processor time that it took, over all its runs."""
        config, epochs = self.config, self.config.known_epochs
        _, device = launch(config.training(epochs))
        feeds = gradient_feeds(self.data, self.judged, config, device)
        steps = epochs * feeds.steps
        objective, constraint = self._objective()
        context = StepContext(
            self.task, steps, config.seed, objective, self._share, config.clip, constraint
        )
        method = GradientMethod(strategy, context, config.training(epochs))
        state = method.init(self.space, device)
        progress = going_on(state, session)
        begun = time.process_time() - state.seconds

        def report(epoch: Epoch) -> None:
            if config.curvature:
                note_curvature(state, strategy, context, self.judged)
            state.seconds = time.process_time() - begun
            with torch.no_grad():
                self.report(epoch, state, strategy.probabilities(state))

        train(
            method,
            state,
            feeds,
            epochs=epochs,
            progress=progress,
            report=report,
            advance=session.get("advance"),
            checkpoint=session.get("checkpoint"),
            saved=session.get("saved"),
            identity=session.get("identity"),
        )
        state.module.eval()
        return state, state.seconds

    def tried(self, asked: Asked) -> Tried:
        """Trains a structure from fresh weights, and returns what came of it.

        Raises:
            Interrupted: it was asked to stop; a search goes on with this structure.
        """
        try:
            return self.trained(asked)[1]
        except Interrupted as error:
            raise Interrupted("stopped while a structure was trained") from error

    def trainer(self, part: str) -> Callable[[Asked], Tried]:
        """Returns what trains structures and tells of them as a part; what an earlier run trained is taken over."""
        known = {(t.genotype, t.epochs, t.start): t for t in self.done.get(part, [])}

        def train(asked: Asked) -> Tried:
            before = known.pop((asked.genotype, asked.epochs, asked.start), None)
            if before is not None:
                return before
            found = self.tried(asked)
            self.told(part, found)
            return found

        return train

    def trained(self, asked: Asked | Tried) -> tuple[DerivedNetwork, Tried]:
        """Returns the network of a structure trained from fresh weights, and what came of it."""
        config = self.config.training(asked.epochs)
        config = config.changed(seed=config.seed + _SEEDS_APART * asked.start)
        network = derive(self.space, asked.genotype, seed=config.seed)
        if config.precision == "64-true":
            network = network.double()
        _, device = launch(config)
        network.to(device)
        found = try_network(network, self.data, self.valid, self.task, config, augment=self.augment)
        return network, replace(found, start=asked.start)
