"""Deriving: from a search space and a genotype to an ordinary network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from netdial.core.arguments import checked
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.space import SearchSpace
from netdial.structure.supernet import Supernet, fresh


class DerivedNetwork(nn.Module):
    """A network of a search space: the operations that a genotype chooses, without parts that are not there.

    Attributes:
        space: the search space.
        genotype: what was chosen.
        edges: edge -> operation -> module.
    """

    def __init__(
        self, space: SearchSpace, genotype: Genotype, modules: Mapping[str, Mapping[str, nn.Module]]
    ) -> None:
        super().__init__()
        self.space = space
        self.genotype = genotype
        self.edges = nn.ModuleDict(
            {name: nn.ModuleDict(dict(inside)) for name, inside in modules.items()}
        )
        self._nodes = live_operations(space.wiring, genotype)[0].nodes

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs ``[B, ...]`` of inputs ``[B, ...]``."""
        wiring = self.space.wiring
        if not self._nodes:
            return x.new_zeros(x.shape[0], *wiring.shapes[wiring.output])
        values = {wiring.input: x}
        for node in self._nodes[1:]:
            join, tensors = wiring.aggregators[node], []
            for edge in wiring.incoming[node]:
                if edge.name in self.edges:
                    tensors.append(self._bring(edge.name, values[edge.source]))
                elif join.absent == "zeros":
                    tensors.append(x.new_zeros(x.shape[0], *wiring.brought[edge.name]))
            values[node] = join.join(tensors, len(wiring.incoming[node]))
        return values[wiring.output]

    def _bring(self, edge: str, x: Tensor) -> Tensor:
        first, *others = (module(x) for module in self.edges[edge].values())  # type: ignore[operator]
        total: Tensor = first
        for other in others:
            total = total + other
        return total

    def __deepcopy__(self, memo: dict[int, Any]) -> DerivedNetwork:
        """Returns a copy with modules of its own; the space, whose factories may be anything, is the same one."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        memo[id(self.space)] = self.space
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made

    def extra_repr(self) -> str:
        """Returns the genotype, for printing."""
        return str(self.genotype)


@checked
def derive(
    source: Supernet | SearchSpace,
    genotype: Genotype | Mapping[str, Any] | str,
    *,
    inherit: bool = True,
    seed: int = 0,
) -> DerivedNetwork:
    """Returns the network of a genotype as an ordinary module.

    Args:
        source: a supernet, or a search space.
        genotype: one of the space, or what ``SearchSpace.genotype`` takes.
        inherit: whether it has the weights of the supernet, copied; with them it gives exactly what the supernet gives at
            the vertex of the genotype. A space has none, and gives fresh ones.
        seed: decides fresh weights; they are those that a supernet of the same seed begins with.

    Raises:
        ConfigError: the genotype is of another space.
    """
    space = source.space if isinstance(source, Supernet) else source
    found = space.genotype(genotype)
    parts, chosen = live_operations(space.wiring, found)
    modules: dict[str, dict[str, nn.Module]] = {}
    for name in parts.edges:
        edge = space.wiring.edges[name]
        modules[name] = {
            operation: (
                copy.deepcopy(source.edges[name][operation])  # type: ignore[index]
                if isinstance(source, Supernet) and inherit
                else fresh(space, edge, operation, seed)
            )
            for operation in chosen[name]
        }
    net = DerivedNetwork(space, found, modules)
    return net.train(source.training) if isinstance(source, Supernet) else net
