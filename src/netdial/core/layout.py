"""Layout: how the leaves of a parameter tree lie in one flat vector.

A tree of parameters is ``dict[str, Tensor]``. Maps work on the flat vector (one matrix product serves a whole network);
networks work on the tree. A layout is a value that converts between the two without copies and knows which flat
positions survive when a dimension of a leaf is cut.

Shapes: ``...`` leading batch dimensions (often K complexity values), P all numbers of the tree.
"""

from __future__ import annotations

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.errors import ShapeError, unknown

Params = dict[str, Tensor]
CARRIES = 0.99
"""Share of a layer's squared norm that the weights which count as kept carry."""


@dataclass(frozen=True)
class Layout:
    """Names and shapes of leaves, in the order in which they lie in the flat vector."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Mapping[str, Tensor]) -> Layout:
        """Returns the layout of a tree."""
        return cls(tuple(params), tuple(tuple(leaf.shape) for leaf in params.values()))

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Count of numbers in each leaf."""
        return [math.prod(shape) for shape in self.shapes]

    @functools.cached_property
    def size(self) -> int:
        """P, the count of numbers in the tree."""
        return sum(self.sizes)

    def split(self, flat: Tensor) -> Params:
        """Returns views ``name -> [..., *shape]`` of a flat tensor ``[..., P]``.

        Raises:
            ShapeError: the last dimension is not P.
        """
        if flat.shape[-1] != self.size:
            raise ShapeError(
                f"Layout.split: last dimension is {flat.shape[-1]}, the layout has {self.size} numbers"
            )
        pieces = flat.split(self.sizes, dim=-1)
        lead = flat.shape[:-1]
        return {
            name: piece.view((*lead, *shape))
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }

    def join(self, params: Mapping[str, Tensor]) -> Tensor:
        """Returns the flat tensor ``[P]`` of a tree with exactly these leaves."""
        return torch.cat([params[name].reshape(-1) for name in self.names])

    def cut(self, name: str, dim: int, keep: Tensor) -> tuple[Layout, Tensor]:
        """Returns the layout after a cut and the flat positions that survive.

        Args:
            name: leaf to cut.
            dim: dimension of the leaf.
            keep: int64 ``[kept]``, indices along ``dim`` that survive, in their new order.

        Returns:
            The new layout and an int64 tensor of flat positions such that for every flat vector ``v``
            ``new.split(v[positions])[name] == old.split(v)[name].index_select(dim, keep)``.
        """
        if name not in self.names:
            raise unknown("leaf", name, self.names)
        positions = self.split(torch.arange(self.size))
        positions[name] = positions[name].index_select(dim, keep)
        layout = Layout.of(positions)
        return layout, layout.join(positions)


def owners(net: nn.Module) -> dict[str, list[str]]:
    """Returns layer -> names of its parameters, in the order of the network; those of the network itself are a layer, too."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, _ in net.named_parameters():
        found[name.rpartition(".")[0] or type(net).__name__].append(name)
    return dict(found)


def holders(net: nn.Module) -> Counter[int]:
    """Returns how many layers hold each parameter, by its ``id``."""
    return Counter(id(p) for layer in net.modules() for p in layer.parameters(recurse=False))


def unsaved(net: nn.Module) -> Params:
    """Returns the buffers of a network that are no part of its state."""
    state = net.state_dict()
    return {name: buffer for name, buffer in net.named_buffers() if name not in state}


@torch.no_grad()
def put_back(kept: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    """Gives buffers the numbers that were kept of them; one of another shape, a cache that grew, stays as it is."""
    for name, buffer in buffers.items():
        if name in kept and kept[name].shape == buffer.shape:
            buffer.copy_(kept[name])


@torch.no_grad()
def take_buffers(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Gives buffers of a network values by name; one of another shape, or that is not there yet, is replaced by its value."""
    held, like = dict(net.named_buffers()), next(net.parameters())
    for name, value in values.items():
        if name in held and held[name].shape == value.shape:
            held[name].copy_(value)
        else:
            owner, _, last = name.rpartition(".")
            net.get_submodule(owner)._buffers[last] = value.to(like.device, copy=True)


@torch.no_grad()
def fill(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Gives parameters of a network values by name; its ``load_state_dict`` may read other names, those of older files."""
    leaves = dict(net.named_parameters())
    for name, value in values.items():
        leaves[name].copy_(value)


def carrying(weights: Tensor) -> int:
    """Returns how many of the largest weights carry 99 % of their squared norm; 0 if all are 0.

    >>> carrying(torch.tensor([3.0, 0.1, -3.0]))
    2
    """
    squares = weights.detach().double().flatten().square().sort(descending=True).values
    whole = float(squares.sum())
    if not (whole > 0 and math.isfinite(whole)):
        return 0
    return int((squares.cumsum(0) < CARRIES * whole * (1 - 1e-12)).sum()) + 1
