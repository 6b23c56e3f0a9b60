"""Forward passes that set the numbers of parameters: masks, bounds, lengths. Graphs set them each time, and train alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.state import StateChanged
from netdial.channels.trace.trace import is_exported
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan

from ..networks import mask

P = torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class MaskedConv(nn.Conv2d):
    """A convolution that does not see the row below, as pixels made one after another need it."""

    seen: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("seen", torch.ones_like(self.weight))
        self.seen[:, :, -1] = 0


class Times(MaskedConv):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= self.seen
        return super().forward(x)


class TimesInPlace(MaskedConv):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.mul_(self.seen)
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class Assigned(MaskedConv):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = self.weight.data * self.seen
        return super().forward(x)


class Net(nn.Module):
    """A convolution with a weight that it, or the network, sets."""

    def __init__(
        self, kind: type[nn.Conv2d], sets: Callable[[nn.Conv2d], Any] | None, *, asks: bool = False
    ) -> None:
        super().__init__()
        self.a, self.b, self.sets = kind(3, 6, 3, padding=1), nn.Conv2d(6, 2, 1), sets
        self.asks = asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.shape[1] != 3:  # torch.fx cannot follow that
            raise ValueError("three channels")
        if self.sets is not None:
            self.sets(self.a)
        out: Tensor = self.b(torch.relu(self.a(x)))
        return out


def row_zeroed(a: nn.Conv2d) -> None:
    a.weight.data[:, :, -1].zero_()


def row_set(a: nn.Conv2d) -> None:
    a.weight.data[:, :, -1] = 0


def bounded(a: nn.Conv2d) -> None:
    with torch.no_grad():
        a.weight.clamp_(min=0)


def bounded_data(a: nn.Conv2d) -> None:
    a.weight.data.clamp_(0)


def to_length(a: nn.Conv2d) -> None:
    with torch.no_grad():
        a.weight.copy_(F.normalize(a.weight, dim=1))


def to_length_assigned(a: nn.Conv2d) -> None:
    a.weight.data = F.normalize(a.weight.data, dim=1)


def centred(a: nn.Conv2d) -> None:
    with torch.no_grad():
        a.weight -= a.weight.mean((1, 2, 3), keepdim=True)  # assigns a.weight, too


MASKS: dict[str, tuple[type[nn.Conv2d], Any]] = {
    "times a mask": (Times, None),
    "times a mask in place": (TimesInPlace, None),
    "times a mask, assigned": (Assigned, None),
    "a row, zeroed": (nn.Conv2d, row_zeroed),
    "a row, set": (nn.Conv2d, row_set),
}
OTHERS: dict[str, tuple[type[nn.Conv2d], Any]] = {
    "bounds": (nn.Conv2d, bounded),
    "bounds of data": (nn.Conv2d, bounded_data),
    "length": (nn.Conv2d, to_length),
    "length, assigned": (nn.Conv2d, to_length_assigned),
    "without their mean": (nn.Conv2d, centred),
}
WAYS = {**MASKS, **OTHERS}


def made(way: str, *, asks: bool = False) -> Net:
    torch.manual_seed(0)
    return Net(*WAYS[way], asks=asks)


ASKS = pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])


@ASKS
@pytest.mark.parametrize("way", WAYS)
def test_graphs_set_weights_each_time_and_train_as_the_network_does(
    way: str, *, asks: bool
) -> None:
    net, other = made(way, asks=asks).double(), made(way, asks=asks).double()
    graph = Graph.of(other, P)
    assert is_exported(graph.traced) or not asks
    assert graph.widths["a"] == 6
    for one in (net.train(), graph.traced.train()):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.05, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            (one(P) - P[:, :2]).square().mean().backward()
            optimizer.step()
    assert same_outputs(evaluated(net, P), evaluated(graph.traced, P))
    for one in (net, graph.traced):
        one.train()(P)  # sets them once more
    assert torch.allclose(net.a.weight, other.a.weight)


@ASKS
@pytest.mark.parametrize("way", WAYS)
def test_such_networks_cut_equal_the_same_with_zeros(way: str, *, asks: bool) -> None:
    graph = Graph.of(made(way, asks=asks).double(), P)
    plan = Plan.remove(graph.groups, {g.name: [0, 3] for g in graph.groups}, graph.shapes)
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    assert same_outputs(evaluated(masked, P), evaluated(graph.traced, P))


def moved_to(teacher: nn.Module, pupil: nn.Module) -> None:
    for k, q in zip(teacher.parameters(), pupil.parameters(), strict=True):
        k.data = k.data * 0.9 + q.data * 0.1


@torch.no_grad()
def moved_in_place(teacher: nn.Module, pupil: nn.Module) -> None:
    for k, q in zip(teacher.parameters(), pupil.parameters(), strict=True):
        k.mul_(0.9).add_(q, alpha=0.1)


def moved_data(teacher: nn.Module, pupil: nn.Module) -> None:
    given = dict(pupil.named_parameters())
    for name, k in teacher.named_parameters():
        k.data.mul_(0.9).add_(given[name].detach(), alpha=0.1)


@torch.no_grad()
def moved_by_lerp(teacher: nn.Module, pupil: nn.Module) -> None:
    for k, q in zip(teacher.parameters(), pupil.parameters(), strict=True):
        k.lerp_(q, 0.1)


class Taught(nn.Module):
    """A network and its teacher, the running mean of its weights, which begins as a copy and so tells nothing at first."""

    def __init__(self, moves: Callable[[nn.Module, nn.Module], None], *, asks: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pupil = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1))
        self.teacher, self.moves = copy.deepcopy(self.pupil).requires_grad_(False), moves
        self.asks = asks

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.asks and x.shape[1] != 3:  # torch.fx cannot follow that
            raise ValueError("three channels")
        if self.training:
            self.moves(self.teacher, self.pupil)
        return self.pupil(x), self.teacher(x)


@ASKS
@pytest.mark.parametrize("moves", [moved_to, moved_in_place, moved_data, moved_by_lerp])
def test_graphs_move_a_teacher_as_the_network_does(moves: Any, *, asks: bool) -> None:
    net, other = Taught(moves, asks=asks).double(), Taught(moves, asks=asks).double()
    graph = Graph.of(other, P)
    assert is_exported(graph.traced) is asks
    assert graph.widths == {"pupil.0": 6}
    for one in (net.train(), graph.traced.train()):
        optimizer = torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.05)
        for _ in range(4):
            optimizer.zero_grad()
            ours, theirs = one(P)
            (ours.square().mean() + (ours - theirs - 1).square().mean()).backward()
            optimizer.step()
    assert torch.allclose(net.teacher[0].weight, other.teacher[0].weight)
    assert not torch.allclose(net.teacher[0].weight, net.pupil[0].weight)
    assert same_outputs(evaluated(net, P), evaluated(graph.traced, P))


def test_a_layer_that_reads_weights_by_itself_is_refused_where_they_are_set() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.rnn.weight_hh_l0.data.clamp_(-0.1, 0.1)
            out: Tensor = self.out(self.rnn(x)[0])
            return out

    with pytest.raises(StateChanged, match=r"sets the parameter 'rnn.weight_hh_l0'"):
        Graph.of(Recurrent(), torch.randn(3, 6, 4))


def test_nor_are_weights_followed_that_go_on_changing() -> None:
    def halved(a: nn.Conv2d) -> None:
        a.weight.data.mul_(0.5)

    net = Net(nn.Conv2d, halved).double()
    with pytest.raises(StateChanged, match=r"sets the parameter 'a.weight'"):
        Graph.of(net, P)


@pytest.mark.slow
@pytest.mark.parametrize("way", MASKS)
def test_networks_with_masks_shrink_and_are_loaded_as_their_class(way: str, tmp_path: Path) -> None:
    x = P.float().repeat(8, 1, 1, 1)
    found = nd.shrink(made(way), (x, x[:, :2]), loss=F.mse_loss, lam=1.0, epochs=6, batch_size=32)
    assert found.graph.widths.get("a", 0) < 6
    nd.save(found, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", made(way))
    assert isinstance(again, Net)
    assert same_outputs(evaluated(found.net, x), evaluated(again, x), tolerance=1e-5)
    nd.save(found, tmp_path / "net.pt2")
