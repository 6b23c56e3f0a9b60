"""Family: one search for all prices λ of size, with weights and structure parameters as functions of λ.

    min over w(·), q(·) of  E_λ E_{Γ ~ q(Γ | λ)} [ L(w(λ), Γ) + λ C(Γ) / largest C ]

A step draws two λ, one for the structure on the validation part and one for the weights on the training part, log-uniform in
[lo, hi]; draws of Γ are those of ``dnas``. In the end structures are read off at some λ, and each that differs is trained.

Related: Grebenkova et al. 2022 (families of weights over λ), Wu et al. 2019 (DNAS).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.domain import Domain
from netdial.structure.distributions import Anneal
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.penalty import SizeKind, SizePenalty
from netdial.structure.search.shared.logits import LogitStrategy
from netdial.structure.search.shared.varying import VaryingStructure, VaryingSupernet
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, AlongStrategy, StepContext
from netdial.structure.supernet import Supernet
from netdial.train.feed import Batch

_UNIT = "unit coordinate of λ"


@SEARCHES.add("family")
class FamilySearch(LogitStrategy, AlongStrategy):
    """Weights and structure as functions of the price of size."""

    help: ClassVar[str] = "one search for a range of prices of size: structures along λ"
    cost: SizeKind = Field("params", description="what λ prices: params, macs, vertices, edges, ms")
    lo: float = Field(
        0.01, gt=0, description="lowest price: nats that the largest network may cost"
    )
    hi: float = Field(1.0, gt=0, description="highest price")
    count: int = Field(9, ge=1, description="prices at which structures are taken in the end")
    structure_lr: float = Field(6e-2, gt=0, description="learning rate of the structure parameters")
    regions: int = Field(1, ge=1, description="pieces of the functions of λ")
    tau_start: float = Field(5.0, gt=0, description="temperature of the draws at the start")
    tau_end: float = Field(0.1, gt=0, description="temperature of the draws at the end")

    @model_validator(mode="after")
    def _rising(self) -> FamilySearch:
        if not self.lo < self.hi:
            raise ConfigError(f"lo={self.lo:g}, hi={self.hi:g}; expected lo below hi")
        return self

    @property
    def domain(self) -> Domain:
        """The range of λ."""
        return Domain(self.lo, self.hi)

    @property
    def lams(self) -> list[float]:
        """Prices at which structures are taken."""
        return self.domain.grid(self.count)

    def supernet(self, space: SearchSpace, seed: int) -> Supernet:
        """Returns a supernet whose weights are functions of λ."""
        return VaryingSupernet(space, seed, regions=self.regions)

    def structure(self, space: SearchSpace) -> dict[str, Tensor]:
        """Returns the pivots of the structure parameters by group."""
        return VaryingStructure(space, self.regions).start()

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a relaxed draw at the λ of now."""
        noise, tau = Noise.from_generator(source), Anneal(self.tau_start, self.tau_end)(progress)
        return self._leaves(state).draw(state.structure, _unit(state), tau, noise)

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the probabilities of operations at the λ of now."""
        return self._leaves(state).means(state.structure, _unit(state))

    def weights(self, state: SearchState) -> Mapping[str, Tensor]:
        """Returns the weights at the λ of now, differentiable in their pivots."""
        assert isinstance(state.supernet, VaryingSupernet)
        return state.supernet.weights(_unit(state))

    def settle(self, state: SearchState, lam: float) -> None:
        """Takes the search to a λ: probabilities, and the supernet's own weights."""
        unit = float(self.domain.unit(torch.tensor([lam], dtype=torch.float64)))
        _set(state, unit)
        assert isinstance(state.supernet, VaryingSupernet)
        state.supernet.settle(unit)

    def total(self, state: SearchState, loss: Tensor, context: StepContext) -> Tensor:
        """Returns all that structure parameters minimise: the loss, and the price of the expected size."""
        lam = float(self.domain.lam(torch.tensor(_unit(state))))
        penalty, share = SizePenalty(lam, self.cost), context.share(self.cost)
        paid = penalty(loss, share, self.probabilities(state), context.progress(state))
        return super().total(state, paid, context)

    def step_structure(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the structure parameters at a λ that is drawn; returns the loss before."""
        _set(state, self._drawn(state, context, "structure"))
        return super().step_structure(state, batch, context)

    def step_weights(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the weights at a λ that is drawn; returns the loss before."""
        _set(state, self._drawn(state, context, "weights"))
        loss = super().step_weights(state, batch, context)
        _set(state, 0.5)
        return loss

    def _drawn(self, state: SearchState, context: StepContext, what: str) -> float:
        """Returns the unit coordinate of a λ that is drawn for half a step."""
        source = context.source(state, "λ", what)
        return float(torch.rand((), generator=source, dtype=torch.float32))

    def _leaves(self, state: SearchState) -> VaryingStructure:
        return VaryingStructure(state.supernet.space, self.regions)


def _unit(state: SearchState) -> float:
    return float((state.memory or {}).get(_UNIT, torch.tensor(0.5)))


def _set(state: SearchState, unit: float) -> None:
    state.memory = {**(state.memory or {}), _UNIT: torch.tensor(unit)}
