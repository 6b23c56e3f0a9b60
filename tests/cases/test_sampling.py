"""N, batches and samplers: N is what one epoch yields, every example is used, and each counts alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import netdial as nd

from .situations import refused, right

X = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
ROWS = TensorDataset(X, Y)


def n_of(loader: Any, **settings: Any) -> int | None:
    return nd.fit(nn.Linear(4, 2), loader, epochs=1, **settings).n_data


def complexity(loader: Any) -> float:
    """Returns the complexity that training states before it has moved: KL / N of the same start."""
    torch.manual_seed(0)
    seen: list[Tensor] = []
    nd.fit(
        nn.Linear(4, 2),
        loader,
        objective="scaled-kl",
        epochs=1,
        lr=1e-12,
        report=lambda e: seen.append(e.measured["complexity"].mean()),
    )
    return float(seen[0])


@right
def test_a_subset_by_sampler_weighs_the_kl_as_the_subset_itself() -> None:
    """20 of 100 rows by ``SubsetRandomSampler``: the KL is divided by 20, as for a ``Subset`` of those rows."""
    rows = list(range(20))
    by_subset = complexity(DataLoader(Subset(ROWS, rows), batch_size=5, shuffle=True))
    by_sampler = complexity(DataLoader(ROWS, batch_size=5, sampler=SubsetRandomSampler(rows)))
    assert abs(by_sampler / by_subset - 1) < 0.02
    assert n_of(DataLoader(ROWS, batch_size=5, sampler=SubsetRandomSampler(rows))) == 20


@right
def test_rows_that_drop_last_leaves_out_do_not_count() -> None:
    """100 rows in batches of 32 with ``drop_last``: N is 96."""
    assert n_of(DataLoader(ROWS, batch_size=32, drop_last=True)) == 96


@right
def test_a_weighted_sampler_gives_as_many_as_it_draws() -> None:
    """``WeightedRandomSampler`` of 40 draws: N is 40."""
    assert n_of(DataLoader(ROWS, 8, sampler=WeightedRandomSampler([1.0] * 100, 40))) == 40


@right
def test_a_random_sampler_with_replacement_gives_as_many_as_it_draws() -> None:
    """``RandomSampler(num_samples=250, replacement=True)`` of 100 rows: N is 250."""
    sampler = RandomSampler(ROWS, replacement=True, num_samples=250)
    assert n_of(DataLoader(ROWS, 50, sampler=sampler)) == 250


@right
def test_a_sampler_of_ones_own_is_counted() -> None:
    """A sampler whose ``__len__`` says 100 and that yields 30: N is 30."""

    class Own(torch.utils.data.Sampler[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(30))

        def __len__(self) -> int:
            return 100

    assert n_of(DataLoader(ROWS, 10, sampler=Own())) == 30


@right
def test_a_batch_sampler_is_counted() -> None:
    """A ``batch_sampler`` over 45 rows without the last short batch: N is 40."""
    batches = BatchSampler(SubsetRandomSampler(range(45)), batch_size=8, drop_last=True)
    assert n_of(DataLoader(ROWS, batch_sampler=batches)) == 40


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __init__(self, count: int | None) -> None:
        self.count = count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        row = 0
        while self.count is None or row < self.count:
            yield X[row % 100], Y[row % 100]
            row += 1


class Counted(Stream):
    def __len__(self) -> int:
        return 30


@right
def test_a_stream_that_says_its_length() -> None:
    """A stream of 30 rows with a length: N is 30."""
    assert n_of(DataLoader(Counted(30), batch_size=8)) == 30


@refused("__len__")
def test_a_stream_without_end() -> None:
    """A stream that says no length may have no end, so there is no N; the message names the cure."""
    n_of(DataLoader(Stream(None), batch_size=8))


@refused("empty")
def test_a_loader_that_yields_nothing() -> None:
    """A loader without rows has no N."""
    n_of(DataLoader(Subset(ROWS, []), batch_size=8))


@right
def test_the_objective_of_a_part_has_the_n_of_training() -> None:
    """``evaluate`` on 10 rows of a family of 100: objective = fit on the part + λ KL / 100, not / 10."""
    family = nd.fit(nn.Linear(4, 2), (X, Y), objective="scaled-kl", epochs=1)
    few, many = X[:10], X[:10].repeat(10, 1)
    by_few = nd.evaluate(family, (few, Y[:10]), lams=[0.1], n_samples=2).column("objective")
    by_many = nd.evaluate(family, (many, Y[:10].repeat(10)), lams=[0.1], n_samples=2).column(
        "objective"
    )
    torch.testing.assert_close(torch.tensor(by_few), torch.tensor(by_many), rtol=1e-5, atol=1e-5)


@right
def test_n_is_kept_in_a_file(tmp_path: Path) -> None:
    """A family that was saved and loaded still knows N and its task, so its objective is the same."""
    family = nd.fit(nn.Linear(4, 2), (X, Y), objective="scaled-kl", epochs=1)
    nd.save(family, tmp_path / "family")
    again = nd.load_model(tmp_path / "family", nn.Linear(4, 2))
    assert isinstance(again, nd.Family) and again.n_data == 100
    paths = [
        nd.evaluate(f, (X[:9], Y[:9]), lams=[1.0], n_samples=2).column("objective")
        for f in (family, again)
    ]
    assert paths[0] == paths[1]


class Bias(nn.Module):
    """A network that predicts one number for everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x[:, :1] + self.level


