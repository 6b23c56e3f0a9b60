"""Sums over inputs of what least squares need: products of what is read with itself, and with what it is to give."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

WIDEST = 4096
"""Numbers read beyond which a layer stays as it is: their products take the square of this in memory."""
ROWS, LINES, BATCH = 256, 16, 128
"""Inputs at least; values of a number read for each of them at least; inputs at a time."""
RIDGE = 1e-2
"""Part of the variance of what is read that keeps weights where they are."""
NOTHING = 1e-9
"""Part of the variance that is not made up for, below which there is nothing to make up for."""


class Moments:
    """Sums over lines; a line is what is read at one position of one input.

    Attributes:
        count: lines.
        rows: inputs.
        inner: products of what is read ``[I, I]``.
        cross: of what is wanted with that ``[O, I]``.
    """

    def __init__(self) -> None:
        self.count, self.rows = 0, 0
        self.inner = self.cross = self._read = self._wanted = torch.zeros(())

    def add(self, wanted: Tensor, read: Tensor) -> None:
        """Adds lines ``[n, O]`` and ``[n, I]``."""
        self.count += len(read)
        self.inner = self.inner + read.T @ read
        self.cross = self.cross + wanted.T @ read
        self._read, self._wanted = self._read + read.sum(0), self._wanted + wanted.sum(0)

    def given_by(self, weight: Tensor, bias: Tensor) -> Moments:
        """Returns the sums where what is wanted is ``weight x + bias`` of what is read, weights ``[O, I]``, biases ``[O]``."""
        made = copy.copy(self)
        made.cross = weight @ self.inner + torch.outer(bias, self._read)
        made._wanted = weight @ self._read + self.count * bias
        return made

    def are_enough(self, width: int) -> bool:
        """Returns whether there are lines enough to find what so many numbers give."""
        return self.rows >= ROWS and self.count >= LINES * width

    def means(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Returns the means of what is read and what is wanted; zeros if sums are to count from 0."""
        scale = 1 / self.count if centred else 0.0
        return self._read * scale, self._wanted * scale

    def products(self, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Returns ``inner`` and ``cross`` as means, about the means or about 0."""
        read, wanted = self.means(centred=centred)
        inner = self.inner / self.count - torch.outer(read, read)
        return inner, self.cross / self.count - torch.outer(wanted, read)


def held_by(inner: Tensor) -> Tensor:
    """Returns how strongly each number that is read holds its weights where they are ``[I]``."""
    spread = inner.diagonal()
    return RIDGE * spread.clamp_min(NOTHING * float(spread.mean()))
