"""Dead residual branches leave the graph: the same outputs, fewer layers, and training goes on."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.collect import collect
from netdial.channels.fold.bypass import Bypassed, bypass, bypassed, origins, redo
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import trace
from netdial.core.errors import TraceError
from netdial.core.plan import Plan
from netdial.models.cut.recipe import read_recipe, save_network
from netdial.models.cut.restoring import load_network
from netdial.nets import build
from netdial.shrinking.shrink import Shrunk

from ..networks import Call, stirred


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def resnet() -> nn.Module:
    return build("resnet20", input_shape=[3, 8, 8], n_outputs=4).double()


def prepared(net: nn.Module, x: Tensor, *dead: str, **options: Any) -> Graph:
    """Returns the graph of a network with numbers of its own, of which the named switches are off."""
    torch.manual_seed(0)
    traced = trace(stirred(net.double()))
    insert_switches(traced, **options)
    with torch.no_grad():
        for name in dead:
            traced.get_submodule(f"switch_{name}").theta.zero_()
    return Graph.of(traced, x)


def dying(*blocks: str, shift: bool = True) -> Graph:
    """Returns a ResNet-20 with dead blocks whose last statistics have settled at what dead channels give."""
    graph = prepared(
        resnet(), inputs(3, 3, 8, 8), *(f"{b.replace('.', '_')}_conv1" for b in blocks)
    )
    with torch.no_grad():
        for block in blocks:
            norm = graph.traced.get_submodule(f"{block}.bn2")
            norm.running_mean.zero_()
            if not shift:
                norm.bias.zero_()
    return graph


def run(net: nn.Module, x: Tensor) -> Tensor:
    """Returns outputs in evaluation, on other inputs and another batch size than in the example."""
    with torch.no_grad():
        return net.eval()(torch.cat([x, x.flip(0) * 2 + 1]))


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = net.train()(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


def n_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.slow
def test_a_dead_block_becomes_a_shift() -> None:
    graph = dying("stage1.1")
    traced, x = graph.traced, graph.example
    before, size = run(traced, x), n_params(traced)
    bias = traced.get_submodule("stage1.1.bn2").bias.clone()
    after, names = bypass(graph)
    assert names == ["add_1"] and after.traced is traced
    torch.testing.assert_close(run(traced, x), before, rtol=1e-12, atol=1e-12)
    block = 2 * 16 * 16 * 9 + 4 * 16 + 16  # convolutions, normalisations, switch
    assert n_params(traced) == size - block + 16
    assert torch.equal(traced.get_submodule("shift_add_1").shift, bias)
    assert not any(name.startswith("stage1.1.conv") for name, _ in traced.named_modules())
    assert not hasattr(traced, "switch_stage1_1_conv1")
    assert bypass(after) == (after, [])


@pytest.mark.slow
def test_the_same_in_training() -> None:
    graph = dying("stage1.1")
    other = copy.deepcopy(graph.traced)
    bypass(graph)
    torch.testing.assert_close(graph.traced.train()(graph.example), other.train()(graph.example))


def test_a_constant_0_leaves_nothing() -> None:
    graph = dying("stage1.0", "stage1.2", shift=False)
    before = run(graph.traced, graph.example)
    after, names = bypass(graph)
    assert names == ["add_2", "add"]
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)
    assert not any(isinstance(module, Shift) for module in after.traced.modules())
    assert sum(n.target is operator.add for n in after.traced.graph.nodes) == 7


def test_optimizers_lose_what_goes_and_train_what_comes() -> None:
    graph = dying("stage2.1", "stage3.2")
    traced, x = graph.traced, graph.example
    weights = [p for p in traced.parameters() if p.ndim > 1]
    vectors = [p for p in traced.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": vectors, "weight_decay": 0.0}]
    optimizer, bystander = (
        torch.optim.AdamW(groups, lr=1e-3),
        torch.optim.SGD(nn.Linear(1, 1).parameters()),
    )
    step(traced, optimizer, x)
    with torch.no_grad():
        for block in ("stage2.1", "stage3.2"):
            traced.get_submodule(f"switch_{block.replace('.', '_')}_conv1").theta.zero_()
            traced.get_submodule(f"{block}.bn2").running_mean.zero_()
    _, names = bypass(graph, optimizers=[optimizer, bystander])
    assert len(names) == 2 and len(bystander.param_groups[0]["params"]) == 2
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in traced.parameters()}
    assert set(map(id, optimizer.state)) <= held
    shifts = [m.shift for m in traced.modules() if isinstance(m, Shift)]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} >= {id(p) for p in shifts}
    was = [shift.detach().clone() for shift in shifts]
    losses = [step(traced, optimizer, x) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(one, other) for one, other in zip(was, shifts, strict=True))


@pytest.mark.slow
def test_training_resumes_where_it_was() -> None:
    graph = dying("stage1.1", "stage3.1")
    traced, x = graph.traced, graph.example
    fresh = copy.deepcopy(traced)
    optimizer = torch.optim.AdamW(traced.parameters(), lr=1e-3)
    graph, _ = bypass(graph, optimizers=[optimizer])
    for _ in range(3):
        step(traced, optimizer, x)
    with torch.no_grad():
        traced.get_submodule("switch_stage2_0_conv1").theta[:7] = 0
    graph, done = collect(graph, optimizers=[optimizer], continues=False)
    assert done.plan
    saved = copy.deepcopy((traced.state_dict(), optimizer.state_dict()))

    others = torch.optim.AdamW(fresh.parameters(), lr=1e-3)
    redo(fresh, bypassed(traced), saved[0], optimizers=[others])
    again = Graph.of(fresh, x)
    with torch.no_grad():
        fresh.get_submodule("switch_stage2_0_conv1").theta[:7] = 0
    again, _ = collect(again, optimizers=[others], continues=False)
    fresh.load_state_dict(saved[0])
    others.load_state_dict(saved[1])
    assert again.widths == graph.widths and bypassed(fresh) == bypassed(traced)
    for _ in range(3):
        assert torch.equal(step(traced, optimizer, x), step(fresh, others, x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_a_file_brings_it_back(tmp_path: Path) -> None:
    graph = dying("stage1.1", "stage2.0", "stage3.2")
    with torch.no_grad():
        graph.traced.get_submodule("stage3.2.bn2").bias.zero_()
        graph.traced.get_submodule("switch_stage1_0_conv1").theta[3:9] = 0
    graph, names = bypass(graph)
    graph, done = collect(graph, continues=False)
    recipe = save_network(Shrunk(graph, done.plan, {}), tmp_path / "f")
    assert [found.node for found in recipe.bypassed] == names == ["add_8", "add_3", "add_1"]
    assert read_recipe(tmp_path / "f").bypassed == recipe.bypassed
    loaded = load_network(tmp_path / "f", resnet())
    torch.testing.assert_close(run(loaded, graph.example), run(graph.traced, graph.example))
    assert Graph.of(loaded, graph.example).widths == graph.widths


@pytest.mark.slow
def test_a_shift_is_cut_with_its_channels() -> None:
    graph = dying("stage1.1")
    graph, _ = bypass(graph)
    stream = next(g for g in graph.groups if any("shift_add_1" in slot.leaf for slot in g.slots))
    plan = graph.plan({stream.name: [0, 5]})
    assert plan.cuts["shift_add_1.shift"] == {0: tuple(i for i in range(16) if i not in (0, 5))}
    with torch.no_grad():  # channels 0 and 5 of the stream are off, so they can go exactly
        norms = ("bn1", "stage1.0.bn2", "stage1.2.bn2")
        for leaf in [f"{norm}.{kind}" for norm in norms for kind in ("weight", "bias")]:
            graph.traced.get_parameter(leaf)[[0, 5]] = 0
        graph.traced.get_parameter("shift_add_1.shift")[[0, 5]] = 0
    before = run(graph.traced, graph.example)
    graph, done = collect(graph)
    assert done.plan.removed == {stream.name: (0, 5)}
    torch.testing.assert_close(run(graph.traced, graph.example), before, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_a_group_is_named_anew_when_its_first_layer_goes() -> None:
    graph = prepared(resnet(), inputs(3, 3, 8, 8), "stage2_0_conv2", streams=True)
    wanted = run(graph.traced, graph.example)
    after, names = bypass(graph)
    assert names == ["add_3"]
    torch.testing.assert_close(run(after.traced, graph.example), wanted, rtol=1e-12, atol=1e-12)
    was = origins(graph, after)
    assert was["stage2.0.shortcut.0"] == tuple(("stage2.0.conv2", c) for c in range(32))
    del was["stage2.0.shortcut.0"]
    assert was == {n: tuple((n, c) for c in range(graph.widths[n])) for n in was}
    assert set(graph.widths) - set(was) == {"stage2.0.conv1", "stage2.0.conv2"}


def test_a_block_of_an_encoder() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 6, dropout=0.0, batch_first=True)
    net = nn.Sequential(nn.Linear(4, 8), layer, nn.Linear(8, 3))
    graph = prepared(net, inputs(3, 5, 4), "1_linear1")
    before = run(graph.traced, graph.example)
    after, names = bypass(graph)
    assert len(names) == 1 and bypassed(after.traced)[0].dim == -1
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)


def branch(forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module | Tensor) -> nn.Module:
    """Returns a small network with a linear stem and head around a residual block of one's own."""
    return nn.Sequential(nn.Linear(4, 6), Call(forward, **parts), nn.Linear(6, 3))


