"""One graph for both modes, training and evaluation.

A graph is recorded in one mode, so code that reads ``self.training`` gives two. They are made one: what both have in common
is there once, what only one of them does is there as well, and where it makes a difference a ``ByMode`` gives the one or the
other. Both ways are computed then, whatever the mode. So what would leave traces in the other mode, as running statistics do,
is refused. Functional dropout becomes a ``Dropout`` module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.graph_module import _copy_attr

from netdial.channels.layers.keeping import Keeping
from netdial.channels.layers.mode import ByMode
from netdial.channels.nodes import module_of
from netdial.core.errors import TraceError

_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    torch.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
}
Pair = tuple[fx.Node | None, fx.Node | None]
"""A node of the graph of training, and one of evaluation that does the same; None where one mode alone does it."""
_REMEMBERING = (F.batch_norm, torch.batch_norm, F.instance_norm, torch.instance_norm)
"""Functions that change statistics which they are given."""


def _is_dropout(first: fx.Node, second: fx.Node) -> bool:
    return first.target in _DROPOUT and first.target == second.target


def settle_modes(
    traced: fx.GraphModule, evaluating: fx.GraphModule, where: Callable[[fx.Node], str]
) -> None:
    """Makes one graph serve both modes.

    Args:
        traced: the network with the graph of training, which is changed.
        evaluating: the network with the graph of evaluation.
        where: function that tells where a node comes from, for messages.

    Raises:
        TraceError: what is done in one mode alone would leave traces in the other.
    """
    nodes, others = list(traced.graph.nodes), list(evaluating.graph.nodes)
    merging = _Merging(traced, evaluating, where)
    for first, second in _parted(list(_pairs(nodes, others))):
        if second is None:
            assert first is not None
            merging.alone(first)
        elif first is None:
            merging.copied(second)
        else:
            merging.both(first, second)
    for node in merging.dropouts:
        _dropout_module(traced, node)


def _pairs(nodes: list[fx.Node], others: list[fx.Node]) -> Iterator[Pair]:
    """Returns the nodes of two graphs in an order that is that of either, those that do the same with each other."""
    keys, theirs = (
        [(node.op, node.target, _asked(node)) for node in part] for part in (nodes, others)
    )
    if keys == theirs:
        yield from zip(nodes, others, strict=True)
        return
    matcher = SequenceMatcher(None, keys, theirs, autojunk=False)
    for kind, start, end, begin, stop in matcher.get_opcodes():
        if kind == "equal":
            yield from zip(nodes[start:end], others[begin:stop], strict=True)
        else:
            yield from ((node, None) for node in nodes[start:end])
            yield from ((None, node) for node in others[begin:stop])


def _parted(pairs: list[Pair]) -> list[Pair]:
    """Returns the pairs of nodes but for those that differ by mode and are read by what one mode alone does.

    That is computed in the other mode as well, and could fail on what it then reads. Layers stay pairs.
    """
    while True:
        stands = {second: first for first, second in pairs if first and second}
        differing: set[fx.Node] = set()
        for first, second in pairs:
            if first and second:
                same = differing.isdisjoint(first.all_input_nodes) and _alike(first, second, stands)
                differing |= set() if same else {first}
        lone = [
            stands.get(source, source)
            for first, second in pairs
            for source in _sources(first, second)
        ]
        split = {node for node in lone if node in differing and _is_plain(node)}
        if not split:
            return pairs
        parted: list[Pair] = []
        for first, second in pairs:
            parted += [(first, None), (None, second)] if first in split else [(first, second)]
        pairs = parted


def _alike(first: fx.Node, second: fx.Node, stands: dict[fx.Node, fx.Node]) -> bool:
    """Returns whether two nodes do the same to the same; a dropout that is off in evaluation does."""
    if _is_dropout(first, second) and _in_training_alone(first, second):
        return first.all_input_nodes == [stands.get(one) for one in second.all_input_nodes]
    mapped = fx.node.map_arg((second.args, second.kwargs), lambda one: stands.get(one, one))
    return _equal((first.args, first.kwargs), mapped)


def _sources(first: fx.Node | None, second: fx.Node | None) -> list[fx.Node]:
    """Returns what a node of one mode alone reads; of a pair, nothing."""
    if first and second:
        return []
    node = first or second
    return node.all_input_nodes if node else []


def _is_plain(node: fx.Node) -> bool:
    """Whether a node computes something of its inputs alone, and leaves nothing behind."""
    function = node.op in ("call_function", "call_method")
    return function and node.target not in (*_DROPOUT, *_REMEMBERING)


def _asked(node: fx.Node) -> str:
    """Returns which attribute or part a node asks for: the shape is not the type, nor the first input the second."""
    part = node.args[1] if node.target in (getattr, operator.getitem) else ""
    return str(part) if isinstance(part, str | int) else ""


def apart(
    constants: dict[str, Tensor], others: dict[str, Tensor], graph: fx.Graph
) -> dict[str, Tensor]:
    """Gives constants of a second graph names of their own where the first has others; returns them by name."""
    renamed = {
        name: name
        if name in constants and torch.equal(constants[name], value)
        else f"{name}_in_evaluation"
        for name, value in others.items()
    }
    for node in graph.nodes:
        if node.op == "get_attr" and node.target in renamed:
            node.target = renamed[str(node.target)]
    return {renamed[name]: value for name, value in others.items()}


class _Merging:
    """Puts the nodes of a second graph into the first.

    Attributes:
        traced: the network with the first graph.
        evaluating: the network with the second.
        where: function that tells where a node comes from.
        stands: node of the second graph -> the node that gives its result in evaluation.
        dropouts: functional dropouts of training alone.
    """

    def __init__(
        self,
        traced: fx.GraphModule,
        evaluating: fx.GraphModule,
        where: Callable[[fx.Node], str],
    ) -> None:
        self.traced, self.evaluating, self.where = traced, evaluating, where
        self.stands: dict[fx.Node, Any] = {}
        self.dropouts: list[fx.Node] = []
        self._last: fx.Node | None = None
        self._made: dict[tuple[Any, Any], fx.Node] = {}

    def alone(self, node: fx.Node) -> None:
        """Leaves a node that is computed for training alone."""
        if node.target in _REMEMBERING:
            raise TraceError(
                f"{self.where(node)}: changes statistics, and is called in training alone; use a layer (nn.BatchNorm2d)"
            )
        given = _given(node)
        is_on = isinstance(given.get("p", 0.5), int | float) and given.get("training", True) is True
        if node.target in _DROPOUT and is_on:
            self.dropouts.append(node)
        self._last = node

    def copied(self, node: fx.Node) -> None:
        """Puts in a node that is computed for evaluation alone."""
        module = module_of(self.evaluating, node)
        if node.target in _REMEMBERING or (
            module is not None and any(True for _ in module.buffers())
        ):
            raise TraceError(
                f"{self.where(node)}: has statistics, and is called in evaluation alone; call it in both modes"
            )
        if node.op in ("call_module", "get_attr"):
            _copy_attr(self.evaluating, self.traced, str(node.target))
        with self._here():
            self._last = self.stands[node] = self.traced.graph.node_copy(
                node, self.stands.__getitem__
            )

    def both(self, first: fx.Node, second: fx.Node) -> None:
        """Makes one node of two that do the same, perhaps to different things."""
        mapped = fx.node.map_arg((second.args, second.kwargs), self.stands.__getitem__)
        if isinstance(kept := module_of(self.traced, first), Keeping):
            kept.also(cast(Keeping, module_of(self.evaluating, second)))
        if _is_dropout(first, second) and _in_training_alone(first, second):
            self.dropouts.append(first)
            mapped = (mapped[0][:1] + first.args[1:], first.kwargs)
        if not _same_shape((first.args, first.kwargs), mapped) and first.op != "output":
            self.alone(first)
            self.copied(second)
            return
        if first.op == "output":
            first.args = (self._either(first.args[0], mapped[0][0]),)
        else:
            first.args, first.kwargs = self._either((first.args, first.kwargs), mapped)
        self._last = self.stands[second] = first

    def _here(self) -> Any:
        """Returns the place for new nodes: behind all that were merged."""
        graph = self.traced.graph
        if self._last is None:
            return graph.inserting_before(next(iter(graph.nodes)))
        return graph.inserting_after(self._last)

    def _either(self, one: Any, other: Any) -> Any:
        """Returns what is one thing in training and another in evaluation."""
        if _equal(one, other):
            return one
        if _same_shape(one, other) and isinstance(one, tuple | list | dict | slice):
            if isinstance(one, dict):
                return {key: self._either(one[key], other[key]) for key in one}
            if isinstance(one, slice):
                parts = zip(_ends(one), _ends(other), strict=True)
                return slice(*(self._either(*pair) for pair in parts))
            return type(one)(self._either(*pair) for pair in zip(one, other, strict=True))
        key = (one, other)
        if not (isinstance(one, fx.Node) and isinstance(other, fx.Node)) or key not in self._made:
            with self._here():
                made = _chosen(self.traced, one, other)
            self._last = made
            if not (isinstance(one, fx.Node) and isinstance(other, fx.Node)):
                return made
            self._made[key] = made
        return self._made[key]


def _in_training_alone(first: fx.Node, second: fx.Node) -> bool:
    """Returns whether two functional dropouts are on in training and off in evaluation, and differ in nothing else.

    Off is one that is told so, or whose share is 0: ``F.dropout(x, p=self.p if self.training else 0.0)``.
    """
    one, other = _given(first), _given(second)
    shares = [part.pop("p", 0.5) for part in (one, other)]
    on, off = one.pop("training", True), not other.pop("training", True)
    known = isinstance(shares[0], int | float) and isinstance(shares[1], int | float)
    return known and on is True and (off or shares[1] == 0) and one == other


def _given(node: fx.Node) -> dict[str, Any]:
    """Returns what a functional dropout is told, but for its input."""
    names = ("input", "p", "training", "inplace")
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {name: value for name, value in given.items() if name != "input"}


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _equal(one: Any, other: Any) -> bool:
    """Returns whether two arguments are the same, nodes being the same one."""
    if isinstance(one, fx.Node) or isinstance(other, fx.Node):
        return one is other
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, slice):
        return all(map(_equal, _ends(one), _ends(other)))
    return one is other or bool(one == other)


def _same_shape(one: Any, other: Any) -> bool:
    """Returns whether two arguments are packed in the same way on the outside, and inside wherever they are packed."""
    packed = (tuple, list, dict, slice)
    if not isinstance(one, packed) and not isinstance(other, packed):
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same_shape(one[key], other[key]) for key in one)
    if isinstance(one, slice):
        return True
    return len(one) == len(other) and all(map(_same_shape, one, other))


def _chosen(traced: fx.GraphModule, one: Any, other: Any) -> fx.Node:
    """Returns a node that gives one thing in training and another in evaluation."""
    names = {name for name, _ in traced.named_modules()}
    name = next(n for n in (f"by_mode_{i}" for i in range(len(names) + 1)) if n not in names)
    traced.add_submodule(name, ByMode().train(traced.training))
    return traced.graph.call_module(name, (one, other))


def _dropout_module(traced: fx.GraphModule, node: fx.Node) -> None:
    """Replaces a functional dropout of training alone by a module that knows its mode."""
    assert callable(node.target)
    kind, name = _DROPOUT[node.target], f"{node.name}_of_forward"
    traced.add_submodule(name, kind(p=_given(node).get("p", 0.5)).train(traced.training))
    source = node.args[0] if node.args else node.kwargs["input"]
    with traced.graph.inserting_after(node):
        made = traced.graph.call_module(name, (source,))
    node.replace_all_uses_with(made)
    traced.graph.erase_node(node)
