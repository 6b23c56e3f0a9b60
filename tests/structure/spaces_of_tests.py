"""Small spaces for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from netdial.structure import SearchSpace, ZeroOperation


def linear(width: int) -> Callable[[Any], nn.Module]:
    return lambda shape: nn.Linear(shape[0], width)


OPERATIONS = {"none": ZeroOperation, "skip": nn.Identity, "linear": linear(4)}


def dense_cell(nodes: int = 4, names: Sequence[str] = "xabcdef", **options: Any) -> SearchSpace:
    """A cell in which every node reads all before it, and the last is the output: 3^(n(n-1)/2) genotypes."""
    space = SearchSpace("cell")
    space.input(names[0], (4,))
    for target in range(1, nodes):
        space.node(names[target])
        for source in range(target):
            space.edge(names[source], names[target], OPERATIONS, **options)
    space.output(names[nodes - 1])
    return space
