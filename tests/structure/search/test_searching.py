"""Search from Python: both kinds of strategy, limits of size, comparison with random search, going on after a stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, NonFiniteError, ShapeError
from netdial.measure.latency import Machine
from netdial.structure import Genotype, SearchSpace, StructureCosts, ZeroOperation
from netdial.structure.latency import LatencyLookup, OperationTime
from netdial.structure.latency.table import LatencyAgreement
from netdial.structure.search import Asked, Scope, Tried, limits, searching, strategy_of
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.limits import SizeLimit
from netdial.structure.search.outcome import SearchOutcome
from netdial.structure.search.running import run_trials
from netdial.structure.search.searching import prepare
from netdial.structure.search.strategies.random_search import RandomSearch
from netdial.structure.spaces import ready_space
from netdial.train.session import Interrupted


def planted() -> SearchSpace:
    """Targets are a linear function of relu(±x): of four operations one can give it."""
    space = SearchSpace("planted")
    x, h, y = space.input("x", (2,)), space.node("h"), space.node("y")

    def both(shape: Sequence[int]) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))

    operations = {
        "none": ZeroOperation,
        "skip": nn.Identity,
        "relu": both,
        "line": lambda: nn.Linear(2, 2),
    }
    space.edge(x, h, operations)
    space.edge(h, y, {"head": lambda shape: nn.Linear(2, 1)})
    space.output(y)
    return space


def parts() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(240, 2, generator=torch.Generator().manual_seed(0))
    y = 3 * x.abs().sum(1, keepdim=True)
    return [(x[:120], y[:120]), (x[120:], y[120:])]


SETTINGS: dict[str, Any] = {"epochs": 12, "network_epochs": 12, "batch_size": 30, "lr": 0.03}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "options"),
    [("random", {"trials": 4}), ("darts", {"structure_lr": 0.1})],
)
def test_a_planted_structure_is_found(strategy: str, options: dict[str, Any]) -> None:
    found = nd.search(planted(), *parts(), strategy=strategy, options=options, **SETTINGS)
    assert found.genotype["x->h"] == ("relu",)
    assert found.cost == StructureCosts(planted()).of(found.genotype)
    assert sum(p.numel() for p in found.network.parameters()) == found.cost.params
    again = nd.search(planted(), *parts(), strategy=strategy, options=options, **SETTINGS)
    x = parts()[1][0]
    assert torch.equal(found.network(x), again.network(x))
    assert found.examples == again.examples
    if strategy == "darts":
        assert found.gap is not None
        assert found.gap.retrained == found.tried.loss
        assert found.gap.mixture < 10 and found.gap.inherited < 10
        assert found.baseline is not None
        assert sum(tried.seconds for tried in found.baseline.trials[:-1]) <= found.seconds
        different = {tried.genotype for tried in found.baseline.trials}
        assert f"the best of {len(different)} random structure" in found.baseline.verdict
    else:
        assert len(found.trials) == 3 + 2 + 2  # none connects nothing, so three are allowed
        assert found.tried.loss == min(tried.loss for tried in found.trials)


def test_the_limit_of_size_is_kept() -> None:
    for strategy in ("random", "darts"):
        found = nd.search(
            planted(),
            *parts(),
            strategy=strategy,
            size="12 params",
            compare=False,
            **SETTINGS | {"epochs": 2},
        )
        assert found.cost.params <= 12
        assert found.baseline is None
    with pytest.raises(ConfigError, match=r"2 params.*3 params"):
        nd.search(planted(), *parts(), size="2 params")


def test_the_likeliest_structure_within_a_limit_is_chosen() -> None:
    space = planted()
    limit = SizeLimit(space, "12 params")
    chosen = limit.choose({"x->h": torch.tensor([0.0, 0.1, 0.7, 0.2])})
    assert chosen["x->h"] == ("line",)
    assert limit.choose({"x->h": torch.tensor([0.6, 0.3, 0.1, 0.0])})["x->h"] == ("skip",)
    rows = {"x->h": torch.tensor([0.25, 0.25, 0.25, 0.25], requires_grad=True)}
    value = limit.objective(torch.tensor(1.0), rows)
    value.backward()
    slope = rows["x->h"].grad
    assert slope is not None
    assert slope[2] > slope[3] > slope[1]
    assert SizeLimit(space, None).objective(torch.tensor(1.0), rows) == 1


def test_a_limit_in_milliseconds_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test: a millisecond for every number, and a tenth more for whole networks."""

    def table(space: SearchSpace) -> LatencyLookup:
        rows = {
            edge: {name: OperationTime(float(count), 0.0, 5) for name, count in row.items()}
            for edge, row in StructureCosts(space).params.items()
        }
        fits = LatencyAgreement((1.0, 2.0), (1.0, 2.0), 0.0, 0.0, 1.0, 1.0)
        return LatencyLookup(space.fingerprint, Machine.here(), 1, rows, agreement=fits)

    def slower(net: nn.Module, shape: Any, batch: int) -> float:
        return 1.1 * sum(p.numel() for p in net.parameters())

    monkeypatch.setattr(searching, "measure_table", table)
    monkeypatch.setattr(limits, "measure_network", slower)
    settings = SETTINGS | {"epochs": 2, "compare": False}
    found = nd.search(planted(), *parts(), size="45 ms", **settings)  # relu has 42 + 3 numbers
    assert found.genotype["x->h"] != ("relu",)
    assert found.cost.params <= 9
    with pytest.raises(ConfigError, match="nearest"):
        nd.search(planted(), *parts(), size="2 ms")


