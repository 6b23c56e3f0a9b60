"""A cascade as a network: data at the visible units, and each unit fed by its children alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError
from netdial.structure.buffet.cascade import Cascade, Matrix


class EdgeLinear(nn.Module):
    """A linear layer that has a weight for each edge of an incidence matrix, and no other.

    So the number of parameters, and the complexity of a family over them, are those of the structure.

    Args:
        matrix: incidence matrix ``[inputs, outputs]``.
    """

    def __init__(self, matrix: Matrix) -> None:
        super().__init__()
        edges = torch.from_numpy(np.argwhere(matrix.T))
        self.register_buffer("flat", edges[:, 0] * matrix.shape[0] + edges[:, 1], persistent=True)
        self.inputs, self.outputs = matrix.shape
        fan_in = torch.from_numpy(matrix.sum(axis=0))[edges[:, 0]]
        self.weight = nn.Parameter(torch.randn(len(edges)) / fan_in.sqrt())
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, outputs]`` for ``[B, inputs]``."""
        flat = self.get_buffer("flat")
        empty = self.weight.new_zeros(self.outputs * self.inputs)
        dense = empty.scatter(0, flat, self.weight).view(self.outputs, self.inputs)
        return nn.functional.linear(x, dense, self.bias)


class CascadeNetwork(nn.Module):
    """A network with the structure of a cascade; its outputs are linear in all units that have no parents.

    Args:
        cascade: the structure; its visible units are the inputs.
        n_outputs: number of outputs.
        activation: makes the function between layers.

    Raises:
        ConfigError: there are no outputs.
    """

    def __init__(
        self, cascade: Cascade, n_outputs: int, activation: type[nn.Module] = nn.Tanh
    ) -> None:
        super().__init__()
        if n_outputs < 1:
            raise ConfigError(f"n_outputs={n_outputs}; expected at least 1")
        self.visible = cascade.visible
        self.layers = nn.ModuleList(EdgeLinear(matrix) for matrix in cascade.matrices)
        self.activation = activation()
        tops = _without_parents(cascade)
        for level, places in enumerate(tops):
            self.register_buffer(f"top{level}", torch.tensor(places, dtype=torch.long))
        self.read = nn.Linear(sum(map(len, tops)), n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``[B, n_outputs]`` for inputs ``[B, visible]``.

        Raises:
            ShapeError: inputs have another shape.
        """
        if x.ndim != 2 or x.shape[1] != self.visible:
            raise ShapeError(f"inputs have shape {list(x.shape)}; expected [B, {self.visible}]")
        here, read = x, [x.index_select(1, self.get_buffer("top0"))]
        for level, layer in enumerate(self.layers, start=1):
            here = self.activation(layer(here))
            read.append(here.index_select(1, self.get_buffer(f"top{level}")))
        out: Tensor = self.read(torch.cat(read, dim=1))
        return out


def _without_parents(cascade: Cascade) -> Sequence[list[int]]:
    """Returns for each layer the units without parents."""
    has = [matrix.any(axis=1) for matrix in cascade.matrices]
    has.append(np.zeros(cascade.widths[-1], dtype=bool))
    return [np.flatnonzero(~parents).tolist() for parents in has]
