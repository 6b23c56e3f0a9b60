"""The merging itself: where the affine map of a switch or a batch normalisation can go, and what is left in its place.

Nothing moves across a non-linearity. Who reads whom is taken from the graph of operations, never from the order of attributes.

Shapes: B batch, P places after flattening, * positions.
"""

from __future__ import annotations

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
    Maker,
    Norm,
    Reader,
    Recurrent,
    Scale,
    Table,
    channel_dim,
    no_shift,
    normalisation,
    scale_input,
    scale_output,
)
from netdial.channels.fold.outcome import Left, Merged
from netdial.channels.fold.parameters import chain_of, scale_parameters
from netdial.channels.fold.passing import gathered, passed
from netdial.channels.layers.frozen import Frozen
from netdial.channels.layers.gated import SWITCH, Gated, plain
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import only_asks

_Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d
_Identity = nn.Identity | _Dropout | nn.AlphaDropout | nn.FeatureAlphaDropout

_RESHAPES = ("flatten", "view", "reshape", torch.flatten, torch.reshape)
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)

Met = dict[fx.Node, dict[fx.Node, Affine]]
"""Operation at which several nodes meet -> those that arrived, with their scale."""


class Folder:
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
        self._ungate()
        going = True
        while going:
            going, self.left = False, {}
            for node in list(self.traced.graph.nodes):
                gone = any(node.name == merged.node for merged in self.merged)
                if not gone and isinstance(self.module(node), Scale if self.norms else Switch):
                    going |= self._merge(node)
        self.traced.graph.lint()
        self.traced.recompile()

    def _ungate(self) -> None:
        """Makes recurrent layers plain ones: switches on their units go into the columns that read units within the layer."""
        for name, layer in [*self.traced.named_modules()]:
            if not isinstance(layer, Gated):
                continue
            gates = [n for n in self.traced.graph.nodes if n.target == f"{name}.{SWITCH}"]
            switch = f"{name}.{SWITCH}".replace(".", "_")
            if gates:
                self.traced.add_submodule(switch, layer.switch)
            self.traced.set_submodule(name, plain(layer))
            for gate in gates:
                gate.target = switch

    def module(self, node: fx.Node) -> nn.Module | None:
        """Returns the module that a node calls, if it is one of torch's own or a switch."""
        if node.op != "call_module":
            return None
        module = self.traced.get_submodule(str(node.target))
        own = type(module).__module__.startswith("torch.nn.modules")
        return module if own or isinstance(module, Frozen | Switch) else None

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
            dim = module.dim % ndim
            theta = module.theta.repeat(self.shapes[node][dim] // len(module.theta))
            return Affine(theta, torch.zeros_like(theta), dim)
        assert isinstance(module, Norm)
        return Affine(*normalisation(module), 1)

    def _into_maker(self, node: fx.Node, affine: Affine) -> None:
        """Merges a node into the layer that makes what it reads; several calls of one layer if all are alike.

        Raises:
            CannotFold: it cannot be.
        """
        maker, _ = self._maker(node)
        layer, uses = self.module(maker), self._calls(self.module(maker))
        if not isinstance(layer, Maker):
            raise CannotFold(f"{maker.name!r} before it is no layer that could take it up")
        nodes = [node] if len(uses) == 1 else self._gates(node)
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
        if not getattr(layer, "affine", True) and not (self.norms and isinstance(layer, Norm)):
            raise CannotFold(f"{maker.name!r} before it has no weight that could take it up")
        if isinstance(layer, Switch | Table) and affine.shift.any():
            raise CannotFold(f"{maker.name!r} before it cannot hold a shift")
        if isinstance(layer, Switch) and len(affine.scale) != len(layer.theta):
            raise CannotFold(f"{maker.name!r} before it has other channels")
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
        if len(self._gates(node)) > 1:
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
        """Merges a node into all the layers that read it; with all calls of its module if that is what they read.

        Raises:
            CannotFold: it cannot be.
        """
        try:
            self._into_layers([node])
        except CannotFold:
            nodes = self._calls(self.module(node))
            if len(nodes) == 1:
                raise
            self._into_layers(nodes)

    def _into_layers(self, nodes: list[fx.Node]) -> None:
        passing: list[str] = []
        found: dict[fx.Node, list[Affine]] = {}
        met: Met = {}
        for node in nodes:
            source = node.all_input_nodes[0]
            changers = [n.name for n in source.users if n is not node and self._is_in_place(n)]
            if changers:
                raise CannotFold(f"{changers[0]!r} changes {source.name!r} in place")
            for reader, seen in self._ends(node, self._affine(node), passing, met):
                found.setdefault(reader, []).append(seen)
        for user, sources in met.items():
            if len(sources) < len(user.all_input_nodes):
                raise CannotFold(f"{user.name!r} after it reads it beside other things")
        if not found:
            raise CannotFold("nothing reads it")
        layers: dict[int, tuple[Reader, list[Affine]]] = {}
        for reader, scales in found.items():
            layer = self.module(reader)
            if not isinstance(layer, Reader):
                raise CannotFold(f"{reader.name!r} after it is no layer that could take it up")
            _, first = layers.setdefault(id(layer), (layer, scales))
            uses = self._calls(layer)
            pairs = zip(first, scales, strict=False)
            same = len(first) == len(scales) and all(one.same(other) for one, other in pairs)
            if set(uses) - set(found) or not same:
                raise CannotFold(
                    f"{reader.name!r} is one of {len(uses)} calls of {reader.target!r}"
                )
            for seen in scales:
                self._check(reader, layer, seen)
                if seen.shift.any() and (why := no_shift(layer)):
                    raise CannotFold(f"{reader.name!r} after it {why}")
            if not self.norms and isinstance(layer, Norm):
                raise CannotFold(f"{reader.name!r} after it would undo it in training")
        for layer, scales in layers.values():
            for seen in scales:
                scale_input(layer, seen)
        self.changed.update([*passing, *(node.name for node in nodes)])
        for node in nodes:
            self._remove(node, tuple(dict.fromkeys(str(reader.target) for reader in found)))

    def _ends(
        self, node: fx.Node, affine: Affine, passing: list[str], met: Met
    ) -> Iterator[tuple[fx.Node, Affine]]:
        """Yields who reads a node in the end and what the affine map is there; notes what it passes on the way.

        Where several nodes meet that have to be scaled alike (a stack, a sum), it goes on when the last of them arrives.
        """
        for user in _readers(node):
            seen: Affine | None
            if isinstance(self.module(user), _Identity):
                seen = affine
            elif affine.dim > 0 and self._is_flatten(node, user):
                seen = affine.flattened(self.shapes[node])
            else:
                seen = passed(node, user, affine, self.shapes)
            if seen is None and (seen := gathered(node, user, affine, self.shapes)) is not None:
                before = met.setdefault(user, {})
                if node in before or not all(affine.same(one) for one in before.values()):
                    raise CannotFold(f"{user.name!r} after it reads parts that are scaled unlike")
                before[node] = affine
                if len(before) < len(user.all_input_nodes):
                    continue
            if seen is not None:
                passing.append(user.name)
                yield from self._ends(user, seen, passing, met)
            elif isinstance(self.module(user), Recurrent) and node is not user.args[0]:
                raise CannotFold(f"{user.name!r} after it begins with it as its state")
            else:
                yield user, affine

    def _is_flatten(self, node: fx.Node, user: fx.Node) -> bool:
        """Returns whether a reader makes ``[B, *]`` into ``[B, P]``."""
        known = isinstance(self.module(user), nn.Flatten) or (
            user.op in ("call_function", "call_method") and user.target in _RESHAPES
        )
        if node not in self.shapes:
            return False
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

    def _check(self, node: fx.Node, layer: Reader | Maker, affine: Affine) -> None:
        """Refuses a layer whose weights may not be changed for this one use, or whose channels are others."""
        if _hooked(layer):
            raise CannotFold(f"{node.name!r} has hooks, which would no longer see what they saw")
        if isinstance(layer, Norm) and layer.running_mean is None:
            raise CannotFold(f"{node.name!r} {BY_BATCH}")
        if any(id(leaf) in self.tied for leaf in layer.parameters(recurse=False)):
            raise CannotFold(f"{node.name!r} shares its weights with another place")
        whole = node if node in self.shapes else node.all_input_nodes[0]
        dim = channel_dim(layer, len(self.shapes[whole]))
        if dim != affine.dim:
            raise CannotFold(
                f"{node.name!r} has its channels in dimension {dim}, not in dimension {affine.dim}"
            )

    def _calls(self, module: nn.Module | None) -> list[fx.Node]:
        """Returns the nodes that call a module."""
        return [
            n for n in self.traced.graph.nodes if module is not None and self.module(n) is module
        ]

    def _gates(self, node: fx.Node) -> list[fx.Node]:
        """Returns the calls of a node's module behind layers; those behind parameters are merged by themselves."""
        calls = self._calls(self.module(node))
        return [one for one in calls if one is node or one.args[:1][0].op != "get_attr"]  # type: ignore[union-attr]

    def _remove(self, node: fx.Node, into: tuple[str, ...]) -> None:
        module, target = self.module(node), str(node.target)
        self.merged.append(Merged(node.name, target, into))
        node.replace_all_uses_with(node.all_input_nodes[0])
        self.traced.graph.erase_node(node)
        if not self._calls(module):
            self.traced.delete_submodule(target)


def _readers(node: fx.Node) -> list[fx.Node]:
    """Returns who reads the numbers of a node, not only its shape or type."""
    return [user for user in node.users if not only_asks(user)]


def _hooked(module: nn.Module | None) -> bool:
    return bool(module and (module._forward_hooks or module._forward_pre_hooks))


def _tied(traced: fx.GraphModule) -> set[int]:
    """Returns ids of parameters that several modules hold, or whose numbers the graph reads by itself."""
    held = Counter(
        id(leaf)
        for module in traced.modules()
        for leaf in module._parameters.values()
        if leaf is not None
    )
    names = (str(n.target) for n in traced.graph.nodes if n.op == "get_attr" and _readers(n))
    read = {id(operator.attrgetter(name)(traced)) for name in names}
    return read | {leaf for leaf, count in held.items() if count > 1}
