"""Spellings of people's code: tensors of the inputs' sizes, ``.data``, what is remembered, outputs inside of outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.state import StateChanged
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError
from netdial.core.inputs.modules import scored
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan

from ..networks import mask

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
P = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class Step(Function):
    """A step whose gradient is that of a smooth one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad / (1 + ctx.saved_tensors[0].abs()) ** 2


class Spikes(nn.Module):
    """Starts with as many zeros as there are inputs, which torch.fx by itself cannot record."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out, self.beta = (
            nn.Linear(4, 6),
            nn.Linear(6, 2),
            nn.Parameter(torch.tensor(0.8)),
        )

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.size(0), 6, dtype=x.dtype, device=x.device)
        for _ in range(3):
            state = self.beta.clamp(0, 1) * state + self.inp(x)
        return self.out(Step.apply(state - 0.5))


def test_tensors_of_sizes_that_inputs_have_are_recorded_and_gradients_stay() -> None:
    net = Spikes().double()
    traced = trace(net, X)
    assert not is_exported(traced)
    graph = Graph.of(copy.deepcopy(net), X)
    assert graph.widths == {"inp": 6}
    for size in (1, 7):
        x = X[torch.arange(size) % 5]
        assert same_outputs(evaluated(net, x), evaluated(traced, x))
    for one in (net, traced):
        one.zero_grad()
        one.train()(X).sum().backward()
        assert float(net.beta.grad) != 0  # type: ignore[arg-type]


def test_makers_of_torch_are_themselves_after_tracing() -> None:
    before = torch.zeros, torch.arange
    trace(Spikes().double(), X)
    assert (torch.zeros, torch.arange) == before


class Centred(nn.Module):
    """A running mean and a count, both changed through ``.data``; asks for shapes as ``torch.fx`` cannot if told so."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.inp, self.out, self.asks = nn.Linear(4, 6), nn.Linear(6, 2), asks
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        if self.asks:
            h = h.view(*x.shape[:-1], 6)
        if self.training:
            self.count.data.add_(1)
            self.mean.data.mul_(0.9).add_(h.data.mean(0), alpha=0.1)
        return self.out(torch.relu(h - self.mean / (1 + self.count)))


@pytest.mark.slow
@pytest.mark.parametrize("asks", [False, True])
def test_buffers_changed_through_data_are_changed_by_the_graph(asks: bool) -> None:
    net = Centred(asks).double()
    traced = trace(copy.deepcopy(net), X)
    assert is_exported(traced) is asks
    for one in (net, traced):
        one.train()
        for _ in range(3):
            one(X)
    held = dict(traced.named_buffers())
    assert float(net.count) == 3
    for name, wanted in net.named_buffers():
        torch.testing.assert_close(held[name], wanted)
    assert same_outputs(evaluated(net, X), evaluated(traced, X))


def rounded(y: Tensor) -> Tensor:
    """Whole numbers with the gradients of what was rounded."""
    y = y * 1
    y.data.copy_(y.data.round())
    return y.square()


def hidden(y: Tensor) -> Tensor:
    """Weights of pairs of rows, hidden twice, before and behind the diagonal."""
    scores = y @ y.transpose(-1, -2)
    ahead = torch.ones(3, 3, dtype=torch.bool).triu(1)
    scores.data.masked_fill_(ahead, -float("inf"))
    scores.detach().masked_fill_(ahead.flip(0, 1) & ~torch.eye(3, dtype=torch.bool), -float("inf"))
    return scores.softmax(-1) @ y


def held(y: Tensor) -> Tensor:
    """Bounded numbers whose gradients pass the bounds."""
    y = torch.sin(3 * y)
    y.data.clamp_(-0.5, 0.5).mul_(2)
    return y + y.data.abs()


