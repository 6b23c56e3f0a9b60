"""Strategies of search over structures, by name. There are two kinds, and adding one is one file with one class.

A strategy **by trials** says which structures are trained next, given what came of those before: ``propose``. It remembers
nothing, so a search that was stopped goes on from its results alone.

A strategy **by gradient** trains structure parameters beside the weights of a supernet, in steps of the training loop: what
they are at the start (``start``), how γ follows from them in a step (``gamma``), what they stand for in the end
(``probabilities``). ``step`` is that of first-order DARTS and can be replaced.

A strategy is frozen settings; their descriptions are its help.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from netdial.core.errors import settings_in_words
from netdial.core.noise import generator
from netdial.core.registry import Registry
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.parts import StructureChoice
from netdial.structure.graph.relaxing import relaxed
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.penalty import SizeKind, SizeShare
from netdial.structure.search.limits import Constraint
from netdial.structure.search.state import SearchState
from netdial.structure.supernet import Supernet
from netdial.task import Task
from netdial.train.config import Settings
from netdial.train.feed import Batch
from netdial.train.loop import Measured

Objective = Callable[[Tensor, Mapping[str, Tensor], float], Tensor]
"""(loss on validation data, probabilities of the operations, share of the search that is over) -> what structure parameters
minimise."""


_DRAWS = 500
"""Draws of a genotype until one is within the limits."""


@dataclass(frozen=True)
class Asked:
    """A structure to be trained from fresh weights.

    Attributes:
        genotype: the structure.
        epochs: passes over the training data.
        start: which of its trainings this is, from 0; each has another seed.
    """

    genotype: Genotype
    epochs: int
    start: int = 0


@dataclass(frozen=True)
class Tried:
    """What came of a structure that was trained.

    Attributes:
        genotype: the structure.
        epochs: passes over the training data.
        loss: mean negative log-likelihood on the validation part, in nats; what is minimised.
        examples: gradients of single examples that it took.
        seconds: processor time that it took.
        start: which of the trainings of this structure it is, from 0.
    """

    genotype: Genotype
    epochs: int
    loss: float
    examples: int
    seconds: float
    start: int = 0


@dataclass(frozen=True)
class Scope:
    """What a strategy by trials searches in.

    Attributes:
        space: the search space.
        epochs: passes over the training data that a full training takes.
        seed: seed of everything random.
        allowed: whether a genotype is within the limits of size.
        nearest: a genotype -> one near it that is within the limits; for limits that hardly any draw meets.
    """

    space: SearchSpace
    epochs: int
    seed: int
    allowed: Callable[[Genotype], bool]
    nearest: Callable[[Genotype], Genotype] | None = None

    def source(self, *words: int | str) -> torch.Generator:
        """Returns a generator that depends on the seed and the words given."""
        return generator(self.seed, "search", *words)

    def draw(self, source: torch.Generator) -> Genotype | None:
        """Returns a genotype within the limits, drawn evenly; where draws hardly ever meet them, one near a draw."""
        for _ in range(_DRAWS):
            genotype = self.space.sample(source)
            if self.allowed(genotype):
                return genotype
        return self.nearest(genotype) if self.nearest is not None else None


class Strategy(Settings, ABC):
    """Settings of a strategy, and what it does; base class of both kinds.

    Class attributes:
        help: one line on what it does.
    """

    help: ClassVar[str]


class TrialStrategy(Strategy):
    """A strategy by trials."""

    @abstractmethod
    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns what is trained next; nothing when the search is over.

        Args:
            scope: what is searched in.
            results: all results so far, in the order in which they were asked for.
        """

    def best(self, results: Sequence[Tried]) -> Tried:
        """Returns the result that the search ends with: of least loss among those that were trained longest."""
        longest = max(each.epochs for each in results)
        return min((each for each in results if each.epochs == longest), key=lambda r: r.loss)


@dataclass(frozen=True)
class StepContext:
    """What a step by gradient is made for.

    Attributes:
        task: what is predicted; its likelihood is the loss.
        steps: steps of the whole search.
        seed: seed of everything random.
        objective: what structure parameters minimise.
        share: kind of size -> sizes of structures, for strategies that price them.
        clip: norm of the weights' gradient to clip at; 0 does not clip.
        constraint: a limit of size that enters by a multiplier.
    """

    task: Task
    steps: int
    seed: int
    objective: Objective
    share: Callable[[SizeKind], SizeShare]
    clip: float = 0.0
    constraint: Constraint | None = None

    def minimised(
        self, state: SearchState, loss: Tensor, probabilities: Mapping[str, Tensor]
    ) -> Tensor:
        """Returns what structure parameters minimise: the loss, with what limits and penalties add under probabilities."""
        found = self.objective(loss, probabilities, self.progress(state))
        return found if self.constraint is None else self.constraint(state, found, probabilities)

    def progress(self, state: SearchState) -> float:
        """Returns how much of the search is over, from 0 to 1."""
        return min(state.step / max(self.steps - 1, 1), 1.0)

    def source(self, state: SearchState, *words: int | str) -> torch.Generator:
        """Returns the generator of a step for draws of the structure."""
        return generator(self.seed, "structure", state.step, *words)

    def loss(
        self,
        state: SearchState,
        gamma: Gamma,
        batch: Batch,
        *,
        sparse: bool | None = None,
        weights: Mapping[str, Tensor] | None = None,
        hold: bool = True,
    ) -> Tensor:
        """Returns the mean loss of the supernet on a batch, in nats; counts its examples.

        Args:
            state: where the search is.
            gamma: structure parameters.
            batch: examples.
            sparse: whether operations of weight 0 are left out; by default where γ needs no gradients.
            weights: weights by name in place of those of the supernet.
            hold: whether running statistics stay as they are where weights are given.
        """
        if weights is None:
            outputs = state.supernet(batch.x, gamma, sparse=sparse)
        else:
            buffers = state.supernet.named_buffers() if hold else ()
            held = {name: part.clone() for name, part in buffers}
            options = {"sparse": sparse}
            outputs = functional_call(
                state.supernet, {**weights, **held}, (batch.x, gamma), options
            )
        state.examples += len(batch.y)
        nll = self.task.nll(outputs, batch.y)
        if batch.weight is not None:
            nll = nll * batch.weight.to(nll)
        return batch.share * nll.mean()


