"""Networks whose forward pass changes their own tensors, or notes what it computes: never in silence, never a raw error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.state import StateChanged
from netdial.channels.trace.trace import is_exported
from netdial.core.errors import TraceError

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Center(nn.Module):
    """Takes a running mean away; training moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ema", torch.zeros(5))
        self.seen: Any = None

    def moved(self, h: Tensor) -> Tensor:
        return 0.9 * self.ema + 0.1 * h.detach().mean(0)


class InPlace(Center):
    def forward(self, h: Tensor) -> Tensor:
        if self.training:
            self.ema.mul_(0.9).add_(h.detach().mean(0), alpha=0.1)
        return h - self.ema


class Assigned(Center):
    def forward(self, h: Tensor) -> Tensor:
        if self.training:
            self.ema = self.moved(h)
        return h - self.ema


class Copied(Center):
    def forward(self, h: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.ema[:].copy_(self.moved(h))
        return h - self.ema


class Net(nn.Module):
    """Two hidden layers, with a center behind the first that either runs by itself or is told what to do."""

    def __init__(self, center: type[Center], *, inside: bool, asks: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.center, self.inside, self.asks = center(), inside, asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.dim() == 0:  # torch.fx cannot follow that
            raise ValueError("a number")
        h = self.one(x)
        h = self.center(h) if self.inside else type(self.center).forward(self.center, h)
        return self.three(torch.relu(self.two(torch.relu(h))))


@pytest.mark.parametrize("center", [InPlace, Assigned, Copied])
def test_a_module_that_moves_its_own_buffer_stays_one_operation(center: type[Center]) -> None:
    net = Net(center, inside=True)
    before = net.center.ema.clone()
    graph = Graph.of(net, X)
    assert [(group.name, group.size) for group in graph.groups] == [("two", 6)]
    assert torch.equal(net.center.ema, before)
    graph.traced.train()(X)
    assert not torch.equal(graph.traced.get_buffer("center.ema"), before)


@pytest.mark.parametrize("center", [InPlace, Assigned])
def test_a_network_that_moves_the_buffer_itself_does_so_in_its_graph(center: type[Center]) -> None:
    net = Owning(Net(center, inside=False))
    before, was = net.center.ema, net.center.ema.clone()
    graph = Graph.of(net, X)
    assert [(group.name, group.size) for group in graph.groups] == [("two", 6)]
    assert net.center.ema is before and torch.equal(before, was)
    wanted = copy.deepcopy(net).train()
    for _ in range(2):
        torch.testing.assert_close(graph.traced.train()(X), wanted(X))
        torch.testing.assert_close(graph.traced.get_buffer("center.ema"), wanted.center.ema)
    graph.traced.eval()(X)
    torch.testing.assert_close(graph.traced.get_buffer("center.ema"), wanted.center.ema)


def test_a_network_that_moves_a_part_of_its_buffer_is_refused_with_what_to_do() -> None:
    net = Net(Copied, inside=False)
    before = net.center.ema
    with pytest.raises(StateChanged, match=r"test_state.py:\d+\) changes 'center.ema'.* module"):
        Graph.of(Owning(net), X)
    assert net.center.ema is before


class Owning(Net):
    """The same, where the buffer is the network's own."""

    def __init__(self, net: Net) -> None:
        super().__init__(type(net.center), inside=False)
        self.center.anchor = nn.Parameter(
            torch.ones(1)
        )  # with a parameter it is no operation by itself
        self.center.ema = net.center.ema


@pytest.mark.slow
@pytest.mark.parametrize(
    ("center", "what"),
    [
        (InPlace, r"test_state.py:\d+\) changes 'center.ema'.* module"),
        (Assigned, r"test_state.py:\d+\) changes 'center.ema'.* module"),
        (Copied, r"test_state.py:\d+\) changes 'center.ema'.* module"),
    ],
)
def test_nor_does_an_export_lose_the_change(center: type[Center], what: str) -> None:
    net = Net(center, inside=False, asks=True)
    before, was = net.center.ema, net.center.ema.clone()
    with pytest.raises(TraceError, match=what):
        Graph.of(net, X)
    assert net.center.ema is before and torch.equal(before, was)


@pytest.mark.parametrize(
    "center", [InPlace, *(pytest.param(c, marks=pytest.mark.slow) for c in (Assigned, Copied))]
)
def test_what_the_refusal_says_to_do_helps_where_only_export_can_trace(
    center: type[Center],
) -> None:
    net = Net(center, inside=True, asks=True)
    before = net.center.ema.clone()
    graph = Graph.of(net, X)
    assert is_exported(graph.traced)
    assert [(group.name, group.size) for group in graph.groups] == [("two", 6)]
    assert torch.equal(net.center.ema, before)
    wanted = Net(center, inside=True, asks=True)
    wanted.load_state_dict({**net.state_dict(), "center.ema": before})
    wanted.train()(X)
    graph.traced.train()(X)
    torch.testing.assert_close(graph.traced.get_buffer("center.ema"), wanted.center.ema)
    assert not torch.equal(wanted.center.ema, before)


def test_what_a_forward_pass_notes_is_no_proxy_afterwards() -> None:
    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.last = nn.Linear(4, 5), nn.Linear(5, 2), None

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.hidden = torch.relu(self.one(x))
            return self.two(self.hidden)

    net = Noting()
    graph = Graph.of(net, X)
    assert graph.widths == {"one": 5}
    assert not any(isinstance(value, torch.fx.Proxy) for value in vars(net).values())
    copy.deepcopy(graph.traced)


class Noted(nn.Module):
    """Gives what it notes beside a constant of its code, by code that only an export can follow; or reads it the next time."""

    def __init__(self, reads: str = "") -> None:
        super().__init__()
        self.one, self.two, self.reads = nn.Linear(4, 5), nn.Linear(5, 2), reads
        self.weights = self.other = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        *_, width = x.shape
        h = torch.relu(self.one(x)) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
        if self.reads and getattr(self, self.reads) is not None:
            h = h + getattr(self, self.reads)
        self.weights = self.other = self.two(h).detach().mean() + width
        return self.two(h), self.weights


@pytest.mark.slow
def test_what_is_noted_is_no_memory_where_the_code_has_constants() -> None:
    graph = Graph.of(Noted(), X)
    assert is_exported(graph.traced)
    assert graph.widths == {"one": 5}


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["weights", "other"])
def test_nor_is_what_is_read_the_next_time_lost_there(reads: str) -> None:
    with pytest.raises(
        StateChanged, match=r"remembers '(weights|other)' from one call to the next"
    ):
        Graph.of(Noted(reads), X)


def in_attribute(net: Any, x: Tensor) -> Any:
    if net.training:
        net.mean = x.mean(0)
    return net.mean


def in_new_attribute(net: Any, x: Tensor) -> Any:
    if net.training:
        net.fresh = x.mean(0)
    return getattr(net, "fresh", None)


def in_dict(net: Any, x: Tensor) -> Any:
    if net.training:
        net.held["mean"] = x.mean(0)
    return net.held.get("mean")


def in_list(net: Any, x: Tensor) -> Any:
    if net.training:
        net.seen = [x.mean(0)]
    return net.seen[0] if net.seen else None


class Recalls(nn.Module):
    """Reads in evaluation what training noted beside its buffers, where there was nothing before."""

    def __init__(self, recall: Any, *, asks: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)
        self.mean, self.held, self.seen = None, {}, []
        self.recall, self.asks = recall, asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.shape[1] != 4:
            raise ValueError("four numbers")
        mean = self.recall(self, x.detach())
        return self.two(torch.relu(self.one(x if mean is None else x - mean)))


@pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("recall", [in_attribute, in_new_attribute, in_dict, in_list])
def test_what_training_notes_for_evaluation_is_not_lost_in_silence(
    recall: Any, *, asks: bool
) -> None:
    with pytest.raises(TraceError, match=r"or in evaluation after it.* in a buffer"):
        Graph.of(Recalls(recall, asks=asks), X)


def test_a_network_that_cannot_be_traced_has_its_parameters_as_they_were() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.times = nn.Linear(4, 2), nn.Parameter(torch.zeros(()), False)

        @torch.no_grad()
        def counted(self) -> None:
            self.times += 1

        def forward(self, x: Tensor) -> Tensor:
            self.counted()
            return self.one(x) if x.sum() > self.times else self.one(-x)

    net = Counts()
    with pytest.raises(TraceError):
        Graph.of(net, X)
    assert net.times == 0


class SetEachTime(nn.Module):
    """Goes by a number that it sets to the same in each forward pass, which ends as another than it began with at first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)
        self.times: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 4:  # torch.fx cannot follow this
            raise ValueError("four numbers")
        self.times = 1
        y = torch.relu(self.one(x))
        self.times *= 3
        return self.two(y * self.times)


def test_a_number_that_is_set_to_the_same_each_time_is_no_state() -> None:
    net = SetEachTime().eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    graph = Graph.of(net, x)
    assert graph.widths == {"one": 6}
    assert net.times is None
    torch.testing.assert_close(graph.traced(x), net(x))


class SetByFirstData(nn.Module):
    """Sets a scale by the first data that it sees, and goes by whether it did."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.ones(6))
        self.ready = False

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 4:  # torch.fx cannot follow this
            raise ValueError("four numbers")
        y = self.one(x)
        if not self.ready:
            self.scale.data.copy_(1 / (0.1 + y.detach().abs().mean(0)))
            self.ready = True
        return self.two(torch.relu(y * self.scale))


def test_a_parameter_that_the_first_data_set_is_not_lost() -> None:
    net = SetByFirstData().eval()
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TraceError, match=r"sets the parameter 'scale'.* call the network once"):
        Graph.of(net, x)
    assert torch.equal(net.scale, torch.ones(6))
    assert not net.ready
    wanted = net(x)
    graph = Graph.of(net, x)
    assert graph.widths == {"one": 6}
    torch.testing.assert_close(graph.traced(x), wanted)


