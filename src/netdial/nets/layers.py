"""What a network consists of: shapes of its tensors, kinds of its layers and what its state leaves out, by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netdial.core.layout import unsaved

Shapes = dict[str, list[int]]


def shapes_of(net: nn.Module) -> Shapes:
    """Returns the shape of every parameter and buffer of a network, by name."""
    tensors: list[tuple[str, Tensor]] = [*net.named_parameters(), *net.named_buffers()]
    return {name: list(tensor.shape) for name, tensor in tensors}


def in_type(net: nn.Module, dtype: torch.dtype) -> None:
    """Gives floating parameters and buffers a number type, in place; complex ones, which ``net.to`` makes real, keep theirs."""
    net._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def layers_of(net: nn.Module) -> dict[str, str]:
    """Returns the kind of every layer of torch that has no tensors, by name: activations, pooling and the like.

    Layers that do nothing once training is over (dropout, identities) are left out.
    """
    return {
        name: type(layer).__name__
        for name, layer in net.named_modules()
        if type(layer).__module__.startswith("torch.nn.")
        and not isinstance(layer, nn.Identity | nn.modules.dropout._DropoutNd)
        and not any(True for _ in layer.children())
        and not any(True for _ in layer.parameters())
        and not any(True for _ in layer.buffers())
    }


def marks_of(net: nn.Module) -> dict[str, tuple[float, float]]:
    """Returns two numbers that tell the values of every buffer that is no part of the network's state: norm and a weighted sum.

    >>> net = nn.Module()
    >>> net.register_buffer("scale", torch.tensor([3.0, 4.0]), persistent=False)
    >>> marks_of(net)
    {'scale': (5.0, 11.0)}
    """
    found = {}
    for name, buffer in unsaved(net).items():
        numbers = torch.view_as_real(buffer) if buffer.is_complex() else buffer
        flat = numbers.detach().cpu().flatten().double().nan_to_num(0.0, 1.0, -1.0)
        places = torch.linspace(1.0, 2.0, len(flat), dtype=flat.dtype)
        found[name] = (float(flat.norm()), float(flat @ places))
    return found
