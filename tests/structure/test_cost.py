"""Costs: those of a genotype are those of its network, expectations are means over genotypes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.measure.cost import cost
from netdial.structure import SearchSpace, StructureCosts, ZeroOperation, derive, to_dot, to_svg

from .spaces_of_tests import OPERATIONS, dense_cell, linear


def narrow() -> SearchSpace:
    """A space with widths, a bottleneck, a tied pair, a cube, and nodes of other kinds."""
    space = SearchSpace()
    x, a, b, c, y = (
        space.input("x", (4,)),
        *(space.node(n) for n in "ab"),
        space.node("c", "product"),
        space.node("y"),
    )
    wide = {
        "none": ZeroOperation,
        "linear": linear(6),
        "deep": lambda s: nn.Sequential(nn.Linear(s[0], 9), nn.Linear(9, 6)),
    }
    space.edge(x, a, wide)
    space.edge(x, b, {"one": linear(6), "two": linear(6)}, domain="cube")
    space.edge(a, b, {"none": ZeroOperation, "same": linear(6), "skip": nn.Identity}, key="tie")
    space.edge(b, c, {"none": ZeroOperation, "same": linear(6), "skip": nn.Identity}, key="tie")
    space.edge(a, c, {"skip": nn.Identity, "tanh": nn.Tanh})
    space.edge(c, y, {"head": linear(2)})
    space.edge(x, y, {"none": ZeroOperation, "head": linear(2)})
    space.output(y)
    return space


@pytest.mark.parametrize("space", [dense_cell(3), narrow()], ids=["cell", "narrow"])
def test_a_genotype_costs_what_its_network_costs(space: SearchSpace) -> None:
    costs, x = StructureCosts(space), torch.randn(2, 4)
    for genotype in itertools.islice(space.enumerate(), 0, None, 5):
        net, found = derive(space, genotype), costs.of(genotype)
        measured = cost(net, x)
        assert (found.params, found.macs) == (measured.params, measured.macs)
        assert found.edges == len(net.edges)
        assert found.vertices == (
            len({n for e in net.edges for n in e.split("->")}) if found.edges else 0
        )


def test_a_sub_function_costs_what_its_node_needs() -> None:
    space, other = dense_cell(5), dense_cell(4)  # the first four nodes of the one are the other
    costs, wanted = StructureCosts(space), StructureCosts(other)
    chances = _even(space)
    assert costs.expected(chances)["params"] > 0  # fills what is kept of the whole
    part = costs.upto(other.wiring.output)
    for genotype in itertools.islice(space.enumerate(), 0, None, 997):
        inside = other.genotype({key: genotype[key] for key in other.choices})
        assert part.of(genotype) == wanted.of(inside)
        assert part.of_table(genotype, part.params) == part.of(genotype).params
    for name, value in part.expected(chances).items():
        assert value.item() == pytest.approx(wanted.expected(_even(other))[name].item())
    assert costs.upto(space.wiring.output).of(genotype) == costs.of(genotype)
    assert vars(costs.upto("x").of(genotype)) == {"params": 0, "macs": 0, "vertices": 1, "edges": 0}
    assert StructureCosts(narrow()).upto("a").of(next(narrow().enumerate())).vertices == 0
    with pytest.raises(ConfigError, match="node"):
        costs.upto("nowhere")


def _even(space: SearchSpace) -> dict[str, torch.Tensor]:
    return {
        key: torch.full((len(choice.operations),), 1 / len(choice.operations)).double()
        for key, choice in space.choices.items()
    }


@pytest.mark.parametrize("space", [dense_cell(3), narrow()], ids=["cell", "narrow"])
def test_expectations_are_means_over_genotypes(space: SearchSpace) -> None:
    source = torch.Generator().manual_seed(0)
    chances: dict[str, Any] = {}
    for key, choice in space.choices.items():
        draw = torch.rand(len(choice.operations), generator=source, dtype=torch.float64)
        chances[key] = draw if choice.domain == "cube" else draw / draw.sum()
    costs = StructureCosts(space)
    assert costs.exact
    wanted = dict.fromkeys(("params", "macs", "vertices", "edges"), 0.0)
    for genotype in space.enumerate():
        found, probability = costs.of(genotype), 1.0
        for key, choice in space.choices.items():
            for operation, chance in zip(choice.operations, chances[key].tolist(), strict=True):
                chosen = operation in genotype[key]
                if choice.domain == "cube":
                    probability *= chance if chosen else 1 - chance
                elif chosen:
                    probability *= chance
        for name in wanted:
            wanted[name] += probability * getattr(found, name)
    for name, value in costs.expected(chances).items():
        assert value.item() == pytest.approx(wanted[name], rel=1e-10), name


def test_expectations_at_a_vertex_are_the_costs_there() -> None:
    space = narrow()
    costs = StructureCosts(space)
    for genotype in itertools.islice(space.enumerate(), 0, None, 17):
        found, expected = costs.of(genotype), costs.expected(space.gamma(genotype))
        for name, value in expected.items():
            assert value.item() == getattr(found, name)


def test_expectations_have_gradients_and_take_other_tables() -> None:
    space = dense_cell(3)
    costs = StructureCosts(space)
    rows = {key: torch.full((3,), 1 / 3, requires_grad=True) for key in space.choices}
    table = {edge: {"none": 7.0, "skip": 1.0, "linear": 2.5} for edge in space.wiring.edges}
    costs.expected_of_table(table, rows).backward()
    slopes = [row.grad for row in rows.values()]
    assert all(slope is not None and slope[2] > slope[1] > slope[0] for slope in slopes)
    genotype = space.genotype({"x->a": "skip", "x->b": "none", "a->b": "linear"})
    assert costs.of_table(genotype, table) == 3.5
    with pytest.raises(ConfigError, match=r"x->b"):
        costs.expected({"x->a": rows["x->a"]})


def test_too_many_sets_of_missing_edges_give_an_upper_bound() -> None:
    space = dense_cell(6)
    costs = StructureCosts(space)
    assert not costs.exact
    even = {key: torch.full((3,), 1 / 3) for key in space.choices}
    assert costs.expected(even)["params"].item() == pytest.approx(15 * 20 / 3)
    full = space.gamma(dict.fromkeys(space.choices, "linear"))
    assert (
        costs.expected(full)["params"].item() == 15 * 20 == costs.of(space.discretise(full)).params
    )


def test_drawings_show_what_is_there() -> None:
    space = dense_cell(3)
    genotype = space.genotype({"x->a": "linear", "x->b": "none", "a->b": "skip"})
    dot, svg = to_dot(space, genotype), to_svg(space, genotype)
    for draw in (to_dot, to_svg):
        with pytest.raises(ConfigError, match="shown='x'"):
            draw(space, "x")  # type: ignore[arg-type]
    assert '"x" -> "a" [label="linear"' in dot
    assert '"x" -> "b"' not in dot
    assert svg.startswith("<svg")
    assert svg.count("<path") == 2
    assert svg.count("<rect") == 3
    assert to_svg(space).count("<path") == 6
    even = {key: torch.tensor([0.5, 0.25, 0.25]) for key in space.choices}
    assert "0.25" in to_svg(space, even)
    assert (
        to_svg(space, space.genotype(dict.fromkeys(OPERATIONS and space.choices, "none"))).count(
            "<rect"
        )
        == 2
    )
    assert math.isfinite(len(to_dot(space)))
