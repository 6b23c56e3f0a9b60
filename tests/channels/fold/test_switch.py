"""Switches: the product of eq. 1, and where they stand in a traced network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import trace
from netdial.core.errors import ConfigError, ShapeError
from netdial.nets.resnet import ResNet


class Net(nn.Module):
    """Modules by name and a function that uses them, traceable."""

    def __init__(self, run: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def traced(run: Callable[..., Tensor], **modules: nn.Module) -> fx.GraphModule:
    return fx.symbolic_trace(Net(run, **modules))


def plain() -> fx.GraphModule:
    return traced(
        lambda n, x: n.fc3(F.relu(n.fc2(F.relu(n.fc1(x))))),
        fc1=nn.Linear(5, 6),
        fc2=nn.Linear(6, 4),
        fc3=nn.Linear(4, 3),
    )


def order(net: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in net.graph.nodes if node.op == "call_module"]


def stirred(net: nn.Module) -> nn.Module:
    """BatchNorms with statistics, scales and biases that show."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, 1, 2)
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean)
    return net


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    data=st.data(),
    seed=st.integers(0, 9),
)
def test_a_switch_is_a_diagonal_matrix(shape: list[int], data: st.DataObject, seed: int) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=source, dtype=torch.float64)
    switch = Switch(shape[dim], dim=dim, start="sampled", generator=source, dtype=torch.float64)
    y = switch(x)
    expected = torch.tensordot(x, torch.diag(switch.theta), dims=([dim], [0])).movedim(-1, dim)
    assert torch.equal(y, expected)
    assert torch.equal(Switch(shape[dim], dim=dim)(x), x)


def test_the_sampled_start_is_a_standard_normal_of_the_generator() -> None:
    draws = [
        Switch(20_000, start="sampled", generator=torch.Generator().manual_seed(3)).theta.detach()
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert abs(float(draws[0].mean())) < 5 / 20_000**0.5
    assert abs(float(draws[0].var()) - 1) < 5 * (2 / 20_000) ** 0.5
    assert bool((draws[0] < 0).any())


def test_memory_format_and_number_type_stay() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert Switch(3)(x).is_contiguous(memory_format=torch.channels_last)
    assert Switch(3)(x.contiguous()).is_contiguous()
    assert Switch(3)(x.bfloat16()).dtype == torch.bfloat16


def test_a_switch_with_a_dimension_from_the_end_can_be_traced_through() -> None:
    net = fx.symbolic_trace(Switch(3, dim=-2, start="sampled"))
    x = torch.randn(2, 3, 4)
    assert torch.equal(net(x), x * net.get_parameter("theta")[:, None])


def test_wrong_switches_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Switch(0)
    with pytest.raises(ConfigError, match="did you mean 'unit'"):
        Switch(2, start="units")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"switch of 1 channels: x is \[2, 3\], 3 along"):
        Switch(1)(torch.ones(2, 3))