def test_structures_are_drawn_within_a_limit_that_draws_hardly_meet() -> None:
    space = ready_space("mlp", input_shape=(13,), n_outputs=3)
    limit = SizeLimit(space, "2k params")  # no hidden layer fits: a few in a thousand
    source = torch.Generator().manual_seed(0)
    found = {limit.nearest(space.sample(source)) for _ in range(5)}
    assert all(limit.allows(genotype) for genotype in found)
    assert len(found) > 1
    scope = Scope(space, 1, 0, lambda genotype: False, limit.nearest)
    assert limit.allows(scope.draw(source))  # type: ignore[arg-type]


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'darts'"):
        nd.search(planted(), *parts(), strategy="dart")
    with pytest.raises(ConfigError, match="trial"):
        nd.search(planted(), *parts(), strategy="random", options={"trial": 3})
    with pytest.raises(ConfigError, match="epoch"):
        nd.search(planted(), *parts(), epoch=3)
    assert SearchConfig(strategy="random", options="trials=3").options == {"trials": 3}
    with pytest.raises(
        ConfigError, match=r"candidates: is a setting of every search.*--candidates 2"
    ):
        SearchConfig(strategy="darts", options={"candidates": 2})
    assert strategy_of("darts", {"structure_lr": 0.5}).model_dump()["structure_lr"] == 0.5
    with pytest.raises(ConfigError, match="options"):
        SearchConfig(options="trials")
    space = SearchSpace()
    space.input("x", (2,))
    space.node("y")
    space.edge("x", "y", {"only": lambda: nn.Linear(2, 1)})
    space.output("y")
    with pytest.raises(ConfigError, match="choose"):
        nd.search(space, *parts())


def scope(space: SearchSpace) -> Scope:
    return Scope(space, 3, 0, lambda genotype: True)


def tried(asked: Asked, loss: float = 1.0) -> Tried:
    return Tried(asked.genotype, asked.epochs, loss, 10, 0.1)


