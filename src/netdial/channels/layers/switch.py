"""Switches: a number for each channel that multiplies it, so that a channel with the number 0 is off.

Source: ShrinkNets (draft), section 3.2, eq. 1: ``Switch(I; θ) = diag(θ) I`` with θ raw, sign and all. The draft says
besides that ``θ_k <= 0`` deactivates a channel; with eq. 1 that holds for ``θ_k = 0`` alone. Eq. 1 is kept: a channel is
dead when its θ is exactly 0, and a negative θ is as alive as a positive one.

A switch stands behind a layer's BatchNorm, never before it: there a dead channel would come out as the BatchNorm's bias.
A switch keeps its input for the backward pass, as any product does.

Shapes: B batch, T positions, C channels, D other dimensions.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from netdial.channels.layers.attention import Attention
from netdial.channels.layers.weighted import biased, weighted
from netdial.channels.nodes import detached, module_of
from netdial.core.errors import ConfigError, ShapeError, unknown

Start = Literal["unit", "sampled"]

_MIXING = (
    *(nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase),
    *(nn.MultiheadAttention, Attention),
)
_MIXING_FUNCTIONS: set[Any] = {
    F.linear,
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}
_PRODUCTS: set[Any] = {
    *(operator.matmul, torch.matmul, torch.bmm, torch.einsum),
    *(F.scaled_dot_product_attention, "matmul", "bmm"),
}
_SUMS: set[Any] = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub),
    *("add", "add_", "sub", "sub_"),
}
_ASKS: set[Any] = {"size", "dim", "numel", getattr}


class Switch(nn.Module):
    """Multiplies every channel by its θ (draft, eq. 1).

    Attributes:
        theta: θ ``[C]``; 0 is off.
        dim: dimension of the channels.

    Args:
        channels: C, at least 1.
        dim: dimension of the channels: 1 for ``[B, C, *D]``, -1 for ``[B, T, C]``.
        start: ``unit`` is 1 everywhere and changes nothing at all; ``sampled`` draws from N(0, 1) as the draft does, either
            sign allowed.
        generator: source of the ``sampled`` numbers, on the processor.
        dtype: of θ.
        device: of θ.

    Raises:
        ConfigError: there is no channel, or the start is unknown.
    """

    def __init__(
        self,
        channels: int,
        *,
        dim: int = 1,
        start: Start = "unit",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ConfigError(f"Switch(channels={channels}): expected at least 1")
        if start not in ("unit", "sampled"):
            raise unknown("start of a switch", start, ("unit", "sampled"))
        drawn = torch.ones(channels)
        if start == "sampled":
            drawn = torch.randn(channels, generator=generator)
        self.theta = nn.Parameter(drawn.to(device=device, dtype=dtype))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Returns θ x in the shape, number type and memory format of x ``[B, C, *D]`` (C stands at ``dim``).

        Raises:
            ShapeError: x has another number of channels.
        """
        if isinstance(x, Tensor) and x.shape[self.dim] != len(self.theta):
            raise ShapeError(
                f"switch of {len(self.theta)} channels: x is {list(x.shape)}, {x.shape[self.dim]} along dimension {self.dim}"
            )
        behind = -1 - self.dim if self.dim < 0 else x.ndim - 1 - self.dim
        return x * self.theta.type_as(x).view(-1, *[1] * behind)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows of a switch."""
        return f"{len(self.theta)}, dim={self.dim}"


def insert_switches(
    traced: fx.GraphModule,
    *,
    start: Start = "unit",
    generator: torch.Generator | None = None,
    streams: bool = False,
) -> dict[str, str]:
    """Puts switches behind linear and convolution modules of a traced network, in place; returns layer -> switch.

    Behind products with a parameter of the network's own (``layers.weighted``), too; there the layer is the parameter.

    A switch stands behind the layer's BatchNorm if that is all that reads the layer, else right behind the layer, so a
    channel with θ = 0 sends 0 to all who read it. With ``start="unit"`` the network computes bit for bit what it did. A
    layer that is called several times has one switch, called as often. Layers whose channels are the network's outputs,
    or come to be without another layer in between, have none.

    Args:
        traced: the network; its graph is changed and compiled again.
        start: see ``Switch``.
        generator: see ``Switch``; drawn from in the order of the graph.
        streams: also behind layers whose channels are added to those of another layer (residual branches, the layer
            that begins a residual stream, parallel layers). There a switch gates its own branch alone: its channels can be
            removed only when all that are added together are off. By default switches stand in inner layers.

    Returns:
        name of the layer -> name of its switch, ``switch_`` and the layer's with dots as underscores.

    Raises:
        ConfigError: there are switches already, or no layer can have a switch.
    """
    if any(isinstance(module, Switch) for module in traced.modules()):
        raise ConfigError(
            "insert_switches: the network has switches already; start from one without"
        )
    calls = _calls(traced)
    barred = _barred(traced, calls, streams=streams)
    made = {}
    for layer in _chosen(calls, barred):
        name = _free_name(traced, f"switch_{layer.replace('.', '_')}")
        made_by = calls[layer][0]
        traced.add_submodule(name, _switch_for(traced, made_by, start, generator))
        for node in calls[layer]:
            _gate(traced.graph, _place(traced, node), name)
        made[layer] = name
    traced.graph.lint()
    traced.recompile()
    return made


def _calls(traced: fx.GraphModule) -> dict[str, list[fx.Node]]:
    """Returns the nodes that make channels, by the name of the module or the parameter that does, in the order of the graph."""
    found: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        if isinstance(module_of(traced, node), (nn.Linear, _ConvNd)):
            found.setdefault(str(node.target), []).append(node)
        elif (by := weighted(node)) is not None and _parameter(traced, by.weight).ndim > 1:
            found.setdefault(str(by.weight.target), []).append(node)
    return found


def _barred(
    traced: fx.GraphModule, calls: Mapping[str, Sequence[fx.Node]], *, streams: bool
) -> dict[str, str]:
    """Returns the layers that can have no switch, and why."""
    barred = {}
    for layer, nodes in calls.items():
        if any(_makes_output(traced, node) for node in nodes):
            barred[layer] = "makes the network's output"
        elif any(_is_aside(traced, node) for node in nodes):
            barred[layer] = "runs without gradients"
        elif not streams and any(_is_added(traced, node) for node in nodes):
            barred[layer] = "is added to another layer (streams=True allows it)"
    return barred


def _chosen(calls: Mapping[str, Any], barred: Mapping[str, str]) -> list[str]:
    """Returns the layers that get a switch."""
    if not calls:
        raise ConfigError(
            "the network has no layer that can shrink: it calls no linear or convolution module, and multiplies by no "
            "parameter of its own"
        )
    free = [layer for layer in calls if layer not in barred]
    if not free:
        raise ConfigError(
            "the network has no layer that can shrink: "
            + "; ".join(f"{layer} {barred[layer]}" for layer in calls)
            + "; give one with hidden layers, for example mlp:64"
        )
    return free


def _switch_for(
    traced: fx.GraphModule, node: fx.Node, start: Start, generator: torch.Generator | None
) -> Switch:
    module, by = module_of(traced, node), weighted(node)
    if by is not None:
        like = _parameter(traced, by.weight)
        channels, dim = like.shape[by.axis], by.dim
    elif isinstance(module, nn.Linear):
        channels, dim, like = module.out_features, -1, module.weight
    else:
        assert isinstance(module, _ConvNd)
        channels, dim = module.out_channels, -1 - len(module.kernel_size)
        like = module.weight
    switch = Switch(
        channels, dim=dim, start=start, generator=generator, dtype=like.dtype, device=like.device
    )
    return switch.train(traced.training)


def _parameter(traced: fx.GraphModule, node: fx.Node) -> Tensor:
    found: Tensor = operator.attrgetter(str(node.target))(traced)
    return found


def _free_name(traced: fx.GraphModule, name: str) -> str:
    while hasattr(traced, name):
        name += "_"
    return name


def _gate(graph: fx.Graph, place: fx.Node, name: str) -> None:
    """Puts a call of the switch between a node and all who read it."""
    with graph.inserting_after(place):
        gate = graph.call_module(name, (place,))
    place.replace_all_uses_with(gate, delete_user_cb=lambda user: user is not gate)


def _place(traced: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Returns the node behind which the switch of a layer's call stands."""
    readers = [user for user in node.users if not _only_asks(user)]
    if len(readers) == 1 and readers[0].args[:1] == (node,):
        reader = readers[0]
        if isinstance(module_of(traced, reader), _BatchNorm) or reader.target is F.batch_norm:
            return reader
    if len(readers) == 1 and (found := biased(readers[0])) is not None and found[0] is node:
        return readers[0]
    return node


