"""What a search found: the network, how it was chosen, and how it compares with random search."""

from __future__ import annotations

from dataclasses import dataclass

from netdial.core.best import beside_random
from netdial.structure.cost import StructureCost
from netdial.structure.derived import DerivedNetwork
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma
from netdial.structure.search.guards import GuardReport
from netdial.structure.search.strategy import Tried

_LOST = 0.1
"""Share of the mixture's loss by which that of the structure with its weights may be higher before it is said."""


@dataclass(frozen=True)
class Gap:
    """Loss on the validation part, in nats, on the way from a supernet to the network.

    Attributes:
        mixture: of the supernet at the end of the search.
        inherited: of the structure that was chosen, with the weights of the supernet.
        retrained: of the same, trained from fresh weights.
    """

    mixture: float
    inherited: float
    retrained: float

    @property
    def remark(self) -> str | None:
        """A sentence where the structure with the weights of the supernet is far from the mixture, else None."""
        lost = self.inherited - self.mixture
        if lost <= _LOST * abs(self.mixture):
            return None
        return (
            f"Choosing one operation of each edge cost {lost:.3g} nats with the weights of the mixture ({self.mixture:.3g} -> "
            f"{self.inherited:.3g}); trained afresh the network has {self.retrained:.3g}."
        )


@dataclass(frozen=True)
class RandomBaseline:
    """Random search at equal cost, and how it compares.

    Attributes:
        trials: structures that were drawn and trained, in the processor time that the search took; some may be the same.
        best: that of least loss on the validation part.
        difference: loss of the network found less that of the best random one, on the test part if there is one.
        standard_error: of the difference, over the same examples.
        part: ``test`` or ``valid``.
    """

    trials: tuple[Tried, ...]
    best: Tried
    difference: float
    standard_error: float
    part: str

    @property
    def structures(self) -> int:
        """How many of the structures that were trained differ."""
        return len({trial.genotype for trial in self.trials})

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        return beside_random(self.difference, self.standard_error, self.structures, self.part)


@dataclass(frozen=True)
class PricedStructure:
    """The structure that a search along λ found at one λ.

    Attributes:
        lam: λ, the price of size.
        genotype: the structure.
        cost: what it costs.
        tried: what training it from fresh weights gave; of equal structures the same.
    """

    lam: float
    genotype: Genotype
    cost: StructureCost
    tried: Tried


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        network: the network, trained from fresh weights; in evaluation mode.
        genotype: its structure.
        cost: what it costs.
        tried: what training it gave.
        probabilities: of the operations at the end of a search by gradient; None for one by trials.
        gap: of a search by gradient.
        guards: what guards of a search by gradient saw.
        trials: all structures that were trained, those of the final last; of a search by gradient these alone.
        examples: gradients of single examples that the search and the last training took.
        seconds: processor time that they took.
        baseline: random search at equal cost, if it was asked for.
        front: structures along λ, of a search that finds them; ``genotype`` is the one of least validation loss.
    """

    network: DerivedNetwork
    genotype: Genotype
    cost: StructureCost
    tried: Tried
    probabilities: Gamma | None
    gap: Gap | None
    guards: GuardReport | None
    trials: tuple[Tried, ...]
    examples: int
    seconds: float
    baseline: RandomBaseline | None = None
    front: tuple[PricedStructure, ...] = ()

    def _repr_html_(self) -> str:
        """Returns what was found as a table, for notebooks."""
        from netdial.report.plots import html_table

        found = {**vars(self.cost), "loss": self.tried.loss, "seconds": self.seconds}
        return html_table([found], "network that was found")

    def __repr__(self) -> str:
        """Returns what was found."""
        return f"SearchOutcome(genotype={self.genotype}, params={self.cost.params}, loss={self.tried.loss:.4g})"

    @property
    def remarks(self) -> list[str]:
        """What guards have to say, in sentences for people."""
        said = self.guards.remarks if self.guards is not None else []
        lost = self.gap.remark if self.gap is not None else None
        return said if lost is None else [*said, lost]
