"""Networks that count their calls, in buffers or plain attributes: their graphs count as well, or are refused in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.trace.state import StateChanged
from netdial.channels.trace.trace import is_exported
from netdial.core.errors import TraceError

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def iadd(s: Any) -> None:
    s.n += 1


def add(s: Any) -> None:
    s.n.add_(1)


def assign(s: Any) -> None:
    s.n = s.n + 1


def decay(s: Any) -> None:
    s.n.mul_(0.9).add_(0.1)


def copied(s: Any) -> None:
    with torch.no_grad():
        s.n.copy_(0.5 * s.n + 1)


def register(s: Any) -> None:
    s.register_buffer("n", s.n + 1)


def in_training(s: Any) -> None:
    if s.training:
        s.n += 1


def plain_tensor(s: Any) -> None:
    s.t += 1


WAYS = [iadd, add, assign, decay, copied, register, in_training]


class Counting(nn.Module):
    """Two hidden layers, a counter, and outputs that depend on it."""

    def __init__(self, count: Callable[[Any], None], *, asks: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.register_buffer("n", torch.zeros(()))
        self.t, self.k, self.calls, self.asks = torch.zeros(()), 0, [0], asks
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.dim() == 0:  # torch.fx cannot follow that
            raise ValueError("a number")
        self.count(self)
        h = torch.relu(self.two(torch.relu(self.one(x))))
        return self.three(h) * (2 - 0.5**self.n + self.t)


def made(count: Callable[[Any], None], **how: Any) -> Counting:
    torch.manual_seed(0)
    return Counting(count, **how)


@pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [*WAYS, plain_tensor])
def test_a_graph_counts_as_its_network_does_in_both_modes(
    count: Callable[[Any], None], asks: bool
) -> None:
    net = made(count, asks=asks)
    before = net.n
    graph = Graph.of(net, X)
    assert is_exported(graph.traced) == asks
    assert graph.widths == {"one": 5, "two": 6}
    assert net.n is before and float(net.n) == 0 and float(net.t) == 0
    wanted = made(count)
    for training in (True, False, True):
        torch.testing.assert_close(graph.traced.train(training)(X), wanted.train(training)(X))
    held = graph.traced.t if count is plain_tensor else graph.traced.n
    assert float(held) == pytest.approx(float(wanted.t if count is plain_tensor else wanted.n))
    assert float(held) > 0


@pytest.mark.parametrize("count", WAYS)
def test_a_family_counts(count: Callable[[Any], None]) -> None:
    net = made(count)
    family = nd.fit(net, (X, Y), epochs=1, batch_size=16)
    assert float(net.n) == 0
    held = float(family.export(0.1).n)
    assert held == 4 if count is in_training else held > 0


@pytest.mark.slow
@pytest.mark.parametrize("asks", [False, True])
def test_a_counter_goes_through_shrink_save_load_and_programs(tmp_path: Path, asks: bool) -> None:
    shrunk = nd.shrink(made(in_training, asks=asks), (X, Y), lam=0.3, epochs=3, batch_size=16)
    assert float(shrunk.net.n) == 12
    assert float(shrunk.fold()[0].n) == 12
    nd.save(shrunk, tmp_path / "a.safetensors")
    again = nd.load_model(tmp_path / "a.safetensors", made(in_training, asks=asks))
    assert isinstance(again, Counting) and float(again.n) == 12
    again.train()(X)
    assert float(again.n) == 13
    for name in ("a.onnx", "a.pt2"):
        nd.save(shrunk, tmp_path / name)
    assert float(shrunk.net.n) == 12
    slimmed = nd.slim(made(in_training, asks=asks), share=0.5, example=X)
    slimmed.net.train()(X)
    assert float(slimmed.net.n) == 1


def test_a_program_that_would_remember_nothing_is_refused_as_onnx(tmp_path: Path) -> None:
    slimmed = nd.slim(made(iadd), share=0.5, example=X)
    with pytest.raises(TraceError, match=r"changes n in each call.*remembers nothing.*\.pt2"):
        nd.save(slimmed, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()
    nd.save(slimmed, tmp_path / "a.pt2")
    run = torch.export.load(tmp_path / "a.pt2").module()
    due = copy.deepcopy(slimmed.net).eval()
    for _ in range(2):
        torch.testing.assert_close(run(X), due(X))


def number(s: Any) -> None:
    s.k = s.k + 1
    s.t = torch.zeros(()) + s.k


def steps_in(s: Any) -> None:
    s.k += 1
    if s.k > 30:  # further than any check counts
        s.n += 1


def in_a_list(s: Any) -> None:
    s.calls[0] += 1
    s.t = torch.zeros(()) + s.calls[0]


def unread(s: Any) -> None:
    s.k += 1


@pytest.mark.parametrize("count", [number, steps_in])
def test_a_plain_number_that_the_outputs_depend_on_is_refused_with_its_name_and_line(
    count: Callable[[Any], None],
) -> None:
    net = made(count)
    with pytest.raises(
        StateChanged, match=r"changes the attribute 'k' and goes by it \(.*test_counting.py.*buffer"
    ):
        Graph.of(net, X)
    assert net.k == 0


@pytest.mark.parametrize("count", [number, steps_in, unread])
def test_an_export_does_not_take_a_plain_number_as_it_is(count: Callable[[Any], None]) -> None:
    net = made(count, asks=True)
    with pytest.raises(StateChanged, match=r"changes the attribute 'k'.*buffer"):
        Graph.of(net, X)
    assert net.k == 0


def test_what_a_list_remembers_is_not_lost_in_silence() -> None:
    net = made(in_a_list)
    with pytest.raises(TraceError, match="computes something else once traced"):
        Graph.of(net, X)
    assert net.calls == [0]


def test_a_plain_counter_that_nobody_reads_is_no_matter() -> None:
    net = made(unread)
    assert Graph.of(net, X).widths == {"one": 5, "two": 6}
    assert net.k == 0


class Counter(nn.Module):
    """Counts in a plain attribute, by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.k = 0

    def forward(self, h: Tensor) -> Tensor:
        self.k += 1
        return h * self.k


def test_what_the_refusal_says_to_do_helps() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Counter(), nn.Linear(5, 2))
    graph = Graph.of(net, X)
    wanted = copy.deepcopy(net)
    assert graph.widths == {"0": 5}
    for _ in range(3):
        torch.testing.assert_close(graph.traced(X), wanted(X))
