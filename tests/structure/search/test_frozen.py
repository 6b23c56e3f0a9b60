"""Operations with frozen parts, such as a pretrained network: searches leave them as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.structure import SearchSpace
from netdial.structure.graph.operations import Factory
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.searching import prepare
from netdial.structure.search.strategies.family import FamilySearch

SETTINGS: dict[str, Any] = {"network_epochs": 1, "candidates": 2, "starts": 1, "compare": False}


class HalfFrozen(nn.Module):
    """A frozen layer below one that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.above(self.below(x).tanh())
        return out


def problem() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x = 3 * torch.randn(120, 4, generator=torch.Generator().manual_seed(0)) + 1
    y = (x[:, 0] * x[:, 1] > 0).long()
    return (x[:80], y[:80]), (x[80:], y[80:])


def space_with(operation: Factory) -> SearchSpace:
    space = SearchSpace("frozen")
    x, h, y = space.input("x", (4,)), space.node("h"), space.node("y")
    space.edge(x, h, {"frozen": operation, "linear": lambda: nn.Linear(4, 4)})
    space.edge(h, y, {"head": lambda: nn.Linear(4, 2)})
    space.output(y)
    return space


@pytest.mark.parametrize("order", ["exact", "finite"])
def test_the_second_order_looks_at_weights_that_move(order: str) -> None:
    operations: list[Factory] = [HalfFrozen, lambda: nn.Linear(4, 4).requires_grad_(False)]
    for operation in operations:
        options = {"order": order}
        found = nd.search(space_with(operation), *problem(), epochs=2, options=options, **SETTINGS)
        assert found.tried.loss < 10


def test_a_search_along_prices_holds_what_operations_freeze() -> None:
    config = SearchConfig(strategy="family", epochs=2, **SETTINGS)
    job = prepare(space_with(HalfFrozen), *problem(), config)
    assert isinstance(job.strategy, FamilySearch)
    state, _ = job.searched(job.strategy, {})
    fresh = job.strategy.supernet(job.space, config.seed)
    for lam in (job.strategy.lo, job.strategy.hi):
        job.strategy.settle(state, lam)
        now, start = dict(state.supernet.named_parameters()), dict(fresh.named_parameters())
        below, above = (f"edges.x->h.frozen.{name}.weight" for name in ("below", "above"))
        torch.testing.assert_close(now[below], start[below])
        assert not torch.equal(now[above], start[above])


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize("strategy", ["darts", "family", "random"])
def test_a_pretrained_part_that_is_handed_out_stays_as_it_is(strategy: str, precision: str) -> None:
    part = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).requires_grad_(False)
    before = copy.deepcopy(part.state_dict())
    found = nd.search(
        space_with(lambda: part),
        *problem(),
        strategy=strategy,
        epochs=1,
        precision=precision,
        **SETTINGS,
    )
    found.network.train()(problem()[0][0].to(next(found.network.parameters()).dtype))
    assert part.training
    for name, value in part.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name
