"""Where switches stand in a network, and how they get there.

A switch stands behind a layer's BatchNorm or GroupNorm, never before it: there a dead channel would come out as its bias.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netdial.channels.layers.flow.behind import added, normalised
from netdial.channels.layers.flow.reaching import (
    By,
    is_added,
    is_aside,
    makes_output,
    may_sum,
    mixing,
    origins,
)
from netdial.channels.layers.flow.weighted import biased, made_of, unswitched, weighted
from netdial.channels.layers.gated import RECURRENT, SWITCH, gate_units, gated, unread
from netdial.channels.layers.switch import Start, Switch
from netdial.channels.nodes import module_of, only_asks
from netdial.core.errors import ConfigError

ADDED = "is added to another layer (streams=True, --streams, allows it)"
"""Why a layer of a residual stream has no switch."""


def insert_switches(
    traced: fx.GraphModule,
    *,
    start: Start = "unit",
    generator: torch.Generator | None = None,
    streams: bool = False,
    summed: By | None = None,
) -> dict[str, str]:
    """Puts switches behind the layers of a traced network, in place; returns layer -> switch.

    They are linear, convolution and embedding modules, products with a parameter of the network's own (``flow.weighted``;
    there the layer is the parameter), and recurrent layers and cells, whose switch is on the hidden units (``layers.gated``).

    A switch stands behind the layer's normalisation if that is all that reads the layer, else right behind the layer and behind
    the parameters that are added to its channels later (``flow.behind``), so a channel with θ = 0 sends 0 to all who read it.
    With ``start="unit"`` the network computes bit for bit what it did. A layer that is called several times has one switch,
    called as often. Layers whose channels are the network's outputs, or come to be without another layer in between, have
    none.

    Args:
        traced: the network; its graph is changed and compiled again.
        start: see ``Switch``.
        generator: see ``Switch``; drawn from in the order of the graph.
        streams: also behind layers whose channels are added to those of another layer (residual branches, the layer
            that begins a residual stream, parallel layers). There a switch gates its own branch alone: its channels can be
            removed only when all that are added together are off. By default switches stand in inner layers.
        summed: who sums over channels before they come to an output, see ``sums_ahead``.

    Returns:
        name of the layer -> name of its switch: ``switch_`` and the layer's with dots as underscores; of recurrent layers
        the layer's and ``.switch``.

    Raises:
        ConfigError: there are switches already, or no layer can have a switch.
    """
    if any(isinstance(module, Switch) for module in traced.modules()):
        raise ConfigError(
            "insert_switches: the network has switches already; start from one without (of what nd.shrink returned "
            "shrunk.fold()[0], or its file by nd.load_model)"
        )
    calls = _calls(traced)
    barred = _barred(traced, calls, streams=streams, summed=summed)
    made = {}
    chosen = _chosen(traced, calls, barred)
    units = {layer for layer in chosen if _is_recurrent(module_of(traced, calls[layer][0]))}
    for layer in chosen:
        switch = _switch_for(traced, calls[layer][0], start, generator)
        if layer in units:
            made[layer] = f"{layer}.{SWITCH}"
            layers: Any = traced.get_submodule(layer)
            traced.set_submodule(layer, gated(layers, switch))
            for node in calls[layer]:
                gate_units(traced, node, made[layer], units)
            continue
        name = made[layer] = _free_name(traced, f"switch_{layer.replace('.', '_')}")
        traced.add_submodule(name, switch)
        for place in [place for node in calls[layer] for place in _places(traced, node, switch)]:
            _gate(traced.graph, place, name)
    traced.graph.lint()
    traced.recompile()
    return made


def sums_ahead(traced: fx.GraphModule) -> bool:
    """Returns whether channels may come to the output through sums over them alone; then ``summed`` has to be asked for."""
    mixes = mixing(traced)
    nodes = [node for nodes in _calls(traced).values() for node in nodes]
    return any(
        makes_output(node, mixes)
        and not makes_output(node, lambda user, source: may_sum(user) or mixes(user, source))
        for node in nodes
    )


def without_switch(
    traced: fx.GraphModule, *, streams: bool = False, summed: By | None = None
) -> dict[str, str]:
    """Returns why layers and weights can have no switch, by the leaf that makes their channels; to be asked before any stands.

    Args:
        traced: the network.
        streams: as of ``insert_switches``.
        summed: as of ``insert_switches``.
    """
    calls = _calls(traced)
    held, found = dict(traced.named_parameters()), dict[str, str]()
    for layer, why in _barred(traced, calls, streams=streams, summed=summed).items():
        names = [n for n in (layer, f"{layer}.weight", f"{layer}.weight_hh_l0") if n in held]
        found |= dict.fromkeys(names[:1], why)
    for node in traced.graph.nodes:
        if why := unswitched(traced, node):
            found |= dict.fromkeys(made_of(traced, node), why)
    return found


def _calls(traced: fx.GraphModule) -> dict[str, list[fx.Node]]:
    """Returns the nodes that make channels, by the name of the module or the parameter that does, in the order of the graph."""
    found: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        module = module_of(traced, node)
        if isinstance(module, (nn.Linear, _ConvNd)) or _is_recurrent(module) or _is_table(module):
            found.setdefault(str(node.target), []).append(node)
        elif (by := weighted(node)) is not None and _parameter(traced, by.weight).ndim > 1:
            found.setdefault(str(by.weight.target), []).append(node)
    return found


def _barred(
    traced: fx.GraphModule,
    calls: Mapping[str, Sequence[fx.Node]],
    *,
    streams: bool,
    summed: By | None = None,
) -> dict[str, str]:
    """Returns the layers that can have no switch, and why."""
    barred = {}
    for layer, nodes in calls.items():
        mixes = mixing(traced)
        outward = any(makes_output(node, mixes) for node in nodes)
        if outward and (by := (summed or {}).get(_made_by(traced, nodes[0]))):
            mixes = mixing(traced, by.readers)
            outward = any(makes_output(node, mixes) for node in nodes)
            if by.mixed:
                barred[layer] = f"meets {by.mixed[0]}, which depends on all channels together"
                continue
        if outward:
            barred[layer] = "makes the network's output"
        elif not _channels(traced, nodes[0])[0]:
            barred[layer] = "has no channels"
        elif any(is_aside(node, mixes) for node in nodes):
            barred[layer] = "runs without gradients"
        elif _is_recurrent(module_of(traced, nodes[0])) and (
            why := _no_units(traced, layer, nodes)
        ):
            barred[layer] = why
        elif not streams and any(is_added(traced, node, mixes) for node in nodes):
            barred[layer] = ADDED
    return barred


def _made_by(traced: fx.GraphModule, node: fx.Node) -> tuple[str, int]:
    """Returns the leaf and the dimension that make a layer's channels."""
    module, by = module_of(traced, node), weighted(node)
    if by is not None:
        axis = by.axis % _parameter(traced, by.weight).ndim
        return str(by.weight.target), axis
    weight = (
        "weight_hh_l0"
        if isinstance(module, nn.RNNBase)
        else "weight_hh"
        if isinstance(module, nn.RNNCellBase)
        else "weight"
    )
    second = isinstance(module, _ConvTransposeNd | nn.Embedding | nn.EmbeddingBag)
    return f"{node.target}.{weight}", int(second)