def linears(**more: Any) -> dict[str, Any]:
    return {"up": nn.Linear(6, 5), "down": nn.Linear(5, 6), **more}


ADDITIONS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "operator": lambda s, x: x + s.down(F.relu(s.up(x))),
    "other side": lambda s, x: s.down(F.relu(s.up(x))) + x,
    "function": lambda s, x: torch.add(x, s.down(torch.sigmoid(s.up(x)))),
    "method": lambda s, x: x.add(s.down(s.up(x))),
    "in place": lambda s, x: x.add_(s.down(s.up(x))),
    "augmented": lambda s, x: operator.iadd(s.down(s.up(x)), x),
}


@pytest.mark.parametrize("name", list(ADDITIONS))
def test_additions_of_all_kinds(name: str) -> None:
    graph = prepared(branch(ADDITIONS[name], **linears()), inputs(3, 4), "1_up")
    before, size = run(graph.traced, graph.example), n_params(graph.traced)
    after, names = bypass(graph)
    assert len(names) == 1
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)
    assert n_params(after.traced) == size - (6 * 5 + 5 + 5 + 5 * 6 + 6) + 6


def test_leaves_of_the_branch_go_and_shared_ones_stay() -> None:
    scale, both = torch.randn(6), nn.Linear(5, 6)

    def forward(self: Any, x: Tensor) -> Tensor:
        y = x + self.scale * self.down(F.relu(self.up(x)))
        return y + self.down(torch.tanh(self.other(y)))

    net = branch(forward, up=nn.Linear(6, 5), other=nn.Linear(6, 5), down=both, scale=scale)
    graph = prepared(net, inputs(3, 4), "1_up")
    before = run(graph.traced, graph.example)
    optimizer = torch.optim.SGD(graph.traced.parameters(), lr=0.1)
    after, names = bypass(graph, optimizers=[optimizer])
    assert names == ["add"]
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)
    left = {name for name, _ in after.traced.named_parameters() if name.startswith("1.")}
    assert left == {f"1.{part}.{leaf}" for part in ("down", "other") for leaf in ("weight", "bias")}
    assert len(optimizer.param_groups[0]["params"]) == len(list(after.traced.parameters()))


