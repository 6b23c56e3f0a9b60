"""Tracing: the graph computes what the network does, in both modes, shares its parts, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.running import execute
from netdial.channels.trace.trace import trace
from netdial.channels.trace.training import check_same
from netdial.channels.trial import zeroed
from netdial.core.errors import ConfigError, TraceError
from netdial.core.outputs import evaluated, same_outputs, tensors

from .. import networks


class Net(nn.Module):
    """Two layers and a function that says what happens between them."""

    def __init__(self, between: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
        self.free = nn.Parameter(torch.ones(6))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self, self.one(x)))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("which", range(12))
def test_the_graph_computes_what_the_network_does(which: int) -> None:
    net, x = networks.network(which)
    traced = trace(net)
    check_same(net, traced, x)
    for one, other in zip(tensors(net(x.clone())), tensors(traced(x.clone())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert {id(p) for p in traced.parameters()} <= {id(p) for p in net.parameters()}


class Again(nn.Module):
    """A part of it runs again in backward, which moves running statistics twice."""

    def __init__(self, *, in_training: bool) -> None:
        super().__init__()
        self.in_training = in_training
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.part = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        if self.training or not self.in_training:
            return self.last(checkpoint(self.part, h, use_reentrant=False))
        return self.last(self.part(h))


@pytest.mark.parametrize("in_training", [True, False])
def test_parts_that_run_again_in_backward_are_cut(in_training: bool) -> None:
    graph = Graph.of(Again(in_training=in_training), X)
    assert graph.widths == {"first": 6, "part.0": 8, "part.3": 6}
    graph.traced.train()(X).sum().backward()
    assert graph.traced.get_buffer("part.1.num_batches_tracked") == 1


def test_t9_modes_and_requires_grad_of_every_module_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2)).train()
    net[1].eval()  # frozen statistics inside a network that trains
    net[0].weight.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    graph = Graph.of(net, X)
    assert [module.training for module in net.modules()] == modes
    assert graph.traced.training
    assert not graph.traced.get_submodule("1").training
    assert [p.requires_grad for p in graph.traced.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]


def test_functional_dropouts_become_modules_that_know_their_mode() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training).relu()
        return F.dropout(x, p=0.25, training=self.training)

    net = Net(between).train()
    traced = trace(net)
    rates = [module.p for module in traced.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.5, 0.25]
    assert not torch.equal(traced(X), traced(X))
    assert torch.equal(traced.eval()(X), net.eval()(X))


def test_later_readers_of_what_is_changed_in_place_read_the_result() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        before = x * 2
        x.add_(self.free)  # nobody names the result
        F.relu(x, inplace=True)
        return x + before

    net = Net(between).eval()
    assert torch.equal(net(X), trace(net)(X))


def test_functions_of_each_number_pass_channels_in_place_too() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        return torch.sigmoid_(x.tanh_().exp_().clamp_(max=2)).mul(self.free).neg_()

    net = Net(between).eval()
    assert torch.equal(net(X.clone()), trace(net)(X.clone()))
    assert sum(group.size for group in Graph.of(net, X).groups) > 0


def view_in_place(self: nn.Module, x: Tensor) -> Tensor:
    x.view(-1, 2, 3).mul_(2)
    return x


def test_changes_in_place_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(TraceError, match=r"test_trace.py:\d+\): changes in place what others see"):
        trace(Net(view_in_place))


def test_what_is_changed_in_place_under_two_names_is_followed() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        same = x
        x += 1  # torch.fx records x = x + 1
        return x * same

    net = Net(between).eval()
    graph = Graph.of(net, X)
    torch.testing.assert_close(graph.traced(X), net(X))
    (name,) = (group.name for group in graph.groups)
    plan = graph.plan({name: [0]})
    due = evaluated(zeroed(graph.traced, plan, X), X)
    apply(plan, graph.traced)
    assert same_outputs(due, evaluated(graph.traced, X))


def test_a_branch_that_asks_whether_something_is_a_tensor_is_taken() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, inplace=True)
        return torch.cat([x, x], 1)[:, :6] if isinstance(x, Tensor) else self.free(x)

    net = Net(between).eval()
    torch.testing.assert_close(Graph.of(net, X).traced(X), net(X))


def test_control_flow_over_values_names_its_line() -> None:
    def between(self: nn.Module, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(
        TraceError,
        match=r"network Net: cannot be traced at test_trace.py:\d+ in between \(if x.sum",
    ):
        trace(Net(between))


def test_optional_arguments_have_their_defaults() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(4, 6)

        def forward(self, x: Tensor, mask: Tensor | None = None, twice: bool = True) -> Tensor:
            y = self.one(x)
            y = y if mask is None else y * mask
            return 2 * y if twice else y

    net = Optional()
    assert torch.equal(trace(net)(X), net(X))


def test_networks_without_parameters_and_wrong_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="network ReLU: has no parameters"):
        trace(nn.ReLU())
    with pytest.raises(TraceError, match=r"network Sequential: fails on inputs of shape \[2, 5\]"):
        execute(trace(nn.Sequential(nn.Linear(4, 2))), torch.zeros(2, 5))


def test_a_graph_module_is_taken_as_it_is() -> None:
    traced = trace(Net(lambda self, x: x))
    assert trace(traced) is traced


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_scripted_parts_are_named() -> None:
    x = torch.randn(3, 4)
    inner = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))
    net = nn.Sequential(nn.Linear(4, 6), nn.Sequential(inner, nn.Linear(6, 2)))
    with pytest.raises(
        TraceError, match=r"its part '1\.0' is scripted .* before torch\.jit\.script"
    ):
        Graph.of(net, x)
    with pytest.raises(TraceError, match=r"network RecursiveScriptModule: is scripted"):
        Graph.of(torch.jit.script(nn.Linear(4, 2)), x)
    with pytest.raises(TraceError, match=r"its part '1\.0' is scripted"):
        nd.shrink(net, (x, torch.tensor([0, 1, 1])), lam=0.1)
