"""Supernets: exact at vertices, mixtures inside, what is refused; networks derived from them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError
from netdial.structure import DerivedNetwork, SearchSpace, Supernet, ZeroOperation, derive

from .spaces_of_tests import OPERATIONS, dense_cell, linear

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Counted(nn.Module):
    """Counts its runs."""

    runs = 0

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        Counted.runs += 1
        return self.factor * x


def stretch(factor: float) -> Callable[[], nn.Module]:
    return lambda: Counted(factor)


def joined(how: Any, domain: Any = "simplex") -> SearchSpace:
    """Two edges from the input that meet at a node."""
    space = SearchSpace()
    space.input("x", (4,))
    node = space.node("h", how)
    for number in range(2):
        space.edge(
            "x",
            node,
            {"none": ZeroOperation, "two": stretch(2), "three": stretch(3)},
            name=f"e{number}",
            domain=domain,
        )
    space.output(node)
    return space


def gamma(*rows: list[float]) -> dict[str, Tensor]:
    return {f"e{number}": torch.tensor(row) for number, row in enumerate(rows)}


def median_of(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).median(dim=0).values


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("sum", lambda a, b: (a + b) * X),
        ("mean", lambda a, b: (a + b) / 2 * X),
        ("product", lambda a, b: a * b * X * X),
        ("concat", lambda a, b: torch.cat([a * X, b * X], dim=1)),
        (lambda parts: parts[0] - parts[1], lambda a, b: (a - b) * X),
    ],
)
def test_mixtures_are_the_sums_of_the_formula(
    how: Any, wanted: Callable[[float, float], Tensor]
) -> None:
    net = Supernet(joined(how))
    for first, second in (([0.2, 0.3, 0.5], [0.1, 0.1, 0.8]), ([0, 1, 0], [0, 0, 1])):
        a, b = (2 * row[1] + 3 * row[2] for row in (first, second))
        assert torch.allclose(net(X, gamma(first, second)), wanted(a, b), atol=1e-6)
    alone = net(X, gamma([0.0, 1, 0], [1.0, 0, 0]))
    assert torch.allclose(alone, wanted(2, 0))  # a product with nothing is nothing


def test_nothing_that_weighs_nothing_is_run() -> None:
    net = Supernet(joined("sum"))
    Counted.runs = 0
    net(X, gamma([0.0, 1, 0], [1.0, 0, 0]))
    assert Counted.runs == 1
    wanted = {name: row.requires_grad_() for name, row in gamma([0.0, 1, 0], [1.0, 0, 0]).items()}
    net(X, wanted).sum().backward()
    assert Counted.runs == 1 + 4
    assert wanted["e1"].grad is not None
    assert wanted["e1"].grad[2] == pytest.approx(3 * X.sum().item(), rel=1e-5)
    net(X, wanted, sparse=True)
    assert Counted.runs == 1 + 4 + 1


def test_gradients_of_structure_parameters_are_those_of_the_formula() -> None:
    net = Supernet(dense_cell(4)).double()
    keys = list(net.space.choices)
    rows = torch.rand(len(keys), 3, dtype=torch.float64).softmax(1).requires_grad_()

    def outputs(rows: Tensor) -> Tensor:
        return net(X.double(), dict(zip(keys, rows, strict=True)))

    def inside(free: Tensor) -> Tensor:
        return outputs(torch.cat([free, 1 - free.sum(1, keepdim=True)], dim=1))

    assert torch.autograd.gradcheck(inside, rows[:, :2].detach().requires_grad_())


def test_each_example_may_have_its_own_structure() -> None:
    net = Supernet(dense_cell(4))
    rows = {
        key: torch.rand(5, 3, generator=torch.Generator().manual_seed(number)).softmax(1)
        for number, key in enumerate(net.space.choices)
    }
    one_by_one = [net(X[i : i + 1], {k: g[i] for k, g in rows.items()}) for i in range(5)]
    assert torch.allclose(net(X, rows), torch.cat(one_by_one), atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (([0.5, 0.6, 0], [1.0, 0, 0]), ConfigError, "e0.*1.1"),
        (([-0.5, 1.5, 0], [1.0, 0, 0]), ConfigError, "e0.*-0.5"),
        (([1.0, 0, 0], [float("nan"), 0, 0]), ConfigError, "e1.*nan"),
        (([1.0, 0], [1.0, 0, 0]), ShapeError, r"e0.*\[2\].*\[3\]"),
        (([1.0, 0, 0],), ConfigError, "e1 is missing"),
        (([1.0, 0, 0], [1.0, 0, 0], [1.0]), ConfigError, "e2"),
    ],
)
def test_structure_parameters_outside_their_domain_are_refused(
    rows: tuple[list[float], ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Supernet(joined("sum"))(X, gamma(*rows))


def test_vertices_alone_where_vertices_are_asked_for() -> None:
    net = Supernet(joined("sum", "cube_vertices"))
    assert torch.equal(net(X, gamma([0.0, 1, 1], [0.0, 0, 0])), 2 * X + 3 * X)
    with pytest.raises(ConfigError, match="e1"):
        net(X, gamma([0.0, 1, 1], [0.0, 0.5, 0]))
    open_gates = net.space.genotype({"e0": ["three", "two"], "e1": []})
    assert torch.equal(derive(net, open_gates)(X), 2 * X + 3 * X)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sum", "mean", "product", "concat", median_of])
@pytest.mark.parametrize("domain", ["simplex", "cube"])
def test_derived_networks_are_the_supernet_at_a_vertex_bit_for_bit(how: Any, domain: Any) -> None:
    space = SearchSpace()
    x, a, b, y = space.input("x", (4,)), space.node("a"), space.node("b", how), space.node("y")
    edges = {"none": ZeroOperation, "linear": linear(4), "tanh": nn.Tanh}
    for source, target in ((x, a), (x, b), (a, b)):
        space.edge(source, target, edges, domain=domain)
    space.edge(b, y, {"norm": lambda shape: nn.BatchNorm1d(shape[0])})
    space.output(y)
    net = Supernet(space)
    net(X, {key: torch.full((3,), 1 / 3) for key in space.choices})  # moves the running statistics
    genotypes = list(space.enumerate())
    for genotype in genotypes[:: max(1, len(genotypes) // 40)]:
        for mode in (False, True):
            net.train(mode)
            found = derive(net, genotype)
            assert found.training is mode
            with torch.no_grad():
                assert torch.equal(copy.deepcopy(net)(X, space.gamma(genotype)), found(X))


def test_derived_networks_hold_what_is_there_and_share_nothing() -> None:
    net = Supernet(dense_cell(4))
    chosen = {
        "x->a": "linear",
        "x->b": "none",
        "a->b": "none",
        "x->c": "none",
        "a->c": "skip",
        "b->c": "linear",
    }
    found = derive(net, chosen)
    assert list(found.edges) == ["x->a", "a->c"]
    assert sum(p.numel() for p in found.parameters()) == 20
    before = net.edges["x->a"]["linear"].weight.clone()  # type: ignore[index, union-attr, operator]
    with torch.no_grad():
        next(found.parameters()).zero_()
    assert torch.equal(net.edges["x->a"]["linear"].weight, before)  # type: ignore[index, union-attr, arg-type]
    dead = derive(net, dict.fromkeys(net.space.choices, "none"))
    assert torch.equal(dead(X), torch.zeros(5, 4))


def test_fresh_weights_are_those_of_a_fresh_supernet() -> None:
    space = dense_cell(3)
    genotype = space.genotype(dict.fromkeys(space.choices, "linear"))
    trained = Supernet(space, seed=7)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.zero_()
    again = derive(trained, genotype, inherit=False, seed=7)
    assert torch.equal(again(X), derive(space, genotype, seed=7)(X))
    assert torch.equal(again(X), Supernet(space, seed=7)(X, space.gamma(genotype)))
    assert not torch.equal(again(X), derive(space, genotype, seed=8)(X))


def test_derived_networks_are_ordinary_modules() -> None:
    net = Supernet(dense_cell(3))
    found = derive(net, dict.fromkeys(net.space.choices, "linear"))
    assert isinstance(found, DerivedNetwork)
    twin = copy.deepcopy(found)
    assert torch.equal(twin(X), found(X))
    assert next(twin.parameters()) is not next(found.parameters())
    program = torch.export.export(found.eval(), (X,)).module()
    assert torch.equal(program(X), found(X))
    traced = torch.fx.symbolic_trace(found)
    assert torch.equal(traced(X), found(X))
    assert "x->a: linear" in repr(found)


def test_operations_have_weights_of_their_own_that_do_not_depend_on_others() -> None:
    fewer, more = SearchSpace(), SearchSpace()
    for space, operations in ((fewer, {"linear": linear(4)}), (more, OPERATIONS)):
        space.input("x", (4,))
        space.node("y")
        space.edge("x", "y", operations)
        space.output("y")
    one, other = (Supernet(space, seed=3) for space in (fewer, more))
    assert torch.equal(one(X, {}), other(X, {"x->y": torch.tensor([0.0, 0, 1])}))
