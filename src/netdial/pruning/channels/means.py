"""Mean output of channels over data and positions, as each layer reads it.

A channel is not one number: behind it stand activations, gates and pooling, and two layers may read it at two places. So the
mean is taken where a layer sums over the channel, and each layer gets its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from netdial.channels.absorb import by_channel
from netdial.channels.graph import Graph
from netdial.channels.trace.running import Running
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset

_BATCH = 512

Place = tuple[fx.Node, int]
"""A node, and the dimension of its result that holds channels."""


def means(
    graph: Graph, wanted: Mapping[Place, Sequence[int]], data: Dataset | None
) -> dict[Place, Tensor]:
    """Returns for each place the means of the channels at some indices, float64 ``[n]``, over examples and positions.

    Args:
        graph: the network; it runs once over the data, in evaluation mode.
        wanted: place -> indices along its dimension ``[n]``.
        data: examples to average over; the inputs that the graph was traced on by default.
    """
    runner = _Averaging(graph.traced, wanted)
    with evaluating(graph.traced), torch.random.fork_rng(devices=[]):
        for x in _batches(graph, data):
            runner.run(x)
    return {place: total / runner.counts[place] for place, total in runner.sums.items()}


def _batches(graph: Graph, data: Dataset | None) -> Iterator[Tensor]:
    if data is None:
        yield graph.example.clone()
        return
    like = next(graph.traced.parameters())
    for index in torch.arange(len(data), device=data.x.device).split(_BATCH):
        yield data.inputs(index, like=like)


class _Averaging(Running):
    """Runs a graph and sums the outputs of some nodes."""

    def __init__(self, traced: fx.GraphModule, wanted: Mapping[Place, Sequence[int]]) -> None:
        super().__init__(traced)
        self.sums: dict[Place, Tensor] = {}
        self.counts: dict[Place, int] = {}
        self._wanted: dict[fx.Node, list[tuple[int, Sequence[int]]]] = {}
        for (node, dim), at in wanted.items():
            self._wanted.setdefault(node, []).append((dim, at))

    def run_node(self, n: fx.Node) -> Any:
        """Returns the output of a node, and adds it to its sum."""
        out = super().run_node(n)
        for dim, at in self._wanted.get(n, ()):
            lines = out.index_select(dim, torch.tensor(at, device=out.device))
            lines = by_channel(lines, dim)
            lines = lines.to(torch.complex128 if lines.is_complex() else torch.float64)
            place = (n, dim)
            self.sums[place] = self.sums.get(place, 0) + lines.sum(1)
            self.counts[place] = self.counts.get(place, 0) + lines.shape[1]
        return out