def _makes_output(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Returns whether channels of a node reach the output without a layer in between."""
    return any(found.op == "output" for found in _reached(node, _mixes(traced)))


def _is_aside(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Returns whether what a node gives is detached before another layer reads it, so that its switch could not learn."""
    return any(found.target is detached for found in _reached(node, _mixes(traced)))


def _is_added(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Returns whether channels of a node are added to what does not come from the same layer alone."""

    def stops(user: fx.Node, source: fx.Node) -> bool:
        return user.target in _PRODUCTS or _mixes(traced)(user, source)

    sums = [found for found in _reached(node, stops) if found.target in _SUMS]
    return any(len(_origins(traced, found)) > 1 for found in sums)


def _mixes(traced: fx.GraphModule) -> Callable[[fx.Node, fx.Node], bool]:
    """Returns the test whether a node makes new channels from those of another that it reads."""

    def mixes(user: fx.Node, source: fx.Node) -> bool:
        if isinstance(module_of(traced, user), _MIXING):
            return True
        by = weighted(user)
        if by is not None and by.source is source:
            return True
        return user.target in _MIXING_FUNCTIONS and user.args[:1] == (source,)

    return mixes


def _reached(node: fx.Node, stops: Callable[[fx.Node, fx.Node], bool]) -> Iterator[fx.Node]:
    """Yields the nodes to which channels of a node flow, up to and without those that stop them."""
    seen, waiting = {node}, [node]
    while waiting:
        source = waiting.pop()
        for user in source.users:
            if user not in seen and not _only_asks(user) and not stops(user, source):
                seen.add(user)
                waiting.append(user)
                yield user


def _origins(traced: fx.GraphModule, node: fx.Node) -> set[str]:
    """Returns the layers and inputs whose channels a node reads without a layer in between; constants do not count."""
    origins, seen, waiting = set(), {node}, [node]
    while waiting:
        reader = waiting.pop()
        module = module_of(traced, reader)
        if reader.op == "placeholder" or isinstance(module, _MIXING):
            origins.add(str(reader.target))
        elif reader.target in _MIXING_FUNCTIONS | _PRODUCTS or weighted(reader) is not None:
            origins.add(reader.name)
        else:
            sources = [s for s in reader.all_input_nodes if s not in seen and not _only_asks(s)]
            seen.update(sources)
            waiting += sources
    return origins


def _only_asks(node: fx.Node) -> bool:
    """Returns whether a node asks for a shape or a type and reads no channel."""
    return node.op in ("call_method", "call_function") and node.target in _ASKS
