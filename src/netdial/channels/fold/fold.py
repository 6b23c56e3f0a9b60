"""Switches and batch normalisation, merged into the layers beside them for inference.

In evaluation both are a scale a and a shift b for each channel, y = a x + b. Into the layer that makes the channels they
go exactly, if nobody else reads it; else into all the layers that read them, if each of those is linear and next in line: a
scale always, a shift unless zero padding or a transposed convolution would put it down unevenly. Nothing moves across a
non-linearity. Who reads whom is taken from the graph of operations, never from the order of attributes.

Shapes: B batch, C channels, G groups of a convolution, * positions.
"""

from __future__ import annotations

import copy
import math
import operator
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from netdial.channels.fold.affine import (
    BY_BATCH,
    Affine,
    CannotFold,
    Layer,
    Norm,
    Scale,
    channel_dim,
    no_shift,
    normalisation,
    scale_input,
    scale_output,
)
from netdial.channels.fold.exactness import (
    TOLERANCE_FLOAT64,
    as_double,
    compare,
    default_tolerance,
    flush,
    leaves,
    lost,
    restore,
)
from netdial.channels.fold.outcome import FoldReport, Left, Merged
from netdial.channels.fold.parameters import chain_of, scale_parameters
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import execute

_Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d
_Identity = nn.Identity | _Dropout | nn.AlphaDropout | nn.FeatureAlphaDropout

_RESHAPES = ("flatten", "view", "reshape", torch.flatten, torch.reshape)
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


def fold(
    traced: fx.GraphModule,
    example: Tensor,
    *,
    norms: bool = True,
    tolerance: float | None = None,
) -> tuple[fx.GraphModule, FoldReport]:
    """Returns a copy for inference without the switches and batch normalisations that can be merged, and a report.

    The copy is in evaluation mode and keeps all other names; layers without bias get one where needed. The network given
    is not changed. The outputs on the example are compared, in double precision and in the network's own type.

    Args:
        traced: network as a graph module, in any mode.
        example: inputs ``[B, *]``.
        norms: whether batch normalisations are merged, too. Without, only switches are, in such a way that the network does
            the same in training as well, and no layer gets leaves that it did not have.
        tolerance: largest relative difference allowed in the network's own number type; by default what rounding may cost a
            network of its depth (``exactness.default_tolerance``). In double precision the outputs have to be the same anyway.

    Raises:
        TraceError: outputs differ by more, or the network fails on the example; the message names the worst node.
    """
    before = copy.deepcopy(traced).eval()
    dtypes = {name: leaf.dtype for name, leaf in leaves(before)}
    folded = copy.deepcopy(before).double()
    wanted = execute(folded, as_double(example), double=True)
    folder = _Folder(folded, wanted, norms=norms)
    folder.run()
    got = execute(folded, as_double(example), double=True)
    exact = compare(wanted, got, folder.changed, TOLERANCE_FLOAT64)
    restore(folded, dtypes)
    n_flushed = sum(flush(leaf) for _, leaf in leaves(folded))
    rounded, got = execute(before, example), execute(folded, example)
    if tolerance is None:
        tolerance = default_tolerance(dtypes.values(), lost(wanted, rounded))
    difference = compare(rounded, got, folder.changed, tolerance)
    report = FoldReport(
        tuple(folder.merged), tuple(folder.left.values()), n_flushed, difference, exact
    )
    return folded, report


