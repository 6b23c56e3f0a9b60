"""Lets the layers that are left make up for channels that went: least squares, one layer after the other.

What a removed channel sends is told in part by the channels that stay. So a layer that read it gets other weights: with x what
the layer reads in the network before, ``[C]`` at each position of each input, and x' what it reads now, ``[K]``,

    B, c = argmin Σ ‖x - B x' - c‖² + ε N Σ_k v_k ‖B_k - S_k‖²        W ← W B,   b ← b + W c

where S takes each channel that is left to itself, v are the variances of x', and ε is small. So nothing depends on the scale of
a channel: a unit before a ReLU may have weights twice as large, read by half of them. A layer without bias has that of the
BatchNorm behind it; where there is neither, or a border is padded with zeros, c is 0. Layers follow each other as they are
executed, each on what those before it give by now (He, Zhang, Sun 2017, §3.2; there for convolutions and whole patches, here
one matrix for all positions of the kernel). Channels that are the same for every input leave nothing to make up for, and layers
as they are.

Shapes: C channels read before, K of them now, O made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netdial.channels.absorb import taker
from netdial.channels.graph import Graph
from netdial.channels.nodes import module_of
from netdial.channels.rules import Reader
from netdial.channels.trace.running import Recording, Running
from netdial.core.noise import generator
from netdial.core.outputs import evaluating
from netdial.core.plan import Plan
from netdial.data.dataset import Dataset
from netdial.pruning.moments import BATCH, NOTHING, WIDEST, Moments, held_by


@dataclass(frozen=True)
class _Layer:
    """A layer that can be refit, before and after the cut.

    Attributes:
        reader: what it reads.
        name: of the layer, or of its weight where a function reads that.
        leaf: its weight.
        dim: dimension of the weight that reads channels.
        kept: channels read before that are read now ``[K]``.
        made: channels made before that are made now.
        taker: leaf that takes up a constant, and with which sign; None if there is none.
    """

    reader: Reader
    name: str
    leaf: str
    dim: int
    kept: Tensor
    made: Tensor
    taker: tuple[str, int] | None


def refit(
    whole: fx.GraphModule, graph: Graph, plan: Plan, data: Dataset, seed: int = 0
) -> list[str]:
    """Refits the layers of a network to what they were, in place; returns their names.

    Args:
        whole: the network before.
        graph: the network after a plan was applied and constants were folded in.
        plan: what was cut.
        data: training inputs.
        seed: which of them.
    """
    order = {node.name: place for place, node in enumerate(graph.traced.graph.nodes)}
    readers = sorted((reader for reader, _ in graph.reads), key=lambda r: order[r.node.name])
    rows = torch.randperm(len(data), generator=generator(seed, "refit"))
    found, behind = list[str](), False
    with evaluating(graph.traced, whole), torch.no_grad():
        seen = Recording(graph.traced)
        seen.run(graph.example.clone())
        for reader in readers:
            layer = _layer(whole, graph, plan, reader, seen.results)
            if layer is None:
                continue
            behind = behind or len(layer.kept) < _width(whole, layer.leaf, layer.dim)
            if behind and _refit(whole, graph.traced, plan, layer, data, rows):
                found.append(layer.name)
    return found


def _layer(
    whole: fx.GraphModule,
    graph: Graph,
    plan: Plan,
    reader: Reader,
    found: Mapping[fx.Node, Any],
) -> _Layer | None:
    """Returns the layer that reads, if it is one whose weights are its own and can be changed; nodes give what was found."""
    place = _place(graph.traced, reader.node)
    if place is None:
        return None
    name, leaf, dim, even = place
    now = _parameters(graph.traced).get(leaf)
    if now is None or not now.requires_grad or now.is_complex() or _uses(graph.traced, now) > 1:
        return None
    if _width(whole, leaf, dim) > WIDEST:
        return None
    made, kept = _left(plan, leaf, whole.get_parameter(leaf).shape, dim)
    taken = taker(graph, reader, found) if even else None
    return _Layer(reader, name, leaf, dim, kept, made, taken)


def _place(traced: fx.GraphModule, node: fx.Node) -> tuple[str, str, int, bool] | None:
    """Returns name, weight and dimension that reads channels of a layer, and whether constants add the same at every position.

    None for what is no linear layer or convolution of one group.
    """
    layer, name = module_of(traced, node), str(node.target)
    if isinstance(layer, nn.Linear | _ConvNd):
        one = getattr(layer, "groups", 1) == 1
        dim = 0 if isinstance(layer, _ConvTransposeNd) else 1
        return (name, f"{name}.weight", dim, _is_even(layer)) if one else None
    if node.target is nn.functional.linear:
        weight = node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            leaf = str(weight.target)
            return leaf.removesuffix(".weight"), leaf, 1, True
    return None


def _parameters(traced: fx.GraphModule) -> dict[str, nn.Parameter]:
    """Returns the parameters by all of their names."""
    return dict(traced.named_parameters(remove_duplicate=False))


def _uses(traced: fx.GraphModule, leaf: Tensor) -> int:
    """Returns how many nodes and names a parameter has: calls of its layer, what reads it, and other places that it lies in."""
    names = [name for name, held in _parameters(traced).items() if held is leaf]
    count = len(names) - 1
    for node in traced.graph.nodes:
        if node.op == "call_module":
            count += sum(held is leaf for held in traced.get_submodule(node.target).parameters())
        elif node.op == "get_attr" and node.target in names:
            count += len(node.users)
    return count


def _width(net: nn.Module, leaf: str, dim: int) -> int:
    return net.get_parameter(leaf).shape[dim]


def _left(plan: Plan, leaf: str, shape: torch.Size, reads: int) -> tuple[Tensor, Tensor]:
    """Returns which channels made and read of a leaf of weights a plan leaves."""
    kept = plan.cuts.get(leaf, {})
    places = [torch.tensor(list(kept.get(d, range(shape[d])))).long() for d in (1 - reads, reads)]
    return places[0], places[1]


def _is_even(layer: nn.Module) -> bool:
    """Returns whether a constant adds the same at every position."""
    padding = getattr(layer, "padding", 0)
    padded = (isinstance(padding, tuple) and any(padding)) or padding == "same"
    return not isinstance(layer, _ConvTransposeNd) and not padded


def _refit(
    whole: fx.GraphModule,
    traced: fx.GraphModule,
    plan: Plan,
    layer: _Layer,
    data: Dataset,
    rows: Tensor,
) -> bool:
    """Refits one layer; returns whether there was anything to make up for."""
    moments = Moments()
    for was, now in _pairs(whole, traced, layer.reader, data, rows):
        moments.add(was, now)
        moments.rows += BATCH
        if moments.are_enough(was.shape[1]):
            break
    chosen = torch.zeros(moments.cross.shape, dtype=torch.float64)
    chosen[layer.kept, torch.arange(len(layer.kept))] = 1
    centred = layer.taker is not None
    mean, given = moments.means(centred=centred)
    inner, cross = moments.products(centred=centred)
    missing = cross - chosen @ inner
    if float(missing.abs().max()) <= NOTHING * float(inner.diagonal().mean()):
        return False
    mix = chosen + torch.linalg.solve(inner + held_by(inner).diag(), missing, left=False)
    if not mix.isfinite().all():
        return False
    _write(whole, traced, plan, layer, mix, given - mix @ mean)
    return True


def _pairs(
    whole: fx.GraphModule, traced: fx.GraphModule, reader: Reader, data: Dataset, rows: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields what a layer read and reads now, a line for each position of some inputs."""
    like = next(traced.parameters())
    for index in rows.split(BATCH):
        x = data.inputs(index.to(data.x.device), like=like)
        yield _lines(whole, reader, x), _lines(traced, reader, x)


