"""The table of operations, and what a rule may do.

A rule says how labels pass through one operation: ``rule(scene, node, *args, **kwargs) -> Value``, with tensors in the
arguments replaced by what is known of them. An operation without a rule is refused by name, never assumed to be harmless.

To add one, write the function and register it for the module class, function or method name that it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import fx, nn

from netdial.channels.labels import FIXED, Atoms, Labels, Value, fixed
from netdial.channels.nodes import place
from netdial.core.attributes import bare_leaf
from netdial.core.cutting import leaves
from netdial.core.errors import TraceError
from netdial.core.outputs import tensors

Rule = Callable[..., Any]
Heads = Literal["whole", "inside"]

MODULES: dict[type[nn.Module], Rule] = {}
FUNCTIONS: dict[Any, Rule] = {}
METHODS: dict[str, Rule] = {}


def on(
    *, modules: Iterable[Any] = (), functions: Iterable[Any] = (), methods: Iterable[str] = ()
) -> Callable[[Rule], Rule]:
    """Returns a decorator that registers a rule for what it serves."""

    def register(rule: Rule) -> Rule:
        MODULES.update(dict.fromkeys(modules, rule))
        FUNCTIONS.update(dict.fromkeys(functions, rule))
        METHODS.update(dict.fromkeys(methods, rule))
        return rule

    return register


@dataclass(frozen=True)
class Reader:
    """A node that sums over channels of one of its inputs.

    Attributes:
        node: the node.
        source: its input.
        dim: dimension of the input that is summed over.
        labels: labels of that dimension.
        bias: leaf that can take up what constant channels contribute, ``[out channels]``; None if there is none.
        foldable: whether constants other than 0 can be taken up at all.
        made: dimension of the result that holds the channels made.
        other: the other factor of a product, and its dimension: where that is 0, the channel does not count.
        together: whether it depends on all of the channels together, as a length does, but for those that are 0.
    """

    node: fx.Node
    source: fx.Node
    dim: int
    labels: Labels
    bias: str | None = None
    foldable: bool = False
    made: int = 1
    other: tuple[fx.Node, int] | None = None
    together: bool = False


@dataclass(frozen=True)
class Inner:
    """Channels that a layer sums over by itself, where nothing outside sees them: states of a recurrence, heads.

    Attributes:
        labels: labels ``[n]``.
        rows: leaf -> its rows ``[n, m]`` that make the channel; it is 0 for certain only if they all are.
    """

    labels: Labels
    rows: dict[str, Labels]


@dataclass(frozen=True)
class Demand:
    """A number given to an operation that has to be the count of the channels of a dimension, or of a part of it.

    Attributes:
        node: the operation.
        place: the way to the number in ``node.args`` and ``node.kwargs``: ``("args", 1, 0)``, ``("args", 1, "stop")``.
        labels: labels of the channels that it counts.
        number: the number as it is known: a ``SizeNumber``, or what is written in the code.
        message: what to say if it cannot follow; empty if the channels then simply stay.
        make: puts nodes that compute it into the graph, and returns the last; None where it can only be the size of a leaf.
        spare: the same, for where there is no such leaf.
    """

    node: fx.Node
    place: tuple[Any, ...]
    labels: Labels
    number: Any
    message: str
    make: Callable[[fx.Graph], Any] | None = None
    spare: Callable[[fx.Graph], Any] | None = None


@dataclass
class Scene:
    """The graph under study.

    Attributes:
        traced: the graph module.
        results: node -> its result on the example.
        atoms: classes of atoms.
        leaves: leaf -> its labels, in the order of their first use.
        users: leaf -> nodes that use it.
        readers: nodes that sum over channels.
        inner: channels that layers sum over by themselves.
        makers: leaf dimensions that make channels, in order.
        mixed: (labels, name of the operation) that normalise or mix over channels.
        refused: (labels, message): refused unless the labels turn out to be fixed for another reason.
        fixes: (labels, why) that were fixed by an operation that cannot be cut.
        demands: numbers that have to follow when channels go.
        grown: atoms of dimensions that repeat what was there, as often as the code says.
        handled: ids of the numbers given to the present node that a rule accounts for.
        heads: what goes of channels in heads, or in groups of a GroupNorm: ``whole`` ones, or channels ``inside`` of all alike.
    """

    traced: fx.GraphModule
    results: dict[fx.Node, Any]
    atoms: Atoms = field(default_factory=Atoms)
    leaves: dict[str, tuple[Labels, ...]] = field(default_factory=dict)
    users: dict[str, set[fx.Node]] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    inner: list[Inner] = field(default_factory=list)
    makers: list[tuple[str, int]] = field(default_factory=list)
    mixed: list[tuple[Labels, str]] = field(default_factory=list)
    refused: list[tuple[Labels, str]] = field(default_factory=list)
    fixes: list[tuple[Labels, str]] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    grown: set[int] = field(default_factory=set)
    handled: set[int] = field(default_factory=set)
    heads: Heads = "whole"

    def __post_init__(self) -> None:
        self.node: fx.Node = next(iter(self.traced.graph.nodes))
        self._names: dict[int, str] = {}
        for name, part in [*leaves(self.traced).items(), *self.traced.named_modules()]:
            self._names.setdefault(id(part), name)

    def leaf(self, tensor: torch.Tensor) -> tuple[Labels, ...]:
        """Returns the labels of a leaf, fresh on its first use; a tied leaf has one set of labels."""
        return self._labels(self.name(tensor), tuple(tensor.shape))

    def bare(self, module: nn.Module) -> tuple[Labels, ...]:
        """Returns the labels of the sizes that a normalisation layer without leaves remembers; none if it has leaves."""
        found = bare_leaf(module)
        return self._labels(f"{self.name(module)}.{found[0]}", found[1]) if found else ()

    def _labels(self, name: str, shape: tuple[int, ...]) -> tuple[Labels, ...]:
        self.users.setdefault(name, set()).add(self.node)
        if name not in self.leaves:
            self.leaves[name] = tuple(self.atoms.fresh(size) for size in shape)
        return self.leaves[name]

    def knows(self, part: torch.Tensor | nn.Module) -> bool:
        """Whether something is a leaf or module of the network."""
        return id(part) in self._names

    def name(self, part: torch.Tensor | nn.Module) -> str:
        """Returns the name of a leaf or module, the first of its names if it has several."""
        return self._names[id(part)]

    def own(self, leaf: str, node: fx.Node) -> bool:
        """Whether a node alone uses a leaf."""
        return all(
            user is node or (user.op == "get_attr" and set(user.users) == {node})
            for user in self.users[leaf]
        )

    def makes(self, tensor: torch.Tensor, dim: int) -> Labels:
        """Returns the labels of a leaf's dimension and notes that it makes channels."""
        labels = self.leaf(tensor)[dim]
        if (self.name(tensor), dim) not in self.makers:
            self.makers.append((self.name(tensor), dim))
        return labels

    def repeated(self, size: int) -> Labels:
        """Returns fresh labels of a dimension that repeats what was there, as often as the code says."""
        found = self.atoms.fresh(size)
        self.grown.update(found.tolist())
        return found

    def join(self, one: Labels, other: Labels) -> None:
        """Joins labels pairwise."""
        self.atoms.join(one, other)

    def fix(self, labels: Labels, why: str = "") -> None:
        """Fixes labels: their channels stay."""
        if why and self.atoms.is_free(labels):
            self.fixes.append((labels, why))
        self.atoms.join(labels, np.asarray(FIXED))

    def keep(self, node: fx.Node, axes: Iterable[Labels]) -> None:
        """Fixes positions: along them an operation does more than pass numbers on."""
        for axis in axes:
            self.fix(axis, f"{place(node)} sees these channels as positions")

    def mix(self, labels: Labels, node: fx.Node) -> None:
        """Notes that an operation normalises over channels, or depends on how many there are."""
        self.mixed.append((labels, place(node)))

    def refuse(self, labels: Labels, message: str) -> None:
        """Refuses a network if these channels can go: what an operation without a rule does to them is not known."""
        self.refused.append((labels, message))

    def demand(
        self,
        place: tuple[Any, ...],
        labels: Labels,
        number: Any,
        message: str,
        make: Callable[[fx.Graph], Any] | None = None,
        spare: Callable[[fx.Graph], Any] | None = None,
    ) -> None:
        """Notes that a number given to the present node has to count channels; it is made to, or they stay."""
        self.handled.add(id(number))
        self.demands.append(Demand(self.node, place, labels, number, message, make, spare))

    def reads(self, node: fx.Node, source: Any, value: Value, dim: int, **more: Any) -> None:
        """Notes that a node sums over a dimension of one of its inputs."""
        if not isinstance(source, fx.Node):
            raise TraceError(f"{place(node)}: sums over channels of what is no tensor of the graph")
        dim = dim % len(value.labels)
        self.readers.append(Reader(node, source, dim, value.labels[dim], **more))

    def sums(self, node: fx.Node, source: Any, value: Value, dim: int) -> None:
        """Notes that an operation depends on all channels of a dimension together, but for those that are 0 there."""
        self.reads(node, source, value, dim, together=True)
        self.mix(value.labels[dim], node)

    def is_table(self, node: fx.Node) -> bool:
        """Whether a tensor is made of parameters and buffers alone, without an input or a layer: a table, or positions."""
        if node.op in ("placeholder", "call_module"):
            return False
        if not tensors(self.results[node]):
            return True
        return all(self.is_table(source) for source in node.all_input_nodes)

    def result(self, node: fx.Node) -> Value:
        """Returns a fixed value of the shape of a node's result."""
        return fixed(tuple(self.results[node].shape))

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Returns the shape of a node's result on the example."""
        return tuple(self.results[node].shape)

    def expect(self, value: Any, node: fx.Node, ndim: Iterable[int]) -> None:
        """Refuses an input with another number of dimensions than the rule is for."""
        allowed = list(ndim)
        if len(value.labels) not in allowed:
            raise TraceError(
                f"{place(node)}: its input has {len(value.labels)} dimensions, the rule is for {allowed}"
            )