class Counted(nn.Module):
    """Gives what it is given, a mean and how often it was called in training, which it counts in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            self.calls.data.add_(1)
        return x.relu(), x.mean(), self.calls.clone()


def test_a_part_that_gives_several_tensors_keeps_whole_what_it_reads() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.three = nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 2)
            self.counted = Counted()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y, mean, _ = self.counted(self.two(self.one(x).relu()))
            return self.three(y), mean

    net = Several().double().eval()
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    graph = Graph.of(net, x)
    assert graph.widths == {"one": 6}
    assert "gives several parts" in graph.kept["two.weight"]
    with torch.no_grad():
        hidden = net.one(x).relu()[:, [0, 2, 3, 5]]
        due = hidden @ net.two.weight[:, [0, 2, 3, 5]].T + net.two.bias
        wanted = net.three(due.relu()), due.mean()
    apply(graph.plan({"one": [1, 4]}), graph.traced)
    torch.testing.assert_close(graph.traced(x), wanted)
    graph.traced.train()(x)
    assert graph.traced.get_submodule("counted").calls == 1


@pytest.mark.slow
def test_what_is_asked_of_gradients_sets_no_weights() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            *_, width = x.shape
            for weight in self.one.parameters():
                weight.requires_grad = True
            found: Tensor = self.two(torch.relu(self.one(x))) / width
            return found

    assert Graph.of(Asks(), X).widths == {"one": 5}
