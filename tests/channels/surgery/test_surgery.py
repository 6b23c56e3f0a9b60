"""Surgery: nothing is replaced, all that belongs to a network is cut with it, and a refusal changes nothing at all."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from netdial.channels import surgery
from netdial.channels.graph import Graph
from netdial.core.cutting import leaf_shapes, leaves
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Group, Plan, Slot

WIDTH = 6
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3)
    ).double()


def plan_without(*channels: int) -> Plan:
    positions = tuple((c,) for c in range(WIDTH))
    names = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    slots = (*(Slot(name, 0, positions) for name in names), Slot("3.weight", 1, positions))
    return Plan.remove([Group("0", slots)], {"0": channels}, leaf_shapes(network()))


PLAN = plan_without(0, 4)


def step(net: nn.Module, *optimizers: torch.optim.Optimizer) -> float:
    net.zero_grad()
    loss = (net(X) - Y).square().mean()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


def hold_at_zero(net: nn.Module, plan: Plan = PLAN) -> None:
    with torch.no_grad():
        for name, leaf in net.named_parameters():
            leaf.mul_(plan.mask(name, leaf.shape))


def adam(net: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(
        [
            {"params": [net.get_parameter("3.bias"), net.get_parameter("0.weight")], "lr": 0.02},
            {"params": [net.get_parameter(n) for n in ("1.weight", "3.weight", "1.bias")], "lr": 0.01},
        ]
    )  # fmt: skip


def test_parameters_and_groups_stay_the_objects_they_were() -> None:
    net = network()
    optimizer = adam(net)
    step(net, optimizer)
    net[1].bias.requires_grad_(False)
    objects = leaves(net)
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    options = [
        {k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups
    ]
    surgery.apply(PLAN, net, optimizers=[optimizer])
    assert all(leaves(net)[name] is tensor for name, tensor in objects.items())
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == groups
    assert [
        {k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups
    ] == options
    assert net[0].out_features == net[1].num_features == net[3].in_features == 4
    assert not net[1].bias.requires_grad and net[0].weight.requires_grad


@given(gone=st.sets(st.integers(0, WIDTH - 1), max_size=WIDTH - 1))
def test_a_step_on_the_cut_network_is_the_step_on_the_masked_one(gone: set[int]) -> None:
    net, plan = network(), plan_without(*gone)
    optimizer = adam(net)
    step(net, optimizer)
    masked = copy.deepcopy(net)
    theirs = adam(masked)
    theirs.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    surgery.apply(plan, net, optimizers=[optimizer])
    hold_at_zero(masked, plan)
    for _ in range(2):
        assert step(net, optimizer) == pytest.approx(step(masked, theirs), abs=1e-12)
        hold_at_zero(masked, plan)
    for name, leaf in leaves(net).items():
        expected = plan.cut(name, leaves(masked)[name])
        assert torch.allclose(leaf, expected, rtol=0, atol=1e-10), name


def test_gradients_that_were_gathered_before_the_cut_count_after_it() -> None:
    net = network()
    step(net)
    gathered = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    surgery.apply(PLAN, net)
    cut = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    assert len(cut) == 5
    assert all(torch.equal(cut[name], PLAN.cut(name, whole)) for name, whole in gathered.items())
    (net(X) - Y).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())


def test_a_parameter_in_two_optimizers_is_cut_in_both() -> None:
    net = network()
    sgd = torch.optim.SGD([net[0].weight], lr=0.1, momentum=0.9)
    rms = torch.optim.RMSprop(net.parameters(), lr=0.01)
    step(net, sgd, rms)
    surgery.apply(PLAN, net, optimizers=[sgd, rms])
    assert sgd.state[net[0].weight]["momentum_buffer"].shape == (4, 4)
    assert rms.state[net[0].weight]["square_avg"].shape == (4, 4)
    step(net, sgd, rms)


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "lambda": lambda o: LambdaLR(o, [lambda epoch: 0.9**epoch, lambda epoch: 0.5**epoch]),
    "one cycle": lambda o: OneCycleLR(o, max_lr=[0.1, 0.2], total_steps=10),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0, factor=0.5),
}


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_schedulers_go_on(name: str) -> None:
    def rates(cut_at: int) -> list[list[tuple[float, ...]]]:
        net = network()
        optimizer = adam(net)
        scheduler, found = SCHEDULERS[name](optimizer), []
        for epoch in range(8):
            if epoch == cut_at:
                surgery.apply(PLAN, net, optimizers=[optimizer])
            step(net, optimizer)
            scheduler.step(*([1.0] if name == "plateau" else []))
            found.append([(g["lr"], *g["betas"]) for g in optimizer.param_groups])
        return found

    assert rates(3) == rates(-1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.head.weight = self.embed.weight
        self.mix = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.mix(self.embed(x)))
        return out


def test_tied_weights_train_on_tied() -> None:
    net = Tied()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    kept = {0: (0, 2, 3)}
    cuts = {"embed.weight": {1: (0, 2, 3)}, "mix.weight": {0: (0, 2, 3), 1: (0, 2, 3)}}
    for _ in range(2):
        net(torch.arange(5)).square().mean().backward()
        optimizer.step()
        if net.head.in_features == 4:
            surgery.apply(Plan(cuts), net, optimizers=[optimizer])
            optimizer.zero_grad()
    assert net.head.weight is net.embed.weight
    assert optimizer.state[net.embed.weight]["exp_avg"].shape == (7, 3)
    assert net.head.weight.shape == (7, len(kept[0]))


def snapshot(net: nn.Module, optimizers: Any) -> Any:
    """All that surgery could change, as values."""
    return copy.deepcopy(
        [
            repr(net),
            {n: (t.data, t.grad) for n, t in leaves(net).items()},
            [list(optimizer.state.values()) for optimizer in optimizers],
        ]
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("fault", ["optimizer", "state", "plan", "parametrised"])
def test_a_refusal_changes_nothing(fault: str) -> None:
    """The fault comes last, after everything else has been found in order."""
    net = network()
    first, last = adam(net), torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    step(net, first, last)
    plan, optimizers = PLAN, [first, last]
    if fault == "optimizer":
        optimizers.append(torch.optim.LBFGS(net.parameters()))
    elif fault == "state":
        last.state[net[3].weight]["preconditioner"] = torch.zeros(6, 6)
    elif fault == "parametrised":
        nn.utils.parametrizations.weight_norm(net[3])
    else:
        plan = Plan({**PLAN.cuts, "3.bias": {0: (0, 1)}})
    before = snapshot(net, optimizers)
    with pytest.raises((ConfigError, ShapeError)):
        surgery.apply(plan, net, optimizers=optimizers)
    assert same(snapshot(net, optimizers), before)
    assert not same(before, snapshot(network(), optimizers))


def test_networks_wrapped_for_several_devices_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"DataParallel keeps the sizes .* \(.module\), then wrap it"
    ):
        surgery.apply(PLAN, nn.DataParallel(network()))


def test_weights_without_an_optimizer_and_parameters_of_others_are_fine() -> None:
    net, other = network(), network()
    both = torch.optim.SGD([*net.parameters(), *other.parameters()], lr=0.1, momentum=0.9)
    for part in (net, other):
        step(part, both)
    surgery.apply(PLAN, net, optimizers=[both])
    assert both.state[net[0].weight]["momentum_buffer"].shape == (4, 4)
    assert both.state[other[0].weight]["momentum_buffer"].shape == (6, 4)


def test_many_cuts_one_after_another() -> None:
    """A graph of each earlier step is kept alive, as a logger that keeps losses does."""
    net = network()
    optimizer = adam(net)
    kept = []
    for width in (6, 5, 4, 3, 2):
        kept.append((net(X) - Y).square().mean())
        step(net, optimizer)
        alive = tuple(range(width - 1))
        names = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
        cuts = {**{name: {0: alive} for name in names}, "3.weight": {1: alive}}
        surgery.apply(Plan(cuts), net, optimizers=[optimizer])
    step(net, optimizer)
    assert net[0].weight.shape == (1, 4) and len(kept) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_network_goes_on(backend: str) -> None:
    net, plain = network(), network()
    compiled = torch.compile(net, backend=backend)
    optimizer, theirs = adam(net), adam(plain)
    for _ in range(2):
        step(compiled, optimizer)
        step(plain, theirs)
    surgery.apply(PLAN, compiled, optimizers=[optimizer])
    surgery.apply(PLAN, plain, optimizers=[theirs])
    for _ in range(3):
        assert step(compiled, optimizer) == pytest.approx(step(plain, theirs), abs=1e-10)
    assert compiled(X).shape == (12, 3)
    for name, leaf in plain.named_parameters():
        assert torch.allclose(leaf, net.get_parameter(name), rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["compiled", "of a compiled part"])
def test_the_graph_of_a_compiled_network_is_cut(inside: bool) -> None:
    net = network()
    parts = nn.Sequential(torch.compile(net[:-1], backend="eager"), net[-1])
    graph = Graph.of(parts if inside else torch.compile(net, backend="eager"), X)
    assert list(graph.widths.values()) == [WIDTH], graph.kept
