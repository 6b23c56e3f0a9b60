"""Windows that steps through memory make, and tensors that are changed when nobody reads them any more: Longformer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.errors import TraceError

from ..networks import mask

X = torch.randn(2, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers and a function that says what happens between them; a question about shapes stops torch.fx."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.drop = nn.Linear(3, 8), nn.Linear(8, 2), nn.Dropout(0.2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 8:
            raise ValueError("eight steps")
        return self.two(self.between(self, torch.relu(self.one(x))))


def overlapping(self: Net, y: Tensor) -> Tensor:
    chunks = y.contiguous().view(y.size(0), 2, 4, y.size(2))
    size, stride = list(chunks.size()), list(chunks.stride())
    size[1], stride[1] = size[1] * 2 - 1, stride[1] // 2
    return chunks.as_strided(size, stride).mean(1)


def of_heads(self: Net, y: Tensor) -> Tensor:
    heads = (
        y.view(y.size(0), 8, 2, y.size(2) // 2).transpose(1, 2).reshape(-1, 2, 4, y.size(2) // 2)
    )
    size, stride = list(heads.size()), list(heads.stride())
    size[1], stride[1] = size[1] * 2 - 1, stride[1] // 2
    found = heads.as_strided(size, stride).amax(1)
    return found.view(y.size(0), 2, 4, -1).transpose(1, 2).reshape(y.size(0), 4, -1)


def context(self: Net, y: Tensor) -> Tensor:
    padded = nn.functional.pad(y, (0, 0, 2, 2))
    (b, _, c), s = padded.shape, padded.stride()
    return padded.as_strided((b, 4, 6, c), (s[0], 2 * s[1], s[1], s[2])).sum(2)


def skew(self: Net, y: Tensor) -> Tensor:
    return y.contiguous().as_strided((y.size(0), 7, 8), (y.stride(0), 9, 1))


def dead_write(self: Net, y: Tensor) -> Tensor:
    weights = self.drop(torch.softmax(y @ y.transpose(1, 2), -1))
    found = weights @ y
    weights[y[:, :, 0] > 1] = 0
    return found


@pytest.mark.parametrize(
    "between",
    [
        overlapping,
        dead_write,
        *(pytest.param(b, marks=pytest.mark.slow) for b in (of_heads, context, skew)),
    ],
)
def test_windows_and_what_nobody_reads_are_followed(
    between: Callable[[Any, Tensor], Tensor],
) -> None:
    """Longformer and LED look through windows by steps through memory: that had no rule."""
    net = Net(between).double().eval()
    graph = Graph.of(copy.deepcopy(net), X)
    torch.testing.assert_close(graph.traced.eval()(X), net(X))
    traced = copy.deepcopy(graph.traced)
    if between not in (skew, dead_write):  # windows or places lie across its channels
        assert graph.widths["one"] > 1
    plan = graph.plan({group.name: range(0, group.size - 1, 2) for group in graph.groups})
    mask(traced, plan)
    apply(plan, graph.traced)
    for x in (X, X[:1], torch.cat([X, X + 1])):
        torch.testing.assert_close(graph.traced.eval()(x), traced.eval()(x))


def other_steps(self: Net, y: Tensor) -> Tensor:
    return y.contiguous().as_strided(y.shape, (y.stride(0), 1, 8))


def test_other_steps_through_memory_are_refused() -> None:
    with pytest.raises(TraceError, match=r"as_strided.*test_windows.py:\d+.*has no rule"):
        Graph.of(Net(other_steps).double().eval(), X)


def seen_later(self: Net, y: Tensor) -> Tensor:
    weights = torch.softmax(y @ y.transpose(1, 2), -1)
    dropped = self.drop(weights)
    dropped[:, 0] = 0
    return weights @ y


def test_a_change_that_others_may_see_is_refused_or_right() -> None:
    """Dropout gives its input itself in evaluation, so what is written there is read under the other name."""
    net = Net(seen_later).double().eval()
    with pytest.raises(
        TraceError, match=r"changes in place what others see too|computes something else"
    ):
        Graph.of(net, X)
