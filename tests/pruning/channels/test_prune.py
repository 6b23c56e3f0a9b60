"""Whole networks: exactness, targets, families, what stays as it was, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from netdial.channels.graph import Graph
from netdial.channels.rules import Reader
from netdial.channels.trace.running import execute
from netdial.core.cutting import cut_module
from netdial.core.errors import ConfigError
from netdial.core.size import parse_target
from netdial.pruning.channels import Pruned, Rounding, prune_family, slim
from netdial.pruning.channels.choosing import Limits, blocks, gather, size_without
from netdial.pruning.weights import CRITERIA
from netdial.pruning.weights.criteria import OF_A_NORMAL

from .problems import Residual, family_of, network, stirred

SEEDS = st.integers(0, 200)


class Held(fx.Interpreter):
    """Runs a network in which layers that sum over channels that went get them at their means over a batch, or at 0."""

    def __init__(self, graph: Graph, pruned: Pruned, x: Tensor) -> None:
        super().__init__(graph.traced)
        how = {row.group: row.how for row in pruned.rows}
        self.seen = execute(graph.traced, x)
        self.held: dict[fx.Node, list[tuple[Reader, int, float]]] = {}
        for reader, channels in graph.reads:
            for index, (name, channel) in enumerate(channels):
                if channel in pruned.plan.removed.get(name, ()):
                    mean = float(self.seen[reader.source].select(reader.dim, index).mean())
                    value = mean if how[name] == "folded" else 0.0
                    self.held.setdefault(reader.node, []).append((reader, index, value))

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        was = dict(self.env)
        for reader, index, value in self.held.get(n, ()):
            self.env[reader.source] = self.env[reader.source].clone()
            self.env[reader.source].select(reader.dim, index).fill_(value)
        found = super().fetch_args_kwargs_from_env(n)
        self.env.update(was)
        return found


@pytest.mark.slow
@given(seed=SEEDS, share=st.floats(0.1, 0.9))
def test_folding_gives_the_network_whose_channels_are_held(seed: int, share: float) -> None:
    net, x = network(seed)
    before = copy.deepcopy(net.state_dict())
    pruned = slim(net, share=share, example=x)
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    for row in pruned.rows:
        channels = pruned.plan.removed.get(row.group, ())
        assert row.before - row.after == len(channels) == sum(row.assumed.values())
    with torch.no_grad():
        held = Held(Graph.of(copy.deepcopy(net), x), pruned, x)
        other = torch.randn_like(x)
        assert torch.allclose(pruned.net(other), held.run(other), atol=2e-5)
        lam = pruned.family.config.lams[0]
        assert torch.allclose(pruned.net(x), pruned.family.export(lam)(x), atol=1e-6)
    assert Graph.of(pruned.net, x).widths == pruned.widths


@given(seed=SEEDS, count=st.integers(1, 2), emission=st.sampled_from(["fold", "drop"]))
def test_channels_of_no_importance_go_first_and_cost_nothing(
    seed: int, count: int, emission: str
) -> None:
    net, x = network(3 * (seed // 3))  # no zero padding
    assert isinstance(net, nn.Sequential)
    first, act, second = net[0], net[1], net[2]
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    with torch.no_grad():
        first.weight[:count] = 0
        first.bias[:count] = 0
        if emission == "drop" and isinstance(act, nn.Sigmoid):
            second.weight[:, :count] = 0
        wanted = net(x)
    total = first.out_features + second.out_features
    pruned = slim(net, share=count / total, example=x, emission=emission)  # type: ignore[arg-type]
    assert pruned.plan.removed == {"0": tuple(range(count))}
    assert torch.allclose(pruned.net(x), wanted, atol=1e-5)


ACTIVATIONS = st.sampled_from([nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity])


@pytest.mark.slow
@given(seed=SEEDS, bias=st.floats(-2, 2), act=ACTIVATIONS)
def test_a_channel_of_a_bias_alone_goes_exactly(
    seed: int, bias: float, act: type[nn.Module]
) -> None:
    """What it sends is a(b) for every input, whatever a(0) is."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 5), act(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        net[0].weight[:2] = 0  # type: ignore[index]
        net[0].bias[:2] = bias  # type: ignore[index]
        net[0].weight[2:] += 9  # type: ignore[index]
    x = torch.randn(7, 4, dtype=torch.float64)
    pruned = slim(net, share=0.4, example=x[:2])
    assert pruned.plan.removed == {"0": (0, 1)}
    assert pruned.rows[0].assumed == {"exact": 2} and pruned.n_measured == 0
    assert torch.allclose(pruned.net(x), net(x), rtol=0, atol=1e-12)
    dropped = slim(net, share=0.4, example=x[:2], emission="drop")
    assert dropped.rows[0].assumed == {"dropped": 2}
    lost = act()(torch.tensor(bias)).double() * net[2].weight[:, :2].sum(1)  # type: ignore[index,operator,union-attr]
    assert torch.allclose(dropped.net(x) + lost, net(x), atol=1e-6)