class GradientStrategy(Strategy):
    """A strategy by gradient; what is here is first-order DARTS but for how γ is made.

    Class attributes:
        sparse: whether operations of weight 0 are left out in steps of the structure; None where γ needs no gradients.
        in_cube: whether γ lies in the unit cube also on edges of which one operation is chosen in the end.
    """

    sparse: ClassVar[bool | None] = None
    in_cube: ClassVar[bool] = False

    def supernet(self, space: SearchSpace, seed: int) -> Supernet:
        """Returns the supernet that is trained."""
        return Supernet(relaxed(space) if self.in_cube else space, seed=seed)

    def structure(self, space: SearchSpace) -> dict[str, Tensor]:
        """Returns all structure parameters by name, before the first step; by default those of ``start`` by key."""
        return {key: self.start(choice) for key, choice in space.choices.items()}

    def start(self, choice: StructureChoice) -> Tensor:
        """Returns what the structure parameters of a choice are made from ``[K]``, before the first step; zeros."""
        return torch.zeros(len(choice.operations))

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Returns what moves the structure parameters."""
        return torch.optim.Adam(parameters, lr=3e-3, betas=(0.5, 0.999))

    @abstractmethod
    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns γ for one run of the supernet: key -> ``[K]``, differentiable in the structure parameters.

        Args:
            state: where the search is; ``state.structure`` holds the structure parameters by key.
            progress: how much of the search is over, from 0 to 1.
            source: random numbers, for strategies that draw.
        """

    @abstractmethod
    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the probability of each operation (of a gate to be open): key -> ``[K]``, differentiable."""

    def mixture(self, state: SearchState) -> Gamma:
        """Returns γ of the supernet at the end of a search: the probabilities, or the vertex where it may be nothing else."""
        space, rows = state.supernet.space, dict(self.probabilities(state))
        nearest = space.gamma(space.discretise(rows))
        for key, choice in space.choices.items():
            if choice.domain.endswith("vertices"):
                rows[key] = nearest[key].to(rows[key])
        return rows

    def weights(self, state: SearchState) -> Mapping[str, Tensor] | None:
        """Returns the weights of a run by name, where they are not the supernet's own; None."""
        return None

    def penalty(self, state: SearchState) -> Tensor | float:
        """Returns what structure parameters minimise beside the loss; nothing."""
        return 0.0

    def total(self, state: SearchState, loss: Tensor, context: StepContext) -> Tensor:
        """Returns all that structure parameters minimise, given the loss."""
        return context.minimised(state, loss, self.probabilities(state)) + self.penalty(state)

    def step(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Measured:
        """Makes one step: structure parameters on ``valid``, then weights on ``train``.

        Returns:
            ``fit`` and ``valid``, the losses before the step ``[1]`` in nats per example.
        """
        valid = self.step_structure(state, batch, context)
        fit = self.step_weights(state, batch, context)
        state.step += 1
        return {"fit": fit.view(1), "valid": valid.view(1)}

    def step_structure(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the structure parameters along the gradient on ``valid``; returns the loss before."""
        gamma = self.gamma(state, context.progress(state), context.source(state, "structure"))
        weights = self.weights(state)
        loss = context.loss(
            state, gamma, batch["valid"], sparse=self.sparse, weights=weights, hold=False
        )
        state.move_structure(self.total(state, loss, context))
        return loss.detach()

    def step_weights(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the weights along the gradient on ``train``, the structure held; returns the loss before."""
        with torch.no_grad():
            gamma = self.gamma(state, context.progress(state), context.source(state, "weights"))
        loss = context.loss(state, gamma, batch["train"], weights=self.weights(state), hold=False)
        state.move_weights(loss, context.clip)
        return loss.detach()


class AlongStrategy(GradientStrategy):
    """A strategy by gradient that finds structures along λ, not one."""

    cost: SizeKind = "params"

    @property
    @abstractmethod
    def lams(self) -> list[float]:
        """Values of λ, the price of the size ``cost``, at which structures are taken in the end."""

    @abstractmethod
    def settle(self, state: SearchState, lam: float) -> None:
        """Takes the search to a λ: ``probabilities``, ``mixture`` and the supernet are those there afterwards."""


SEARCHES: Registry[type[Strategy]] = Registry("search strategy")
"""Strategies by name; those of netdial are registered when ``netdial.structure.search`` is loaded."""


def strategy_of(name: str, options: Mapping[str, Any] | None = None) -> Strategy:
    """Returns a strategy with options of its own.

    Raises:
        ConfigError: the name or an option is unknown, or has a value that is not allowed.
    """
    kind, given = SEARCHES[name], dict(options or {})
    with settings_in_words(f"option of strategy {name}", given, kind.model_fields):
        return kind(**given)
