"""A switch behind a parameter of the network itself, or behind a node that makes or scales channels by one, merged into it."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from netdial.channels.fold.affine import Affine, CannotFold
from netdial.channels.layers.flow.weighted import biased, lone_parameter, normalising, weighted


def chain_of(maker: fx.Node) -> list[fx.Node]:
    """Returns a parameter, or the node that makes or scales channels by one, behind the sum with a bias if that was given.

    Raises:
        CannotFold: it is nothing of the kind, for no reason that would be news.
    """
    if lone_parameter(maker) or normalising(maker):
        return [maker]
    found = biased(maker)
    if found is None and weighted(maker) is None:
        raise CannotFold("")
    return [maker] if found is None else [maker, found[0]]


@torch.no_grad()
def scale_parameters(
    traced: fx.GraphModule, chain: list[fx.Node], affine: Affine, ndim: int
) -> str:
    """Scales the parameters by which nodes make or scale channels, in place; returns the name of the first.

    Raises:
        CannotFold: a shift cannot be taken up, the channels are others, or a layer holds a parameter, too.
    """
    if affine.shift.any():
        raise CannotFold(f"{chain[0].name!r} before it cannot hold a shift")
    if chain[0].op == "get_attr":
        alone = _leaf(traced, chain[0])
        alone *= affine.scale.to(alone).view(-1, *[1] * (ndim - 1 - affine.dim))
        return str(chain[0].target)
    if scales := normalising(chain[0]):
        held = [_leaf(traced, node) for node in scales]
        if affine.dim != 1 or any(leaf.shape != affine.scale.shape for leaf in held):
            raise CannotFold(f"{chain[0].name!r} before it scales other channels")
        for leaf in held:
            leaf *= affine.scale.to(leaf)
        return str(scales[0].target)
    found, added = weighted(chain[-1]), biased(chain[0])
    assert found is not None
    if affine.dim != found.dim % ndim:
        raise CannotFold(
            f"{chain[0].name!r} has its channels in dimension {found.dim % ndim}, not in dimension {affine.dim}"
        )
    weight = _leaf(traced, found.weight)
    own = [] if found.bias is None else [_leaf(traced, found.bias)]
    lines = [-1, *[1] * (-1 - found.dim)]
    biases = [bias.view(lines) if bias.ndim == 1 else bias for bias in own]  # one for each channel
    biases += [] if added is None else [_leaf(traced, added[1])]
    if any(bias.shape[found.dim :][:1] != affine.scale.shape for bias in biases):
        raise CannotFold(
            f"{chain[0].name!r} adds something that is not one number for each channel"
        )
    shape = [1] * weight.ndim
    shape[found.axis] = -1
    weight *= affine.scale.to(weight).view(shape)
    for bias in biases:
        bias *= affine.scale.to(bias).view(lines)
    return str(found.weight.target)


def _leaf(traced: fx.GraphModule, node: fx.Node) -> Tensor:
    """Returns a parameter that no layer which is called holds besides."""
    found: Tensor = operator.attrgetter(str(node.target))(traced)
    for one in traced.graph.nodes:
        if one.op == "call_module":
            held = traced.get_submodule(str(one.target)).parameters()
            if any(leaf is found for leaf in held):
                raise CannotFold(f"{one.name!r} shares its weights with another place")
    return found