class Set(nn.Module):
    """Numbers put into ``.data`` of what is computed, between two layers."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.run, self.inp, self.out = run, nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.run(self.inp(x)))


@pytest.mark.parametrize("run", [rounded, hidden, held])
def test_numbers_put_into_data_are_read_with_the_gradients_of_what_was_there(
    run: Callable[[Tensor], Tensor],
) -> None:
    torch.manual_seed(2)
    net = Set(run).double()
    x = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    graph = Graph.of(copy.deepcopy(net), x)
    assert not is_exported(graph.traced)
    assert graph.widths == {"inp": 6}
    gradients = []
    for one in (net, graph.traced):
        found = one.train()(x)
        gradients.append(
            (found.detach(), *torch.autograd.grad(found.square().sum(), list(one.parameters())))
        )
    assert all(float(part.abs().max()) for part in gradients[0])
    assert same_outputs(*gradients, tolerance=1e-12)
    plan = Plan.remove(graph.groups, {"inp": [0, 2, 5]}, graph.shapes)
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    assert same_outputs(evaluated(masked, x), evaluated(graph.traced, x), tolerance=1e-12)


class Remembers(nn.Module):
    """Begins where the last call ended; before the first there is nothing. Asks for sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        for i in range(x.shape[1]):
            h = h + 0.1 * x[:, i : i + 1]
        if self.state is not None:
            h = h + self.state.mean()
        self.state = h.detach()
        return self.out(h)


@pytest.mark.slow
def test_what_is_remembered_from_call_to_call_is_refused_in_words() -> None:
    with pytest.raises(
        StateChanged, match=r"remembers 'state' from one call to the next.*register_buffer"
    ):
        trace(Remembers().double(), X)


class Asks(nn.Module):
    """Places of maxima, by code that asks for shapes."""

    def __init__(self, adaptive: bool) -> None:
        super().__init__()
        self.a, self.b, self.adaptive = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), adaptive

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        assert len(h.shape) == 4
        if self.adaptive:
            return self.b(F.adaptive_max_pool2d(h, 2))
        return self.b(F.max_unpool2d(*F.max_pool2d(h, 2, return_indices=True), 2))


@pytest.mark.slow
@pytest.mark.parametrize("adaptive", [False, True])
def test_maxima_and_their_places_in_exported_graphs(adaptive: bool) -> None:
    net = Asks(adaptive).double()
    graph = Graph.of(copy.deepcopy(net), P)
    assert is_exported(graph.traced)
    assert graph.widths == {"a": 8}
    assert same_outputs(evaluated(net, P), evaluated(graph.traced, P))


class Filters(nn.Module):
    """A long convolution by Fourier transforms, in code that asks for sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w, self.b = nn.Linear(3, 6), nn.Parameter(torch.randn(6, 8)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).transpose(1, 2)
        n = len(x[0])
        made = torch.fft.irfft(
            torch.fft.rfft(h, n=2 * n) * torch.fft.rfft(self.w[:, :n], n=2 * n), n=2 * n
        )
        return self.b(made[..., :n].transpose(1, 2))


@pytest.mark.slow
def test_fourier_transforms_in_exported_graphs() -> None:
    graph = Graph.of(Filters().double(), torch.randn(2, 8, 3, dtype=torch.float64))
    assert graph.widths == {"a": 6}


def test_outputs_inside_of_outputs_are_scored() -> None:
    one, other = torch.ones(2), torch.zeros(2)
    assert scored({"levels": [one, other]}) is one
    assert scored({"levels": [one], "logits": other}) is other
    assert scored(([], {}, {"a": {"b": (other,)}})) is other
    with pytest.raises(TraceError, match="no tensor can be scored"):
        scored({"levels": []})


class Positions(nn.Module):
    """Takes as much of a table that it holds as the inputs are long."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)
        table = torch.randn(1, 20, 6, dtype=torch.float64)
        if buffer:
            self.register_buffer("table", table, persistent=False)
        else:
            self.table = table

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x) + self.table[:, : x.size(1)].requires_grad_(False)
        return self.b(torch.relu(h)).mean(1)


