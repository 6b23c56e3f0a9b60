"""The graph: groups of hand-made networks, laws over random ones, and what is refused, by name."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.errors import ConfigError, TraceError
from netdial.core.plan import Group, Plan, Slot

from .. import networks

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers and a function that says what happens between them."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor], read: int = 6) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(read, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self, self.one(x)))


def each(count: int) -> tuple[tuple[int, ...], ...]:
    return tuple((p,) for p in range(count))


def test_the_slots_of_a_network_written_out() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )
    graph = Graph.of(net, torch.randn(2, 1, 4, 4))
    norm = tuple(
        Slot(f"1.{leaf}", 0, each(3)) for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    wide = tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(3))
    (group,) = graph.groups
    assert group.name == "0"
    assert set(group.slots) == {
        Slot("0.weight", 0, each(3)), Slot("0.bias", 0, each(3)), Slot("4.weight", 1, wide), *norm
    }  # fmt: skip
    assert group.slots[0] == Slot("0.weight", 0, each(3))
    assert graph.widths == {"0": 3}
    assert graph.kept == {"4.weight": "makes the network's outputs"}


@pytest.mark.slow
@pytest.mark.parametrize("which", range(40))
def test_cut_is_masked_and_the_graph_after_is_the_graph_of_what_is_left(which: int) -> None:
    net, x = networks.network(which)
    graph = Graph.of(net, x)
    plan = networks.random_plan(graph, which, least=2)
    after = graph.after(plan)
    with torch.no_grad():
        traced = networks.copy.deepcopy(graph.traced)
        networks.mask(traced, plan)
        masked = traced(x)
        apply(plan, graph.traced)
        assert float((graph.traced(x) - masked).abs().max()) < 1e-10
    fresh = Graph.of(graph.traced, x)
    assert set(after.groups) == set(fresh.groups)
    assert (after.shapes, after.widths, after.kept) == (fresh.shapes, fresh.widths, fresh.kept)


@pytest.mark.slow
@settings(max_examples=40)
@given(which=st.integers(0, 10_000))
def test_the_graph_after_two_plans_in_one_is_that_of_the_network_cut_twice(which: int) -> None:
    net, x = networks.network(which)
    graph = Graph.of(net, x)
    one = networks.random_plan(graph, which, least=3)
    middle = graph.after(one)
    two = networks.random_plan(middle, which + 1, least=2)
    both = one.then(two)
    after = graph.after(both)
    assert both == graph.plan(both.removed)
    for plan in (one, two, both):
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert graph.after(Plan(both.cuts)).groups == after.groups, "cuts alone tell"
    apply(one, graph.traced)
    apply(two, graph.traced)
    fresh = Graph.of(graph.traced, x)
    assert set(after.groups) == set(fresh.groups) and after.shapes == fresh.shapes
    assert after.widths == middle.after(two).widths == fresh.widths
    assert [channels for _, channels in after.reads] == [c for _, c in middle.after(two).reads]
    for (part, names), (other, others) in zip(after.inner, middle.after(two).inner, strict=True):
        assert names == others
        assert all((part.rows[leaf] == other.rows[leaf]).all() for leaf in part.rows)


def test_plans_that_do_not_fit_the_groups_are_refused() -> None:
    graph = Graph.of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), X)
    with pytest.raises(ConfigError, match=r"channel 1 of group 0 is cut in one of .*0\.weight"):
        graph.after(Plan({"0.weight": {0: (0, 2)}}))
    with pytest.raises(ConfigError, match=r"2\.weight.*dimension 0: position 1 .*no group"):
        graph.after(Plan({"2.weight": {0: (0,)}}))
    whole = graph.plan({"0": [0]})
    with pytest.raises(ConfigError, match=r"0\.weight.*has no position 2"):
        graph.after(whole).after(whole)
    flat = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    wide = Graph.of(flat, torch.randn(2, 1, 4, 4))
    parts = dict(wide.plan({"0": [1]}).cuts)
    parts["2.weight"] = {1: tuple(p for p in range(12) if p != 4)}
    with pytest.raises(ConfigError, match=r"a part of channel 1 of group 0 in leaf 2\.weight"):
        wide.after(Plan(parts))


@pytest.mark.slow
@pytest.mark.parametrize("which", range(0, 40, 3))
def test_every_network_still_runs_whatever_goes(which: int) -> None:
    net, x = networks.network(which)
    graph = Graph.of(net, x)
    shape = graph.traced(x).shape
    choose = random.Random(which)
    removed = {  # what is normalised over, too, and down to one
        group.name: choose.sample(range(group.size), group.size - 1) for group in graph.groups
    }
    apply(graph.plan(removed), graph.traced)
    assert graph.traced(x).shape == shape
    assert graph.traced(x).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("which", range(0, 30, 3))
def test_two_plans_in_a_row_are_one(which: int) -> None:
    net, x = networks.network(which)
    graph = Graph.of(net, x)
    first = networks.random_plan(graph, which, least=2)
    second = networks.random_plan(graph.after(first), which + 1)
    both, twice = first.then(second), networks.copy.deepcopy(graph.traced)
    apply(first, twice)
    apply(second, twice)
    apply(Plan.from_json(both.to_json()), graph.traced)
    for (name, one), other in zip(graph.traced.named_parameters(), twice.parameters(), strict=True):
        assert torch.equal(one, other), name


def unknown_operation(self: nn.Module, x: Tensor) -> Tensor:
    return torch.renorm(x, 2, 0, 1.0)


def written_size(self: nn.Module, x: Tensor) -> Tensor:
    return x.view(-1, 2, 3).flatten(1)


def split_by_number(self: nn.Module, x: Tensor) -> Tensor:
    one, other = x.split([3, 3], dim=1)
    return torch.cat([one, other], 1)


def picked_by_number(self: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([x[:, :3], x[:, 3:]], 1)


def ordered(self: nn.Module, x: Tensor) -> Tensor:
    return x.sort(1).values


def test_an_operation_without_a_rule_is_refused_by_name_or_its_channels_stay() -> None:
    net = Net(unknown_operation).eval()
    with pytest.raises(
        TraceError, match=r"node 'renorm' \(renorm, test_graph.py:\d+\): has no rule"
    ):
        Graph.of(net, X)
    graph = Graph.of(net, X, lenient=True)
    assert graph.widths == {} and graph.kept.get("one.weight")
    assert torch.equal(graph.traced(X), net(X))


def test_equal_parts_of_written_sizes_follow() -> None:
    net = Net(split_by_number).eval()
    assert Graph.of(net, X).widths == {"one": 3}


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (picked_by_number, r"picks channels slice\(None, 3, None\) by a number in the code"),
        (ordered, r"node 'sort' \(sort, test_graph.py:\d+\): puts channels in an order"),
    ],
)
def test_channels_that_cannot_follow_stay_and_it_is_said_why(
    between: Callable[[nn.Module, Tensor], Tensor], why: str
) -> None:
    net = Net(between).eval()
    graph = Graph.of(net, X)
    assert len(graph.widths) <= 1  # what lies behind a piece of fixed length can go
    if not graph.widths:
        assert re.search(why, graph.kept["one.weight"])
    assert torch.equal(graph.traced(X), net(X))


def test_sizes_written_in_the_code_are_made_to_follow() -> None:
    graph = Graph.of(Net(written_size).eval(), X)
    assert graph.groups[0].slots[0].positions == (
        (0, 1, 2),
        (3, 4, 5),
    )
    plan = graph.plan({"one": [0]})
    apply(plan, graph.traced)
    assert graph.traced(X).shape == (len(X), 3)


def test_a_layer_called_in_a_way_without_a_rule_is_refused() -> None:
    with pytest.raises(
        TraceError, match=r"node 'add' .*: changes a tensor in place in a way|has no rule"
    ):
        Graph.of(Net(lambda self, x: torch.add(x, 1, out=torch.empty_like(x))), X)


def test_outputs_in_a_dictionary_are_kept() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.one(x)
            return {"features": y, "logits": self.two(y)}

    assert Graph.of(Named(), X).groups == ()


def test_a_count_of_channels_used_as_a_number_mixes_them() -> None:
    graph = Graph.of(Net(lambda self, x: x / x.shape[1]), X)
    assert [bool(group.mixed) for group in graph.groups] == [True]
    graph = Graph.of(Net(lambda self, x: x / x.shape[0]), X)
    assert [bool(group.mixed) for group in graph.groups] == [False]


def test_sizes_that_happen_to_be_those_of_channels_are_made_to_follow() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([x, x.relu()], 1).view(x.shape[0], 12)

    graph = Graph.of(Net(between, 12), X)
    assert graph.widths == {"one": 6}
    apply(graph.plan({"one": [0, 3, 4]}), graph.traced)
    assert graph.traced(X).shape == (len(X), 3)


def test_channels_seen_as_positions_stay() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        return nn.functional.avg_pool1d(x.unsqueeze(1), 3, 1, 1).squeeze(1)

    graph = Graph.of(Net(between), X)
    assert graph.groups == ()
    assert "sees these channels as positions" in graph.kept["one.weight"]


def test_t7_recurrent_layers_lose_whole_units_everywhere() -> None:
    net = nn.LSTM(4, 5, batch_first=True)
    full = Net(lambda self, x: self.rnn(x[:, None, :])[0].mean(1), 5)
    full.rnn, full.one = net, nn.Linear(4, 4)
    graph = Graph.of(full, X)
    group = next(g for g in graph.groups if g.name.startswith("rnn"))
    gates = tuple(tuple(5 * gate + unit for gate in range(4)) for unit in range(5))
    for leaf in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        assert Slot(f"rnn.{leaf}", 0, gates) in group.slots
    assert {Slot("rnn.weight_hh_l0", 1, each(5)), Slot("two.weight", 1, each(5))} <= set(
        group.slots
    )
    apply(graph.plan({group.name: [1, 3]}), graph.traced)
    assert graph.traced.rnn.hidden_size == 3  # type: ignore[union-attr]
    assert graph.traced(X).shape == (3, 3)


def test_tied_leaves_are_one_leaf() -> None:
    net, x = nn.Linear(4, 4), torch.randn(3, 4)
    graph = Graph.of(nn.Sequential(nn.Linear(4, 4), net, nn.ReLU(), net, nn.Linear(4, 2)), x)
    (group,) = graph.groups
    assert {(slot.leaf, slot.dim) for slot in group.slots} >= {("1.weight", 0), ("1.weight", 1)}
    apply(graph.plan({group.name: [2]}), graph.traced)
    assert net.weight.shape == (3, 3)


def test_plans_for_groups_that_do_not_exist_are_refused() -> None:
    graph = Graph.of(Net(lambda self, x: x), X)
    with pytest.raises(ConfigError, match="unknown group 'oen'; did you mean 'one'"):
        graph.plan({"oen": [0]})


def test_groups_are_equal_by_what_they_hold() -> None:
    one = Group("a", (Slot("a.weight", 0, each(2)),))
    assert one == Group("a", (Slot("a.weight", 0, each(2)),))
    assert one.size == 2
