"""Search spaces: what is refused, counting, genotypes."""

from __future__ import annotations

import copy
import itertools
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netdial.core.errors import ConfigError, NonFiniteError, ShapeError
from netdial.structure import SearchSpace, ZeroOperation

from .spaces_of_tests import OPERATIONS, dense_cell, linear


def chain(*edges: tuple[str, str], output: str = "y", **operations: Any) -> SearchSpace:
    """A space with the given edges, all with the same operations."""
    space = SearchSpace()
    space.input("x", (4,))
    for node in dict.fromkeys(name for edge in edges for name in edge if name != "x"):
        space.node(node)
    for source, target in edges:
        space.edge(source, target, operations or {"skip": nn.Identity})
    space.output(output)
    return space


def test_a_cycle_is_named() -> None:
    space = chain(("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y"))
    with pytest.raises(ConfigError, match="cycle") as found:
        _ = space.wiring
    cycle = str(found.value).partition("cycle: ")[2].partition(";")[0].split(" -> ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"a", "b", "c"}
    assert {("a", "b"), ("b", "c"), ("c", "a")} == set(itertools.pairwise(cycle))


@pytest.mark.parametrize(
    ("edges", "node"),
    [
        ([("x", "a"), ("x", "y")], "a"),  # leads nowhere
        ([("a", "y"), ("x", "y")], "a"),  # comes from nowhere
        ([("a", "y")], "y"),
    ],
)
def test_a_node_off_all_paths_is_named(edges: list[tuple[str, str]], node: str) -> None:
    with pytest.raises(ConfigError, match=rf"(node|output) {node}: no"):
        _ = chain(*edges).wiring


def test_shapes_that_disagree_are_named_with_their_edges() -> None:
    with pytest.raises(ShapeError, match=r"edge x->y.*narrow.*\[3\].*wide.*\[5\]"):
        _ = chain(("x", "y"), narrow=linear(3), wide=linear(5)).wiring
    space = chain(("x", "a"), ("a", "y"), wide=linear(5))
    space.edge("x", "y", {"skip": nn.Identity})
    with pytest.raises(ShapeError, match=r"node y.*a->y.*\[5\].*x->y.*\[4\]"):
        _ = space.wiring


class Broken(nn.Module):
    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(x)


@pytest.mark.parametrize(
    ("out", "error", "said"),
    [
        (lambda x: x / 0, NonFiniteError, "NaN"),
        (lambda x: x.mul_(2), ConfigError, "changes its inputs in place"),
        (lambda x: x[:1], ShapeError, r"\[1, 4\]"),
        (lambda x: (x, x), ConfigError, "tuple"),
        (lambda x: x @ x, ShapeError, "RuntimeError"),
    ],
)
def test_a_users_operation_that_misbehaves_is_named(
    out: Any, error: type[Exception], said: str
) -> None:
    space = chain(("x", "y"), fine=nn.Identity, broken=lambda: Broken(out))
    with pytest.raises(error, match=f"edge x->y, operation broken.*{said}"):
        _ = space.wiring


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ({}, "empty"),
        ({"a": nn.Linear(4, 4)}, "Linear"),
        ({"a": nn.Linear}, "2 arguments"),
        ({"a": 3}, "int"),
        ({"a.b": nn.ReLU}, "a.b"),
        ({"keys": nn.ReLU}, "keys"),
    ],
)
def test_operations_that_cannot_be_are_refused(operations: Any, said: str) -> None:
    space = SearchSpace()
    space.input("x", (4,))
    space.node("y")
    with pytest.raises(ConfigError, match=f"edge x->y.*{said}"):
        space.edge("x", "y", operations)


def test_factories_that_fail_are_named() -> None:
    for factory in (lambda: 1 / 0, lambda: 3):
        with pytest.raises(ConfigError, match="edge x->y, operation bad"):
            _ = chain(("x", "y"), bad=factory).wiring


def test_names_and_ends_are_checked() -> None:
    space = SearchSpace()
    with pytest.raises(ConfigError, match="0 inputs"):
        _ = space.wiring
    space.input("x")
    space.node("y")
    for call, said in (
        (lambda: space.node("y"), "y"),
        (lambda: space.node("a b"), "a b"),
        (lambda: space.edge("x", "z", OPERATIONS), "'z'"),
        (lambda: space.edge("y", "x", OPERATIONS), "input"),
        (lambda: space.output("x"), "'x'"),
        (lambda: space.node("z", "median"), "median"),
        (lambda: space.edge("x", "y", OPERATIONS, domain="ball"), "ball"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=said):
            call()
    space.edge("x", "y", OPERATIONS)
    with pytest.raises(ShapeError, match="input x"):
        _ = space.wiring


@pytest.mark.parametrize(("nodes", "count"), [(2, 3), (3, 27), (4, 729)])
def test_all_genotypes_are_counted_and_different(nodes: int, count: int) -> None:
    space = dense_cell(nodes)
    found = list(space.enumerate())
    assert space.count == count == len(found) == len(set(found))


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["simplex", "cube"])), max_size=3)
)
def test_counting_is_the_length_of_the_enumeration(sizes: list[tuple[int, Any]]) -> None:
    space = SearchSpace()
    last = space.input("x", (2,))
    for number, (size, domain) in enumerate([*sizes, (1, "simplex")]):
        node = space.node(f"n{number}")
        space.edge(last, node, {f"o{i}": nn.Identity for i in range(size)}, domain=domain)
        last = node
    space.output(last)
    wanted = math.prod(size if domain == "simplex" else 2**size for size, domain in sizes)
    assert space.count == wanted == len(set(space.enumerate()))


