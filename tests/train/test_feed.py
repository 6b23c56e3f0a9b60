"""Feeds: every example once an epoch, an order that depends on seed and epoch alone, and going on in mid-epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from netdial.core.errors import DataError
from netdial.data.dataset import Dataset
from netdial.train.feed import LoaderFeed, TensorFeed, crop_flip


def numbered(count: int) -> Dataset:
    return Dataset(torch.arange(count, dtype=torch.float32)[:, None], torch.arange(count))


def loader(count: int, batch_size: int, **options: object) -> DataLoader[tuple[Tensor, ...]]:
    data = numbered(count)
    return DataLoader(TensorDataset(data.x, data.y), batch_size=batch_size, shuffle=True, **options)  # type: ignore[arg-type]


@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 3))
def test_every_example_is_seen_once_in_each_block(count: int, batch_size: int, blocks: int) -> None:
    feed = TensorFeed(numbered(count), batch_size=batch_size, seed=0, blocks=blocks)
    batches = list(feed.epoch(0))
    assert len(batches) == feed.steps and feed.n_data == count
    seen = [torch.cat([y.chunk(blocks)[block] for _, y in batches]) for block in range(blocks)]
    assert all(sorted(part.tolist()) == list(range(count)) for part in seen)
    assert all(torch.equal(x[:, 0].long(), y) for x, y in batches)


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 5), st.data())
def test_skipping_goes_on_where_the_epoch_was_left(
    count: int, size: int, number: int, data: st.DataObject
) -> None:
    feeds = [
        TensorFeed(numbered(count), batch_size=size, seed=1),
        LoaderFeed(loader(count, size), seed=1),
    ]
    skip = data.draw(st.integers(0, feeds[0].steps))
    for feed in feeds:
        whole, rest = list(feed.epoch(number)), list(feed.epoch(number, skip=skip))
        assert len(rest) == feed.steps - skip
        assert all(torch.equal(a[1], b[1]) for a, b in zip(whole[skip:], rest, strict=True))


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_order_depends_on_seed_and_epoch_and_on_nothing_else(kind: str) -> None:
    def order(seed: int, number: int) -> list[int]:
        torch.manual_seed(torch.seed() % 1000)
        whole, batched = numbered(30), loader(30, 7)
        tensors = TensorFeed(whole, batch_size=7, seed=seed)
        feed = tensors if kind == "tensor" else LoaderFeed(batched, seed=seed)
        return torch.cat([y for _, y in feed.epoch(number)]).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_blocks_have_orders_of_their_own() -> None:
    (batch,) = TensorFeed(numbered(20), batch_size=20, seed=0, blocks=2).epoch(0)
    first, second = batch[1].chunk(2)
    assert not torch.equal(first, second)


def test_a_last_batch_that_is_too_short_is_left_out() -> None:
    feed = TensorFeed(numbered(17), batch_size=8, seed=0, least=2)
    assert [len(y) for _, y in feed.epoch(0)] == [8, 8]
    assert feed.steps == 2
    kept = TensorFeed(numbered(18), batch_size=8, seed=0, least=2)
    assert [len(y) for _, y in kept.epoch(0)] == [8, 8, 2]


def test_loader_batches_are_repeated_for_each_seed_and_cast() -> None:
    feed = LoaderFeed(loader(6, 3), blocks=2, dtype=torch.float64)
    x, y = next(feed.epoch(0))
    assert x.dtype == torch.float64 and y.dtype == torch.int64
    assert torch.equal(y[:3], y[3:]) and len(x) == 6


def test_a_loader_without_a_length_is_refused() -> None:
    class Endless(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            while True:
                yield torch.zeros(1)

    with pytest.raises(
        DataError, match="its data set has no length; the objectives need the number"
    ):
        LoaderFeed(DataLoader(Endless()))


def test_crop_flip_shifts_and_mirrors_and_invents_nothing(source: torch.Generator) -> None:
    """Against a slow implementation: each result is some window of the padded image or of its mirror image."""
    images = torch.rand(12, 2, 5, 5, generator=source) + 1
    found = crop_flip(images, source, padding=2)
    assert found.shape == images.shape
    padded = torch.nn.functional.pad(images, [2] * 4)
    for picture, wide in zip(found, padded, strict=True):
        windows = [wide[:, r : r + 5, c : c + 5] for r in range(5) for c in range(5)]
        assert any(torch.equal(picture, w) or torch.equal(picture, w.flip(-1)) for w in windows)


def test_crop_flip_reaches_every_shift_and_both_mirrors() -> None:
    picture = torch.arange(1.0, 10).view(1, 1, 3, 3).expand(400, 1, 3, 3)
    found = {
        tuple(p.flatten().tolist())
        for p in crop_flip(picture, torch.Generator().manual_seed(0), padding=1)
    }
    assert len(found) == 18


def test_augmented_batches_are_the_same_after_a_resume() -> None:
    images = Dataset(torch.rand(10, 1, 8, 8), torch.arange(10))
    feed = TensorFeed(images, batch_size=4, seed=0, augment="crop-flip")
    whole, rest = list(feed.epoch(2)), list(feed.epoch(2, skip=1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[1:], rest, strict=True))