def test_trials_go_on_from_their_results() -> None:
    space, strategy = planted(), RandomSearch(trials=3)
    made: list[Genotype] = []

    def make(asked: Asked) -> Tried:
        made.append(asked.genotype)
        return tried(asked)

    whole = run_trials(strategy, scope(space), make, [])
    assert len(whole) == len(set(made)) == 3
    rest = run_trials(strategy, scope(space), make, whole[:1])
    assert rest == whole
    assert made[3:] == made[1:3]
    with pytest.raises(ConfigError, match="another search"):
        run_trials(RandomSearch(trials=3), scope(space), make, whole[1:])


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_search_by_gradient_goes_on_bit_for_bit(stop: int, tmp_path: Path) -> None:
    config = SearchConfig(**SETTINGS | {"epochs": 3}, compare=False)

    def job() -> Any:
        return prepare(planted(), *parts(), config)

    def interrupt(step: int, total: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    whole = job().run()
    with pytest.raises(Interrupted):
        job().run(checkpoint=tmp_path / "state", advance=interrupt)
    rest: SearchOutcome = job().run(checkpoint=tmp_path / "state", resuming=True)
    assert rest.genotype == whole.genotype
    assert torch.equal(rest.probabilities["x->h"], whole.probabilities["x->h"])  # type: ignore[index]
    assert rest.gap == whole.gap
    assert rest.examples == whole.examples


def test_candidates_are_drawn_trained_and_chosen_by_validation_loss() -> None:
    told: list[tuple[str, Tried]] = []
    config = SearchConfig(strategy="darts", candidates=3, compare=False, **SETTINGS | {"epochs": 2})
    job = prepare(planted(), *parts(), config)
    job.told = lambda part, tried: told.append((part, tried))
    found = job.run()
    tried = [each for part, each in told if part == "candidate"]
    assert len({each.genotype for each in tried}) == 3
    assert [each.start for each in tried] == [0, 0, 0, 1, 1, 2, 2]
    assert found.trials == tuple(tried)
    assert found.tried == min(tried, key=lambda each: each.loss)
    assert found.genotype["x->h"] == (
        "relu",
    )  # which one of three draws of four has, whatever two epochs taught
    again = prepare(planted(), *parts(), config)
    again.done = {"candidate": tried}
    again.told = lambda part, tried: pytest.fail(f"{part} is trained again")
    assert again.run().tried == found.tried
    alone = prepare(planted(), *parts(), config.changed(candidates=1)).run()
    assert len(alone.trials) == 1 and alone.trials[0].loss == tried[0].loss


def test_candidates_are_within_the_limit() -> None:
    config = SearchConfig(
        strategy="darts", candidates=4, size="12 params", compare=False, **SETTINGS | {"epochs": 1}
    )
    found = prepare(planted(), *parts(), config).run()
    costs = StructureCosts(planted())
    assert all(costs.of(each.genotype).params <= 12 for each in found.trials)
    assert len({each.genotype for each in found.trials}) == 2  # a line, and an identity


class OfFew(nn.Module):
    """A layer that is sound for a few examples alone."""

    def __init__(self, width: int, *, raises: bool) -> None:
        super().__init__()
        self.layer, self.raises = nn.Linear(width, 2), raises

    def forward(self, x: Tensor) -> Tensor:
        if self.raises and len(x) > 8:
            raise RuntimeError("too many examples")
        return self.layer(x) / (len(x) <= 8)


@pytest.mark.parametrize("strategy", ["darts", "random", "exhaustive"])
def test_an_operation_that_fails_on_a_batch_is_named_before_the_search(strategy: str) -> None:
    """It ended a search by trials in a traceback of the network's, and one by gradient without its name."""
    for raises, error in ((True, ShapeError), (False, NonFiniteError)):
        space = SearchSpace()
        space.input("x", (3,))
        space.node("y")
        space.edge(
            "x",
            "y",
            {
                "few": lambda shape, raises=raises: OfFew(shape[0], raises=raises),
                "linear": lambda shape: nn.Linear(shape[0], 2),
            },
        )
        space.output("y")
        x = torch.randn(32, 3)
        part = (x, (x.sum(1) > 0).long())
        with pytest.raises(error, match=r"edge x->y, operation few: .* 16 inputs of shape \[3\]"):
            nd.search(space, part, part, strategy=strategy, epochs=1, batch_size=16, compare=False)
