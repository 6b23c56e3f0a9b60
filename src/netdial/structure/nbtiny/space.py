"""NB-Tiny as a search space: for strategies, for derived networks, and for what the cells cost and have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from netdial.measure.latency import in_turns
from netdial.structure.cost import StructureCost, StructureCosts
from netdial.structure.derived import derive
from netdial.structure.graph.canonical import canonical_form
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.operations import Factory, ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.nbtiny.cells import CELLS, EDGES, NODES, OPERATIONS, Cell

_TURNS, _WINDOW_S = 5, 2e-3


def tiny_space(classes: int = 2, width: int = 8) -> SearchSpace:
    """Returns the search space of the 729 networks.

    Args:
        classes: outputs.
        width: numbers at a node.
    """
    space = SearchSpace("nb-tiny", recipe={"classes": classes, "width": width})
    space.input("x", (2,))
    for node in range(NODES):
        space.node(str(node))
    space.node("y")
    space.edge("x", "0", {"linear": lambda: nn.Linear(2, width)})
    operations: Mapping[str, Factory] = dict(
        zip(OPERATIONS, (ZeroOperation, nn.Identity, relu_linear(width, width)), strict=True)
    )
    for source, target in EDGES:
        space.edge(str(source), str(target), operations)
    space.edge(str(NODES - 1), "y", {"relu-linear": relu_linear(width, classes)})
    space.output("y")
    return space


def relu_linear(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    """Returns a factory of a linear layer on the ReLU of what it is given."""
    return lambda: nn.Sequential(nn.ReLU(), nn.Linear(inputs, outputs))


def genotype_of(space: SearchSpace, cell: Cell) -> Genotype:
    """Returns the genotype of a cell."""
    return space.genotype(
        {f"{a}->{b}": OPERATIONS[o] for (a, b), o in zip(EDGES, cell, strict=True)}
    )


def index_of(genotype: Genotype) -> int:
    """Returns the index of the cell of a genotype."""
    chosen = [OPERATIONS.index(genotype[f"{a}->{b}"][0]) for a, b in EDGES]
    return functools.reduce(lambda found, operation: 3 * found + operation, chosen, 0)


@functools.cache
def same_networks() -> tuple[int, ...]:
    """Returns for each cell the first one that is the same network: without dead parts, but for the names of nodes."""
    space = tiny_space()
    first: dict[str, int] = {}
    forms = (canonical_form(space, genotype_of(space, cell)).digest for cell in CELLS)
    return tuple(first.setdefault(form, index) for index, form in enumerate(forms))


def tiny_costs(classes: int = 2, width: int = 8) -> list[StructureCost]:
    """Returns what each network costs."""
    space = tiny_space(classes, width)
    costs = StructureCosts(space)
    return [costs.of(genotype_of(space, cell)) for cell in CELLS]


def tiny_latencies(classes: int = 2, width: int = 8) -> npt.NDArray[np.float64]:
    """Returns the milliseconds of a call of each network on one example, measured here and now ``[729]``.

    The networks take turns, and the median over turns counts, so that what else the machine does hits all of them. One of
    each canonical form is measured.
    """
    space, first = tiny_space(classes, width), same_networks()
    distinct = sorted(set(first))
    nets = [derive(space, genotype_of(space, CELLS[cell])).eval() for cell in distinct]
    x = torch.zeros(1, 2)
    with torch.inference_mode():
        readings = in_turns(
            [functools.partial(net, x) for net in nets],
            more=lambda found: len(found[0]) < _TURNS,
            window_s=_WINDOW_S,
        )
    taken = {
        cell: 1e3 * float(np.median(found)) for cell, found in zip(distinct, readings, strict=True)
    }
    return np.array([taken[cell] for cell in first])
