"""What a search says of networks is true of them: bytes of a file, losses that are no numbers, errors of weighted means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.best import beside_random
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.data.dataset import Dataset
from netdial.structure import SearchSpace
from netdial.structure.search import Asked
from netdial.structure.search.config import SearchConfig, SpaceSearchConfig
from netdial.structure.search.searching import prepare
from netdial.structure.search.training import error_of_mean


def normed() -> nn.Module:
    """33 numbers of linear layers, 32 of a normalisation, and its count of batches."""
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1))


def still() -> nn.Module:
    return nn.AdaptiveAvgPool1d(1)


def one_edge(**operations: Callable[[], nn.Module]) -> SearchSpace:
    space = SearchSpace("one edge")
    x, y = space.input("x", (2,)), space.node("y")
    space.edge(x, y, operations)
    space.output(y)
    return space


def parts() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    return [(x[:30], x[:30, :1]), (x[30:], x[30:, :1])]


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_limit_in_bytes_is_of_what_a_file_holds(precision: str) -> None:
    item = 8 if precision == "64-true" else 4
    less, more = 33 * item, (33 + 32) * item + 8
    for limit, size in ((less, less), (more - 1, less), (more, more)):
        config = SearchConfig(size=f"{limit} bytes", precision=precision, epochs=1)
        job = prepare(one_edge(normed=normed, plain=plain), *parts(), config)
        found = job.limit.choose({"x->y": torch.tensor([0.9, 0.1])})
        state = job.trained(Asked(found, 1))[0].state_dict()
        assert sum(t.numel() * t.element_size() for t in state.values()) == size
        assert job.limit.size(found) == size


def test_limits_of_time_are_of_single_precision() -> None:
    said = "times are measured of networks in single precision"
    with pytest.raises(ConfigError, match=said):
        SearchConfig(size="0.4 ms", precision="64-true")
    with pytest.raises(ConfigError, match=said):
        SpaceSearchConfig(max_latency_ms=0.4, precision="64-true")


DIVERGING: dict[str, Any] = {"epochs": 1, "batch_size": 30, "lr": 1e38, "compare": False}
"""The one step is made from a finite loss; after it there is none."""


def test_a_loss_that_is_no_number_is_never_the_least() -> None:
    space = one_edge(normed=normed, still=still)
    found = nd.search(space, *parts(), strategy="exhaustive", **DIVERGING)
    losses = {tried.genotype["x->y"]: tried.loss for tried in found.trials}
    assert losses["normed",] == math.inf
    assert found.genotype["x->y"] == ("still",)
    assert found.tried.loss == losses["still",] < math.inf


@pytest.mark.parametrize("strategy", ["exhaustive", "darts"])
def test_a_search_in_which_everything_diverges_has_no_result(strategy: str) -> None:
    space = one_edge(normed=normed, plain=plain)
    with pytest.raises(NonFiniteError, match=r"finite loss .* lower lr"):
        nd.search(space, *parts(), strategy=strategy, **DIVERGING)


def test_the_error_beside_random_search_is_that_of_the_weighted_mean() -> None:
    values = torch.tensor([0.5, -1.0, 2.0, 4.0], dtype=torch.float64)
    even = Dataset(values[:, None], values[:, None])
    assert error_of_mean(values, even) == pytest.approx(float(values.std() / 2))
    weight = torch.tensor([1.0, 2.0, 0.0, 3.0])
    rows, mean = Dataset(even.x, even.y, weight=weight), 10.5 / 6
    apart = [(w / 6 * (v - mean)) ** 2 for w, v in ((1, 0.5), (2, -1.0), (3, 4.0))]
    assert error_of_mean(values, rows) == pytest.approx(math.sqrt(sum(apart) * 3 / 2))
    assert math.isnan(error_of_mean(values[:1], even.select(torch.tensor([0]))))


def test_beside_random_structures_that_all_diverged_nothing_is_said_to_be_as_good() -> None:
    said = beside_random(math.nan, math.nan, 3, "valid")
    assert said.startswith("Not compared with random search") and "3 random structures" in said
    assert beside_random(-0.1, math.nan, 3, "valid").startswith("No better")  # one row says nothing
