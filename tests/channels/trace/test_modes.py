"""Networks whose code reads ``self.training``: one graph for both modes, equal to the network before and after a cut."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import trace
from netdial.core.errors import TraceError
from netdial.core.inputs import as_packed, one_tensor
from netdial.core.outputs import evaluated, same_outputs, tensors

from ..networks import mask

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers, what stands between, and a head; further layers for those that need them."""

    def __init__(self, run: Any, *, export: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run, self.export = run, export
        self.one, self.two, self.head = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.spread, self.side, self.norm = nn.Linear(12, 12), nn.Linear(12, 3), nn.BatchNorm1d(12)
        self.register_buffer("mean", torch.zeros(12))
        self.register_buffer("table", torch.rand(8, 3))
        self.register_buffer("var", torch.ones(12))

    def forward(self, x: Tensor) -> Any:
        if self.export and x.shape[1] != 8:  # torch.fx cannot follow this
            raise ValueError("eight numbers")
        return self.run(self, x)


def sampling(s: Any, x: Tensor) -> Any:
    h = F.relu(s.one(x))
    z = s.two(h)
    if s.training:
        z = z + torch.exp(0.5 * s.spread(h)) * torch.randn_like(z)
    return s.head(F.relu(z))


def side_head(s: Any, x: Tensor) -> Any:
    h = F.relu(s.two(F.relu(s.one(x))))
    return (s.head(h), s.side(h)) if s.training else s.head(h)


def normed_side_head(s: Any, x: Tensor) -> Any:
    h = F.relu(s.one(x))
    side = s.side(F.relu(s.norm(h))) if s.training else None
    return {"out": s.head(F.relu(s.two(h))), "side": side}


def dropped_path(s: Any, x: Tensor) -> Any:
    h = F.relu(s.one(x))
    y = s.two(h)
    if s.training:
        y = y * y.new_empty(y.shape[0], 1).bernoulli_(0.7) / 0.7
    return s.head(h + y)


def number(s: Any, x: Tensor) -> Any:
    return s.head(F.relu(s.one(x)) * (2.0 if s.training else 3.0))


def dropout_of_weights(s: Any, x: Tensor) -> Any:
    q = s.one(x).view(-1, 3, 4)
    k = s.two(F.relu(s.one(x))).view(-1, 3, 4)
    y = F.scaled_dot_product_attention(q, k, k, dropout_p=0.3 if s.training else 0.0)
    return s.head(y.flatten(1))


def normed_by_function(s: Any, x: Tensor) -> Any:
    h = F.batch_norm(s.one(x), s.mean, s.var, training=s.training)
    return s.head(F.relu(h))


def ways(s: Any, x: Tensor) -> Any:
    h = F.relu(s.one(x))
    return s.head(F.relu(s.two(h)) if s.training else torch.tanh(s.spread(h)))


def places(s: Any, x: Tensor) -> Any:
    h = s.head(F.relu(s.two(F.relu(s.one(x)))))
    if s.training:
        rows = torch.arange(x.shape[0]).unsqueeze(1)
        columns = torch.arange(x.shape[1] - 5).unsqueeze(0)
        return h + s.table[rows, columns]
    return h * (torch.arange(x.shape[1] + 5).unsqueeze(0) > 2).sum()


def dropouts(s: Any, x: Tensor) -> Any:
    h = F.dropout(F.relu(s.one(x)), 0.5, s.training)
    return s.head(F.dropout(s.two(h), p=0.2, training=s.training))


def dropouts_by_share(s: Any, x: Tensor) -> Any:
    h = F.dropout(F.relu(s.one(x)), 0.5 if s.training else 0.0, s.training)
    return s.head(F.dropout(F.relu(s.two(h)), p=0.2 if s.training else 0.0))


def dropouts_by_code(s: Any, x: Tensor) -> Any:
    h = F.relu(s.one(x))
    if s.training:
        h = F.dropout(h)
    h = F.relu(s.two(h))
    if s.training:
        h = F.dropout(h, p=0.2, training=True)
    return s.head(h)


NETS = {
    name: run
    for name, run in globals().items()
    if callable(run) and getattr(run, "__annotations__", {}).get("s") == "Any"
}

DRAWING = {"sampling", "dropouts", "dropouts_by_share", "dropouts_by_code", "dropout_of_weights"}


def found(net: nn.Module, *, training: bool) -> list[Tensor]:
    """Returns what a network gives in a mode, its random numbers from one seed, its statistics as they were."""
    torch.manual_seed(1)
    net = copy.deepcopy(net).train(training)
    return [part.detach() for part in tensors(net(X.to(next(net.parameters()))))]


@pytest.mark.slow
@pytest.mark.parametrize("export", [False, True], ids=["traced", "exported"])
@pytest.mark.parametrize("name", NETS)
def test_the_graph_is_the_network_in_both_modes(name: str, export: bool) -> None:
    net = Net(NETS[name], export=export).double()
    traced = trace(net, X.double())
    for training in (True, False):
        for one, other in zip(
            found(net, training=training), found(traced, training=training), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(NETS) - DRAWING))
def test_a_cut_network_is_the_one_with_zeros_in_both_modes(name: str) -> None:
    graph = Graph.of(Net(NETS[name]).double(), X.double())
    free = [group for group in graph.groups if not group.mixed]
    assert free, graph.kept
    plan = graph.plan({group.name: range(0, group.size - 1, 2) for group in free})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    for training in (True, False):
        for one, other in zip(
            found(masked, training=training), found(graph.traced, training=training), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["dropouts", "dropouts_by_share", "dropouts_by_code"])