def test_inner_layers_get_switches_and_the_last_none() -> None:
    net = plain()
    assert insert_switches(net) == {"fc1": "switch_fc1", "fc2": "switch_fc2"}
    assert order(net) == ["fc1", "switch_fc1", "fc2", "switch_fc2", "fc3"]
    assert {n for n, _ in net.named_parameters()} >= {"fc1.weight", "switch_fc1.theta"}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, (7, 5)),
    "resnet": (lambda: ResNet(3, 4, blocks=1), (2, 3, 8, 8)),
    "three-d": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 3, 2),
            nn.ReLU(),
            nn.ConvTranspose3d(3, 4, 2),
            nn.BatchNorm3d(4),
            nn.Conv3d(4, 2, 1),
        ),
        (2, 2, 3, 3, 3),
    ),
    "one-d": (
        lambda: nn.Sequential(
            nn.ConvTranspose1d(2, 3, 2),
            nn.BatchNorm1d(3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(15, 2),
        ),
        (3, 2, 4),
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 4)),
        (2, 3, 4),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_unit_switches_change_no_bit(name: str, streams: bool, training: bool) -> None:
    make, shape = NETWORKS[name]
    net = fx.symbolic_trace(stirred(make())).train(training)
    x = torch.randn(shape)
    before = net(x)
    found = insert_switches(net, streams=streams)
    assert found
    assert torch.equal(net(x), before)
    assert all(net.get_submodule(switch).training is training for switch in found.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dead_channel_sends_zero_to_all_who_read_it(name: str) -> None:
    make, shape = NETWORKS[name]
    net = fx.symbolic_trace(stirred(make())).eval()
    found = insert_switches(net, streams=True)
    switches = {s: net.get_submodule(s) for s in found.values()}
    for switch in switches.values():
        assert isinstance(switch, Switch)
        with torch.no_grad():
            switch.theta[0] = 0
    seen = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Tensor:
            out: Tensor = super().run_node(n)
            if n.target in switches:
                seen.append(n.target)
                channels = out.movedim(switches[str(n.target)].dim, 0)
                assert bool((channels[0] == 0).all())
                assert bool((channels[1:] != 0).any())
                assert not any(u.target in found for u in n.args[0].users)  # type: ignore[union-attr]
            return out

    Watch(net).run(torch.randn(shape))
    assert sorted(map(str, seen)) == sorted(switches)


def test_a_switch_stands_behind_batch_norm_only_if_that_is_all_that_reads_the_layer() -> None:
    def forked(n: nn.Module, x: Tensor) -> Tensor:
        h = n.conv(x)
        return n.out(torch.cat([n.norm(h), h], dim=1))

    parts = {"conv": nn.Conv2d(2, 3, 1), "norm": nn.BatchNorm2d(3), "out": nn.Conv2d(6, 2, 1)}
    net = traced(forked, **parts)
    insert_switches(net)
    assert order(net) == ["conv", "switch_conv", "norm", "out"]

    net = traced(lambda n, x: n.out(n.norm(n.conv(x)).repeat(1, 2, 1, 1)), **parts)
    insert_switches(net)
    assert order(net) == ["conv", "norm", "switch_conv", "out"]


def test_asking_for_a_shape_is_not_reading() -> None:
    def run(n: nn.Module, x: Tensor) -> Tensor:
        h = n.conv(x)
        size, ndim = h.size(0), h.shape[1]
        return n.out(n.norm(h).reshape(size, ndim)).reshape(size, 2)

    net = traced(run, conv=nn.Conv2d(2, 3, 2), norm=nn.BatchNorm2d(3), out=nn.Linear(3, 2))
    insert_switches(net)
    assert order(net) == ["conv", "norm", "switch_conv", "out"]
    assert net(torch.randn(4, 2, 2, 2)).shape == (4, 2)


@pytest.mark.parametrize(
    ("norm", "behind"),
    [
        (nn.GroupNorm(2, 4), True),
        (nn.InstanceNorm2d(4, affine=True), True),
        (nn.GroupNorm(1, 4), False),
        (nn.InstanceNorm2d(4), False),
    ],
    ids=["groups", "each", "one group", "no weight"],
)
def test_a_switch_stands_behind_norms_of_groups_whose_weight_takes_it_up(
    norm: nn.Module, behind: bool
) -> None:
    """Before one it would do nothing until it is 0; of one group none can go, and without a weight it could not be folded."""
    net = traced(lambda n, x: n.out(n.norm(n.conv(x))), **_around(norm))
    insert_switches(net)
    between = ["norm", "switch_conv"] if behind else ["switch_conv", "norm"]
    assert order(net) == ["conv", *between, "out"]


def _around(norm: nn.Module) -> dict[str, nn.Module]:
    return {"conv": nn.Conv2d(2, 4, 1), "norm": norm, "out": nn.Conv2d(4, 2, 1)}


def test_functional_batch_norm_counts_as_well() -> None:
    def run(n: nn.Module, x: Tensor) -> Tensor:
        return n.out(F.batch_norm(n.fc(x), None, None, training=True))

    net = traced(run, fc=nn.Linear(3, 4), out=nn.Linear(4, 2))
    insert_switches(net)
    targets = [str(node.target) for node in net.graph.nodes]
    assert targets.index("switch_fc") == targets.index("out") - 1


@pytest.mark.parametrize(
    "tail",
    [
        lambda n, h: h,
        lambda n, h: F.softmax(F.relu(h), dim=-1),
        lambda n, h: n.norm(h),
        lambda n, h: torch.flatten(h[:, :2], 1),
        lambda n, h: (n.other(h), h),
        lambda n, h: {"logits": n.other(h), "features": torch.cat([h, h])},
    ],
)
def test_what_comes_out_of_the_network_has_no_switch(
    tail: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    net = traced(
        lambda n, x: tail(n, n.fc2(F.relu(n.fc1(x)))),
        fc1=nn.Linear(3, 4),
        fc2=nn.Linear(4, 5),
        norm=nn.BatchNorm1d(5),
        other=nn.Linear(5, 2),
    )
    assert list(insert_switches(net)) == ["fc1"]


def test_layers_of_other_kinds_end_the_way_to_the_output() -> None:
    net = traced(
        lambda n, x: n.lstm(n.fc1(x))[0] + n.attention(n.fc2(x), n.fc2(x), n.fc2(x))[0],
        fc1=nn.Linear(3, 4),
        fc2=nn.Linear(3, 4),
        lstm=nn.LSTM(4, 4),
        attention=nn.MultiheadAttention(4, 2),
    )
    assert list(insert_switches(net)) == ["fc1", "fc2"]
    net = traced(
        lambda n, x: F.linear(n.fc(x), n.out.weight), fc=nn.Linear(3, 4), out=nn.Linear(4, 2)
    )
    assert list(insert_switches(net)) == ["fc"]


def test_residual_streams_are_left_alone_unless_asked_for() -> None:
    inner = {"stage1.0.conv1", "stage2.0.conv1", "stage3.0.conv1"}
    net = fx.symbolic_trace(ResNet(3, 4, blocks=1))
    assert set(insert_switches(net)) == inner
    net = fx.symbolic_trace(ResNet(3, 4, blocks=1))
    found = insert_switches(net, streams=True)
    assert set(found) >= inner | {"conv1", "stage1.0.conv2", "stage2.0.shortcut.0"}
    assert "fc" not in found
    assert found["stage2.0.shortcut.0"] == "switch_stage2_0_shortcut_0"


@pytest.mark.parametrize(
    ("run", "inner"),
    [
        (lambda n, x: n.out(n.drop(n.fc(x)) + x), []),
        (lambda n, x: n.out(torch.sub(x, F.relu(n.fc(x)))), []),
        (lambda n, x: n.out(n.fc(x).add(n.other(x))), []),
        (lambda n, x: n.out(n.fc(x) + 1), ["fc"]),
        (lambda n, x: n.out(n.fc(x) + n.norm.weight), ["fc"]),
        (lambda n, x: n.out(tanh_gelu(n.fc(x))), ["fc"]),
        (lambda n, x: n.out(n.fc(x) + n.fc(x.flip(0))), ["fc"]),
        (lambda n, x: n.out(n.fc(x).view(x.size(0), 4) + 1), ["fc"]),
        (lambda n, x: n.out(torch.softmax(n.fc(x) @ x.T + x.mean(), -1) @ x), ["fc"]),
        (lambda n, x: n.out(n.other(F.relu(n.fc(x))) + x), ["fc"]),
        (lambda n, x: n.out(n.fc(x) * x + n.norm.weight), ["fc"]),
        (lambda n, x: n.out(n.fc(x) * n.other(x).sigmoid() + 1), ["fc", "other"]),
        (lambda n, x: n.out(torch.zeros_like(x).index_add(0, x[:, 0].long(), n.fc(x) * x)), ["fc"]),
        (lambda n, x: n.out(n.fc(x) * x + x), []),
    ],
)
def test_what_counts_as_being_added(
    run: Callable[[nn.Module, Tensor], Tensor], inner: list[str]
) -> None:
    net = traced(
        run,
        fc=nn.Linear(4, 4),
        other=nn.Linear(4, 4),
        norm=nn.LayerNorm(4),
        drop=nn.Dropout(),
        out=nn.Linear(4, 2),
    )
    if not inner:
        with pytest.raises(ConfigError, match=r"fc is added to another layer \(streams=True"):
            insert_switches(net)
        assert "fc" in insert_switches(net, streams=True)
    else:
        assert list(insert_switches(net)) == inner


def test_of_a_transformer_the_inner_layers_of_the_feed_forward_parts_get_switches() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=6, batch_first=True)
    net = trace(nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoder(layer, 2), nn.Linear(8, 2)))
    x = torch.randn(2, 5, 3)
    before = net.eval()(x)
    assert set(insert_switches(net)) == {"1.layers.0.linear1", "1.layers.1.linear1"}
    assert torch.equal(net(x), before)


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.045 * x**3)))


