"""Switches on the units of recurrent layers: a unit that is off goes exactly, and a switch merges into who reads the units."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.collect import collect
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.layers.gated import GatedCell, GatedLayer
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.sizes import strip, switches_of, thetas
from netdial.channels.trace.trace import trace
from netdial.core.errors import ConfigError
from netdial.measure.cost import count_macs

X = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)).double()
KINDS = [nn.LSTM, nn.GRU, nn.RNN]
READS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "last": lambda out, h: out[:, -1],
    "state": lambda out, h: torch.cat([h[-2], h[-1]], 1),
    "mean": lambda out, h: out.mean(1),
    "max": lambda out, h: out.max(1).values,
    "both": lambda out, h: out[:, -1] + torch.relu(out[:, 0]),
    "weighed": lambda out, h: (out.new_ones(1, 5) @ out).squeeze(1),
}
SIDES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ends": lambda out, h: torch.cat([out[:, -1, :6], out[:, 0, 6:]], 1),
    "sum": lambda out, h: (out[..., :6] + out[..., 6:]).mean(1),
}
"""The same of both directions, whose count of units is written in the code."""


class Net(nn.Module):
    """A recurrence of two layers, read in one of the usual ways."""

    def __init__(self, kind: Any = nn.LSTM, read: str = "last", **settings: Any) -> None:
        super().__init__()
        self.rnn = kind(3, 6, num_layers=2, batch_first=True, **settings)
        self.read = read
        sides = 1 + settings.get("bidirectional", False)
        wide = (settings.get("proj_size") or 6) * {"state": 2, "sum": 1}.get(read, sides)
        self.head = nn.Linear(wide, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.rnn(x)
        return self.head(
            (READS | SIDES)[self.read](out, state[0] if isinstance(self.rnn, nn.LSTM) else state)
        )


class Steps(nn.Module):
    """Two cells one above the other, a loop over time."""

    def __init__(self, kind: Any = nn.GRUCell, every: bool = False) -> None:
        super().__init__()
        self.low, self.high, self.head = kind(3, 6), kind(6, 5), nn.Linear(5, 2)
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        low = high = None
        seen = []
        for t in range(4):
            low = self.low(x[:, t], low)
            high = self.high(self.of(low), high)
            seen.append(self.of(high))
        return self.head(torch.stack(seen, 1).mean(1) if self.every else seen[-1])

    def of(self, state: Any) -> Any:
        return state[0] if isinstance(self.low, nn.LSTMCell) else state


class Translator(nn.Module):
    """One recurrence that begins where another one ended."""

    def __init__(self, kind: Any = nn.LSTM) -> None:
        super().__init__()
        self.enc, self.dec = kind(3, 6, batch_first=True), kind(3, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.enc(x)
        out, _ = self.dec(x.flip(1), state)
        return self.head(out[:, -1])


class Started(nn.Module):
    """A recurrence with a start state of its own, read by attention over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.start = nn.GRU(3, 6, batch_first=True), nn.Parameter(torch.randn(1, 1, 6))
        self.score, self.head = nn.Linear(6, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.gru(x, self.start.expand(1, len(x), -1).contiguous())
        return self.head((torch.softmax(self.score(out), 1) * out).sum(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"{k.__name__} {read}": lambda k=k, read=read: Net(k, read) for k in KINDS for read in READS
    },
    **{
        f"{k.__name__} both ways {read}": lambda k=k, read=read: Net(k, read, bidirectional=True)
        for k in KINDS
        for read in ("last", "state", "max", *SIDES)
    },
    "projections": lambda: Net(nn.LSTM, proj_size=5, bidirectional=True),
    **{
        f"{k.__name__} {every}": lambda k=k, every=every: Steps(k, every)
        for k in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
        for every in (False, True)
    },
    "LSTM to LSTM": Translator,
    "GRU to GRU": lambda: Translator(nn.GRU),
    "started": Started,
}
SLOW = {f"{k.__name__} {read}" for k in KINDS[1:] for read in ("mean", "both", "weighed")}
SLOW |= {"started"}
"""Ways of reading that an LSTM is read by, too, of kinds that are read in other ways, and what torch.export has to trace."""
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NETS]


def gated(name: str) -> Graph:
    torch.manual_seed(1)
    traced = trace(NETS[name]().double(), X)
    insert_switches(traced)
    return Graph.of(traced, X)


def switch_off(graph: Graph) -> None:
    """Gives switches numbers as after training, two of them 0."""
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for theta in thetas(graph).values():
            theta.copy_(torch.rand(len(theta), generator=source) + 0.2)
            if len(theta) > 1:
                theta[[1, 3]] = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_switches_change_nothing_and_units_that_are_off_go_exactly(name: str) -> None:
    torch.manual_seed(1)
    net = NETS[name]().double()
    graph = gated(name)
    assert torch.equal(graph.traced(X), net(X)), "at 1 a switch changes nothing, bit for bit"
    switch_off(graph)
    wanted = graph.traced.eval()(X)
    small, done = collect(graph)
    assert not done.refused
    assert all(
        small.widths[group] == width - 2
        for group, width in graph.widths.items()
        if group in switches_of(graph) and width > 1
    )
    assert torch.allclose(small.traced(X), wanted, rtol=0, atol=1e-14)
    other = torch.randn(7, 5, 3).double()
    assert small.traced(other).shape == (7, 2), "and batches of other sizes run"


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_switches_merge_and_plain_layers_come_back(name: str) -> None:
    graph = gated(name)
    switch_off(graph)
    wanted = graph.traced.eval()(X)
    small, report = fold(graph.traced, X)
    assert not report.left
    assert torch.allclose(small(X), wanted, rtol=0, atol=1e-13)
    assert not any(isinstance(m, GatedLayer | GatedCell) for m in small.modules())
    before = NETS[name]().state_dict()
    assert small.state_dict().keys() == before.keys()