def level(data: Any, batch_size: int, epochs: int = 150) -> float:
    """Returns the number that a network of a bias alone learns by squared error: the mean of the targets."""
    family = nd.fit_direct(
        Bias(),
        data,
        lams=[1e-3],
        kind="regression",
        objective="l2",
        optimizer="SGD",
        lr=0.02,
        schedule="constant",
        epochs=epochs,
        batch_size=batch_size,
        groups=1,
    )[0]
    return float(family.export(1e-3).level.detach())


ONE_OF_FIVE = (torch.zeros(5, 1), torch.tensor([0.0, 0, 0, 0, 1])[:, None])


@right
def test_a_short_last_batch_of_a_loader_does_not_weigh_as_a_full_one() -> None:
    """Targets 0, 0, 0, 0 | 1 in batches of 4: least squares is at 1/5; with a full-weight last step it would be 1/2."""
    loader = DataLoader(TensorDataset(*ONE_OF_FIVE), batch_size=4)
    assert abs(level(loader, 4) - 0.2) < 0.04


@pytest.mark.slow
@right
def test_a_short_last_batch_of_tensors_does_not_weigh_as_a_full_one() -> None:
    """The same by tensors: 1/5."""
    assert abs(level(ONE_OF_FIVE, 4, 400) - 0.2) < 0.06


SEEN: set[float] = set()


class Recording(nn.Module):
    """A linear network that notes which examples it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        SEEN.update(x[:, 0].tolist())
        return self.layer(x)


def seen(data: Any, batch_size: int) -> int:
    SEEN.clear()
    counts: list[int] = []

    def note(_: Any) -> None:
        counts.append(len(SEEN))
        SEEN.clear()

    nd.fit(Recording(), data, epochs=2, batch_size=batch_size, groups=8, report=note)
    return counts[1]


@right
def test_groups_that_do_not_divide_a_batch_use_every_example() -> None:
    """Batches of 12 with 8 values of λ: all 36 rows are used in an epoch, not 8 of every 12."""
    x = torch.arange(36.0)[:, None]
    assert seen((x, x[:, 0].long() % 2), 12) == 36


@right
def test_groups_that_do_not_divide_a_batch_of_a_loader_use_every_example() -> None:
    """The same by a loader with batches of 15: all 30 rows, not 8 of every 15."""
    x = torch.arange(30.0)[:, None]
    assert seen(DataLoader(TensorDataset(x, x[:, 0].long() % 2), batch_size=15), 15) == 30


@right
def test_shards_of_workers_are_counted_once() -> None:
    """Two workers over 60 rows: N is 60, and the family is that of no workers."""
    fits = [
        nd.fit(_linear(), DataLoader(Subset(ROWS, range(60)), 20, num_workers=n), epochs=1, seed=1)
        for n in (0, 2)
    ]
    assert [f.n_data for f in fits] == [60, 60]
    assert torch.equal(fits[0].at(1.0)["weight"], fits[1].at(1.0)["weight"])


@pytest.mark.slow
@right
def test_persistent_workers_give_the_same_family_twice() -> None:
    """The same seed on the same loader with persistent workers that shuffles: equal bit for bit."""
    loader = DataLoader(ROWS, 25, shuffle=True, num_workers=1, persistent_workers=True)
    a, b = (nd.fit(_linear(), loader, epochs=2, seed=3).at(1.0)["weight"] for _ in range(2))
    assert torch.equal(a, b)


def _linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2)
