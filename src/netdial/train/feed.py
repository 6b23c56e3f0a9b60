"""Feeds: batches of data for the loop, in an order that depends on the seed and the epoch alone.

``TensorFeed`` keeps the data on the device, shuffles it once an epoch and does no work in Python per example.
``LoaderFeed`` wraps a ``DataLoader`` for data that does not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.core.noise import derive_seed, generator
from netdial.data.dataset import Dataset

Batch = tuple[Tensor, Tensor]


class Feed(Protocol):
    """Source of batches. ``n_data`` is N of the objectives; ``steps`` counts batches in an epoch."""

    n_data: int
    steps: int

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch, leaving out the first ``skip``."""


class TensorFeed:
    """Data held in tensors.

    Args:
        data: the training part.
        batch_size: examples in a block.
        seed: seed of the order.
        blocks: blocks of examples in a batch, each with an order of its own (one for each seed of a table map).
        augment: ``crop-flip`` for random crops (4 pixels of zero padding) and horizontal flips, or None.
        device: where batches are wanted.
        dtype: floating-point type wanted; None leaves batches as they are.
        least: examples that a last, shorter batch must have; one that has fewer is left out.

    A last batch shorter than ``batch_size`` is given as it is; groups of unequal size are trimmed by the method.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        batch_size: int,
        seed: int,
        blocks: int = 1,
        augment: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        least: int = 1,
    ) -> None:
        self._data = data.to(device)
        self._batch_size = min(batch_size, len(data))
        self._seed = seed
        self._blocks = blocks
        self._augment = augment
        self._dtype = dtype
        self.n_data = len(data)
        whole, rest = divmod(self.n_data, self._batch_size)
        self.steps = whole + (rest >= least)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields ``(x [blocks b, ...], y [blocks b, ...])``, block after block."""
        device = self._data.y.device
        orders = [
            torch.randperm(self.n_data, generator=generator(self._seed, "order", number, block)).to(
                device
            )
            for block in range(self._blocks)
        ]
        for step in range(skip, self.steps):
            window = slice(step * self._batch_size, (step + 1) * self._batch_size)
            index = (
                torch.cat([order[window] for order in orders])
                if len(orders) > 1
                else orders[0][window]
            )
            x = self._data.inputs(index)
            if self._augment == "crop-flip":
                x = crop_flip(x, generator(self._seed, "augment", number, step))
            yield _cast(x, self._dtype), _cast(self._data.y.index_select(0, index), self._dtype)


class LoaderFeed:
    """Batches of a ``torch.utils.data.DataLoader`` of ``(x, y)`` pairs.

    A loader that shuffles is given a generator seeded for each epoch, so that an interrupted run can go on where it was
    and processes that train together see the same batches.

    Args:
        loader: the ``DataLoader``.
        seed: seed of the order.
        blocks: times that each batch is repeated (one for each seed of a table map).
        device: where batches are wanted.
        dtype: floating-point type wanted; None leaves batches as they are.
    """

    def __init__(
        self,
        loader: Any,
        *,
        seed: int = 0,
        blocks: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        try:
            self.n_data, self.steps = len(loader.dataset), len(loader)
        except TypeError:
            raise DataError(
                "DataLoader: its data set has no length; the objectives need the number of training examples"
            ) from None
        self._loader = loader
        self._seed = seed
        self._blocks = blocks
        self._device = device
        self._dtype = dtype
        self._source = torch.Generator()
        loader.generator = self._source
        if hasattr(loader.sampler, "generator"):
            loader.sampler.generator = self._source

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields batches; skipped ones are read and dropped, so an interrupted epoch goes on where it was."""
        self._source.manual_seed(derive_seed(self._seed, "order", number))
        for step, (x, y) in enumerate(self._loader):
            if step >= skip:
                yield self._ready(x), self._ready(y)

    def _ready(self, part: Tensor) -> Tensor:
        """Returns one part of a batch, repeated, where and as it is wanted."""
        part = _cast(part.to(self._device), self._dtype)
        return torch.cat([part] * self._blocks) if self._blocks > 1 else part


def _cast(part: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Returns numbers in the type wanted; integers (classes, tokens) stay what they are."""
    return part if dtype is None or not part.is_floating_point() else part.to(dtype)


def crop_flip(images: Tensor, source: torch.Generator, padding: int = 4) -> Tensor:
    """Returns images ``[B, C, H, W]``, each shifted by up to ``padding`` pixels and mirrored with probability ½."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [padding] * 4)
    shift = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=source).to(images.device)
    flip = (torch.rand(count, 1, generator=source) < 0.5).to(images.device)
    rows = torch.arange(height, device=images.device) + shift[0]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip, width - 1 - columns, columns) + shift[1]
    example = torch.arange(count, device=images.device)[:, None, None]
    return padded[example, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
