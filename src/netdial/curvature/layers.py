"""Linear and convolutional layers, whose gradients example by example are products of what goes in and what comes back.

The gradient of the weight of a linear layer is g aᵀ: a its input, g the gradient of its output. A convolution is a linear
layer on patches, one for each position (Grosse & Martens 2016). So squares and outer products of the gradients of single
examples can be summed without forming those gradients (Dangel et al. 2020).

This holds only for a layer that is called as a module and whose weight is used nowhere else. So it is checked: the gradients
put together from inputs and outputs must be autograd's, or the layer is left to the general way.

Shapes: B examples, T positions (1 for a linear layer on a flat input), I numbers in, U numbers out, K vectors, O outputs.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.noise import generator
from netdial.curvature.model import Model, one_tensor_of

_PROBE = 4


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear or convolutional layer and the names of its parameters."""

    module: nn.Linear | nn.Conv2d
    weight: str
    bias: str | None


@dataclass(frozen=True, eq=False)
class LayerCall:
    """What went into a layer when it ran, and the node of the graph that it gave back."""

    inputs: Tensor
    out: Tensor


def known_layers(model: Model) -> dict[str, Layer]:
    """Returns the layers, by name, whose gradients are known products, as checked on the first examples."""
    x = next(model.batches())[0][:_PROBE]
    layers = _candidates(model)
    for probe in (
        (x[1:], x) if len(x) > 1 else (x,)
    ):  # a dimension that is not the batch keeps its size
        out, uses = run(model, layers, probe)
        layers = {
            name: layer for name, layer in layers.items() if _aligned(layer, uses[name], len(probe))
        }
    if not layers:
        return {}
    leaves = dict(model.net.named_parameters())
    names = [n for layer in layers.values() for n in (layer.weight, layer.bias) if n is not None]
    nodes = [use.out for name in layers for use in uses[name]]
    v = torch.randn(out.shape, generator=generator("curvature-probe"), dtype=torch.float64).to(out)
    found = torch.autograd.grad(
        out, [*nodes, *(leaves[name] for name in names)], v, materialize_grads=True
    )
    grads, truth = iter(found), dict(zip(names, found[len(nodes) :], strict=True))
    return {
        name: layer
        for name, layer in layers.items()
        if _agrees(layer, uses[name], [next(grads) for _ in uses[name]], truth)
    }


def run(
    model: Model, layers: dict[str, Layer], x: Tensor
) -> tuple[Tensor, dict[str, list[LayerCall]]]:
    """Returns the outputs ``[B, ...]`` with their graph, and each layer's uses in the order of its calls."""
    uses: dict[str, list[LayerCall]] = {name: [] for name in layers}

    def note(name: str, inputs: Tensor, out: Tensor) -> Tensor:
        uses[name].append(LayerCall(inputs.detach(), out))
        return out.clone()  # what follows may change its input in place

    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.module.register_forward_hook(
                lambda module, args, out, name=name: note(name, args[0], out)
            )
            stack.callback(hook.remove)
        return one_tensor_of(model.net(x.clone())), uses


def pulled(
    out: Tensor, vectors: Tensor, uses: dict[str, list[LayerCall]]
) -> Iterator[dict[str, list[Tensor]]]:
    """Yields, for each of K vectors ``[B, K, O]``, the gradients of the layers' outputs in the order of their calls."""
    nodes = [use.out for calls in uses.values() for use in calls]
    for k, v in enumerate(vectors.unbind(1)):
        found = torch.autograd.grad(
            out, nodes, v, retain_graph=k + 1 < vectors.shape[1], materialize_grads=True
        )
        grads = iter(found)
        yield {name: [next(grads) for _ in calls] for name, calls in uses.items()}


def inputs_of(layer: Layer, uses: list[LayerCall]) -> Tensor:
    """Returns what a layer's weight was multiplied with, ``[B, T, I]``; several calls are further positions."""
    return torch.cat([_patches(layer.module, use.inputs) for use in uses], dim=1)


def gradients_of(layer: Layer, grads: list[Tensor]) -> Tensor:
    """Returns the gradients of a layer's outputs ``[B, T, U]``, in the same order of positions."""
    return torch.cat([_positions(layer.module, grad) for grad in grads], dim=1)


def _candidates(model: Model) -> dict[str, Layer]:
    owned = {id(leaf): name for name, leaf in model.net.named_parameters()}
    layers = {
        name: module
        for name, module in model.net.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and id(module.weight) in owned
        and (module.bias is None or id(module.bias) in owned)
        and _plain(module)
    }
    holders = Counter(
        id(leaf) for module in model.net.modules() for leaf in module.parameters(recurse=False)
    )
    return {
        name: Layer(
            module,
            owned[id(module.weight)],
            owned[id(module.bias)] if module.bias is not None else None,
        )
        for name, module in layers.items()
        if all(holders[id(leaf)] == 1 for leaf in module.parameters(recurse=False))
    }


def _plain(module: nn.Linear | nn.Conv2d) -> bool:
    """Returns whether patches of the input, cut out by ``F.unfold``, are what the weight is multiplied with."""
    if isinstance(module, nn.Linear):
        return True
    return (
        module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _aligned(layer: Layer, uses: list[LayerCall], examples: int) -> bool:
    """Returns whether a layer ran on inputs with one entry for each example in front."""
    least = 2 if isinstance(layer.module, nn.Linear) else 4
    return bool(uses) and all(
        use.inputs.ndim >= least and len(use.inputs) == examples for use in uses
    )


def _agrees(
    layer: Layer, uses: list[LayerCall], grads: list[Tensor], truth: dict[str, Tensor]
) -> bool:
    a, g = inputs_of(layer, uses), gradients_of(layer, grads)
    pairs = [(torch.einsum("btu,bti->ui", g, a).view_as(layer.module.weight), layer.weight)]
    if layer.bias is not None:
        pairs.append((g.sum(dim=(0, 1)), layer.bias))
    return all(_close(ours, truth[name]) for ours, name in pairs)


def _close(ours: Tensor, true: Tensor) -> bool:
    return bool((ours - true).norm() <= 1e-3 * true.norm())


def _patches(module: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor:
    """Returns ``[B, T, I]``."""
    if isinstance(module, nn.Linear):
        return _flat(inputs)
    assert not isinstance(module.padding, str)
    patches = F.unfold(inputs, module.kernel_size, module.dilation, module.padding, module.stride)
    return patches.transpose(1, 2)


def _positions(module: nn.Linear | nn.Conv2d, grad: Tensor) -> Tensor:
    """Returns ``[B, T, U]``."""
    if isinstance(module, nn.Linear):
        return _flat(grad)
    return grad.flatten(2).transpose(1, 2)


def _flat(rows: Tensor) -> Tensor:
    """Returns ``[B, ..., U]`` as ``[B, T, U]``; T is told, since U may be 0."""
    return rows.reshape(len(rows), math.prod(rows.shape[1:-1]), rows.shape[-1])
