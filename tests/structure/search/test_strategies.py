"""Strategies of search: each finds what is planted, and each does what its name says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors import Dirichlet
from netdial.structure import SearchSpace, StructureCosts, ZeroOperation
from netdial.structure.penalty import SizeShare
from netdial.structure.search import SEARCHES, GradientStrategy, StepContext, strategy_of
from netdial.structure.search.running import GradientMethod
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategies.pc import PartialDarts
from netdial.task import TASKS
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch


def planted(domain: Any = "simplex") -> SearchSpace:
    """Targets are |x| at the end of two edges: relu layers give it, lines and identities cannot."""
    space = SearchSpace("planted")
    x, h, y = space.input("x", (2,)), space.node("h"), space.node("y")
    operations = {
        "none": ZeroOperation,
        "skip": nn.Identity,
        "relu": lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)),
        "line": lambda: nn.Linear(2, 2),
    }
    space.edge(x, h, operations, domain=domain)
    space.edge(h, y, {"head": lambda: nn.Linear(2, 1)})
    space.output(y)
    return space


def parts() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(240, 2, generator=torch.Generator().manual_seed(0))
    y = 3 * x.abs().sum(1, keepdim=True) - 4.8  # no constant gains much
    return [(x[:120], y[:120]), (x[120:], y[120:])]


SETTINGS: dict[str, Any] = {"epochs": 30, "network_epochs": 4, "batch_size": 30, "lr": 0.03}
GRADIENT: dict[str, list[dict[str, Any]]] = {
    "darts": [{}, {"order": "exact"}, {"order": "finite"}],
    "snas": [{}],
    "dnas": [{}],
    "gdas": [{}],
    "drnas": [{}],
    "fair": [{}],
    "pc": [{}],
    "enas": [{"structure_lr": 0.01}],
    "family": [{"lo": 1e-4, "hi": 1e-3, "count": 1}],
}
CASES = [(name, options) for name, several in GRADIENT.items() for options in several]


def by_gradient(name: str, **options: Any) -> GradientStrategy:
    made = strategy_of(name, options)
    assert isinstance(made, GradientStrategy)
    return made


def penalty(strategy: GradientStrategy, state: SearchState) -> float:
    return float(torch.as_tensor(strategy.penalty(state)).detach())


def begun(
    strategy: GradientStrategy, space: SearchSpace | None = None, steps: int = 10
) -> tuple[GradientMethod, SearchState, dict[str, Batch]]:
    """A search before its first step, and a batch of each part."""
    costs = StructureCosts(space or planted())
    context = StepContext(
        TASKS["regression"](),
        steps,
        0,
        lambda loss, rows, progress: loss,
        lambda kind: SizeShare(costs, kind),
    )
    method = GradientMethod(strategy, context, TrainConfig(lr=0.03, schedule="constant"))
    batch = {name: Batch(*part) for name, part in zip(("train", "valid"), parts(), strict=True)}
    return method, method.init(space or planted()), batch


def test_all_strategies_by_gradient_are_tested() -> None:
    kinds = {name for name in SEARCHES if issubclass(SEARCHES[name], GradientStrategy)}
    assert kinds == set(GRADIENT)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "options"), CASES)
def test_a_planted_structure_is_found(strategy: str, options: dict[str, Any]) -> None:
    options = {"structure_lr": 0.03, **options}
    found = nd.search(
        planted(), *parts(), strategy=strategy, options=options, compare=False, **SETTINGS
    )
    assert found.genotype["x->h"] == ("relu",)
    assert found.gap is not None
    assert found.probabilities is not None
    assert found.probabilities["x->h"].argmax() == 2


@pytest.mark.parametrize("name", list(GRADIENT))
def test_a_step_moves_weights_and_structure_and_repeats(name: str) -> None:
    ends = []
    for _ in range(2):
        method, state, batch = begun(by_gradient(name))
        before = {n: p.detach().clone() for n, p in state.module.named_parameters()}
        for _ in range(3):
            measured = method.step(state, batch)
        assert all(value.shape == (1,) for value in measured.values())
        after = dict(state.module.named_parameters())
        moved = {n for n in after if not torch.equal(after[n], before[n])}
        assert any(n.startswith("structure") for n in moved)
        assert any("relu" in n or "along" in n for n in moved)  # of a family, functions of λ
        ends.append(state.tree()["module"])
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


@pytest.mark.parametrize("order", ["exact", "finite"])
def test_second_order_darts_moves_along_the_slope_of_the_loss_after_a_step(order: str) -> None:
    strategy = by_gradient("darts", order=order, structure_lr=0.05)
    method, state, batch = begun(strategy)
    state.module.double()
    batch = {n: Batch(b.x.double(), b.y.double()) for n, b in batch.items()}
    row, net = state.structure["x->h"], state.supernet
    with torch.no_grad():
        row.copy_(torch.tensor([0.1, -0.3, 0.2, 0.4]))

    def after(logits: Tensor) -> float:
        gamma = {"x->h": logits.softmax(0).detach()}
        weights = dict(net.named_parameters())
        loss = method.context.loss(state, gamma, batch["train"], sparse=False)
        slopes = torch.autograd.grad(loss, list(weights.values()))
        moved = {n: w - state.lr * s for (n, w), s in zip(weights.items(), slopes, strict=True)}
        return method.context.loss(state, gamma, batch["valid"], weights=moved).item()

    start = row.detach().clone()
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    slope = torch.tensor([(after(start + e) - after(start - e)) / 2e-5 for e in step])
    method.step(state, batch)
    assert torch.allclose(row.grad, slope.double(), rtol=1e-4, atol=1e-6)
    first, again, batch = begun(by_gradient("darts", structure_lr=0.05))
    with torch.no_grad():
        again.structure["x->h"].copy_(torch.tensor([0.1, -0.3, 0.2, 0.4]))
    first.step(again, batch)
    assert not torch.allclose(again.structure["x->h"].grad.double(), slope.double(), rtol=1e-2)


def test_gdas_runs_one_operation_and_has_a_gradient_at_it() -> None:
    strategy = by_gradient("gdas")
    method, state, batch = begun(strategy)
    runs: list[str] = []
    for name, module in state.supernet.edges["x->h"].items():  # type: ignore[operator]
        module.register_forward_hook(lambda *_, name=name: runs.append(name))
    for _ in range(8):
        runs.clear()
        method.step(state, batch)
        assert len(runs) <= 2  # one for the structure, one for the weights; "none" is no run
    source = torch.Generator().manual_seed(1)
    gamma = strategy.gamma(state, 0.5, source)["x->h"]
    assert sorted(gamma.tolist())[:3] == [0, 0, 0]
    gamma[gamma.argmax()].backward()
    assert state.structure["x->h"].grad.norm() > 0


def test_a_draw_that_connects_nothing_moves_nothing() -> None:
    method, state, batch = begun(by_gradient("gdas"))
    with torch.no_grad():
        state.structure["x->h"].copy_(torch.tensor([60.0, 0, 0, 0]))
    before = state.tree()["module"]["supernet.edges.x->h.relu.0.weight"].clone()
    measured = method.step(state, batch)
    assert torch.equal(state.supernet.state_dict()["edges.x->h.relu.0.weight"], before)
    assert measured["fit"] > 0


def test_snas_is_on_one_level_and_dnas_on_two() -> None:
    for name, names in (("snas", {"fit"}), ("dnas", {"fit", "valid"})):
        method, state, batch = begun(by_gradient(name))
        assert set(method.step(state, batch)) == names
    strategy = by_gradient("dnas")
    _, state, _ = begun(strategy)
    draws = [
        strategy.gamma(state, progress, torch.Generator().manual_seed(s))["x->h"].max().item()
        for progress in (0.0, 1.0)
        for s in range(50)
    ]
    assert max(draws[:50]) < 0.6
    assert sum(top > 0.95 for top in draws[50:]) > 30


def test_drnas_has_one_divergence_for_each_edge() -> None:
    space = planted()
    space.edge("x", "y", {"a": lambda: nn.Linear(2, 1), "b": lambda: nn.Linear(2, 1)})
    strategy = by_gradient("drnas", kl_weight=1.0)
    _, state, _ = begun(strategy, space)
    assert penalty(strategy, state) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        state.structure["x->h"].copy_(torch.tensor([1.0, -0.5, 0.3, 2.0]))
        state.structure["x->y"].copy_(torch.tensor([0.5, -1.0]))
    from torch.distributions import Dirichlet as Reference
    from torch.distributions import kl_divergence

    each = [
        kl_divergence(Reference(nn.functional.elu(row) + 1), Reference(torch.ones_like(row)))
        for row in state.structure.values()
    ]
    assert penalty(strategy, state) == pytest.approx(sum(e.item() for e in each), rel=1e-5)
    with pytest.raises(ConfigError, match=r"x->h.*cube"):
        begun(strategy, planted("cube"))


def test_gates_of_fair_darts_do_not_compete() -> None:
    strategy = by_gradient("fair")
    method, state, batch = begun(strategy)
    with torch.no_grad():
        state.structure["x->h"].copy_(torch.tensor([-4.0, 3.0, 4.0, 3.0]))
    gamma = strategy.gamma(state, 0.0, torch.Generator())["x->h"]
    assert gamma.sum() > 2
    assert method.context.loss(state, gamma=strategy.probabilities(state), batch=batch["valid"]) > 0
    shut = penalty(strategy, state)
    with torch.no_grad():
        state.structure["x->h"].zero_()
    assert shut < penalty(strategy, state) == 0


def two_edges() -> SearchSpace:
    """Two edges lead to one node, and both keep the shape."""
    space = SearchSpace("two")
    x, h, y = space.input("x", (8,)), space.node("h"), space.node("y")
    operations = {"none": ZeroOperation, "skip": nn.Identity, "line": lambda: nn.Linear(8, 8)}
    space.edge(x, h, operations)
    space.edge(x, y, operations)
    space.edge(h, y, operations)
    space.output(y)
    return space


def test_edge_weights_of_partial_darts_are_normalised_and_get_a_gradient() -> None:
    strategy = by_gradient("pc")
    assert isinstance(strategy, PartialDarts)
    method, state, _ = begun(strategy, two_edges())
    weights = strategy.edge_weights(state)
    assert weights["x->h"].item() == 1
    assert weights["x->y"].item() + weights["h->y"].item() == pytest.approx(1)
    x, y = torch.randn(20, 8), torch.randn(20, 8)
    batch = {"train": Batch(x, y), "valid": Batch(x, y)}
    method.step(state, batch)
    for key in ("x->y", "h->y"):
        edge, row = state.structure[f"weight of edge {key}"], state.structure[key]
        assert edge.grad is not None and edge.grad.abs() > 0
        assert row.grad is not None and row.grad.norm() > 0
        assert edge.abs() > 0, "it was moved"


def test_partial_operations_take_a_share_of_the_channels_while_they_are_trained() -> None:
    strategy = by_gradient("pc", share=0.25)
    _, state, _ = begun(strategy, two_edges())
    part = state.supernet.edges["x->h"]["line"]  # type: ignore[index]
    x, taken = torch.randn(5, 8), set()
    for seed in range(20):
        strategy.gamma(state, 0.0, torch.Generator().manual_seed(seed))
        out = part(x)
        inside = part.taken
        assert inside.sum() == 2
        assert torch.equal(out[:, ~inside], x[:, ~inside])
        assert torch.equal(out[:, inside], part.operation(x)[:, inside])
        taken |= set(inside.nonzero()[:, 0].tolist())
    assert taken == set(range(8))
    part.eval()
    assert torch.equal(part(x), part.operation(x))


def test_settings_are_those_of_the_strategies() -> None:
    for strategy, options, word in (
        ("snas", {"tau_end": 0.0}, "tau_end"),
        ("darts", {"order": "second"}, "order"),
        ("drnas", {"kl_weight": -1.0}, "kl_weight"),
    ):
        with pytest.raises(ConfigError, match=word):
            nd.search(planted(), *parts(), strategy=strategy, options=options)
    noise = Noise(0, 0, [0])
    assert Dirichlet().sample({"log_s": torch.zeros(1, 3)}, noise, 1.0).sum() == pytest.approx(1)
