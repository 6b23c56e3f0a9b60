"""Channels that are 0 where an RMSNorm reads them: without them it gives the same for the others, up to a factor.

``x / √(Σ x² / n + ε) · w`` does not change when zeros leave the sum, n' of n numbers are left, ε becomes ε n / n' (as it does
wherever such a layer is cut, ``core.attributes``) and w becomes w √(n / n'). LayerNorm has no such form: the mean that it
subtracts enters its variance, so a layer over fewer numbers would have to go on counting n.

Beside it stands ``settle``, by which channels behind a BatchNorm come to be exactly constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netdial.channels.constants import known
from netdial.channels.graph import Graph
from netdial.channels.layers.frozen import Frozen
from netdial.channels.nodes import module_of, place
from netdial.core.plan import Group


def without_trace(
    graph: Graph, group: Group, channels: Sequence[int], found: Mapping[fx.Node, Any]
) -> tuple[tuple[int, ...], str]:
    """Returns the channels of a group without which the operations that normalise over it give the same, and why others stay.

    Args:
        graph: the network.
        group: a group with such operations.
        channels: those that nobody else needs.
        found: what is known of each node's result.
    """
    nodes = {place(node): node for node in graph.traced.graph.nodes}
    lengths = {place(reader.node) for reader, _ in graph.reads if reader.together}
    left = set(channels)
    for name in group.mixed:
        if name in lengths:  # somebody needs its channels that are not 0
            continue
        node = nodes.get(name)
        layer = None if node is None else module_of(graph.traced, node)
        slot = next((s for s in group.slots if node and s.leaf == f"{node.target}.weight"), None)
        if node is None or slot is None or type(layer) is not nn.RMSNorm or slot.dim:
            return (), f"{name} depends on all channels together"
        source: Tensor = found[node.all_input_nodes[0]]
        silent = (source == 0).flatten(0, -2).all(0).tolist()
        left = {c for c in left if all(silent[position] for position in slot.positions[c])}
    stay = len(left) < len(set(channels))
    why = f"{group.mixed[0]} reads them, and they are not 0 there" if stay else ""
    return tuple(sorted(left)), why


def depends_on_all(graph: Graph, group: Group) -> str:
    """Returns the operation that gives something else without channels of a group, even if they are 0; empty if none does."""
    nodes = {place(node): node for node in graph.traced.graph.nodes}
    for name in group.mixed:
        node = nodes.get(name)
        if node is None or type(module_of(graph.traced, node)) is not nn.RMSNorm:
            return name
    return ""


def norm_lengths(net: nn.Module) -> dict[str, int]:
    """Returns over how many channels each RMSNorm with weights goes, by the name of these."""
    return {
        leaf: len(weight)
        for leaf, weight in net.named_parameters()
        if weight.ndim == 1 and type(net.get_submodule(leaf.rpartition(".")[0])) is nn.RMSNorm
    }


@torch.no_grad()
def rescale(net: nn.Module, before: Mapping[str, int]) -> None:
    """Multiplies the weights of each RMSNorm that a cut made shorter, in place.

    Args:
        net: the network after the cut.
        before: what ``norm_lengths`` gave before it.
    """
    for leaf, length in before.items():
        weight = net.get_parameter(leaf)
        if len(weight) < length:
            weight.mul_(math.sqrt(length / len(weight)))


@torch.no_grad()
def settle(graph: Graph) -> None:
    """Gives running means of batch normalisations the value of channels that are the same for every input, in place.

    In training such a channel comes out as the bias; in evaluation it does once the running mean has arrived there, which it
    never does to the last bit. Only then can the channel go exactly. Those that are frozen go by theirs in training, too.
    """
    called = [(n, module_of(graph.traced, n)) for n in graph.traced.graph.nodes]
    nodes = [n for n, m in called if isinstance(m, _BatchNorm) and not isinstance(m, Frozen)]
    for _ in nodes:  # one may stand behind another
        found, moved = known(graph.traced, graph.example, continues=False), False
        for node in nodes:
            layer, x = module_of(graph.traced, node), found[node.all_input_nodes[0]]
            if not isinstance(layer, _BatchNorm) or layer.running_mean is None:
                continue
            lines = x.transpose(0, 1).flatten(1)
            same = lines.amax(1) == lines.amin(1)  # False where anything is NaN
            moved |= bool((same & (lines[:, 0] != layer.running_mean)).any())
            layer.running_mean.copy_(torch.where(same, lines[:, 0], layer.running_mean))
        if not moved:
            break