@pytest.mark.parametrize("buffer", [True, False])
def test_a_table_is_cut_to_the_length_of_the_inputs_for_every_length(buffer: bool) -> None:
    net = Positions(buffer=buffer).double()
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    graph = Graph.of(copy.deepcopy(net), x)
    assert not is_exported(graph.traced)
    assert graph.widths == {"a": 6}
    longer = torch.randn(2, 15, 4, dtype=torch.float64)
    assert same_outputs(evaluated(net, longer), evaluated(graph.traced, longer), tolerance=1e-12)
    assert isinstance(net.table, Tensor)


class LookedAt(nn.Module):
    """Leaves its weights where they can be looked at; what they were is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.weights = nn.Linear(4, 6), nn.Linear(6, 2), None

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if h.shape[-1] > 2:  # torch.fx cannot follow this
            self.weights: Any = torch.tanh(h)
        return self.b(self.weights * h)


def test_an_attribute_to_look_at_is_not_remembered() -> None:
    net = LookedAt().double()
    graph = Graph.of(net, X)
    assert is_exported(graph.traced)
    assert graph.widths == {"a": 6}
    assert net.weights is None


class Levels(nn.Module):
    """Draws levels in training, and has the same ones each time in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if self.training:
            at = torch.rand(x.size(0), 1, device=h.device).to(h.dtype)
        else:
            at = torch.linspace(0.1, 0.9, 1, dtype=h.dtype).expand(x.size(0), 1)
        return self.b(h * at)


def test_what_is_asked_for_in_one_mode_is_not_taken_for_another_question() -> None:
    assert not is_exported(trace(Levels().double(), X))


Made = Callable[[Any, Tensor], Tensor]
SPELLED: dict[str, Made] = {
    "baddbmm": lambda s, x: s.h(
        torch.baddbmm(s.v, s.a(x), s.w.expand(x.size(0), 6, 6), beta=0.5, alpha=2)
    ),
    "addbmm": lambda s, x: torch.addbmm(x.new_ones(3, 3), s.a(x), s.a(x).transpose(1, 2)),
    "mv": lambda s, x: torch.mv(s.a(x[:, 0]), s.v),
    "addmv": lambda s, x: torch.addmv(x[:, 0, 0], s.a(x[:, 0]), s.v),
    "tensordot": lambda s, x: torch.tensordot(s.a(x), s.w[:, :2], dims=1),
    "tensordot of dimensions": lambda s, x: torch.tensordot(s.a(x), s.w[:, :2], dims=([2], [0])),
    "inner": lambda s, x: torch.inner(s.a(x), s.w[:2]),
    "inner of rows": lambda s, x: s.a(x).inner(s.v),
    "vecdot": lambda s, x: torch.linalg.vecdot(s.a(x), s.v),
    "hypot": lambda s, x: s.h(torch.hypot(s.a(x), s.v)),
    "logaddexp": lambda s, x: s.h(torch.logaddexp(s.a(x), s.v)),
    "xlogy": lambda s, x: s.h(torch.xlogy(s.a(x).exp(), s.v.exp())),
    "addcmul": lambda s, x: s.h(torch.addcmul(s.a(x), s.a(x), s.v, value=0.5)),
    "addcdiv": lambda s, x: s.h(s.a(x).addcdiv(s.a(x), s.v.exp())),
    "linalg.norm": lambda s, x: s.h(torch.linalg.norm(s.a(x), dim=1)),
    "vector_norm": lambda s, x: s.h(torch.linalg.vector_norm(s.a(x), 3, dim=1)),
    "trapezoid": lambda s, x: s.h(torch.trapezoid(s.a(x), dim=1)),
    "trapezoid of places": lambda s, x: s.h(
        torch.trapezoid(s.a(x).transpose(1, 2), x[:, :1, :3].sort(-1)[0])
    ),
    "tile": lambda s, x: s.h(torch.tile(s.a(x), (2, 1))),
    "tile as a method": lambda s, x: s.h(s.a(x).tile(1, 2, 1)),
    "ravel": lambda s, x: s.h(s.a(x)).ravel(),
    "mH": lambda s, x: s.h(s.a(x).mH.mH),
    "row_stack": lambda s, x: s.h(torch.row_stack([s.a(x[:, 0]), s.a(x[:, 1])])),
    "concatenate": lambda s, x: s.h(torch.concatenate([s.a(x), 2 * s.a(x)], 1)),
    "hstack": lambda s, x: (
        torch.hstack([s.a(x[:, 0]), s.a(x[:, 1])]) @ torch.vstack([s.w, s.w])[:, :2]
    ),
    "dstack": lambda s, x: s.h(torch.dstack([s.a(x[:, 0]), s.a(x[:, 1])]).mean(-1)),
    "moveaxis": lambda s, x: s.h(torch.moveaxis(s.a(x), 1, 2).moveaxis(1, 2)),
    "t": lambda s, x: s.h(torch.t(torch.t(s.a(x[:, 0])))),
    "median": lambda s, x: s.h(s.a(x).median(dim=1).values),
    "kthvalue": lambda s, x: s.h(s.a(x).kthvalue(2, dim=1)[0]),
    "quantile": lambda s, x: s.h(torch.quantile(s.a(x), 0.3, dim=1)),
    "nanmean": lambda s, x: s.h(torch.nanmean(s.a(x), dim=1)),
    "var_mean": lambda s, x: s.h(torch.var_mean(s.a(x), dim=1)[1]),
    "cummax": lambda s, x: s.h(s.a(x).cummax(1)[0]),
    "embedding": lambda s, x: s.h(F.embedding((x[..., 0] > 0).long(), 2 * s.table)),
    "new": lambda s, x: s.h(s.a(x) * s.a(x).data.new(x.size(0), 1, 6).fill_(0.5)),
    "sizes repeated": lambda s, x: s.h(
        s.a(x) * s.a(x).mean(1).view([x.size(0)] + [1] * (x.ndim - 2) + [s.a(x).size(-1)])
    ),
    "resize_": lambda s, x: s.h(s.a(x) * x.data.new().resize_((x.size(0), 1, 1)).fill_(0.5)),
}