def _is_table(module: nn.Module | None) -> bool:
    """Returns whether a module looks up vectors, or sums or means of them, each channel by itself."""
    if not isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return False
    largest = isinstance(module, nn.EmbeddingBag) and module.mode == "max"
    return module.max_norm is None and not largest


def _is_recurrent(module: nn.Module | None) -> bool:
    return type(module) in RECURRENT


def _no_units(traced: fx.GraphModule, layer: str, nodes: Sequence[fx.Node]) -> str:
    """Returns why there can be no switch on a recurrent layer's units; empty if there can."""
    if any(unread(traced, node) for node in nodes):
        return (
            "gives several tensors that are used as a whole; take what is needed of them by itself"
        )
    own = {id(leaf) for leaf in traced.get_submodule(layer).parameters()}
    for name, module in traced.named_modules():
        if name != layer and own & {id(leaf) for leaf in module.parameters(recurse=False)}:
            return f"shares weights with {name or 'the network itself'}"
    return ""


def _chosen(
    traced: fx.GraphModule, calls: Mapping[str, Any], barred: Mapping[str, str]
) -> list[str]:
    """Returns the layers that get a switch."""
    free = [layer for layer in calls if layer not in barred]
    if not free and (others := [why for n in traced.graph.nodes if (why := unswitched(traced, n))]):
        known = [f"{layer} {barred[layer]}" for layer in calls]
        raise ConfigError("the network has no layer that can shrink: " + "; ".join(known + others))
    if not calls:
        raise ConfigError(
            "the network has no layer that can shrink: it calls no linear, convolution, embedding or recurrent module, and "
            "multiplies by no parameter of its own"
        )
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
    channels, dim, copies, like = _channels(traced, node)
    switch = Switch(
        channels, dim=dim, copies=copies, start=start, generator=generator, dtype=like.dtype.to_real(), device=like.device,
    )  # fmt: skip
    return switch.train(traced.training)


def _channels(traced: fx.GraphModule, node: fx.Node) -> tuple[int, int, int, Tensor]:
    """Returns how many channels a node makes, along which dimension, how often each, and the weights that make them."""
    module, by = module_of(traced, node), weighted(node)
    if by is not None:
        leaf = _parameter(traced, by.weight)
        return leaf.shape[by.axis], by.dim, 1, leaf
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        like: Any = module.weight_hh_l0 if isinstance(module, nn.RNNBase) else module.weight_hh
        channels = getattr(module, "proj_size", 0) or module.hidden_size
        return channels, -1, 1 + getattr(module, "bidirectional", False), like
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return module.embedding_dim, -1, 1, module.weight
    if isinstance(module, nn.Linear):
        return module.out_features, -1, 1, module.weight
    assert isinstance(module, _ConvNd)
    return module.out_channels, -1 - len(module.kernel_size), 1, module.weight


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


def _places(traced: fx.GraphModule, node: fx.Node, switch: Switch) -> list[fx.Node]:
    """Returns the nodes behind which the switch of a layer's call stands: one with its channels, and what is added to them."""
    own = origins(traced, node)

    def foreign(other: fx.Node) -> bool:
        return not origins(traced, other) <= own

    if (norm := normalised(traced, node, switch.dim, foreign)) is not None:
        return [norm]
    readers = [user for user in node.users if not only_asks(user)]
    if len(readers) == 1 and (found := biased(readers[0])) is not None and found[0] is node:
        node = readers[0]
    return [
        node,
        *(b for b in added(traced, node, switch.dim, foreign) if _fits(traced, b, switch)),
    ]


def _fits(traced: fx.GraphModule, node: fx.Node, switch: Switch) -> bool:
    """Returns whether a parameter has a number for each channel of a switch, in its dimension."""
    shape = _parameter(traced, node).shape
    return len(shape) >= -switch.dim and shape[switch.dim] == len(switch.theta)