def test_of_nested_branches_the_outer_one_goes_whole() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.up(x)
        return x + self.down(y + self.inner(y))

    graph = prepared(branch(forward, **linears(inner=nn.Linear(5, 5))), inputs(3, 4), streams=True)
    with torch.no_grad():
        for name in ("switch_1_up", "switch_1_inner"):
            graph.traced.get_submodule(name).theta.zero_()
    before = run(graph.traced, graph.example)
    after, names = bypass(graph)
    assert names == ["add_1"]
    assert not any(name.startswith("1.") for name, _ in after.traced.named_parameters())
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_what_is_changed_in_place_is_copied(tmp_path: Path) -> None:
    """The stream is the output of one ReLU and would be changed by the next: its gradient needs it as it was."""

    def forward(self: Any, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return self.act(y + self.down(self.up(y))) + y

    net = branch(forward, **linears(act=nn.ReLU(inplace=True)))
    fresh = copy.deepcopy(net)
    graph = prepared(net, inputs(3, 4), "1_up")
    with torch.no_grad():
        graph.traced.get_submodule("1.down").bias.zero_()
    before = run(graph.traced, graph.example)
    after, names = bypass(graph)
    assert [found.instead for found in bypassed(after.traced)] == ["clone"] and names == ["add"]
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)
    save_network(Shrunk(after, Plan(), {}), tmp_path / "f")
    torch.testing.assert_close(run(load_network(tmp_path / "f", fresh), graph.example), before)
    step(after.traced, torch.optim.SGD(after.traced.parameters(), lr=0.1), graph.example)


