"""Members that run one by one, on leaves that were made for all of them at once.

Maps, divergence and noise take one pass, however many members there are. The run of a member ends at tensors of its own; the
gradients that arrive there are kept until all have run, and go back through the maps together. A member's activations are gone
when the next one runs, so that a step holds those of one group of examples.

Shapes: K members, n blocks of b examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.fields import Fields
from netdial.family.running.runner import Runner


class Apart:
    """K members, to be run one after another.

    Args:
        runner: runs the network.
        x: inputs ``[n b, ...]``.
        fields: fields of the members.
        noise: source of the random numbers.
        blocks: n.
        others: what a member does not have for itself, by its number.

    Attributes:
        tensors: what the members are made of, ``[K, ...]`` each.
        gradients: their gradients, once every member has gone backward.
    """

    def __init__(
        self,
        runner: Runner,
        x: Tensor,
        fields: Fields,
        noise: Noise,
        blocks: int,
        others: Callable[[int], Mapping[str, Tensor]],
    ) -> None:
        self._runner, self._noise, self._others = runner, noise, others
        self._prepared = runner.prepare(x, fields, noise, blocks)
        self._x = [part for part in x.chunk(blocks) for _ in range(fields.members // blocks)]
        self._own: list[Tensor] = []
        self._row = 0
        self.tensors = self._prepared.tensors
        self.gradients = [torch.zeros_like(tensor) for tensor in self.tensors]

    def outputs(self, row: int) -> Tensor:
        """Returns the outputs ``[b, ...]`` of a member."""
        self._row = row
        self._own = [tensor[row : row + 1].detach().requires_grad_() for tensor in self.tensors]
        x, noise = self._x[row], self._noise.of(row)
        return self._runner.run_prepared(x, self._prepared, self._own, self._others(row), noise, 1)

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        """Keeps the gradients of a loss of the outputs that were returned last.

        Args:
            loss: of any shape.
            weight: what its numbers count, of that shape.
        """
        torch.autograd.backward(loss, weight)
        for gradient, own in zip(self.gradients, self._own, strict=True):
            if own.grad is not None:
                gradient[self._row] = own.grad[0]
        self._own = []
