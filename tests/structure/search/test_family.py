"""Structures along λ: one search, its front, going on after a stop; and what size adds to a loss."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.measure.latency import Machine
from netdial.structure import Genotype, SearchSpace, StructureCosts, Supernet, ZeroOperation, derive
from netdial.structure.graph.operations import Factory
from netdial.structure.latency import LatencyLookup, OperationTime
from netdial.structure.penalty import SizePenalty, SizeShare, parse_penalty
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.searching import prepare
from netdial.structure.search.shared.varying import VaryingStructure, VaryingSupernet
from netdial.structure.unlike import Unlike
from netdial.train.session import Interrupted


def space(domain: Any = "simplex") -> SearchSpace:
    """A small layer that is nearly as good as a large one, a layer with normalisation, and nothing at all."""
    made = SearchSpace("priced")
    x, h = made.input("x", (2,)), made.node("h")
    operations: dict[str, Factory] = {
        "none": ZeroOperation,
        "skip": nn.Identity,
        "small": lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)),
        "large": lambda: nn.Sequential(nn.Linear(2, 40), nn.ReLU(), nn.Linear(40, 2)),
    }
    made.edge(x, h, operations)
    made.edge(
        x, h, {"norm": lambda: nn.BatchNorm1d(2), "none": ZeroOperation}, name="norm", domain=domain
    )
    made.node("y")
    made.edge(h, "y", {"head": lambda: nn.Linear(2, 1)})
    made.output("y")
    return made


def parts() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = 3 * x.abs().sum(1, keepdim=True)
    return (x[:100], y[:100]), (x[100:], y[100:])


SETTINGS: dict[str, Any] = {"epochs": 3, "network_epochs": 2, "batch_size": 25, "compare": False}


def test_the_front_is_best_at_every_price_of_what_was_trained() -> None:
    found = nd.search(
        space(),
        *parts(),
        strategy="family",
        options={"lo": 0.01, "hi": 30.0, "count": 5},
        starts=1,
        **SETTINGS,
    )
    assert found.front[0].lam == 0.01
    assert found.front[-1].lam == 30
    share = SizeShare(StructureCosts(space()))
    for point in found.front:
        worth = [o.tried.loss + point.lam * share.of(o.genotype) for o in found.front]
        assert point.tried.loss + point.lam * share.of(point.genotype) == min(worth)
    sizes = [point.cost.params for point in found.front]
    assert sizes == sorted(sizes, reverse=True)
    assert found.tried.loss == min(point.tried.loss for point in found.front)
    assert found.cost.params == sum(p.numel() for p in found.network.parameters())


def test_a_front_goes_on_bit_for_bit(tmp_path: Path) -> None:
    config = SearchConfig(strategy="family", options={"count": 3, "hi": 10.0}, **SETTINGS)

    def interrupt(step: int, total: int) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    whole = prepare(space(), *parts(), config).run()
    with pytest.raises(Interrupted):
        prepare(space(), *parts(), config).run(checkpoint=tmp_path / "s", advance=interrupt)
    again = prepare(space(), *parts(), config)
    told: list[Any] = []
    again.told = lambda part, tried: told.append((part, tried))
    second = again.run(checkpoint=tmp_path / "s", resuming=True)
    assert [(p.genotype, p.tried.loss) for p in second.front] == [
        (p.genotype, p.tried.loss) for p in whole.front
    ]
    third = prepare(space(), *parts(), config)
    third.done = {"front": [tried for part, tried in told if part == "front"]}
    third.told = lambda part, tried: pytest.fail(f"{part} is trained again")
    assert third.run(checkpoint=tmp_path / "s", resuming=True).gap == whole.gap


def test_weights_and_structure_are_functions_of_lambda() -> None:
    made = space("cube_vertices")
    net = VaryingSupernet(made, seed=3, regions=2)
    plain = Supernet(made, seed=3)
    x, gamma = torch.randn(4, 2), made.gamma(made.sample(torch.Generator().manual_seed(1)))
    assert torch.equal(net.eval()(x, gamma), plain.eval()(x, gamma))
    with torch.no_grad():
        net.along.pivots[2] += 1
    net.settle(0.75)
    half = dict(net.named_parameters())["edges.x->h.small.0.weight"]
    assert torch.allclose(half, dict(plain.named_parameters())["edges.x->h.small.0.weight"] + 0.5)
    structure = VaryingStructure(made, regions=2)
    pivots = structure.start()
    means = structure.means(pivots, 0.3)
    assert {key: row.tolist() for key, row in means.items()} == {
        "x->h": [0.25] * 4,
        "norm": [0.5] * 2,
    }
    pivots["categorical"][2, 0] = 40.0
    assert structure.means(pivots, 1.0)["x->h"][0] == pytest.approx(1)
    assert structure.means(pivots, 0.5)["x->h"][0] == 0.25
    drawn = structure.draw(pivots, 0.9, 0.5, Noise.from_generator(torch.Generator().manual_seed(0)))
    assert drawn["x->h"].sum().item() == pytest.approx(1)


def test_running_statistics_follow_training() -> None:
    job = prepare(space(), *parts(), SearchConfig(strategy="family", **SETTINGS))
    state, _ = job.searched(job.strategy, {})  # type: ignore[arg-type]
    statistics = dict(state.supernet.named_buffers())
    assert statistics["edges.norm.norm.num_batches_tracked"] > 0


def table(made: SearchSpace) -> LatencyLookup:
    """A microsecond for every parameter, ten for an edge."""
    costs = StructureCosts(made)
    times = {
        edge: {
            o: OperationTime(1e-3 * n, 0.0, 1 if n or o == "skip" else 0) for o, n in row.items()
        }
        for edge, row in costs.params.items()
    }
    return LatencyLookup(made.fingerprint, Machine.here(), 1, times, per_edge_ms=0.01)


def test_shares_are_of_the_largest_structure_and_expectations_are_means() -> None:
    made = space()
    costs, generator = StructureCosts(made), torch.Generator().manual_seed(0)
    rows = {k: torch.rand(len(c.operations), generator=generator) for k, c in made.choices.items()}
    rows = {key: row / row.sum() for key, row in rows.items()}
    for kind in ("params", "macs", "vertices", "edges", "ms"):
        share = SizeShare(costs, kind, lambda: table(made))
        sizes = {genotype: share.of(genotype) for genotype in made.enumerate()}
        assert max(sizes.values()) == pytest.approx(1), kind
        mean = sum(
            size
            * float(torch.stack([(made.gamma(g)[k] * row).sum() for k, row in rows.items()]).prod())
            for g, size in sizes.items()
        )
        assert share.expected(rows).item() == pytest.approx(mean, rel=1e-5), kind
    with pytest.raises(ConfigError, match="milliseconds"):
        SizeShare(costs, "ms")
    with pytest.raises(ConfigError, match="macs, ms, params"):
        SizeShare(costs, "weight")  # type: ignore[arg-type]


def test_fbnets_product_is_the_logarithm_to_a_power() -> None:
    made = space()
    share = SizeShare(StructureCosts(made), "ms", lambda: table(made))
    rows = {
        k: torch.full((n,), 1 / n) for k, c in made.choices.items() for n in [len(c.operations)]
    }
    us = 1e3 * float(share.plain(rows))
    found = parse_penalty("0.2 log^2.5 us")(torch.tensor(1.5), share, rows, 0.0)
    assert found.item() == pytest.approx(
        1.5 * 0.2 * torch.log(torch.tensor(us)).item() ** 2.5, rel=1e-5
    )
    with pytest.raises(ConfigError, match=r"not above 1.*us"):
        parse_penalty("0.2 log^0.6 s").check(share)
    job = prepare(
        space(), *parts(), SearchConfig(strategy="dnas", penalty="0.2 log^0.6 ms", **SETTINGS)
    )
    job.times = lambda: table(space())
    with pytest.raises(ConfigError, match="not above 1"):
        job.run()


def test_a_sum_counts_in_the_last_third_and_makes_networks_small() -> None:
    share = SizeShare(StructureCosts(space()))
    rows = {
        k: torch.full((n,), 1 / n) for k, c in space().choices.items() for n in [len(c.operations)]
    }
    loss = torch.tensor(1.0)
    assert SizePenalty(2.0)(loss, share, rows, 0.5) == 1
    assert SizePenalty(2.0)(loss, share, rows, 0.7).item() == pytest.approx(
        1 + 2 * share.expected(rows).item()
    )
    sizes = {}
    for penalty in (None, "1000 params"):
        options = {"structure_lr": 0.3}
        found = nd.search(
            space(),
            *parts(),
            strategy="darts",
            penalty=penalty,
            options=options,
            **SETTINGS | {"epochs": 9},
        )
        assert found.probabilities is not None
        sizes[penalty] = float(share.expected(found.probabilities))
    assert sizes["1000 params"] < sizes[None] - 0.05


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("params", "0.1 params"),
        ("0.1", "0.1 params"),
        ("-1 params", "0.1 params"),
        ("0.1 horses", "macs, ms, params"),
        ("0.1 log^2 params", "times"),
        ("0 log^2 us", "weight"),
        ("0.1 log^0 us", "power"),
    ],
)
def test_what_is_no_penalty_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_penalty(text)


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"penalty.*by gradient"):
        nd.search(space(), *parts(), strategy="random", penalty="0.1 params")
    with pytest.raises(ConfigError, match=r"lo=2.*hi=1"):
        nd.search(space(), *parts(), strategy="family", options={"lo": 2.0, "hi": 1.0})
    with pytest.raises(ConfigError, match="cost"):
        nd.search(space(), *parts(), strategy="family", options={"cost": "joules"})


def test_structures_of_the_front_can_be_derived() -> None:
    found = nd.search(
        space(), *parts(), strategy="family", options={"cost": "edges", "count": 2}, **SETTINGS
    )
    for point in found.front:
        assert StructureCosts(space()).of(point.genotype) == point.cost
        assert derive(space(), point.genotype)(torch.randn(3, 2)).shape == (3, 1)


def test_a_search_is_pushed_away_from_what_was_found() -> None:
    made = space("cube_vertices")
    first = made.genotype({"x->h": "small", "norm": ["norm"]})
    other = made.genotype({"x->h": "skip", "norm": []})
    rows = {"x->h": torch.tensor([0.1, 0.2, 0.6, 0.1]), "norm": torch.tensor([0.9, 0.3])}

    def by_hand(weights: list[float]) -> float:
        total = 0.0
        for weight, genotype in zip(weights, (first, other), strict=True):
            gamma = made.gamma(genotype)
            p, q = 0.95 * gamma["x->h"] + 0.05 / 4, rows["x->h"]
            total += weight * float((q * (q / p).log()).sum())
            p, q = 0.95 * gamma["norm"] + 0.05 / 2, rows["norm"]
            total += weight * float((q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).sum())
        return total

    for weights in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]):
        unlike = Unlike(made, dict(zip((first, other), weights, strict=True)))
        assert unlike(torch.tensor(2.0), rows).item() == pytest.approx(
            2 - by_hand(weights), rel=1e-4
        )


def test_structures_are_enumerated_one_after_another() -> None:
    options, found = {"structure_lr": 0.2}, dict[Genotype, float]()
    for _ in range(3):
        one = nd.search(
            space(),
            *parts(),
            strategy="darts",
            options=options,
            unlike=found,
            candidates=1,
            **SETTINGS,
        )
        assert one.genotype["x->h"] not in [genotype["x->h"] for genotype in found]
        found[one.genotype] = 5.0
    with pytest.raises(ConfigError, match="by gradient"):
        nd.search(space(), *parts(), strategy="random", unlike=found)
    with pytest.raises(ConfigError, match="weights"):
        nd.search(space(), *parts(), unlike=dict.fromkeys(found, -1.0))
