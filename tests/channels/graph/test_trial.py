"""A cut is tried on other numbers of inputs: what was read off the example's batch makes no network that holds for it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import trace
from netdial.channels.trial import Batches, broken, zeroed
from netdial.core.outputs import repeated
from netdial.core.plan import Group, Plan, Slot
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.shrink import Shrunk

from ..networks import mask

X = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
STEPS = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Two layers and a function that says what happens to the eight channels between them."""

    def __init__(self, between: Callable[[Any, Tensor, Tensor], Tensor], read: int = 8) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 8), nn.Linear(read, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self, self.one(x), x))


def halves(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y.reshape(-1, 4).tanh().reshape(-1, 8)


def twice_the_batch(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y.view(x.size(0) * 2, -1).tanh().view(-1, 8)


def transposed(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y.t().reshape(1, -1).tanh().reshape(8, -1).t()


def counted(self: Net, y: Tensor, x: Tensor) -> Tensor:
    rows = x.size(0) * y.size(1)
    return y.view(rows // 4, 4).tanh().view(rows // 8, 8)


@pytest.mark.parametrize(
    ("between", "x", "width"),
    [(halves, X, 2), (halves, STEPS, 2), (twice_the_batch, X, 4), (transposed, X, 8)],
)
def test_rows_around_channels_are_not_those_of_the_example(
    between: Callable[[Any, Tensor, Tensor], Tensor], x: Tensor, width: int
) -> None:
    """A size left open beside channels held the rows of the example's batch once channels were made to follow."""
    torch.manual_seed(0)
    net = Net(between).double().eval()
    graph = Graph.of(copy.deepcopy(net), x)
    assert graph.widths == {"one": width}
    plan = graph.plan({"one": range(0, width - 1, 2)})
    masked = copy.deepcopy(net)
    mask(masked, plan)
    apply(plan, graph.traced)
    for size in (1, 2, 3, 5):
        batch = repeated(x, size)
        torch.testing.assert_close(graph.traced(batch), masked(batch))


def test_sizes_that_cannot_be_told_from_the_batch_keep_channels_whole(
    capfd: pytest.CaptureFixture[str],
) -> None:
    graph = Graph.of(Net(counted).double().eval(), X)
    assert graph.widths == {}
    assert "cannot be told from that of the batch" in graph.kept["one.weight"]
    assert "test_trial.py" in graph.kept["one.weight"]
    graph.traced.graph.lint()
    assert graph.traced(repeated(X, 5)).shape == (5, 2)
    assert capfd.readouterr() == ("", "")


def after_the_batch(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y[:, x.size(0) :].sum(1, keepdim=True)


def test_a_group_that_holds_for_the_example_s_batch_alone_is_told() -> None:
    """Channels from the second on are summed for two inputs, from the third on for three."""
    torch.manual_seed(0)
    traced = trace(Net(after_the_batch, read=1).double().eval(), X)
    at = tuple((channel,) for channel in range(2, 8))
    group = Group("one", (Slot("one.weight", 0, at), Slot("one.bias", 0, at)))
    shapes = {"one.weight": (8, 3), "one.bias": (8,)}
    one = Batches(traced, X)
    why = broken(traced, one, [group], shapes)
    assert "outputs differ by" in why["one"]
    one.inputs, one.wanted = one.inputs[:1], one.wanted[:1]
    assert not broken(traced, one, [group], shapes), "nothing is wrong on two inputs"


class Normed(nn.Module):
    """Rows of a weight, divided by their lengths, between two layers: a row of zeros has none."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.b = nn.Parameter(torch.randn(8, 3)), nn.Parameter(torch.randn(8))
        self.g, self.two = nn.Parameter(torch.rand(8, 1) + 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        w = self.g * self.v / self.v.norm(dim=1, keepdim=True)
        return self.two(torch.relu(nn.functional.linear(x, w, self.b)))


@pytest.mark.parametrize("right", [True, False])
def test_cuts_are_compared_where_zeros_are_no_numbers_for_a_network(right: bool) -> None:
    torch.manual_seed(0)
    net = Normed().double().eval()
    graph = Graph.of(copy.deepcopy(net), X)
    assert graph.widths == {"g": 8}
    shapes = graph.shapes
    at = tuple((channel,) for channel in range(8))
    makers = [Slot(leaf, 0, at) for leaf in ("v", "b", "g")]
    group = Group("v", (*makers, Slot("two.weight", 1, at if right else at[::-1])))
    traced = trace(net, X)
    why = broken(traced, Batches(traced, X), [group], shapes)
    assert not why if right else "outputs differ by" in why["v"]
    plan = Plan.remove([group], {"v": [0, 5]}, shapes)
    zeros = zeroed(traced, plan, X)
    assert zeros.two.weight[:, [0, 5] if right else [7, 2]].abs().sum() == 0
    assert (zeros.v != 0).all()
    apply(plan, traced)
    same = torch.allclose(traced(X), zeros(X), rtol=1e-12, atol=1e-12)
    assert same is right


def test_layers_that_hold_sizes_alone_do_not_keep_channels() -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6), nn.Conv2d(6, 5, 3), nn.Flatten())
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    graph = Graph.of(nn.Sequential(*layers, nn.Linear(20, 2)).double(), x)
    assert graph.widths == {"0": 6, "2": 5}
    plan = graph.plan({"0": [1, 2]})
    assert "1.num_features" in plan.cuts
    zeros = zeroed(graph.traced, plan, x)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced.eval()(x), zeros.eval()(x))


def two_at_a_time(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y * torch.tensor([[0.5], [1.5]])


def test_a_network_of_one_size_of_batch_is_cut_for_that() -> None:
    graph = Graph.of(Net(two_at_a_time).double().eval(), X)
    assert graph.widths == {"one": 8}
    with pytest.raises(RuntimeError):
        graph.traced(repeated(X, 3))


def by_width_and_batch(self: Net, y: Tensor, x: Tensor) -> Tensor:
    return y if self.one.out_features == 8 or len(x) < 3 else -y


def test_a_class_that_does_something_else_on_more_inputs_is_loaded_as_a_graph(
    tmp_path: Path,
) -> None:
    graph = Graph.of(Net(by_width_and_batch).double().eval(), X)
    plan = graph.plan({"one": [0, 3]})
    apply(plan, graph.traced)
    save_network(Shrunk(graph.after(plan), plan, {}), tmp_path / "small")
    with pytest.warns(UserWarning, match="Net does something else now"):
        loaded = load_network(tmp_path / "small", Net(by_width_and_batch).double())
    batch = repeated(X, 4)
    torch.testing.assert_close(loaded(batch), graph.traced(batch))


def test_pieces_of_one_matrix_that_layers_share_are_cut_apart() -> None:
    """Zeros in one were zeros in the other, with which a cut was compared: both layers stayed whole."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)
            self.matrix = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))

        def forward(self, x: Tensor) -> Tensor:
            low = nn.functional.linear(x, self.matrix[:, :4].to(x.dtype))
            y = torch.relu(self.one(x))
            low = low + nn.functional.linear(y, self.matrix[:, :6].to(x.dtype))
            return self.out(torch.relu(self.two(y))) + low.sum(1, keepdim=True)

    net, x = Shared().double(), torch.randn(3, 4, dtype=torch.float64)
    assert Graph.of(net, x).widths == {"one": 6, "two": 5}
