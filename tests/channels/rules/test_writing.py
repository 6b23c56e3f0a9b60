"""Pieces of tensors that are written (``out[:, t] = h``): followed by both ways of tracing, exact, or refused in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.nodes import written
from netdial.channels.surgery import apply
from netdial.core.errors import TraceError
from netdial.core.outputs import repeated

from ..networks import mask

X = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers and a function that says what happens between them; a question about shapes stops torch.fx."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], *, asks: bool = False) -> None:
        super().__init__()
        self.one, self.mid, self.two = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.register_buffer("queue", torch.zeros(4, 8))
        self.between, self.asks = between, asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.shape[1] != 4:
            raise ValueError("four steps")
        return self.two(self.between(self, self.one(x)))


def in_zeros(self: Net, y: Tensor) -> Tensor:
    out = torch.zeros(y.size(0), 4, 8, dtype=y.dtype)
    for t in range(4):
        out[:, t] = torch.tanh(self.mid(y[:, t]))
    return out


def time_first(self: Net, y: Tensor) -> Tensor:
    out = y.new_zeros(4, y.size(0), 8)
    for t in range(4):
        out[t] = torch.tanh(self.mid(y[:, t]))
    return out.transpose(0, 1)


def shifted(self: Net, y: Tensor) -> Tensor:
    out = torch.zeros_like(y)
    out[:, 1:] = y[:, :-1]
    out[:, 0] = 1.0
    return out


def added(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y[:, 0] += torch.tanh(y[:, 1])
    return y


def masked(self: Net, y: Tensor) -> Tensor:
    y = 2 * y
    y[y < 0] = 0.5
    return y


def by_methods(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y[:, 1].fill_(3.0)
    y[:, 2].mul_(2)
    return y


def nested(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y[:, 1:][:, 0] = 2.0
    return y


def read_again(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    last = y[:, 3]
    last.clamp_(min=0.0)
    return y + last.unsqueeze(1)


def one_after_another(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y[:, 1].mul_(2).add_(1).clamp_(min=0.5)
    return y


def along_a_diagonal(self: Net, y: Tensor) -> Tensor:
    among = y @ y.mT
    among.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return torch.linalg.solve(among, y)


@pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "between",
    [
        in_zeros,
        time_first,
        shifted,
        added,
        masked,
        by_methods,
        nested,
        read_again,
        one_after_another,
        along_a_diagonal,
    ],
)
def test_channels_pass_what_is_written(
    between: Callable[[Any, Tensor], Tensor], asks: bool
) -> None:
    torch.manual_seed(0)
    net = Net(between, asks=asks).double().eval()
    graph = Graph.of(copy.deepcopy(net), X)
    assert graph.widths["one"] == 8
    assert graph.widths.get("mid", 8) == 8
    plan = graph.plan({name: [0, 3, 4] for name in graph.widths})
    zeros = copy.deepcopy(net)
    mask(zeros, plan)
    apply(plan, graph.traced)
    for size in (1, 2, 5):
        x = repeated(X, size)
        torch.testing.assert_close(graph.traced(x.clone()), zeros(x.clone()))
    got, wanted = graph.traced(X).sum(), zeros(X).sum()
    got.backward()
    wanted.backward()
    kept = plan.cuts["one.weight"][0]
    torch.testing.assert_close(graph.traced.one.weight.grad, zeros.one.weight.grad[list(kept)])


def one_channel(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y[..., 0] = 1.0
    return y


def test_channels_that_are_written_by_their_number_stay() -> None:
    graph = Graph.of(Net(one_channel).double().eval(), X)
    assert graph.widths == {}
    assert "picks channels 0 by a number in the code" in graph.kept["one.weight"]


def through_a_view(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    y.view(-1, 8)[0] = 0.0
    return y


def read_before(self: Net, y: Tensor) -> Tensor:
    y = y * 1
    seen = y[:, :2]
    y[:, 0] = 0.0
    return y + seen.mean(1, keepdim=True)


def in_a_buffer(self: Net, y: Tensor) -> Tensor:
    self.queue[0] = y.detach().mean((0, 1))
    return y


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (through_a_view, r"node 'setitem' \(setitem, test_writing.py:\d+\): changes in place what others see too"),
        (read_before, "look for tensors that are changed in place"),
        (in_a_buffer, r"\(setitem, test_writing.py:\d+\) changes 'queue' in a way that a graph cannot keep"),
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_refused(
    between: Callable[[Any, Tensor], Tensor], why: str
) -> None:
    """What was computed and written into a part of a buffer was lost without a word."""
    with pytest.raises(TraceError, match=why):
        Graph.of(Net(between).double().eval(), X)


def test_writing_leaves_the_tensor_as_it_was() -> None:
    x = torch.zeros(2, 3)
    assert written(x, (slice(None), 1), 2.0).tolist() == [[0, 2, 0], [0, 2, 0]]
    assert not x.any()