def zero_(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.zero_()
    return module


STAYING: dict[str, tuple[nn.Module, tuple[str, ...]]] = {
    "all information would be lost": (
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
        ("0",),
    ),
    "both sides are dead": (
        branch(lambda s, x: s.one(x) + s.two(x), one=nn.Linear(6, 6), two=nn.Linear(6, 6)),
        ("1_one", "1_two"),
    ),
    "one channel lives": (branch(ADDITIONS["operator"], **linears()), ()),
    "a scale that starts at 0": (
        branch(
            lambda s, x: x + s.norm(s.up(x)),
            up=nn.Linear(6, 6),
            norm=zero_(nn.BatchNorm1d(6)),
        ),
        (),
    ),
    "a layer that starts at 0": (
        branch(lambda s, x: x + s.zero(s.up(x)), up=nn.Linear(6, 5), zero=zero_(nn.Linear(5, 6))),
        (),
    ),
    "a parameter": (branch(lambda s, x: x + s.bias, bias=torch.zeros(6)), ()),
    "other for every position": (
        branch(
            lambda s, x: x + (s.down(s.up(x)) + s.table),
            table=torch.randn(3, 6),
            **linears(),
        ),
        ("1_up",),
    ),
}


@pytest.mark.parametrize("name", list(STAYING))
def test_other_constants_stay(name: str) -> None:
    net, dead = STAYING[name]
    net = copy.deepcopy(net)
    kept = {n: p.detach().clone() for n, p in net.named_parameters() if not p.any()}
    torch.manual_seed(0)
    traced = trace(stirred(net.double()))
    insert_switches(traced, streams=True)
    with torch.no_grad():
        for leaf in kept:
            if name != "a parameter":
                traced.get_parameter(leaf).zero_()
        for part in dead:
            traced.get_submodule(f"switch_{part}").theta.zero_()
        if name == "one channel lives":
            traced.get_submodule("switch_1_up").theta[1:] = 0
    graph = Graph.of(traced, inputs(3, 4))
    assert bypass(graph) == (graph, [])


@pytest.mark.slow
def test_statistics_that_have_not_settled_wait() -> None:
    graph = dying("stage1.1")
    with torch.no_grad():
        graph.traced.get_submodule("stage1.1.bn2").running_mean.fill_(0.3)
    assert bypass(graph) == (graph, [])
    before = run(graph.traced, graph.example)
    after, names = bypass(graph, continues=False)
    assert names == ["add_1"]
    torch.testing.assert_close(run(after.traced, graph.example), before, rtol=1e-12, atol=1e-12)


def test_a_plain_chain_is_left_to_collect() -> None:
    net, dead = STAYING["all information would be lost"]
    graph = prepared(copy.deepcopy(net), inputs(3, 4), *dead)
    _, done = collect(graph)
    assert done.refused["0"] == "keeps at least 1 of 6 channels" and done.widths["0"] == 1


def test_what_would_change_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = dying("stage1.1")
    state, names = (
        copy.deepcopy(graph.traced.state_dict()),
        [n.name for n in graph.traced.graph.nodes],
    )
    monkeypatch.setattr(Shift, "forward", lambda self, x: x + 2 * self.shift.view(-1, 1, 1))
    with pytest.raises(
        TraceError, match=r"bypass: .* would change by .* allowed are 1e-10; nothing was"
    ):
        bypass(graph)
    assert [n.name for n in graph.traced.graph.nodes] == names and not bypassed(graph.traced)
    assert all(torch.equal(state[k], v) for k, v in graph.traced.state_dict().items())


def test_other_networks_are_refused() -> None:
    graph = dying("stage1.1")
    with pytest.raises(TraceError, match="no addition 'add_77'"):
        redo(graph.traced, [Bypassed("add_77", 0)], {})
    with pytest.raises(TraceError, match=r"numbers of shift_add_1\.shift are missing"):
        redo(graph.traced, [Bypassed("add_1", 0, "shift_add_1", -3)], {})


def test_a_shift_keeps_shape_and_type() -> None:
    shift = Shift(torch.tensor([1.0, -2.0]), dim=-3)
    x = torch.zeros(2, 2, 3, 3, dtype=torch.float16)
    assert torch.equal(shift(x)[:, 1], torch.full((2, 3, 3), -2.0, dtype=torch.float16))
    assert repr(shift) == "Shift(2, dim=-3)"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_a_recipe_without_plan_is_enough(tmp_path: Path) -> None:
    graph, _ = bypass(dying("stage1.1"))
    save_network(Shrunk(graph, Plan(), {}), tmp_path / "f")
    loaded = load_network(tmp_path / "f", resnet())
    assert isinstance(loaded, fx.GraphModule)
    assert not any(isinstance(module, Switch) for module in loaded.modules())
    torch.testing.assert_close(run(loaded, graph.example), run(graph.traced, graph.example))
