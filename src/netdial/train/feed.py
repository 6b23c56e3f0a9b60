"""Feeds: batches of data for the loop, in an order that depends on the seed and the epoch alone.

``TensorFeed`` keeps the data on the device, shuffles it once an epoch and does no work in Python per example.
``LoaderFeed`` takes its batches from a ``DataLoader``, for data that does not fit in memory.

A pass over N examples in batches of b leaves N mod b over. As a batch of its own, these few would move the parameters as far
as a whole batch does. ``TensorFeed`` fills the last batch up with examples from the beginning of the epoch, so that all batches
are alike; ``LoaderFeed``, whose batches may have any sizes and shapes, gives each the weight of its size (``Batch.share``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.data.memory.examples import Examples, joined
from netdial.data.memory.loader import Loader


class Batch(NamedTuple):
    """What one step is made on.

    Attributes:
        x: inputs ``[n b, ...]``, n blocks of b examples.
        y: targets.
        weight: weights of the examples ``[n b]``, with mean 1 over the data; None for all alike.
        share: weight of the whole batch, 1 on average: its size compared with that of the others.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    share: float = 1.0

    def part(self, here: slice) -> Batch:
        """Returns some of the examples."""
        weight = None if self.weight is None else self.weight[here]
        return Batch(self.x[here], self.y[here], weight, self.share)

    def divisible(self, blocks: int) -> Batch:
        """Returns a batch that splits evenly into ``blocks``, every example in one of them at least.

        Where it does not split by itself, each block takes a few examples of the next one, so that all are as long as the
        longest: 12 examples in 8 blocks make blocks of 2.
        """
        size = len(self.y)
        if size % blocks == 0:
            return self
        first = torch.arange(blocks) * size // blocks
        index = (first[:, None] + torch.arange(-(-size // blocks))).flatten() % size
        rows = index.to(self.y.device)
        weight = None if self.weight is None else self.weight[rows]
        return Batch(self.x[rows], self.y[rows], weight, self.share)


def for_each(targets: Tensor, blocks: int, members: int) -> Tensor:
    """Returns the targets of all members, one after another, of targets in blocks that members share."""
    if blocks == members:
        return targets
    apart: Tensor = targets.unflatten(0, (blocks, -1))
    return apart.repeat_interleave(members // blocks, dim=0).flatten(0, 1)


Given = TypeVar("Given", covariant=True)


class Feed(Protocol[Given]):
    """Source of batches. ``n_data`` is N of the objectives; ``steps`` counts batches in an epoch."""

    n_data: int
    steps: int

    def epoch(self, number: int, skip: int = 0) -> Iterator[Given]:
        """Yields the batches of an epoch, leaving out the first ``skip``."""


class Feeds:
    """Several feeds as one: each step gets a batch of every one, by name.

    The first one sets the length of an epoch. The others go on from epoch to epoch and begin again when they are through, so a
    short validation feed can stand beside a long training feed.

    Args:
        **feeds: the feeds, the leading one first.
    """

    def __init__(self, **feeds: Feed[Batch]) -> None:
        self._feeds = feeds
        first = next(iter(feeds.values()))
        self.n_data, self.steps = first.n_data, first.steps

    def epoch(self, number: int, skip: int = 0) -> Iterator[dict[str, Batch]]:
        """Yields one batch of each feed."""
        start = number * self.steps + skip
        streams = [_endless(feed, start) for feed in self._feeds.values()]
        for _ in range(skip, self.steps):
            yield dict(zip(self._feeds, map(next, streams), strict=True))


def _endless(feed: Feed[Batch], step: int) -> Iterator[Batch]:
    """Yields a feed's batches epoch after epoch, from a step on."""
    number, skip = divmod(step, feed.steps)
    while True:
        yield from feed.epoch(number, skip)
        number, skip = number + 1, 0


class TensorFeed:
    """Data held in tensors.

    Args:
        data: the training part; its weights, if any, should have mean 1.
        batch_size: examples in a block.
        seed: seed of the order.
        blocks: blocks of examples in a batch, each with an order of its own (one for each seed of a table map).
        rows: of each block, the examples that it takes; by default all. One that has fewer begins again.
        augment: ``crop-flip`` for random crops (4 pixels of zero padding) and horizontal flips, ``shift`` for shifts by up to a
            pixel, or None.
        device: where batches are wanted.
        dtype: floating-point type wanted; None leaves batches as they are.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        batch_size: int,
        seed: int,
        blocks: int = 1,
        rows: Sequence[Tensor] | None = None,
        augment: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self._data = data.to(device)
        self._batch_size = min(batch_size, len(data))
        self._seed = seed
        self._rows = [torch.arange(len(data))] * blocks if rows is None else list(rows)
        self._augment = augment
        self._dtype = dtype
        self.n_data = len(data)
        self.steps = -(-self.n_data // self._batch_size)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields batches of ``[blocks b]`` examples, block after block."""
        orders = [self._order(number, block) for block in range(len(self._rows))]
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
            elif self._augment == "shift":
                x = shifted(x, generator(self._seed, "augment", number, step))
            weight = self._data.weight
            yield Batch(
                _cast(x, self._dtype),
                _cast(self._data.y.index_select(0, index), self._dtype),
                None if weight is None else weight.index_select(0, index),
            )

    def _order(self, number: int, block: int) -> Tensor:
        """Returns the order of an epoch, with its beginning once more at the end where the last batch is not full."""
        rows, source = self._rows[block], generator(self._seed, "order", number, block)
        order = rows[torch.randperm(len(rows), generator=source)]
        times = -(-self.steps * self._batch_size // len(order))
        whole = order.repeat(times)[: self.steps * self._batch_size]
        return whole.to(self._data.y.device)


class LoaderFeed:
    """Batches of a ``DataLoader``, each with the weight of its size.

    Args:
        loader: the loader, checked and counted.
        seed: seed of the order.
        blocks: times that each batch is repeated (one for each seed of a table map).
        device: where batches are wanted.
        dtype: floating-point type wanted; None leaves batches as they are.
        least: examples that a batch must have; one that has fewer is joined to the batch before it.

    Raises:
        DataError: the batches have fewer than ``least`` examples.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        seed: int = 0,
        blocks: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        least: int = 1,
    ) -> None:
        self._loader = loader
        self._seed = seed
        self._blocks = blocks
        self._device = device
        self._dtype = dtype
        self._least = least
        sizes = _joined_sizes(loader.sizes, least)
        self.n_data, self.steps, self._seen = loader.n_data, len(sizes), sum(sizes)
        if loader.sizes[0] < least:
            raise DataError(
                f"{loader.part}: the DataLoader gives batches of {loader.sizes[0]} example(s); this training needs {least} "
                "or more in a batch (BatchNorm has no variance of one)"
            )

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields batches; skipped ones are read and dropped, so an interrupted epoch goes on where it was.

        Raises:
            DataError: the loader gives more or fewer batches or examples than were counted.
        """
        steps = seen = 0
        for batch in self._batches(number):
            steps, seen = steps + 1, seen + len(batch.y)
            if steps > self.steps:
                break
            if steps > skip:
                yield self._ready(batch)
        if (steps, seen) != (self.steps, self._seen):
            raise DataError(
                f"{self._loader.part}: epoch {number} gave {steps} batches and {seen} examples, where {self.steps} and "
                f"{self._seen} were counted; training needs the same in each epoch (does the loader leave examples out?)"
            )

    def _batches(self, number: int) -> Iterator[Examples]:
        """Yields the loader's batches, those that are too small joined to the one before."""
        batches = self._loader.batches(self._seed, number)
        if self._least == 1:
            yield from batches
            return
        held: Examples | None = None
        for batch in batches:
            if held is not None and len(batch.y) < self._least:
                held = joined([held, batch], self._loader.part)
                continue
            if held is not None:
                yield held
            held = batch
        if held is not None:
            yield held

    def _ready(self, batch: Examples) -> Batch:
        """Returns a batch, repeated, where and as it is wanted."""
        weight = None if batch.weight is None else self._part(batch.weight)
        share = len(batch.y) * self.steps / self._seen
        return Batch(self._part(batch.x), self._part(batch.y), weight, share)

    def _part(self, part: Tensor) -> Tensor:
        part = _cast(part.to(self._device), self._dtype)
        return torch.cat([part] * self._blocks) if self._blocks > 1 else part


def _joined_sizes(sizes: Sequence[int], least: int) -> list[int]:
    """Returns the sizes of batches once those that are too small are joined to the one before.

    >>> _joined_sizes([4, 4, 1], 2)
    [4, 5]
    """
    found: list[int] = []
    for size in sizes:
        if found and size < least:
            found[-1] += size
        else:
            found.append(size)
    return found


def _cast(part: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Returns numbers in the type wanted; integers (classes, tokens) stay what they are."""
    return part if dtype is None or not part.is_floating_point() else part.to(dtype)


def crop_flip(images: Tensor, source: torch.Generator, padding: int = 4) -> Tensor:
    """Returns images ``[B, C, H, W]``, each shifted by up to ``padding`` pixels and mirrored with probability ½."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [padding] * 4)
    shift = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=source).to(images.device)
    flip = (torch.rand(count, 1, generator=source, dtype=torch.float32) < 0.5).to(images.device)
    rows = torch.arange(height, device=images.device) + shift[0]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip, width - 1 - columns, columns) + shift[1]
    example = torch.arange(count, device=images.device)[:, None, None]
    return padded[example, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def shifted(images: Tensor, source: torch.Generator, most: int = 1) -> Tensor:
    """Returns images ``[B, C, H, W]``, each moved by up to ``most`` pixels in both directions; what is at the border stays."""
    count, _, height, width = images.shape
    move = torch.randint(-most, most + 1, (2, count, 1), generator=source).to(images.device)
    rows = (torch.arange(height, device=images.device) + move[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + move[1]).clamp(0, width - 1)
    example = torch.arange(count, device=images.device)[:, None, None]
    return images[example, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def for_examples(share: Tensor, nll: Tensor) -> Tensor:
    """Returns what each loss counts, member after member, where a member's mean counts ``share`` ``[K]``."""
    examples = len(nll) // len(share)
    return (share / examples)[:, None].expand(-1, examples).reshape(-1)
