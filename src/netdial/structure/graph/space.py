"""Search space: an acyclic graph whose edges hold several operations, of which a structure chooses.

A node v is ``agg_v`` of what its edges bring, and edge (j, k) brings ⟨γ, g⟩(f_j): its operations g on the value of node j,
weighted by its structure parameters γ.

>>> from torch import nn
>>> space = SearchSpace("small")
>>> x, h, y = space.input("x", (4,)), space.node("h"), space.node("y")
>>> space.edge(x, h, {"relu": nn.ReLU, "tanh": nn.Tanh, "none": ZeroOperation})
'x->h'
>>> space.edge(h, y, {"linear": lambda shape: nn.Linear(shape[0], 2)})
'h->y'
>>> space.output(y)
>>> space.count, str(space.genotype({"x->h": "tanh"}))
(3, 'x->h: tanh')
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, ShapeError, unknown
from netdial.family.posteriors.structure import GammaDomain
from netdial.structure.graph.aggregate import Aggregator, aggregator
from netdial.structure.graph.checking import wire
from netdial.structure.graph.domain import (
    check_domain,
    drawn_vertex,
    nearest_vertex,
    vertices,
)
from netdial.structure.graph.genotype import Genotype, parse
from netdial.structure.graph.operations import Factory, ZeroOperation, check_factory
from netdial.structure.graph.parts import SpaceEdge, StructureChoice, Wiring

_NAME = re.compile(r"[A-Za-z0-9_/-]+")

Gamma = dict[str, Tensor]
"""Structure parameters: key -> ``[K]``, one number for each operation."""


class SearchSpace:
    """A set of networks: nodes, edges with operations to choose from, and what joins at a node.

    Nodes and edges are added by its methods, in any order. The whole is checked when it is first used: that it has no
    cycle, that every node lies between input and output, and that shapes agree, for which every operation is run on two
    examples.

    Args:
        name: what it is called.
        recipe: for spaces of ``netdial.structure.spaces``, the values that make it again; networks derived from it can be
            loaded without being given the space.

    Attributes:
        usual: key -> operations of the structure that one would take without a search, if there is one; it enters finals.
    """

    def __init__(self, name: str = "space", *, recipe: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.recipe = dict(recipe) if recipe is not None else None
        self.usual: dict[str, Any] | None = None
        self._inputs: dict[str, tuple[int, ...] | None] = {}
        self._nodes: dict[str, Aggregator] = {}
        self._edges: dict[str, SpaceEdge] = {}
        self._output: str | None = None
        self._wiring: Wiring | None = None

    @checked
    def input(self, name: str = "x", shape: Sequence[int] | None = None) -> str:
        """Adds an input and returns its name.

        Args:
            name: of letters, digits, ``_``, ``-`` and ``/``.
            shape: shape of one example; may be left out in a cell, which becomes part of a space.
        """
        self._new_node(name)
        self._inputs[name] = tuple(shape) if shape is not None else None
        return name

    @checked
    def node(
        self, name: str, aggregate: str | Callable[[list[Tensor]], Tensor] | Aggregator = "sum"
    ) -> str:
        """Adds a node and returns its name.

        Args:
            name: of letters, digits, ``_``, ``-`` and ``/``.
            aggregate: ``sum``, ``mean``, ``product``, ``concat`` (along the first dimension after the batch), or a
                function of a list with one tensor for every edge of the node.
        """
        self._new_node(name)
        self._nodes[name] = aggregator(aggregate)
        return name

    @checked
    def edge(
        self,
        source: str,
        target: str,
        operations: Mapping[str, Factory],
        *,
        domain: GammaDomain = "simplex",
        key: str | None = None,
        name: str | None = None,
    ) -> str:
        """Adds an edge and returns its name.

        Args:
            source: node that it reads.
            target: node that it leads to.
            operations: name -> function that makes the module: without arguments, or of the shape of its input. An
                operation ``ZeroOperation`` stands for no edge at all.
            domain: where its structure parameters may lie: ``simplex``, ``simplex_vertices``, ``cube``, ``cube_vertices``.
            key: name of its structure parameters, by default its own name; edges with the same key choose alike.
            name: by default ``source->target``.

        Raises:
            ConfigError: there are no operations, one is no factory, a node is unknown, or the name is taken.
        """
        name = f"{source}->{target}" if name is None else name
        for node in (source, target):
            if node not in self._inputs and node not in self._nodes:
                raise ConfigError(
                    f"edge {name}: {unknown('node', node, [*self._inputs, *self._nodes])}"
                )
        if target in self._inputs:
            raise ConfigError(f"edge {name}: leads to {target}, which is an input")
        if name in self._edges or "." in name:
            raise ConfigError(
                f"edge {name}: names are unique and without '.'; give another by name="
            )
        if not operations:
            raise ConfigError(f"edge {name}: the list of operations is empty; give one at least")
        for operation, factory in operations.items():
            if not operation or "." in operation or hasattr(nn.ModuleDict, operation):
                raise ConfigError(
                    f"edge {name}: operation {operation!r}: not a name that modules can have; give another"
                )
            check_factory(factory, f"edge {name}, operation {operation}")
        check_domain(domain, f"edge {name}")
        made = SpaceEdge(name, source, target, dict(operations), domain, key or name)
        self._edges[name], self._wiring = made, None
        return name

    @checked
    def output(self, node: str) -> None:
        """Says which node is the output.

        Raises:
            ConfigError: the node is unknown.
        """
        if node not in self._nodes:
            raise ConfigError(f"output: {unknown('node', node, self._nodes)}")
        self._output, self._wiring = node, None

    @checked
    def embed(
        self, cell: SearchSpace, name: str, inputs: Sequence[str], *, tie: str | None = None
    ) -> str:
        """Adds a copy of another space as a part, and returns the node that is its output.

        Args:
            cell: the other space; its nodes and edges get names that begin with ``name/``.
            name: what the copy is called.
            inputs: nodes of this space that stand in for the inputs of the cell, in their order.
            tie: copies with the same ``tie`` choose alike; by default each chooses by itself. Weights are always its own.

        Raises:
            ConfigError: the cell has no output, or another number of inputs.
        """
        if cell._output is None:
            raise ConfigError(f"cell {cell.name}: has no output; say which node it is by output()")
        if len(inputs) != len(cell._inputs):
            raise ConfigError(
                f"cell {cell.name}: has the inputs {', '.join(cell._inputs)}, {len(inputs)} nodes were given"
            )
        place = dict(zip(cell._inputs, inputs, strict=True))
        place |= {node: f"{name}/{node}" for node in cell._nodes}
        for node, how in cell._nodes.items():
            self.node(place[node], how)
        for edge in cell._edges.values():
            self.edge(
                place[edge.source],
                place[edge.target],
                edge.operations,
                domain=edge.domain,
                key=f"{tie or name}/{edge.key}",
                name=f"{name}/{edge.name}",
            )
        return place[cell._output]

    @checked
    def repeat(
        self, cell: SearchSpace, name: str, count: int, inputs: Sequence[str], *, tie: bool = True
    ) -> list[str]:
        """Adds copies of a cell one after another; returns the nodes that a next one would read.

        A cell with several inputs reads the outputs of as many copies before it, the oldest first.

        Args:
            cell: what is repeated.
            name: copies are called ``name1``, ``name2``, …
            count: how many there are.
            inputs: nodes that the first copy reads.
            tie: whether all copies choose alike.
        """
        window = list(inputs)
        for number in range(1, count + 1):
            made = self.embed(cell, f"{name}{number}", window, tie=name if tie else None)
            window = [*window[1:], made]
        return window

    @property
    def wiring(self) -> Wiring:
        """The space in order, with its shapes.

        Raises:
            ConfigError, ShapeError, NonFiniteError: it is not sound; the message says where.
        """
        if self._wiring is None:
            if len(self._inputs) != 1:
                raise ConfigError(
                    f"space {self.name}: has {len(self._inputs)} inputs; a space has one, a cell with several becomes a part "
                    "of one by embed()"
                )
            ((name, shape),) = self._inputs.items()
            if shape is None or not all(size >= 1 for size in shape):
                raise ShapeError(
                    f"space {self.name}, input {name}: shape {shape}; give the shape of one example, without the batch"
                )
            if self._output is None:
                raise ConfigError(
                    f"space {self.name}: has no output; say which node it is by output()"
                )
            edges = list(self._edges.values())
            self._wiring = wire(name, shape, self._output, self._nodes, edges)
        return self._wiring

    @property
    def choices(self) -> dict[str, StructureChoice]:
        """What there is to choose: key -> choice, without those that leave nothing to choose."""
        return self.wiring.free

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ between spaces with other nodes, edges, or names of operations."""
        return self.wiring.fingerprint

    @property
    def count(self) -> int:
        """How many genotypes there are."""
        return math.prod(choice.count for choice in self.choices.values())

    def enumerate(self) -> Iterator[Genotype]:
        """Yields all genotypes, the last choice changing fastest."""
        space, choices = self.fingerprint, self.choices
        options = [
            [
                tuple(choice.operations[index] for index in vertex)
                for vertex in vertices(len(choice.operations), choice.domain)
            ]
            for choice in choices.values()
        ]
        for chosen in itertools.product(*options):
            yield Genotype(space, tuple(zip(choices, chosen, strict=True)))

    def sample(self, source: torch.Generator) -> Genotype:
        """Returns a genotype drawn from all with equal probability."""
        found = []
        for key, choice in self.choices.items():
            picked = drawn_vertex(len(choice.operations), choice.domain, source)
            found.append((key, tuple(choice.operations[index] for index in picked)))
        return Genotype(self.fingerprint, tuple(found))

    def genotype(self, given: str | Mapping[str, Any] | Genotype) -> Genotype:
        """Returns a genotype of this space.

        Args:
            given: key -> name of the operation chosen (on a cube, a list of names); or what ``Genotype.to_json`` or
                ``dumps`` gave.

        Raises:
            ConfigError: it is of another space, leaves a choice open, or names an unknown operation.
        """
        if isinstance(given, Genotype):
            given = given.to_json()
        space, chosen = parse(given)
        if space is not None and space != self.fingerprint:
            raise ConfigError(
                f"genotype: belongs to the space {space}, this one ({self.name}) is {self.fingerprint}; use the space that "
                "it was made for"
            )
        for key in chosen:
            if key not in self.choices:
                raise ConfigError(f"genotype: {unknown('edge', key, self.choices)}")
        return Genotype(
            self.fingerprint,
            tuple((key, choice.named(chosen.get(key))) for key, choice in self.choices.items()),
        )

    def discretise(self, gamma: Mapping[str, Tensor]) -> Genotype:
        """Returns the genotype at the vertex nearest to structure parameters; of equally near ones, the first.

        Args:
            gamma: key -> ``[K]``, for all choices.
        """
        found = []
        for key, choice in self.choices.items():
            values = gamma[key].detach().double().cpu().tolist()
            at = nearest_vertex(values, choice.domain)
            found.append((key, tuple(choice.operations[index] for index in at)))
        return Genotype(self.fingerprint, tuple(found))

    def gamma(self, genotype: Genotype | Mapping[str, Any]) -> Gamma:
        """Returns the vertex of a genotype: key -> ``[K]`` of zeros and ones."""
        genotype = self.genotype(genotype)
        return {
            key: torch.tensor([float(name in genotype[key]) for name in choice.operations])
            for key, choice in self.choices.items()
        }

    def _new_node(self, name: str) -> None:
        """Refuses a name that is taken or cannot be used."""
        if name in self._inputs or name in self._nodes:
            raise ConfigError(f"node {name}: there is one of that name already")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"node {name!r}: a name is made of letters, digits, '_', '-' and '/'")
        self._wiring = None


__all__ = ["Gamma", "SearchSpace", "ZeroOperation"]