def test_a_switch_that_cannot_merge_stays_behind_the_layer() -> None:
    class Normed(Net):
        def __init__(self) -> None:
            super().__init__(bidirectional=True)
            self.norm = nn.LayerNorm(12)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.rnn(x)[0])[:, -1])

    traced = trace(Normed().double(), X)
    insert_switches(traced, start="sampled")
    small, report = fold(traced.eval(), X, norms=False)
    assert [left.node for left in report.left] == ["rnn_switch"]
    assert type(small.get_submodule("rnn")) is nn.LSTM
    assert torch.allclose(small(X), traced(X), atol=1e-13)


def test_training_goes_on_as_if_the_units_were_there() -> None:
    """AdamW and its states after a cut, beside a network that keeps its dead units."""
    graph = gated("LSTM both ways last")

    def train(traced: Any, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            traced(X).square().sum().backward()
            optimizer.step()

    optimizer = torch.optim.AdamW(strip(graph.traced).values(), lr=1e-2, amsgrad=True)
    train(graph.traced, optimizer, 2)
    switch_off(graph)
    kept, other = copy.deepcopy((graph.traced, optimizer))
    small, _ = collect(graph, optimizers=[optimizer])
    train(small.traced, optimizer, 3)
    train(kept, other, 3)
    assert torch.allclose(small.traced(X), kept(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("streams", [False, True])
def test_where_units_can_have_no_switch_it_is_said(streams: bool) -> None:
    with pytest.raises(ConfigError, match="rnn makes the network's output"):
        insert_switches(trace(nn.Sequential(*[_First(nn.GRU(3, 4))]), X), streams=streams)


class _First(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.rnn(x.float())[0]
        return found


def test_multiplications_of_recurrent_weights_are_counted() -> None:
    macs, uses = count_macs(Net(nn.LSTM).eval(), X.float())
    assert {uses[f"rnn.weight_{kind}_l{layer}"] for kind in ("ih", "hh") for layer in (0, 1)} == {5}
    weights = [24 * 3, 24 * 6, 24 * 6, 24 * 6]
    assert macs == 5 * sum(weights) + 6 * 2


def sequences(n: int = 96) -> tuple[Tensor, Tensor]:
    """Which of two numbers came last: one that a recurrence has to keep."""
    source = torch.Generator().manual_seed(5)
    x = torch.randn(n, 5, 3, generator=source)
    return x, (x[:, 0, 0] + x[:, 3, 1] > 0).long()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["260 params", "1100 macs"])
def test_a_recurrence_shrinks_while_it_trains_is_saved_loaded_and_exported(
    size: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = Net(nn.GRU, "mean")
    data = sequences()
    shrunk = nd.shrink(net, data, size=size, epochs=4, batch_size=16, lr=1e-2)
    (width,) = set(shrunk.widths.values())
    assert 1 <= width < 6
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", Net(nn.GRU, "mean"))
    assert type(again) is Net and again.rnn.hidden_size == width
    x = data[0][:7]
    assert torch.allclose(again(x), shrunk.net.eval()(x), atol=1e-5)
    nd.save(shrunk, tmp_path / "small.pt2", example=x[:2])
    program = torch.export.load(tmp_path / "small.pt2").module()
    assert torch.allclose(program(x[:2]), again(x[:2]), atol=1e-5)


def test_by_lambda_units_die_by_themselves() -> None:
    torch.manual_seed(0)
    shrunk = nd.shrink(Net(nn.LSTM, "mean"), sequences(), lam=0.3, epochs=6, batch_size=16)
    assert 1 <= shrunk.widths["rnn.weight_hh_l0"] < 6


class Bent(nn.Module):
    """Recurrences behind which no switch can merge: a bend follows."""

    def __init__(self, cells: bool) -> None:
        super().__init__()
        self.rnn = nn.GRUCell(3, 6) if cells else nn.GRU(3, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(6 if cells else 12, 2)

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.rnn, nn.GRUCell):
            return self.head(torch.tanh(self.rnn(x)[0][:, -1]))
        seen, state = [], None
        for t in range(3):
            state = self.rnn(x[:, t], state)
            seen.append(torch.tanh(state))
        return self.head(sum(seen[1:], seen[0]))


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_switches_that_stay_are_saved_and_put_back(cells: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shrunk = nd.shrink(Bent(cells), sequences(), lam=0.1, epochs=2, batch_size=32)
    nd.save(shrunk, tmp_path / "bent.safetensors")
    again = nd.load_model(tmp_path / "bent.safetensors", Bent(cells))
    x = sequences()[0]
    assert torch.equal(again.eval()(x), shrunk.fold()[0](x))
    assert torch.allclose(again(x), shrunk.net.eval()(x), atol=1e-6)
