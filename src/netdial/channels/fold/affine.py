"""Affine maps of channels, y = scale x + shift: of switches and batch normalisations, and how they merge into layers.

Switches and batch normalisation in evaluation *are* such maps; linear layers and convolutions can take one up. What is exact
where is decided in ``fold.py``.

Shapes: B batch, C channels, G groups of a convolution, * positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.channels.layers.switch import Switch

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Linear = nn.Linear | Convolution | Transposed
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm
Scale = Switch | Norm
Layer = Linear | Scale
ByChannel = nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
"""Normalisations that go by their inputs, and have a weight and a bias for each channel if any."""
Recurrent = nn.RNNBase | nn.RNNCellBase
Reader = Layer | Recurrent
Table = nn.Embedding | nn.EmbeddingBag
Maker = Layer | ByChannel | Table

BY_BATCH = "normalises by the batch even in evaluation (no running statistics)"


@dataclass(frozen=True)
class Affine:
    """y = scale x + shift, both ``[C]`` along dimension ``dim``."""

    scale: Tensor
    shift: Tensor
    dim: int

    def same(self, other: Affine) -> bool:
        """Returns whether another one is equal to the bit."""
        alike = torch.equal(self.scale, other.scale) and torch.equal(self.shift, other.shift)
        return alike and self.dim == other.dim

    def flattened(self, shape: torch.Size) -> Affine:
        """Returns the same for a tensor ``[B, *]`` of this shape when it is made ``[B, P]``."""
        view = [-1 if d == self.dim else 1 for d in range(1, len(shape))]
        scale, shift = (x.view(view).expand(shape[1:]).flatten() for x in (self.scale, self.shift))
        return Affine(scale, shift, 1)


class CannotFold(Exception):
    """Raised when a switch or a normalisation cannot be folded; the message is the reason."""


def normalisation(norm: Norm) -> tuple[Tensor, Tensor]:
    """Returns scale and shift ``[C]`` of a batch normalisation in evaluation.

    Raises:
        CannotFold: it has no running statistics, so it depends on the batch.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise CannotFold(BY_BATCH)
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def channel_dim(layer: Reader | Maker, ndim: int) -> int:
    """Returns the dimension of a layer's channels in an input or output of ``ndim`` dimensions."""
    if isinstance(layer, Switch):
        return layer.dim % ndim
    if isinstance(layer, nn.Linear | nn.RNNBase | nn.RNNCellBase | Table):
        return ndim - 1
    if isinstance(layer, Convolution | Transposed):
        return ndim - 1 - len(layer.kernel_size)
    return 1


def no_shift(layer: Reader) -> str:
    """Returns why a layer cannot absorb a shift of its input; empty if it can."""
    if isinstance(layer, Switch):
        return "cannot hold a shift"
    if isinstance(layer, Recurrent):
        return "is a recurrent layer"
    if isinstance(layer, Transposed):
        return "is a transposed convolution, which would lay a shift down unevenly"
    padded = isinstance(layer, Convolution) and any(layer._reversed_padding_repeated_twice)
    if padded and layer.padding_mode == "zeros":
        return "pads with zeros, to which a shift does not apply"
    return ""


def _groups(layer: Linear) -> int:
    return int(getattr(layer, "groups", 1))


def _weighted(layer: Linear, vector: Tensor, *, output: bool) -> Tensor:
    """Returns a layer's weight times a number for each channel that it makes (or reads)."""
    rows = output != isinstance(layer, Transposed)
    groups = _groups(layer)
    apart = layer.weight.unflatten(0, (groups, -1))
    shape = [groups, -1, 1] if rows else [groups, 1, -1]
    spread = vector.view(shape + [1] * (apart.ndim - 3))
    return torch.mul(apart, spread).flatten(0, 1)


def scale_output(layer: Maker, affine: Affine) -> None:
    """Changes a layer so that it outputs a x + b in place of x; a table of vectors has b = 0."""
    if isinstance(layer, Table):
        layer.weight.data = layer.weight * affine.scale
        return
    if isinstance(layer, Switch):
        layer.theta.data = layer.theta * affine.scale
        return
    if isinstance(layer, Norm | ByChannel):
        if isinstance(layer, Norm) and not layer.affine:
            _set_normalisation(layer, *normalisation(layer))
        layer.weight.data = layer.weight * affine.scale
        if layer.bias is not None:
            layer.bias.data = layer.bias * affine.scale
    else:
        layer.weight.data = _weighted(layer, affine.scale, output=True)
        if layer.bias is not None:
            layer.bias.data = layer.bias * affine.scale
    _add_bias(layer, affine.shift)


def scale_input(layer: Reader, affine: Affine) -> None:
    """Changes a layer so that its output for x is what it was for a x + b."""
    if isinstance(layer, Switch):
        layer.theta.data = layer.theta * affine.scale
    elif isinstance(layer, Recurrent):
        for name, leaf in layer.named_parameters():
            if name.removesuffix("_reverse") in ("weight_ih", "weight_ih_l0"):
                leaf.data = leaf * affine.scale
    elif isinstance(layer, Norm):
        scale, shift = normalisation(layer)
        _set_normalisation(layer, scale * affine.scale, shift + scale * affine.shift)
    else:
        if affine.shift.any():
            added = _weighted(layer, affine.shift, output=False).flatten(1).sum(dim=1)
            _add_bias(layer, added)
        layer.weight.data = _weighted(layer, affine.scale, output=False)


def _add_bias(layer: Linear | Norm | ByChannel, shift: Tensor) -> None:
    """Adds to the bias of a layer, and creates it if there is none."""
    if layer.bias is not None:
        layer.bias.data = layer.bias + shift
    elif shift.any():
        layer.bias = nn.Parameter(shift.clone(), requires_grad=layer.weight.requires_grad)


def _set_normalisation(norm: Norm, scale: Tensor, shift: Tensor) -> None:
    """Makes a batch normalisation in evaluation be y = scale x + shift."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    weight = scale * (norm.running_var + norm.eps).sqrt()
    if not norm.affine:
        norm.affine = True
        norm.weight, norm.bias = nn.Parameter(weight), nn.Parameter(shift)
    norm.weight.data, norm.bias.data = weight, shift
