"""PC-DARTS: a random share of the channels goes through mixed operations, the rest past them; edges are weighed at a node.

Source: Xu et al. 2020. γ of an operation is softmax over the operations of its edge, times softmax over the edges of
its node. The published form runs operations of fewer channels and saves their memory; operations here are the user's
own and made for all channels, so only what is mixed is partial. Operations that change the shape are mixed whole.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.search.shared.logits import LogitStrategy
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES
from netdial.structure.supernet import Supernet

_EDGE = "weight of edge "


class PartialOperation(nn.Module):
    """An operation whose outputs are taken for some channels alone while it is trained; the others are the inputs.

    Args:
        operation: one that keeps the shape.
        channels: how many there are; they are the first dimension after the batch.
    """

    taken: Tensor

    def __init__(self, operation: nn.Module, channels: int) -> None:
        super().__init__()
        self.operation = operation
        self.register_buffer("taken", torch.ones(channels, dtype=torch.bool), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs like the inputs ``[B, channels, ...]``."""
        out: Tensor = self.operation(x)
        if not self.training:
            return out
        return torch.where(self.taken.view(-1, *[1] * (x.ndim - 2)), out, x)


@SEARCHES.add("pc")
class PartialDarts(LogitStrategy):
    """DARTS with partial channels and normalised edges."""

    help: ClassVar[str] = "mix operations on a share of the channels, with weights of the edges"
    in_cube: ClassVar[bool] = True
    share: float = Field(0.25, gt=0, le=1, description="share of the channels that is mixed")

    def supernet(self, space: SearchSpace, seed: int) -> Supernet:
        """Returns a supernet whose operations can be partial."""
        made = super().supernet(space, seed)
        wiring = made.space.wiring
        for name, edge in wiring.edges.items():
            shape, inside = wiring.shapes[edge.source], made.edges[name]
            assert isinstance(inside, nn.ModuleDict)
            if edge.key in wiring.free and wiring.brought[name] == shape:
                for operation, module in inside.items():
                    if not isinstance(module, ZeroOperation):
                        inside[operation] = PartialOperation(module, shape[0])
        return made

    def structure(self, space: SearchSpace) -> dict[str, Tensor]:
        """Returns zeros: a number for each operation, and one for each edge."""
        return super().structure(space) | {_EDGE + key: torch.zeros(1) for key in space.choices}

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns the weights of operations times those of edges; draws the channels that are mixed."""
        for module in state.supernet.modules():
            if isinstance(module, PartialOperation):
                count = len(module.taken)
                first = torch.randperm(count, generator=source)[: max(1, round(self.share * count))]
                module.taken.fill_(False)[first] = True
        return self.mixture(state)

    def mixture(self, state: SearchState) -> Gamma:
        """Returns the weights of operations times those of edges."""
        edges, rows = self.edge_weights(state), self.probabilities(state)
        return {key: edges[key] * row for key, row in rows.items()}

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the softmax over the operations of each edge."""
        return {key: state.structure[key].softmax(0) for key in state.supernet.space.choices}

    def edge_weights(self, state: SearchState) -> Gamma:
        """Returns the weight of each edge among those of its node, key -> a number."""
        wiring = state.supernet.space.wiring
        nodes: dict[str, list[str]] = {}
        for key, choice in state.supernet.space.choices.items():
            nodes.setdefault(wiring.edges[choice.edges[0]].target, []).append(key)
        found: Gamma = {}
        for keys in nodes.values():
            weights = torch.cat([state.structure[_EDGE + key] for key in keys]).softmax(0)
            found.update(zip(keys, weights, strict=True))
        return found