class _Folder:
    """Merges until nothing changes; one use.

    Attributes:
        merged: what is gone.
        left: node -> what stays, after ``run``.
        changed: names of nodes whose results are other than before although outputs are not.
    """

    def __init__(self, traced: fx.GraphModule, results: dict[fx.Node, Any], *, norms: bool) -> None:
        self.traced, self.norms = traced, norms
        self.shapes = {n: r.shape for n, r in results.items() if isinstance(r, Tensor)}
        self.tied = _tied(traced)
        self.merged: list[Merged] = []
        self.left: dict[fx.Node, Left] = {}
        self.changed: set[str] = set()

    @torch.no_grad()
    def run(self) -> None:
        """Merges whatever can be."""
        going = True
        while going:
            going, self.left = False, {}
            for node in list(self.traced.graph.nodes):
                gone = any(node.name == merged.node for merged in self.merged)
                if not gone and isinstance(self.module(node), Scale if self.norms else Switch):
                    going |= self._merge(node)
        self.traced.graph.lint()
        self.traced.recompile()

    def module(self, node: fx.Node) -> nn.Module | None:
        """Returns the module that a node calls, if it is one of torch's own or a switch."""
        if node.op != "call_module":
            return None
        module = self.traced.get_submodule(str(node.target))
        own = type(module).__module__.startswith("torch.nn.modules")
        return module if own or type(module) is Switch else None

    def _merge(self, node: fx.Node) -> bool:
        """Merges a node, or notes why not."""
        reasons: list[str] = []
        for way in (self._into_maker, self._into_parameters, self._into_readers):
            try:
                way(node, self._affine(node))
            except CannotFold as reason:
                reasons.append(str(reason))
            else:
                return True
        unlike = dict.fromkeys(reason for reason in reasons if reason)
        self.left[node] = Left(node.name, str(node.target), "; ".join(unlike))
        return False

    def _affine(self, node: fx.Node) -> Affine:
        """Returns what a switch or batch normalisation does in evaluation."""
        module, ndim = self.module(node), len(self.shapes[node])
        if _hooked(module):
            raise CannotFold("has hooks, which would no longer run")
        if isinstance(module, Switch):
            return Affine(module.theta, torch.zeros_like(module.theta), module.dim % ndim)
        assert isinstance(module, Norm)
        return Affine(*normalisation(module), 1)

    def _into_maker(self, node: fx.Node, affine: Affine) -> None:
        """Merges a node into the layer that makes what it reads; several calls of one layer if all are alike.

        Raises:
            Stays: it cannot be.
        """
        maker, _ = self._maker(node)
        layer, uses = self.module(maker), self._calls(self.module(maker))
        if not isinstance(layer, Layer):
            raise CannotFold(f"{maker.name!r} before it is no layer that could take it up")
        nodes = [node] if len(uses) == 1 else self._calls(self.module(node))
        chains = [self._maker(alike) for alike in nodes]
        if {found for found, _ in chains} != set(uses):
            raise CannotFold(
                f"{maker.name!r} is one of {len(uses)} calls of {maker.target!r}, used unlike"
            )
        for alike, (found, between) in zip(nodes, chains, strict=True):
            for read in (found, *between):
                others = [u.name for u in _readers(read) if u not in (alike, *between)]
                if others:
                    raise CannotFold(f"{read.name!r} before it is read by {others[0]!r} too")
            self._check(found, layer, self._affine(alike))
        if not self.norms and isinstance(layer, Norm) and not layer.affine:
            raise CannotFold(f"{maker.name!r} before it has no weight that could take it up")
        if isinstance(layer, Switch) and affine.shift.any():
            raise CannotFold(f"{maker.name!r} before it cannot hold a shift")
        scale_output(layer, affine)
        self.changed.update(read.name for found, between in chains for read in (found, *between))
        for alike in nodes:
            self._remove(alike, (str(maker.target),))

    def _into_parameters(self, node: fx.Node, affine: Affine) -> None:
        """Merges a node into the parameters by which the node before it makes channels without a layer.

        Raises:
            CannotFold: it cannot be.
        """
        maker, between = self._maker(node)
        chain = chain_of(maker)
        for read in (*chain, *between):
            others = [u.name for u in _readers(read) if u not in (node, *chain, *between)]
            if others:
                raise CannotFold(f"{read.name!r} before it is read by {others[0]!r} too")
        if len(self._calls(self.module(node))) > 1:
            raise CannotFold(f"{node.name!r} is called several times")
        name = scale_parameters(self.traced, chain, affine, len(self.shapes[node]))
        self.changed.update(read.name for read in (*chain, *between))
        self._remove(node, (name,))

    def _maker(self, node: fx.Node) -> tuple[fx.Node, list[fx.Node]]:
        """Returns what a node reads, past identities, and those."""
        maker, between = node.all_input_nodes[0], []
        while isinstance(self.module(maker), _Identity):
            between.append(maker)
            maker = maker.all_input_nodes[0]
        return maker, between

    def _into_readers(self, node: fx.Node, affine: Affine) -> None:
        """Merges a node into all the layers that read it.

        Raises:
            Stays: it cannot be.
        """
        passed: list[str] = []
        found = list(self._ends(node, affine, passed))
        source = node.all_input_nodes[0]
        changers = [n.name for n in source.users if n is not node and self._is_in_place(n)]
        if changers:
            raise CannotFold(f"{changers[0]!r} changes {source.name!r} in place")
        if not found:
            raise CannotFold("nothing reads it")
        layers: list[tuple[Layer, Affine]] = []
        for reader, seen in found:
            layer = self.module(reader)
            if not isinstance(layer, Layer):
                raise CannotFold(f"{reader.name!r} after it is no layer that could take it up")
            if len(uses := self._calls(layer)) > 1:
                raise CannotFold(
                    f"{reader.name!r} is one of {len(uses)} calls of {reader.target!r}"
                )
            self._check(reader, layer, seen)
            if not self.norms and isinstance(layer, Norm):
                raise CannotFold(f"{reader.name!r} after it would undo it in training")
            if seen.shift.any() and (why := no_shift(layer)):
                raise CannotFold(f"{reader.name!r} after it {why}")
            layers.append((layer, seen))
        for layer, seen in layers:
            scale_input(layer, seen)
        self.changed.update(passed)
        self._remove(node, tuple(str(reader.target) for reader, _ in found))

    def _ends(
        self, node: fx.Node, affine: Affine, passed: list[str]
    ) -> Iterator[tuple[fx.Node, Affine]]:
        """Yields who reads a node in the end and what the affine map is there; notes identities and flattening passed."""
        for user in _readers(node):
            if isinstance(self.module(user), _Identity):
                passed.append(user.name)
                yield from self._ends(user, affine, passed)
            elif affine.dim > 0 and self._is_flatten(node, user):
                passed.append(user.name)
                yield from self._ends(user, affine.flattened(self.shapes[node]), passed)
            else:
                yield user, affine

    def _is_flatten(self, node: fx.Node, user: fx.Node) -> bool:
        """Returns whether a reader makes ``[B, *]`` into ``[B, P]``."""
        known = isinstance(self.module(user), nn.Flatten) or (
            user.op in ("call_function", "call_method") and user.target in _RESHAPES
        )
        before, after = self.shapes[node], self.shapes.get(user, torch.Size())
        whole = math.prod(before[1:])
        return known and len(before) > 1 and tuple(after) == (before[0], whole)

    def _is_in_place(self, node: fx.Node) -> bool:
        module = self.module(node)
        return (
            bool(getattr(module, "inplace", False))
            or node.target in _IN_PLACE
            or (node.op == "call_method" and str(node.target).endswith("_"))
            or node.kwargs.get("inplace") is True
        )

    def _check(self, node: fx.Node, layer: Layer, affine: Affine) -> None:
        """Refuses a layer whose weights may not be changed for this one use, or whose channels are others."""
        if _hooked(layer):
            raise CannotFold(f"{node.name!r} has hooks, which would no longer see what they saw")
        if isinstance(layer, Norm) and layer.running_mean is None:
            raise CannotFold(f"{node.name!r} {BY_BATCH}")
        if any(id(leaf) in self.tied for leaf in layer.parameters(recurse=False)):
            raise CannotFold(f"{node.name!r} shares its weights with another place")
        dim = channel_dim(layer, len(self.shapes[node]))
        if dim != affine.dim:
            raise CannotFold(
                f"{node.name!r} has its channels in dimension {dim}, not in dimension {affine.dim}"
            )

    def _calls(self, module: nn.Module | None) -> list[fx.Node]:
        """Returns the nodes that call a module."""
        return [
            n for n in self.traced.graph.nodes if module is not None and self.module(n) is module
        ]

    def _remove(self, node: fx.Node, into: tuple[str, ...]) -> None:
        module, target = self.module(node), str(node.target)
        self.merged.append(Merged(node.name, target, into))
        node.replace_all_uses_with(node.all_input_nodes[0])
        self.traced.graph.erase_node(node)
        if not self._calls(module):
            self.traced.delete_submodule(target)


def _readers(node: fx.Node) -> list[fx.Node]:
    """Returns who reads the numbers of a node, not only its shape or type."""

    def asks(user: fx.Node) -> bool:
        about = user.target is getattr and user.args[1] in ("shape", "ndim", "dtype", "device")
        return about or (user.op == "call_method" and user.target in ("size", "dim", "numel"))

    return [user for user in node.users if not asks(user)]


def _hooked(module: nn.Module | None) -> bool:
    return bool(module and (module._forward_hooks or module._forward_pre_hooks))


def _tied(traced: fx.GraphModule) -> set[int]:
    """Returns ids of parameters that several modules hold, or that the graph reads by itself."""
    held = Counter(
        id(leaf)
        for module in traced.modules()
        for leaf in module._parameters.values()
        if leaf is not None
    )
    names = [str(node.target) for node in traced.graph.nodes if node.op == "get_attr"]
    read = {id(operator.attrgetter(name)(traced)) for name in names}
    return read | {leaf for leaf, count in held.items() if count > 1}
