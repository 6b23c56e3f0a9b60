"""A supernet in a λ-family: its weights and structure parameters are leaves whose fields are functions of λ.

The weights are points, the structure parameters have a posterior of their own: one of several operations (``categorical``) on
a simplex, open or not (``bernoulli``) on a cube. All of them are piecewise linear in log λ (``family.maps``).

Shapes: J pivots, P numbers of a group of leaves, n operations of a choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.core.noise import Noise
from netdial.family.groups import GroupFields
from netdial.family.maps import MAPS, MapOptions, PiecewiseMap
from netdial.family.maps.basis import hats
from netdial.family.posteriors import POSTERIORS
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.supernet import Supernet

_ON_SIMPLEX, _ON_CUBE = "categorical", "bernoulli"


class VaryingSupernet(Supernet):
    """A supernet whose weights are piecewise linear in log λ, but for those that its operations freeze.

    Its own tensors are where the weights of one λ are put (``settle``); they are not trained.

    Args:
        space: the search space.
        seed: decides the initial weights, the same for every λ.
        regions: pieces.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, *, regions: int = 3) -> None:
        super().__init__(space, seed)
        leaves = {name: leaf for name, leaf in self.named_parameters() if leaf.requires_grad}
        for leaf in leaves.values():
            leaf.requires_grad_(False)
        layout = Layout.of(leaves)
        start = layout.join(leaves) if leaves else torch.zeros(0)
        self.along: PiecewiseMap = MAPS["piecewise"].start(
            layout, start, MapOptions(regions=regions)
        )

    def weights(self, unit: float) -> dict[str, Tensor]:
        """Returns the weights at a unit coordinate of λ by name, differentiable in the pivots."""
        flat = self.along(
            torch.tensor([unit], dtype=torch.float64, device=self.along.pivots.device)
        )
        return self.along.layout.split(flat[0])

    @torch.no_grad()
    def settle(self, unit: float) -> None:
        """Puts the weights at a unit coordinate of λ into the supernet's own tensors."""
        own = dict(self.named_parameters())
        for name, value in self.weights(unit).items():
            own[name].copy_(value)


class VaryingStructure:
    """Structure parameters as leaves of a λ-family, in groups by posterior; the pivots are kept by the caller.

    Args:
        space: the search space.
        regions: pieces of the maps.
    """

    def __init__(self, space: SearchSpace, regions: int) -> None:
        self.regions = regions
        self._layouts: dict[str, Layout] = {}
        for name in (_ON_SIMPLEX, _ON_CUBE):
            leaves = {
                key: torch.empty(len(choice.operations))
                for key, choice in space.choices.items()
                if on_simplex(choice.domain) == (name == _ON_SIMPLEX)
            }
            if leaves:
                self._layouts[name] = Layout.of(leaves)

    def start(self) -> dict[str, Tensor]:
        """Returns the pivots ``[J, P]`` of each group's logits: zeros, all operations alike for every λ."""
        return {
            name: torch.zeros(self.regions + 1, layout.size)
            for name, layout in self._layouts.items()
        }

    def at(self, pivots: Mapping[str, Tensor], unit: float) -> list[GroupFields]:
        """Returns the fields of all groups at a unit coordinate of λ, differentiable in the pivots."""
        found = []
        for name, layout in self._layouts.items():
            row = pivots[name]
            shares = hats(torch.tensor([unit], dtype=row.dtype, device=row.device), self.regions)
            found.append(GroupFields(POSTERIORS[name], layout, {"logit": shares @ row}))
        return found

    def draw(
        self, pivots: Mapping[str, Tensor], unit: float, temperature: float, noise: Noise
    ) -> Gamma:
        """Returns a relaxed draw of γ, key -> ``[n]``."""
        groups = self.at(pivots, unit)
        return {
            k: leaf[0] for group in groups for k, leaf in group.sample(noise, temperature).items()
        }

    def means(self, pivots: Mapping[str, Tensor], unit: float) -> Gamma:
        """Returns the probability of each operation (of a gate to be open), key -> ``[n]``."""
        return {k: leaf[0] for group in self.at(pivots, unit) for k, leaf in group.means().items()}