@given(seed=SEEDS, act=ACTIVATIONS, convolution=st.booleans())
def test_the_mean_that_is_folded_is_that_of_the_data(
    seed: int, act: type[nn.Module], convolution: bool
) -> None:
    torch.manual_seed(seed)
    if convolution:
        layers: list[nn.Module] = [nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), act(), nn.Conv2d(5, 3, 2)]
        x = torch.randn(40, 2, 5, 5, dtype=torch.float64)
        net = stirred(nn.Sequential(*layers, nn.Flatten())).double()
    else:
        x = torch.randn(40, 4, dtype=torch.float64)
        net = stirred(nn.Sequential(nn.Linear(4, 5), act(), nn.Linear(5, 3))).double()
    y = torch.zeros(40, dtype=torch.int64)
    pruned = slim(net, share=0.4, data=(x, y), emission="fold")
    (row,) = pruned.rows
    assert row.assumed == {"measured mean": 2} and row.sent == "2 measured mean"
    assert pruned.n_measured == 40
    *first, last = [part for part in net if not isinstance(part, nn.Flatten)]
    with torch.no_grad():
        inner = nn.Sequential(*first)(x)
        for channel in pruned.plan.removed[row.group]:
            inner[:, channel] = inner[:, channel].mean()
        assert torch.allclose(pruned.net(x), last(inner).flatten(1), rtol=1e-12, atol=1e-12)