class Spelled(nn.Module):
    """One of the ways to spell an operation over channels."""

    def __init__(self, run: Made) -> None:
        super().__init__()
        self.run, self.a, self.h = run, nn.Linear(4, 6), nn.Linear(6, 2)
        self.v, self.w, self.table = (nn.Parameter(torch.randn(n)) for n in (6, (6, 6), (3, 6)))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SPELLED))
def test_spellings_of_operations_pass_channels(name: str) -> None:
    net = Spelled(SPELLED[name]).double()
    x = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    graph = Graph.of(copy.deepcopy(net), x)
    assert not is_exported(graph.traced)
    free = [group for group in graph.groups if not group.mixed]
    assert sum(group.size == 6 for group in free)
    plan = Plan.remove(free, {group.name: range(0, 5, 2) for group in free}, graph.shapes)
    masked = copy.deepcopy(net)
    mask(masked, plan)
    apply(plan, graph.traced)
    assert same_outputs(evaluated(masked, x), evaluated(graph.traced, x), tolerance=1e-12)


class Asked(nn.Module):
    """Looks rows of a table up behind a question that torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.b = nn.Parameter(torch.randn(3, 6)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] > 9:
            return self.b(x)
        ids = (x[:, 0] > 0).long()
        return self.b(torch.relu(F.embedding(ids, self.table, padding_idx=0)))


def test_rows_are_looked_up_in_exported_graphs_as_well() -> None:
    graph = Graph.of(Asked().double(), X)
    assert is_exported(graph.traced)
    assert graph.widths == {"table": 6}


def test_channels_that_are_normalised_over_their_neighbours_stay() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.LocalResponseNorm(3),
        nn.Conv2d(8, 6, 3),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    graph = Graph.of(net, torch.randn(2, 3, 5, 5))
    assert graph.widths == {"2": 6}
    assert "neighbouring channels" in graph.kept["0.weight"]