def test_dropout_in_training_alone_is_cut_and_still_drawn(name: str) -> None:
    graph = Graph.of(Net(NETS[name]).double(), X.double())
    assert {group.name: group.size for group in graph.groups} == {"one": 12, "two": 12}
    shares = [layer.p for layer in graph.traced.modules() if isinstance(layer, nn.Dropout)]
    assert shares == [0.5, 0.2]
    plan = graph.plan({"one": range(6), "two": range(3)})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    one, other = found(masked, training=False), found(graph.traced, training=False)
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert not torch.equal(found(graph.traced, training=True)[0], other[0])


@pytest.mark.parametrize("name", sorted(NETS))
def test_a_graph_is_in_the_mode_of_its_network(name: str) -> None:
    net = Net(NETS[name]).eval()
    traced = trace(net, X)
    assert not [
        layer for layer in traced.modules() if layer.training and type(layer) is not nn.Module
    ]
    torch.testing.assert_close(tensors(traced(X)), tensors(net(X)))


def test_a_slimmed_network_in_evaluation_draws_nothing() -> None:
    small = nd.slim(Net(dropouts).eval(), share=0.5, example=X).net
    assert torch.equal(small(X), small(X))


def test_sampling_loses_what_both_modes_make() -> None:
    graph = Graph.of(Net(sampling), X)
    assert graph.widths == {"one": 12, "two": 12}
    (leaves,) = ({slot.leaf for slot in g.slots} for g in graph.groups if g.name == "two")
    assert leaves >= {"two.weight", "spread.weight", "head.weight"}


def test_statistics_of_evaluation_alone_are_refused() -> None:
    def run(s: Any, x: Tensor) -> Any:
        h = s.one(x)
        return s.head(h if s.training else s.norm(h))

    with pytest.raises(TraceError, match=r"norm.*called in evaluation alone"):
        trace(Net(run), X)


class Chunks(nn.Module):
    """What is known in training alone is encoded there, as a style; afterwards it is 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.mean = nn.Linear(4, 10), nn.Linear(10, 3)
        self.sight, self.style, self.head = nn.Linear(6, 8), nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, actions: Tensor, sight: Tensor) -> Tensor:
        if self.training:
            z = self.mean(torch.relu(self.enc(actions)))
        else:
            z = torch.zeros([sight.shape[0], 3], dtype=sight.dtype).to(sight.device)
        return self.head(torch.relu(self.style(z) + self.sight(sight)))


class Pieces(nn.Module):
    """Each mode takes another piece of its input, of another size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.long, self.short, self.head = nn.Linear(5, 9), nn.Linear(3, 9), nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.long(x[:, :5]) if self.training else self.short(x[:, 5:])
        return self.head(torch.relu(h))


@pytest.mark.parametrize("kind", [Chunks, Pieces])
def test_what_one_mode_alone_reads_is_not_taken_for_what_the_other_reads(kind: Any) -> None:
    x, packing = (X, None) if kind is Pieces else as_packed([X[:, :4], X[:, 2:]], ["", ""], "x")
    net = kind() if packing is None else one_tensor(kind(), packing)
    graph = Graph.of(copy.deepcopy(net), x)
    for training in (True, False):
        assert torch.equal(graph.traced.train(training)(x), net.train(training)(x))
    assert sorted(graph.widths.values()) == ([3, 8, 10] if kind is Chunks else [9])


class Frozen(nn.Module):
    """A part whose statistics came with it: its normalisation and its dropout stay in evaluation, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.first = way, nn.Conv2d(3, 6, 3, bias=False)
        self.norm, self.drop = nn.BatchNorm2d(6), nn.Dropout(0.4)
        self.out = nn.Conv2d(6, 2, 1)
        torch.manual_seed(0)
        for numbers in (self.norm.running_mean, self.norm.running_var, self.norm.weight.data):
            numbers.copy_(torch.rand(6) + 0.5)

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        for part in (self.norm, self.drop) if self.way == "train" else ():
            part.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "forward":
            self.norm.eval()
            self.drop.eval()
        found: Tensor = self.out(self.drop(torch.relu(self.norm(self.first(x)))))
        return found


def frozen(way: str) -> Frozen:
    torch.manual_seed(0)
    return Frozen(way).double()


@pytest.mark.parametrize("way", ["train", "forward"])
def test_layers_that_stay_in_evaluation_do_so_in_graphs(way: str) -> None:
    net, x = frozen(way), torch.randn(4, 3, 6, 6, dtype=torch.float64)
    graph = Graph.of(frozen(way), x)
    assert graph.widths == {"first": 6}
    for one in (net.train(), graph.traced.train()):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            one(x).square().mean().backward()
            optimizer.step()
    assert same_outputs(evaluated(net, x), evaluated(graph.traced, x))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["train", "forward"])
def test_such_networks_shrink_and_are_loaded_as_their_class(way: str, tmp_path: Path) -> None:
    x = torch.randn(32, 3, 6, 6)
    found = nd.shrink(
        frozen(way).float(),
        (x, x[:, :2, 1:5, 1:5]),
        loss=F.mse_loss,
        lam=1.0,
        epochs=6,
        batch_size=8,
    )
    assert found.graph.widths.get("first", 0) < 6
    nd.save(found, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", frozen(way).float())
    assert isinstance(again, Frozen)
    assert same_outputs(evaluated(found.net, x), evaluated(again, x), tolerance=1e-5)
