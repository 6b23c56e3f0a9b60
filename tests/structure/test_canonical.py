"""Canonical forms: the same for the same network, whatever its nodes are called."""

from __future__ import annotations

import itertools
from collections import defaultdict

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netdial.structure import (
    CanonicalForm,
    SearchSpace,
    ZeroOperation,
    canonical_form,
    derive,
    distinct,
)
from netdial.structure.search.guards import count_skips, most_skips

from .spaces_of_tests import dense_cell, linear


def test_dead_parts_and_identities_do_not_count() -> None:
    space = dense_cell(3)

    def form(xa: str, xb: str, ab: str) -> CanonicalForm:
        return canonical_form(space, space.genotype({"x->a": xa, "x->b": xb, "a->b": ab}))

    assert form("none", "linear", "linear") == form("linear", "linear", "none")
    assert form("skip", "none", "linear") == form("none", "linear", "skip")
    assert form("linear", "none", "skip") == form("none", "linear", "none")
    assert form("linear", "linear", "skip") != form("none", "linear", "none")
    assert form("linear", "none", "linear") != form("none", "linear", "none")
    assert (
        form("none", "none", "linear")
        == form("none", "none", "none")
        == form("skip", "none", "none")
    )


def test_a_shared_part_is_not_the_same_as_two_alike() -> None:
    space = dense_cell(4)
    chosen = dict.fromkeys(space.choices, "none")
    shared = chosen | {"x->a": "linear", "a->c": "linear", "a->b": "skip", "b->c": "skip"}
    apart = chosen | {"x->a": "linear", "x->b": "linear", "a->c": "linear", "b->c": "skip"}
    forms = [canonical_form(space, space.genotype(one)) for one in (shared, apart)]
    assert forms[0] != forms[1]


def test_one_of_each_form_is_enumerated() -> None:
    space = dense_cell(4)
    found = list(distinct(space))
    forms = {canonical_form(space, genotype) for genotype in space.enumerate()}
    assert len(found) == len(forms) == len({canonical_form(space, g).digest for g in found})
    assert len(forms) < space.count


def test_equal_forms_have_equal_parameters_and_functions_when_weights_are_alike() -> None:
    """With all weights 1/4 and no bias, networks of one form are one function."""
    space = dense_cell(4)
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)).double()
    by_form = defaultdict(list)
    for genotype in space.enumerate():
        net = derive(space, genotype).double()
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(0.25 if p.ndim > 1 else 0.125)
        count = sum(p.numel() for p in net.parameters())
        by_form[canonical_form(space, genotype)].append((count, net(x).detach()))
    for several in by_form.values():
        for count, out in several:
            assert count == several[0][0]
            assert torch.allclose(out, several[0][1])


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_renaming_the_nodes_changes_nothing(data: st.DataObject) -> None:
    """Random graphs of three inner nodes, and the same with the inner nodes in another order."""
    inner = 3
    pairs = [
        (i, j) for i, j in itertools.combinations(range(inner + 2), 2) if (i, j) != (0, inner + 1)
    ]
    names = ["none", "linear", "tanh", "skip"]
    labels = {pair: data.draw(st.sampled_from(names)) for pair in pairs}
    order = data.draw(st.permutations(range(1, inner + 1)))
    place = {0: 0, inner + 1: inner + 1, **dict(zip(range(1, inner + 1), order, strict=True))}
    forms = []
    for move in (lambda node: node, lambda node: place[node]):
        space = SearchSpace()
        space.input("n0", (4,))
        for node in range(1, inner + 2):
            space.node(f"n{node}")
        edges = sorted((move(i), move(j), label) for (i, j), label in labels.items())
        everything = {
            "none": ZeroOperation,
            "linear": linear(4),
            "tanh": nn.Tanh,
            "skip": nn.Identity,
        }
        for source, target, _ in edges:
            space.edge(f"n{source}", f"n{target}", everything)
        for node in range(1, inner + 1):  # so that every node lies on a path
            space.edge(
                "n0", f"n{node}", {"enter": nn.Identity, "none": ZeroOperation}, name=f"in{node}"
            )
            space.edge(
                f"n{node}",
                f"n{inner + 1}",
                {"leave": nn.Identity, "none": ZeroOperation},
                name=f"out{node}",
            )
        space.output(f"n{inner + 1}")
        chosen = {f"n{s}->n{t}": label for s, t, label in edges}
        chosen |= {f"{way}{node}": "none" for way in ("in", "out") for node in range(1, inner + 1)}
        forms.append(canonical_form(space, space.genotype(chosen)))
    assert forms[0] == forms[1]


def test_the_order_of_a_concatenation_counts() -> None:
    space = SearchSpace()
    space.input("x", (4,))
    space.node("y", "concat")
    for name in ("first", "second"):
        space.edge("x", "y", {"none": ZeroOperation, "tanh": nn.Tanh}, name=name)
    space.output("y")
    left, right = (
        canonical_form(space, space.genotype({"first": a, "second": b}))
        for a, b in (("none", "tanh"), ("tanh", "none"))
    )
    assert left != right


def test_an_operation_is_an_identity_where_it_is_one() -> None:
    """Of tied edges one may have to change the shape, and then its skip is a layer."""

    def skip(shape: tuple[int, ...]) -> nn.Module:
        return nn.Identity() if shape == (4,) else nn.Linear(shape[0], 4)

    for sizes in ((6, 4, 4), (4, 4, 6)):
        space = SearchSpace("widths")
        first = space.input("x", sizes[:1])
        node = [space.node(name, "concat" if sizes[2] == 6 else "sum") for name in ("a", "b", "y")]
        tanh = lambda shape: nn.Sequential(nn.Linear(shape[0], 4), nn.Tanh())  # noqa: E731
        tied = {"skip": skip, "tanh": tanh}
        space.edge(first, node[0], tied, key="k")
        if sizes[2] == 6:
            space.edge(first, node[0], {"two": lambda: nn.Linear(4, 2)}, name="two")
        space.edge(node[0], node[1], tied, key="k")
        space.edge(node[1], node[2], {"head": lambda: nn.Linear(4, 2)})
        space.output(node[2])
        genotype = space.genotype({"k": "skip"})
        layers = sum(":skip" in label for *_, label in canonical_form(space, genotype).links)
        identities = [
            name for name in space.wiring.edges if "skip" in space.wiring.identities[name]
        ]
        assert len(identities) == count_skips(space, genotype) == 1
        assert most_skips(space) == 1
        assert layers >= 1