def test_a_layer_that_is_called_twice_has_one_switch() -> None:
    net = traced(
        lambda n, x: n.out(F.relu(n.fc(F.relu(n.fc(x))))), fc=nn.Linear(3, 3), out=nn.Linear(3, 2)
    )
    assert insert_switches(net, start="sampled") == {"fc": "switch_fc"}
    assert order(net) == ["fc", "switch_fc", "fc", "switch_fc", "out"]
    x = torch.randn(2, 3)
    theta = net.get_parameter("switch_fc.theta")
    fc, out = net.get_submodule("fc"), net.get_submodule("out")
    assert torch.allclose(net(x), out(F.relu(theta * fc(F.relu(theta * fc(x))))))


def test_a_layer_whose_second_call_is_the_output_has_none() -> None:
    net = traced(
        lambda n, x: n.fc(F.relu(n.fc(n.first(x)))), fc=nn.Linear(3, 3), first=nn.Linear(3, 3)
    )
    assert list(insert_switches(net)) == ["first"]


def test_switches_take_number_type_and_draws_in_order() -> None:
    net = plain().double()
    insert_switches(net, start="sampled", generator=torch.Generator().manual_seed(1))
    source = torch.Generator().manual_seed(1)
    for name, size in (("fc1", 6), ("fc2", 4)):
        theta = net.get_parameter(f"switch_{name}.theta")
        assert theta.dtype == torch.float64
        assert torch.equal(theta, torch.randn(size, generator=source).double())