def _lines(traced: fx.GraphModule, reader: Reader, x: Tensor) -> Tensor:
    """Returns what a node of a network reads, ``[n, C]``."""
    try:
        _Until(traced, reader).run(x.clone())
    except _Reached as reached:
        found: Tensor = reached.args[0]
        return found.movedim(reader.dim, -1).flatten(0, -2).cpu().double()
    raise AssertionError(f"node {reader.node.name} was not executed")


class _Reached(Exception):
    """Carries what a node reads."""


class _Until(Running):
    """Runs a graph as far as a node."""

    def __init__(self, traced: fx.GraphModule, reader: Reader) -> None:
        super().__init__(traced)
        self._node, self._source = reader.node.name, reader.source.name

    def run_node(self, n: fx.Node) -> Any:
        """Returns what a node gives."""
        if n.name == self._node:
            raise _Reached(next(x for node, x in self.env.items() if node.name == self._source))
        return super().run_node(n)


def _write(
    whole: fx.GraphModule,
    traced: fx.GraphModule,
    plan: Plan,
    layer: _Layer,
    mix: Tensor,
    constant: Tensor,
) -> None:
    """Writes the weights W B of a layer, and what takes up W c."""
    weight = whole.get_parameter(layer.leaf).detach().cpu().double().movedim(layer.dim, -1)
    weight = weight.index_select(0, layer.made)
    leaf = traced.get_parameter(layer.leaf)
    leaf.copy_((weight @ mix).movedim(-1, layer.dim))
    if layer.taker is None:
        return
    name, sign = layer.taker
    held = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}[name]
    now = {**dict(traced.named_parameters()), **dict(traced.named_buffers())}[name]
    added = (weight @ constant).reshape(len(weight), -1).sum(1)
    now.copy_(plan.cut(name, held.detach()).cpu().double() + sign * added)
