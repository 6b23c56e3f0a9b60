"""Feeds: every example once an epoch, an order that depends on seed and epoch alone, and going on in mid-epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from netdial.core.errors import DataError
from netdial.data.dataset import Dataset
from netdial.data.memory import Loader
from netdial.train.config import FitConfig
from netdial.train.feed import Batch, LoaderFeed, TensorFeed, crop_flip, shifted
from netdial.train.session import with_lengths


def numbered(count: int) -> Dataset:
    return Dataset(torch.arange(count, dtype=torch.float32)[:, None], torch.arange(count))


def loader(count: int, batch_size: int, **options: object) -> Loader:
    data = numbered(count)
    pairs = TensorDataset(data.x, data.y)
    made: DataLoader[tuple[Tensor, ...]] = DataLoader(
        pairs,
        **{"batch_size": batch_size, "shuffle": True, **options},  # type: ignore[arg-type]
    )
    return Loader(made, "classes")


def labels(batches: Iterable[Batch]) -> list[int]:
    return torch.cat([batch.y for batch in batches]).tolist()


@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 3))
def test_all_batches_are_of_one_size_and_hold_every_example(
    count: int, batch_size: int, blocks: int
) -> None:
    """A last batch is filled up with examples from the beginning of the epoch, so none comes more than twice."""
    feed = TensorFeed(numbered(count), batch_size=batch_size, seed=0, blocks=blocks)
    batches = list(feed.epoch(0))
    size = min(batch_size, count)
    assert len(batches) == feed.steps == math.ceil(count / size) and feed.n_data == count
    assert {len(batch.y) for batch in batches} == {size * blocks}
    for block in range(blocks):
        seen = torch.cat([batch.y.chunk(blocks)[block] for batch in batches])
        assert seen[:count].sort().values.tolist() == list(range(count))
        assert torch.equal(seen[count:], seen[: len(seen) - count])
        assert all(len(set(b.y.chunk(blocks)[block].tolist())) == size for b in batches)
    assert all(torch.equal(batch.x[:, 0].long(), batch.y) for batch in batches)
    assert all(batch.share == 1 and batch.weight is None for batch in batches)


@given(st.integers(1, 50), st.integers(1, 20))
def test_batches_of_a_loader_have_the_weight_of_their_size(count: int, batch_size: int) -> None:
    """So a pass adds up to the mean over all examples times the number of steps."""
    feed = LoaderFeed(loader(count, batch_size))
    batches = list(feed.epoch(0))
    assert len(batches) == feed.steps and feed.n_data == count
    assert sorted(labels(batches)) == list(range(count))
    mean = sum(b.share * float(b.x.mean()) for b in batches) / feed.steps
    assert mean == pytest.approx((count - 1) / 2, rel=1e-6)


@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 5), st.data())
def test_skipping_goes_on_where_the_epoch_was_left(
    count: int, size: int, number: int, data: st.DataObject
) -> None:
    feeds: list[TensorFeed | LoaderFeed] = [
        TensorFeed(numbered(count), batch_size=size, seed=1),
        LoaderFeed(loader(count, size), seed=1),
    ]
    skip = data.draw(st.integers(0, feeds[0].steps))
    for feed in feeds:
        whole, rest = list(feed.epoch(number)), list(feed.epoch(number, skip=skip))
        assert len(rest) == feed.steps - skip
        assert all(torch.equal(a.y, b.y) for a, b in zip(whole[skip:], rest, strict=True))


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_order_depends_on_seed_and_epoch_and_on_nothing_else(kind: str) -> None:
    def order(seed: int, number: int) -> list[int]:
        torch.manual_seed(torch.seed() % 1000)
        whole, batched = numbered(30), loader(30, 7)
        tensors = TensorFeed(whole, batch_size=7, seed=seed)
        feed = tensors if kind == "tensor" else LoaderFeed(batched, seed=seed)
        return labels(feed.epoch(number))

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_blocks_have_orders_of_their_own() -> None:
    (batch,) = TensorFeed(numbered(20), batch_size=20, seed=0, blocks=2).epoch(0)
    first, second = batch.y.chunk(2)
    assert not torch.equal(first, second)


def test_a_batch_of_a_loader_that_is_too_small_is_joined_to_the_one_before() -> None:
    feed = LoaderFeed(loader(17, 8), least=2)
    batches = list(feed.epoch(0))
    assert [len(batch.y) for batch in batches] == [8, 9] and feed.steps == 2
    assert [batch.share for batch in batches] == [8 * 2 / 17, 9 * 2 / 17]
    assert sorted(labels(batches)) == list(range(17))
    assert labels(feed.epoch(0, skip=1)) == labels(batches[1:])
    with pytest.raises(DataError, match=r"batches of 1 example\(s\); this training needs 2"):
        LoaderFeed(loader(5, 1), least=2)


def test_loader_batches_are_repeated_for_each_seed_and_cast() -> None:
    feed = LoaderFeed(loader(6, 3), blocks=2, dtype=torch.float64)
    x, y, *_ = next(feed.epoch(0))
    assert x.dtype == torch.float64 and y.dtype == torch.int64
    assert torch.equal(y[:3], y[3:]) and len(x) == 6


def test_an_epoch_unlike_the_one_counted_is_an_error() -> None:
    def collate(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        x, y = (torch.stack(part) for part in zip(*rows, strict=True))
        return x[y != 3], y[y != 3]

    feed = LoaderFeed(loader(8, 4, collate_fn=collate))
    with pytest.raises(DataError, match="epoch 0 gave 2 batches and 7 examples, where 2 and 8"):
        list(feed.epoch(0))


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
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole[1:], rest, strict=True))


def test_shifted_images_move_by_a_pixel_at_most_and_keep_their_borders() -> None:
    image = torch.arange(25.0).view(1, 1, 5, 5)
    found = shifted(image.expand(200, -1, -1, -1), torch.Generator().manual_seed(0))
    kinds = {tuple(one.flatten().tolist()) for one in found}
    moved = {
        tuple(image[:, :, rows][:, :, :, columns].flatten().tolist())
        for rows in ([0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4])
        for columns in ([0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4])
    }
    assert kinds == moved


def test_a_batch_size_beside_a_loader_is_told_to_be_of_no_use() -> None:
    assert with_lengths(FitConfig(batch_size=4), loader(10, 4)).batch_size == 4
    assert with_lengths(FitConfig(batch_size=32), loader(10, 32)).batch_size == 32
    with pytest.warns(UserWarning, match="batch_size=8 is not used: .* gives batches of 4"):
        with_lengths(FitConfig(batch_size=8), loader(10, 4))