def test_mixed_precision_keeps_its_number_type() -> None:
    net = plain()
    insert_switches(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(torch.randn(2, 5)).dtype == torch.bfloat16


def test_names_that_collide_are_made_different() -> None:
    net = traced(
        lambda n, x: n.out(n.a.b(n.a_b(x))),
        a=nn.ModuleDict({"b": nn.Linear(3, 3)}),
        a_b=nn.Linear(3, 3),
        out=nn.Linear(3, 2),
    )
    assert insert_switches(net) == {"a_b": "switch_a_b", "a.b": "switch_a_b_"}


def test_where_there_is_no_place_the_reason_is_given() -> None:
    with pytest.raises(ConfigError, match="0 makes the network's output"):
        insert_switches(fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU())))
    with pytest.raises(ConfigError, match="no linear, convolution, embedding or recurrent module"):
        insert_switches(fx.symbolic_trace(nn.Sequential(nn.ReLU())))
    net = plain()
    insert_switches(net)
    with pytest.raises(ConfigError, match="has switches already"):
        insert_switches(net)


def test_a_refusal_leaves_the_network_as_it_was() -> None:
    net = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    with pytest.raises(ConfigError):
        insert_switches(net)
    assert not any(isinstance(module, Switch) for module in net.modules())
    assert len(list(net.parameters())) == 2