def test_means_are_those_of_all_batches_and_each_reader() -> None:
    """Two layers read a channel, one behind another activation; the data are more than one batch."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            out: Tensor = self.b(torch.sigmoid(h)) * self.c(h.relu())
            return out

    torch.manual_seed(0)
    net, x = Two().double(), torch.randn(1100, 3, dtype=torch.float64).sort(0)[0]
    y = torch.zeros(1100, dtype=torch.int64)
    pruned = slim(net, share=0.5, data=(x, y), emission="fold")
    with torch.no_grad():
        h, gone = net.a(x), list(pruned.plan.removed["a"])
        one, other = torch.sigmoid(h), h.relu()
        one[:, gone], other[:, gone] = one[:, gone].mean(0), other[:, gone].mean(0)
        assert torch.allclose(pruned.net(x), net.b(one) * net.c(other), rtol=1e-12, atol=1e-12)


def test_recurrent_channels_are_dropped_with_a_reason() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.rnn(x)[0][:, -1])
            return out

    torch.manual_seed(0)
    pruned = slim(Recurrent(), share=0.5, example=torch.randn(4, 5, 3))
    (row,) = pruned.rows
    assert (row.how, row.assumed) == ("dropped", {"dropped": 3})
    assert row.why


def test_what_a_batch_norm_sends_is_folded_or_dropped_with_a_padded_reader() -> None:
    torch.manual_seed(0)
    for padding, how in ((0, "folded"), (1, "dropped")):
        net = stirred(
            nn.Sequential(
                nn.Conv2d(2, 4, 3),
                nn.BatchNorm2d(4),
                nn.Tanh(),
                nn.Conv2d(4, 2, 3, padding=padding),
            )
        )
        found = slim(net, share=0.5, example=torch.randn(2, 2, 8, 8))
        (row,) = found.rows
        assert (row.how, row.after) == (how, 2)
        assert ("pads with zeros" in row.why) == (padding == 1)


@pytest.mark.slow
@settings(max_examples=6)
@given(seed=SEEDS, part=st.floats(0.3, 0.95), kind=st.sampled_from(["params", "macs", "bytes"]))
def test_targets_are_hit_to_half_of_a_channel(seed: int, part: float, kind: str) -> None:
    net, x = network(seed)
    graph, unit = Graph.of(copy.deepcopy(net), x), parse_target(f"1 {kind}")
    alike = {g.name: torch.zeros(g.size) for g in graph.groups}
    start, least = (
        size_without(graph, chosen, unit) for chosen in ({}, gather(blocks(alike, Limits())))
    )
    goal = least + part * (start - least)
    found = slim(net, size=f"{goal:.3f} {kind}", example=x)
    after = size_without(found.graph, {}, unit)
    one = max(
        start - size_without(graph, {g: (0,)}, unit) for g, w in graph.widths.items() if w > 1
    )
    assert abs(after - goal) <= 0.5 * one + 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_every_criterion_prunes_a_member(criterion: str) -> None:
    family = family_of(Residual(6, 5))
    x, y = torch.randn(12, 2, 5, 5), torch.randint(0, 3, (12,))
    one, other = (slim(family, 0.5, share=0.5, criterion=criterion, data=(x, y)) for _ in range(2))
    assert sum(one.widths.values()) in (5, 6)
    assert one.plan == other.plan
    assert one.family.config.lams == (0.5,)


@pytest.mark.slow
@given(seed=SEEDS, lam=st.floats(1e-3, 1e2), share=st.floats(0.1, 0.9))
def test_all_members_of_a_cut_family_are_cut_members(seed: int, lam: float, share: float) -> None:
    net, x = network(seed)
    family = family_of(net)
    small, chosen = prune_family(family, 1.0, share=share, example=x)
    member = family.export(lam)
    cut_module(chosen.plan, member)
    with torch.no_grad():
        assert torch.allclose(small.export(lam)(x), member(x), atol=1e-6)
        assert torch.allclose(small.export(1.0)(x), chosen.net(x), atol=1e-5)
    for name, leaf in family.at(lam).items():
        assert torch.allclose(small.at(lam)[name], chosen.plan.cut(name, leaf), atol=1e-7)


def test_normalised_channels_go_only_if_that_is_allowed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)
    )
    x = torch.randn(4, 4)
    careful = slim(net, share=0.5, example=x)
    rows = {row.group: row for row in careful.rows}
    assert (rows["0"].after, rows["0"].how) == (6, "fixed")
    assert "normalises over it" in rows["0"].why
    free = slim(net, share=0.5, example=x, exact=False, scope="layer")
    rows = {row.group: row for row in free.rows}
    assert (rows["0"].after, rows["0"].how) == (3, "mixed")
    assert free.net.get_submodule("1").normalized_shape == (3,)
    assert free.net(x).shape == (4, 2)


def test_a_pruned_bias_takes_constants_over() -> None:
    net = stirred(nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 2)))
    family, x = family_of(net), torch.randn(4, 4)
    kept = torch.ones(family.layout.size, dtype=torch.bool)
    family.layout.split(kept)["2.bias"][:] = False
    family.restrict(kept)
    found = slim(family, 1.0, share=0.4, example=x)
    assert bool((found.family.at(1.0)["2.bias"] != 0).all())
    assert torch.allclose(found.family.export(1.0)(x), found.net(x), atol=1e-6)


def test_widths_by_the_clock() -> None:
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    rounding = Rounding(batch=4, grid=8, seconds=0.02, tolerance=100.0)
    found = slim(net, share=0.5, rounding=rounding, example=torch.randn(2, 8))
    (table,) = found.tables
    assert table.widths == (8, 16, 24)
    assert found.widths == {"0": 24}, "whatever the time, all widths are as fast"
    narrow = slim(
        net, share=0.4, example=torch.randn(2, 8),
        rounding=Rounding(batch=4, grid=20, seconds=0.02, tolerance=0.0),
    )  # fmt: skip
    assert narrow.widths["0"] in narrow.tables[0].widths


LINEAR = nn.Sequential(nn.Linear(4, 3))
SMALL = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("net", "lam", "options", "words"),
    [
        (SMALL, None, {}, "give either a share of the channels or a size"),
        (SMALL, None, {"share": 0.5, "size": "9 params"}, "give either a share"),
        (SMALL, None, {"share": 1.0}, r"share=1: outside \(0, 1\)"),
        (SMALL, None, {"share": 0.0}, r"share=0: outside \(0, 1\)"),
        (SMALL, None, {"size": "1M params"}, "the network has 51, so there is nothing to remove"),
        (
            SMALL,
            None,
            {"size": "9 s"},
            r"the network has [\d.e-]+ ms, so there is nothing to remove",
        ),
        (SMALL, None, {"size": "3 params"}, "there are still 11; raise the target"),
        (SMALL, None, {"size": "40 params", "minimum": 6}, "there are still 51"),
        (SMALL, None, {"size": "40"}, "the unit is missing"),
        (SMALL, None, {"share": 0.5, "criterion": "magnitud"}, "did you mean 'magnitude'"),
        (SMALL, None, {"share": 0.5, "criterion": "taylor"}, "measures the loss on training data"),
        (SMALL, None, {"share": 0.5, "criterion": "density"}, "a point posterior has none"),
        (SMALL, 1.0, {"share": 0.5}, "a network has no complexity values"),
        (LINEAR, None, {"share": 0.5}, "no channel can go.*makes the network's outputs"),
        (family_of(SMALL), None, {"share": 0.5}, "which member"),
        (family_of(SMALL), 1e9, {"share": 0.5}, "outside the trained range"),
        (family_of(SMALL, "point"), 1.0, {"share": 0.5, "criterion": "snr"}, "a point posterior"),
    ],
)
def test_what_is_refused(
    net: nn.Module, lam: float | None, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        slim(net, lam, example=torch.randn(2, 4), **options)  # type: ignore[arg-type]


def test_what_is_refused_without_inputs_and_families() -> None:
    with pytest.raises(ConfigError, match="nothing to trace the network on"):
        slim(SMALL, share=0.5)
    with pytest.raises(ConfigError, match=r"Sequential.*expected a Family"):
        prune_family(SMALL, 1.0, share=0.5)  # type: ignore[arg-type]
    assert set(OF_A_NORMAL) < set(CRITERIA)
