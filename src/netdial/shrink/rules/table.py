"""The table of operations, and what a rule may do.

A rule says how labels pass through one operation: ``rule(scene, node, *args, **kwargs) -> Value``, with tensors in the
arguments replaced by what is known of them. An operation without a rule is refused by name, never assumed to be harmless.

To add one, write the function and register it for the module class, function or method name that it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from netdial.core.errors import TraceError
from netdial.shrink.labels import FIXED, Atoms, Labels, Value, fixed
from netdial.shrink.trace import place

Rule = Callable[..., Any]

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
    """

    node: fx.Node
    source: fx.Node
    dim: int
    labels: Labels
    bias: str | None = None
    foldable: bool = False
    made: int = 1


@dataclass(frozen=True)
class Inner:
    """Channels that a layer sums over by itself, where nothing outside sees them: states of a recurrence, heads.

    Attributes:
        labels: labels ``[n]``.
        rows: leaf -> its rows ``[n, m]`` that make the channel; it is 0 for certain only if they all are.
    """

    labels: Labels
    rows: dict[str, Labels]


@dataclass
class Scene:
    """The graph under study.

    Attributes:
        traced: the graph module.
        results: node -> its result on the example.
        atoms: classes of atoms.
        leaves: leaf -> its labels, in the order of their first use.
        readers: nodes that sum over channels.
        inner: channels that layers sum over by themselves.
        makers: leaf dimensions that make channels, in order.
        mixed: (labels, name of the operation) that normalise or mix over channels.
        refused: (labels, message): refused unless the labels turn out to be fixed for another reason.
        fixes: (labels, why) that were fixed by an operation that cannot be cut.
    """

    traced: fx.GraphModule
    results: dict[fx.Node, Any]
    atoms: Atoms = field(default_factory=Atoms)
    leaves: dict[str, tuple[Labels, ...]] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    inner: list[Inner] = field(default_factory=list)
    makers: list[tuple[str, int]] = field(default_factory=list)
    mixed: list[tuple[Labels, str]] = field(default_factory=list)
    refused: list[tuple[Labels, str]] = field(default_factory=list)
    fixes: list[tuple[Labels, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names: dict[int, str] = {}
        for name, tensor in [*self.traced.named_parameters(), *self.traced.named_buffers()]:
            self._names.setdefault(id(tensor), name)

    def leaf(self, tensor: torch.Tensor) -> tuple[Labels, ...]:
        """Returns the labels of a leaf, fresh on its first use; a tied leaf has one set of labels."""
        name = self.name(tensor)
        if name not in self.leaves:
            self.leaves[name] = tuple(self.atoms.fresh(size) for size in tensor.shape)
        return self.leaves[name]

    def name(self, tensor: torch.Tensor) -> str:
        """Returns the name of a leaf, the first of its names if it has several."""
        return self._names[id(tensor)]

    def makes(self, tensor: torch.Tensor, dim: int) -> Labels:
        """Returns the labels of a leaf's dimension and notes that it makes channels."""
        labels = self.leaf(tensor)[dim]
        if (self.name(tensor), dim) not in self.makers:
            self.makers.append((self.name(tensor), dim))
        return labels

    def join(self, one: Labels, other: Labels) -> None:
        """Joins labels pairwise."""
        self.atoms.join(one, other)

    def fix(self, labels: Labels, why: str = "") -> None:
        """Fixes labels: their channels stay."""
        if why and self.atoms.is_free(labels):
            self.fixes.append((labels, why))
        self.atoms.join(labels, np.asarray(FIXED))

    def mix(self, labels: Labels, node: fx.Node) -> None:
        """Notes that an operation normalises over channels."""
        self.mixed.append((labels, place(node)))

    def refuse(self, labels: Labels, message: str) -> None:
        """Refuses to cut channels whose count is written in the code."""
        self.refused.append((labels, message))

    def reads(self, node: fx.Node, position: int, value: Value, dim: int, **more: Any) -> None:
        """Notes that a node sums over a dimension of one of its inputs, if anything can be cut there."""
        source = node.args[position] if position < len(node.args) else None
        if isinstance(source, fx.Node):
            dim = dim % len(value.labels)
            self.readers.append(Reader(node, source, dim, value.labels[dim], **more))

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
