"""What every feed must keep to: counted batches, each example, an order by seed and epoch alone, and going on in mid-epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from netdial.data.dataset import Dataset
from netdial.data.memory import Loader
from netdial.train import feed as module
from netdial.train.feed import Batch, Feed, Feeds, LoaderFeed, TensorFeed

COUNT, SIZE = 23, 5


def data() -> Dataset:
    return Dataset(torch.arange(COUNT, dtype=torch.float32)[:, None], torch.arange(COUNT))


def batched() -> Loader:
    made: DataLoader[tuple[Tensor, ...]] = DataLoader(
        TensorDataset(data().x, data().y), batch_size=SIZE, shuffle=True
    )
    return Loader(made, "classes")


MADE: dict[str, Callable[[int], Feed[Any]]] = {
    "TensorFeed": lambda seed: TensorFeed(data(), batch_size=SIZE, seed=seed),
    "LoaderFeed": lambda seed: LoaderFeed(batched(), seed=seed),
    "Feeds": lambda seed: Feeds(
        train=TensorFeed(data(), batch_size=SIZE, seed=seed),
        valid=LoaderFeed(batched(), seed=seed + 1),
    ),
}
names = pytest.mark.parametrize("name", list(MADE))


def seen(batches: list[Any]) -> list[list[int]]:
    """Targets of each batch; of several feeds those of the leading one."""
    leading = [
        batch if isinstance(batch, Batch) else next(iter(batch.values())) for batch in batches
    ]
    return [batch.y.tolist() for batch in leading]


def test_every_feed_of_the_library_is_held_to_the_contract() -> None:
    """A feed is a class with ``epoch``; ``Feed`` is the contract itself."""
    found = {
        name
        for name, part in inspect.getmembers(module, inspect.isclass)
        if part.__module__ == module.__name__ and hasattr(part, "epoch") and part is not Feed
    }
    assert found == set(MADE)


@names
def test_batches_are_as_many_as_counted_and_hold_every_example(name: str) -> None:
    feed = MADE[name](0)
    batches = seen(list(feed.epoch(0)))
    assert feed.n_data == COUNT and len(batches) == feed.steps
    assert {y for batch in batches for y in batch} == set(range(COUNT))


@names
def test_inputs_and_targets_stay_together_and_weights_of_batches_are_1_on_average(
    name: str,
) -> None:
    for batch in MADE[name](0).epoch(0):
        for part in (batch,) if isinstance(batch, Batch) else batch.values():
            assert torch.equal(part.x[:, 0].long(), part.y)
    shares = [
        batch.share if isinstance(batch, Batch) else next(iter(batch.values())).share
        for batch in MADE[name](0).epoch(0)
    ]
    assert sum(shares) == pytest.approx(len(shares))


@names
def test_the_order_depends_on_seed_and_epoch_alone(name: str) -> None:
    torch.manual_seed(1)
    first = seen(list(MADE[name](3).epoch(2)))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    feed = MADE[name](3)
    list(feed.epoch(0))
    assert seen(list(feed.epoch(2))) == first
    assert seen(list(feed.epoch(1))) != first
    assert seen(list(MADE[name](4).epoch(2))) != first
    assert torch.equal(torch.get_rng_state(), state)


@names
@pytest.mark.parametrize("skip", [0, 1, 4, 5])
def test_an_epoch_goes_on_where_it_was(name: str, skip: int) -> None:
    feed = MADE[name](0)
    whole, rest = list(feed.epoch(1)), list(MADE[name](0).epoch(1, skip))
    assert repr(rest) == repr(whole[skip:])