def test_genotypes_go_through_json() -> None:
    space = dense_cell(3, domain="cube")
    source = torch.Generator().manual_seed(1)
    for _ in range(20):
        genotype = space.sample(source)
        assert space.genotype(json.loads(json.dumps(genotype.to_json()))) == genotype
        assert space.genotype(genotype.dumps()) == genotype == space.genotype(dict(genotype.chosen))
        assert space.discretise(space.gamma(genotype)) == genotype
        assert hash(space.genotype(genotype.dumps())) == hash(genotype)


def test_a_genotype_of_another_space_is_refused() -> None:
    here, other = dense_cell(3), dense_cell(4)
    genotype = next(iter(other.enumerate()))
    with pytest.raises(ConfigError, match=f"{other.fingerprint}.*{here.fingerprint}"):
        here.genotype(genotype)
    assert dense_cell(3).fingerprint == here.fingerprint  # names, not functions, make a space


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x->a": "skip"}, "x->b"),
        ({"x->a": "skip", "x->b": "skip", "a->b": "conv"}, "conv"),
        ({"x->a": "skip", "x->b": "skip", "a->c": "skip"}, "a->c"),
        ({"x->a": ["skip", "linear"], "x->b": "skip", "a->b": "skip"}, "2 operations"),
        ({"x->a": 1, "x->b": "skip", "a->b": "skip"}, "x->a"),
        ("{", "JSON"),
        ("[1]", "list"),
    ],
)
def test_genotypes_that_do_not_fit_are_refused(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dense_cell(3).genotype(given)


def test_equally_near_vertices_give_the_first() -> None:
    space = dense_cell(2)
    assert space.discretise({"x->a": torch.tensor([0.2, 0.4, 0.4])})["x->a"] == ("skip",)


def test_cells_are_repeated_and_tied() -> None:
    cell = SearchSpace("cell")
    a, b = cell.input("a"), cell.input("b")
    out = cell.node("out")
    for source in (a, b):
        cell.edge(source, out, OPERATIONS)
    cell.output(out)
    for tie, count in ((True, 9), (False, 9**3)):
        space = SearchSpace()
        x = space.input("x", (4,))
        *_, last = space.repeat(cell, "cell", 3, [x, x], tie=tie)
        y = space.node("y")
        space.edge(last, y, {"head": linear(2)})
        space.output(y)
        assert space.count == count
        assert set(space.wiring.order) == {"x", "cell1/out", "cell2/out", "cell3/out", "y"}
        assert space.wiring.edges["cell3/a->out"].source == "cell1/out"
        assert space.wiring.edges["cell3/b->out"].source == "cell2/out"
    with pytest.raises(ConfigError, match="a, b"):
        SearchSpace().embed(cell, "c", ["x"])


def test_tied_edges_have_the_same_operations() -> None:
    space = chain(("x", "a"), output="a")
    space.node("y2")
    space.edge("a", "y2", {"other": nn.ReLU, "none": ZeroOperation}, key="x->a")
    space.output("y2")
    with pytest.raises(ConfigError, match=r"a->y2.*x->a"):
        _ = space.wiring


def test_tied_edges_bring_nothing_with_the_same_operations() -> None:
    space = SearchSpace("tied")
    x, a, y = space.input("x", (4,)), space.node("a"), space.node("y")
    space.edge(x, a, {"some": lambda: nn.Linear(4, 4), "none": ZeroOperation}, key="k")
    space.edge(a, y, {"some": lambda: nn.Linear(4, 4), "none": nn.Identity}, key="k")
    space.output(y)
    with pytest.raises(ConfigError, match=r"a->y: is tied to edge x->a, and operation none"):
        _ = space.wiring


def test_arguments_of_other_types_are_named() -> None:
    space, cell = SearchSpace(), SearchSpace("cell")
    x, h = space.input("x", (4,)), space.node("h")
    cell.edge(cell.input("a"), cell.node("b"), {"i": nn.Identity})
    cell.output("b")
    wrong: Any = [
        (lambda: space.edge([x], h, {"i": nn.Identity}), "source is a list"),
        (
            lambda: space.edge(x, h, [nn.Identity]),
            "operations is a list of type; expected a mapping$",
        ),
        (lambda: space.repeat(cell, "c", 2, x), "inputs='x'; expected a list"),
        (lambda: space.node("n", 3), "aggregate=3"),
        (lambda: space.output([h]), "node is a list"),
    ]
    for call, said in wrong:
        with pytest.raises(ConfigError, match=said):
            call()


def test_an_operation_whose_trainings_would_share_numbers_is_refused() -> None:
    one, frozen = nn.Linear(3, 3), nn.Linear(3, 3).requires_grad_(requires_grad=False)

    def space(operation: Any) -> SearchSpace:
        found = SearchSpace("shared")
        x, y = found.input("x", (3,)), found.node("y")
        found.edge(x, y, {"plain": nn.ReLU, "given": operation})
        found.output(y)
        return found

    for operation in (lambda: one, lambda shape: nn.Sequential(nn.ReLU(), one)):
        with pytest.raises(ConfigError, match="operation given: its function returns the same"):
            space(operation).wiring  # noqa: B018
    assert space(lambda: nn.Sequential(frozen, nn.Linear(3, 3))).count == 2
    assert space(lambda: copy.deepcopy(one)).count == 2
