"""Loaders: N is what one pass yields, and a pass depends on seed and number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from netdial.core.errors import DataError
from netdial.data.memory import Loader, as_dataset

PAIRS = TensorDataset(torch.arange(20.0)[:, None], torch.arange(20))


class Own(Sampler[int]):
    """A sampler of one's own, whose length is that of the data and not what it yields."""

    def __init__(self, places: list[int]) -> None:
        self.places = places

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[int]:
        return iter([self.places[i] for i in torch.randperm(len(self.places))])


class Endless(Sampler[int]):
    """A sampler that never stops."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


class Buckets(Sampler[list[int]]):
    """Batches of several sizes in a new order each time."""

    def __iter__(self) -> Iterator[list[int]]:
        batches = [[0, 1, 2], [3, 4], [5, 6, 7, 8], [9]]
        return iter([batches[i] for i in torch.randperm(4)])


class Fickle(Sampler[list[int]]):
    """Now one batch, now two."""

    turn = 0

    def set_epoch(self, number: int) -> None:
        self.turn = number

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[0, 1]] * (1 + self.turn % 2))


class Measured(IterableDataset[Any]):
    """A stream that says how long it is, right or wrong."""

    def __init__(self, yields: int) -> None:
        self.yields = yields

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[Any]:
        return iter([PAIRS[i % 20] for i in range(self.yields)])


SAMPLERS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "all": ({}, [6, 6, 6, 2]),
    "drop_last": ({"drop_last": True}, [6, 6, 6]),
    "subset": ({"sampler": SubsetRandomSampler(range(8))}, [6, 2]),
    "weighted": ({"sampler": WeightedRandomSampler([1.0] * 20, 13)}, [6, 6, 1]),
    "with replacement": (
        {"sampler": RandomSampler(PAIRS, replacement=True, num_samples=50)},
        [6] * 8 + [2],
    ),
    "one of two processes": ({"sampler": DistributedSampler(PAIRS, 2, 0)}, [6, 4]),
    "own": ({"sampler": Own([1, 2, 3])}, [3]),
    "own batches": ({"batch_sampler": Buckets()}, [1, 2, 3, 4]),
    "torch's batches": (
        {"batch_sampler": BatchSampler(SubsetRandomSampler(range(8)), 3, True)},
        [3, 3],
    ),
    "a list of batches": ({"batch_sampler": [[0, 1], [2]]}, [2, 1]),
}


def loader(data: Any = PAIRS, **options: Any) -> Loader:
    if "batch_sampler" not in options:
        options = {"batch_size": 6, **options}
    return Loader(DataLoader(data, **options), "classes")


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_sizes_are_those_of_the_batches_that_come(name: str) -> None:
    options, sizes = SAMPLERS[name]
    found = loader(**options)
    key = sorted if name == "own batches" else list
    assert key(found.sizes) == sizes
    assert key([len(batch.y) for batch in found.batches(3, 1)]) == sizes


@pytest.mark.parametrize("yields", [7, 20, 25])
def test_a_stream_is_counted(yields: int) -> None:
    assert sum(loader(Measured(yields)).sizes) == yields


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": Endless()}, "does not end"),
        (
            {"batch_sampler": Fickle()},
            "1 batches of 2 examples in one epoch and 2 of 4 in the next",
        ),
        ({"sampler": (i for i in range(2))}, "can be gone through only once"),
        ({"sampler": []}, "is empty"),
        ({"drop_last": True, "batch_size": 21}, "is empty"),
    ],
)
def test_passes_that_cannot_be_counted_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        _ = loader(**options).sizes


def test_an_endless_stream_that_claims_a_length_is_refused() -> None:
    with pytest.raises(DataError, match="does not end"):
        _ = loader(Measured(10_000)).sizes


class Noisy(Dataset[tuple[Tensor, int]]):
    """Rows that draw from every global generator."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return torch.tensor([float(torch.rand(1)), random.random(), float(np.random.rand())]), 0


WORKERS = [
    {},
    pytest.param({"num_workers": 2}, marks=pytest.mark.slow),
    {"num_workers": 1, "persistent_workers": True},
]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_pass_depends_on_its_seed_and_number_alone(workers: dict[str, Any]) -> None:
    found = loader(Noisy(), shuffle=True, **workers)

    def seen(seed: int, number: int) -> Tensor:
        torch.manual_seed(torch.seed() % 1000), random.seed(), np.random.seed()
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
        x = torch.cat([batch.x for batch in found.batches(seed, number)])
        assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
        assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[union-attr]
        return x

    first = seen(0, 0)
    assert torch.equal(seen(0, 0), first)
    assert not torch.equal(seen(0, 1), first)
    assert not torch.equal(seen(1, 0), first)


def test_a_sampler_is_told_of_the_epoch() -> None:
    found = loader(sampler=DistributedSampler(PAIRS, 1, 0))
    orders = [torch.cat([b.y for b in found.batches(0, number)]).tolist() for number in (0, 1)]
    assert orders[0] != orders[1]


def test_labels_beyond_the_networks_outputs_are_named() -> None:
    found = loader().suited("classes", torch.float32, 10)
    with pytest.raises(DataError, match=r"batch 1: targets: class 11 in row 5 .* has 10 outputs"):
        list(found.batches(0, 0))


class _SomeWeights(IterableDataset):  # type: ignore[type-arg]
    """Two batches, the second of which has weights."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        x, y = torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)
        yield x, y
        yield x, y, torch.ones(1)


def test_weights_of_some_batches_are_refused_and_not_lost() -> None:
    with pytest.raises(DataError, match="1 of 2 batches have weights"):
        as_dataset(DataLoader(_SomeWeights(), batch_size=None))
