"""Folding: the same outputs without switches and batch normalisation, and what cannot be merged stays and says why."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations

from netdial.channels.fold.fold import fold
from netdial.channels.fold.outcome import FoldReport
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import trace
from netdial.core.errors import TraceError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Gives batch normalisations and switches numbers as after training: either sign, and a few 0."""
    source = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=source)

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, NORMS) and module.running_mean is not None:
                module.running_mean.copy_(normal(module.running_mean))
                module.running_var.copy_(normal(module.running_var).square() + 0.3)
                if module.affine:
                    module.weight.copy_(normal(module.weight))
                    module.bias.copy_(normal(module.bias))
            if isinstance(module, Switch):
                module.theta.copy_(normal(module.theta))
                module.theta[0] = 0
    return net


def inputs(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def folded(
    net: nn.Module, x: Tensor, tracer: Callable[[nn.Module], fx.GraphModule] = trace
) -> tuple[fx.GraphModule, FoldReport]:
    """Folds in double precision and compares outputs on other inputs, of another batch size, as well."""
    net = settled(net).double()
    made, report = fold(tracer(net), x)
    net.eval()
    for batch in (x, torch.cat([x, x.flip(0) * 2 - 1])):
        torch.testing.assert_close(made(batch), net(batch), rtol=1e-10, atol=1e-10)
    return made, report


def left(net: nn.Module, x: Tensor, **options: Any) -> dict[str, str]:
    return {stays.module: stays.reason for stays in folded(net, x, **options)[1].left}


def scales(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, (Switch, *NORMS))]


class Graph(nn.Module):
    """Modules by name, and any function of them and an input as the forward pass."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def layers(n: int) -> list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]]:
    """Layers from 4 channels to 6 in ``n`` dimensions, bias or not, grouped or not, transposed or not."""
    shape = (3, 4, *[5] * n)
    return [
        (
            f"{kind.__name__}-{groups}-{bias}",
            lambda k=kind, g=groups, b=bias: k(4, 6, 2, groups=g, bias=b),
            shape,
        )
        for kind in (CONVOLUTIONS[n - 1], TRANSPOSED[n - 1])
        for groups in (1, 2)
        for bias in (False, True)
    ]


LAYERS = [
    *layers(1),
    *layers(2),
    *layers(3),
    ("Linear", lambda: nn.Linear(4, 6), (3, 4)),
    ("Linear-no-bias", lambda: nn.Linear(4, 6, bias=False), (3, 4)),
    ("depthwise", lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), (3, 4, 5, 5)),
    ("multiplied", lambda: nn.Conv2d(4, 8, 3, groups=4, stride=2), (3, 4, 5, 5)),
]
each_layer = pytest.mark.parametrize(
    ("make", "shape"), [case[1:] for case in LAYERS], ids=[case[0] for case in LAYERS]
)


def norm_for(shape: tuple[int, ...], channels: int, **options: Any) -> nn.Module:
    return NORMS[max(len(shape) - 3, 0)](channels, **options)


@pytest.mark.parametrize("name", ["group", "instance", "group by function", "batch by function"])
def test_a_switch_goes_into_the_weight_of_a_normalisation_before_it(name: str) -> None:
    given = (nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4)))
    norms: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "group": lambda n, h: n.group(h),
        "instance": lambda n, h: n.instance(h),
        "group by function": lambda n, h: F.group_norm(h, 2, n.weight, n.bias),
        "batch by function": lambda n, h: F.batch_norm(
            h, torch.zeros(4).to(h), torch.ones(4).to(h), n.weight, n.bias
        ),
    }
    parts = {"conv": nn.Conv2d(2, 4, 1), "switch": Switch(4), "out": nn.Conv2d(4, 2, 1)}
    parts |= {"group": nn.GroupNorm(2, 4), "instance": nn.InstanceNorm2d(4, affine=True)}
    net = Graph(lambda n, x: n.out(n.switch(norms[name](n, n.conv(x))).sigmoid()), **parts)
    net.weight, net.bias = given
    with torch.no_grad():
        net.switch.theta.copy_(torch.randn(4))
    assert left(net.double(), torch.randn(3, 2, 5, 5).double()) == {}


@pytest.mark.slow
@each_layer
@pytest.mark.parametrize("affine", [False, True])
def test_both_merge_into_the_layer_before(
    make: Callable[[], nn.Module], shape: tuple[int, ...], affine: bool
) -> None:
    width = make()(torch.zeros(shape)).shape[1]
    net = nn.Sequential(make(), norm_for(shape, width, affine=affine), Switch(width), nn.ReLU())
    made, report = folded(net, inputs(*shape))
    assert not scales(made) and not report.left
    assert [(m.module, m.into) for m in report.merged] == [("1", ("0",)), ("2", ("0",))]
    assert report.difference == report.difference_float64 < 1e-12


@each_layer
def test_a_switch_merges_into_the_layer_behind(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    made, report = folded(nn.Sequential(nn.Tanh(), Switch(4), make()), inputs(*shape))
    assert not scales(made) and report.merged[0].into == ("2",)


@each_layer
def test_a_shift_merges_into_the_layer_behind_if_it_is_laid_down_evenly(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    layer = make()
    net = nn.Sequential(nn.Tanh(), norm_for(shape, 4), layer)
    made, report = folded(net, inputs(*shape))
    if isinstance(layer, TRANSPOSED):
        assert (
            "transposed convolution, which would lay a shift down unevenly" in report.left[0].reason
        )
    elif any(getattr(layer, "padding", ())):
        assert "pads with zeros, to which a shift does not apply" in report.left[0].reason
    else:
        assert not scales(made) and made.get_submodule("2").bias is not None


@pytest.mark.parametrize(
    ("options", "merges"),
    [
        ({"padding": 1}, False),
        ({"padding": "same"}, False),
        ({"padding": (0, 1)}, False),
        ({"padding": 1, "padding_mode": "reflect"}, True),
        ({"padding": 1, "padding_mode": "circular"}, True),
        ({"padding": "valid"}, True),
        ({"padding": "same", "kernel_size": 1}, True),
        ({"padding": 0, "stride": 2, "dilation": 2}, True),
    ],
    ids=str,
)
def test_shifts_and_padding(options: dict[str, Any], merges: bool) -> None:
    layer = nn.Conv2d(4, 3, **({"kernel_size": 3, "bias": False} | options))
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), layer)
    assert (left(net, inputs(2, 4, 6, 6)) == {}) == merges


def test_a_normalisation_without_shift_merges_into_a_padded_convolution() -> None:
    norm = nn.BatchNorm2d(4)
    net = settled(nn.Sequential(nn.ReLU(), norm, nn.Conv2d(4, 3, 3, padding=1))).double()
    norm.running_mean.zero_(), norm.bias.data.zero_()
    made, report = fold(trace(net), inputs(2, 4, 6, 6))
    assert not report.left
    torch.testing.assert_close(made(inputs(2, 4, 6, 6)), net.eval()(inputs(2, 4, 6, 6)))


@pytest.mark.parametrize("length", [5, 6])
def test_a_normalisation_over_another_dimension_stays(length: int) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(length), nn.ReLU())
    assert (
        "'_0' has its channels in dimension 2, not in dimension 1"
        in left(net, inputs(3, length, 4))["1"]
    )
    assert left(nn.Sequential(nn.Linear(4, 6), Switch(6, dim=-1)), inputs(3, length, 4)) == {}
    assert (
        "dimension 1"
        in left(nn.Sequential(nn.Linear(4, 6), Switch(length)), inputs(3, length, 4))["1"]
    )
    behind = nn.Sequential(nn.Tanh(), nn.BatchNorm1d(length), nn.Linear(4, 6))
    assert "'_2' has its channels" in left(behind, inputs(3, length, 4))["1"]


def test_a_bias_is_made_only_for_a_shift() -> None:
    made, _ = folded(nn.Sequential(nn.Linear(4, 3, bias=False), Switch(3)), inputs(2, 4))
    assert list(made.state_dict()) == ["0.weight"]


def test_a_switch_of_a_convolution_counted_from_the_end_merges() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), Switch(4, dim=-3), nn.ReLU(), Switch(4, dim=-3), nn.Conv2d(4, 2, 1)
    )
    assert left(net, inputs(2, 3, 5, 5)) == {}
    _, report = fold(trace(net), inputs(3, 5, 5))
    assert len(report.merged) == 2


def test_chains_between_non_linearities_reduce_fully() -> None:
    net = nn.Sequential(
        nn.ReLU(),
        *(nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), Switch(4), nn.Identity()),
        *(nn.BatchNorm2d(4), nn.Dropout(0.5), Switch(4), Switch(4), nn.Conv2d(4, 5, 2)),
        *(nn.Dropout2d(0.5), Switch(5), nn.BatchNorm2d(5), nn.Sigmoid()),
        *(Switch(5), nn.BatchNorm2d(5), nn.Tanh()),
    )
    made, report = folded(net, inputs(3, 4, 5, 5))
    assert [type(m) for m in scales(made)] == [nn.BatchNorm2d]
    assert len(report.merged) == 9
    assert [m.into for m in report.merged if m.module == "14"] == [("15",)]
    assert [stays.module for stays in report.left] == ["15"]


@pytest.mark.parametrize("nonlinear", [nn.ReLU(), nn.Tanh(), nn.MaxPool2d(2), nn.LeakyReLU()])
def test_nothing_moves_across_a_non_linearity(nonlinear: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nonlinear, Switch(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    made, report = folded(net, inputs(2, 3, 4, 4))
    assert not report.merged and len(scales(made)) == 1
    assert report.left[0].reason == (
        "'_1' before it is no layer that could take it up; '_3' after it is no layer that could take it up"
    )


def test_a_switch_that_is_called_with_its_normalisation_goes_into_it() -> None:
    net = Graph(
        lambda self, x: torch.tanh(self.norm(self.switch(torch.tanh(self.norm(self.switch(x)))))),
        switch=Switch(4),
        norm=nn.BatchNorm1d(4),
    )
    _, report = folded(net, inputs(2, 4))
    assert [(merged.module, merged.into) for merged in report.merged] == [("switch", ("norm",))] * 2


FLATTENINGS: dict[str, Callable[[Any], Any]] = {
    "function": lambda x: torch.flatten(x, 1),
    "method": lambda x: x.flatten(1),
    "view": lambda x: x.view(x.size(0), -1),
    "reshape": lambda x: x.reshape(x.shape[0], 4 * 9),
    "twice": lambda x: x.flatten(2).flatten(1),
    "dropped": lambda x: nn.functional.dropout(x, training=False).flatten(1),
}


@pytest.mark.parametrize("way", FLATTENINGS)
@pytest.mark.parametrize("scale", [Switch(4), nn.BatchNorm2d(4)], ids=["switch", "norm"])
def test_scales_pass_flattening(way: str, scale: nn.Module) -> None:
    net = Graph(
        lambda self, x: self.out(FLATTENINGS[way](self.scale(torch.relu(x)))),
        scale=copy.deepcopy(scale),
        out=nn.Linear(36, 3),
    )
    reasons = left(net, inputs(2, 4, 3, 3))
    stays = way == "twice" or (way == "dropped" and isinstance(scale, nn.BatchNorm2d))
    assert (reasons == {}) == (not stays), "past a function for dropout goes a scale, and no shift"


def test_a_scale_of_flattened_numbers_merges_behind_and_not_before() -> None:
    parts = (nn.Conv2d(3, 4, 1), nn.Flatten(), nn.BatchNorm1d(36))
    assert left(nn.Sequential(*parts, nn.Linear(36, 3)), inputs(2, 3, 3, 3)) == {}
    assert (
        "'_1' before it is no layer"
        in left(nn.Sequential(*parts, nn.ReLU()), inputs(2, 3, 3, 3))["2"]
    )


def test_flattening_without_a_batch_is_not_passed() -> None:
    net = nn.Sequential(nn.ReLU(), Switch(4, dim=-3), nn.Flatten(), nn.Linear(9, 2))
    _, report = fold(trace(net), torch.ones(4, 3, 3))
    assert "'_2' after it is no layer" in report.left[0].reason


def test_data_flow_decides_and_not_the_order_of_attributes() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        return self.norm_a(self.conv_b(torch.relu(self.norm_b(self.conv_a(x)))))

    net = Graph(
        run,
        norm_a=nn.BatchNorm2d(4),
        conv_a=nn.Conv2d(4, 4, 3),
        norm_b=nn.BatchNorm2d(4),
        conv_b=nn.Conv2d(4, 4, 3),
    )
    _, report = folded(net, inputs(2, 4, 6, 6))
    assert {m.module: m.into for m in report.merged} == {
        "norm_b": ("conv_a",),
        "norm_a": ("conv_b",),
    }


def test_a_layer_that_others_read_too_is_not_changed() -> None:
    net = Graph(
        lambda self, x: (y := self.conv(x)) + torch.relu(self.norm(y)),
        conv=nn.Conv2d(4, 4, 1),
        norm=nn.BatchNorm2d(4),
    )
    assert "'conv' before it is read by 'add' too" in left(net, inputs(2, 4, 3, 3))["norm"]


def test_who_asks_for_a_shape_reads_nothing_and_who_transposes_does() -> None:
    parts = {"fc": nn.Linear(4, 3), "switch": Switch(3)}
    asking = Graph(lambda self, x: self.switch(y := self.fc(x)) + y.shape[1] + y.size(0), **parts)
    assert left(asking, inputs(2, 4)) == {}
    reading = Graph(lambda self, x: self.switch(y := self.fc(x)) @ y.T.tanh(), **parts)
    assert "'fc' before it is read by 'getattr_1' too" in left(reading, inputs(2, 4))["switch"]


def test_all_readers_take_it_up_or_none() -> None:
    parts = {"scale": Switch(4), "a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 4, 3, padding=1)}

    def both(self: Any, x: Tensor) -> Tensor:
        y = self.scale(torch.relu(x))
        return self.a(y) + self.b(y)

    _, report = folded(Graph(both, **copy.deepcopy(parts)), inputs(2, 4, 3, 3))
    assert report.merged[0].into == ("a", "b")
    with_norm = parts | {"scale": nn.BatchNorm2d(4)}
    assert (
        "'b' after it pads with zeros"
        in left(Graph(both, **with_norm), inputs(2, 4, 3, 3))["scale"]
    )

    by_batch = parts | {"b": nn.BatchNorm2d(4, track_running_stats=False)}
    net = settled(Graph(both, **by_batch)).double()
    _, report = fold(trace(net), inputs(2, 4, 3, 3))
    assert "'b' normalises by the batch" in report.left[0].reason and not report.merged

    def also_added(self: Any, x: Tensor) -> Tensor:
        y = self.scale(torch.relu(x))
        return self.a(y) + self.b(y) + y

    assert "beside other things" in left(Graph(also_added, **parts), inputs(2, 4, 3, 3))["scale"]


def test_a_residual_block_folds() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        y = torch.relu(self.n1(self.c1(x)))
        return self.out(torch.relu(self.n2(self.c2(y)) + self.n3(self.c3(x))).mean((2, 3)))

    parts: dict[str, nn.Module] = {f"n{i}": nn.BatchNorm2d(4) for i in (1, 2, 3)}
    parts |= {f"c{i}": nn.Conv2d(4, 4, 3, padding=1, bias=False) for i in (1, 2, 3)}
    traced = trace(Graph(run, **parts, out=nn.Linear(4, 2)))
    insert_switches(traced, start="sampled", streams=True)
    made, report = folded(traced, inputs(2, 4, 5, 5))
    assert not scales(made) and not report.left and len(report.merged) == 6
    assert {name for name, _ in made.named_parameters()} == {
        f"{layer}.{leaf}" for layer in ("c1", "c2", "c3", "out") for leaf in ("weight", "bias")
    }


def test_a_shared_layer_used_alike_folds_once() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.relu(self.drop(self.norm(self.conv(x))))
        return self.out(x)

    parts = {"conv": nn.Conv2d(4, 4, 1), "norm": nn.BatchNorm2d(4), "drop": nn.Dropout()}
    traced = trace(Graph(run, **parts, out=nn.Conv2d(4, 2, 1)))
    assert insert_switches(traced, streams=True) == {"conv": "switch_conv"}
    made, report = folded(traced, inputs(2, 4, 3, 3))
    assert not scales(made) and not report.left
    calls = ["", "_1", "_2"]
    assert [m.node for m in report.merged] == [
        f"{n}{c}" for n in ("norm", "switch_conv") for c in calls
    ]
    assert {m.into for m in report.merged} == {("conv",)}


def test_a_shared_layer_used_unlike_stays() -> None:
    parts = {"conv": nn.Conv2d(4, 4, 1), "a": nn.BatchNorm2d(4), "b": nn.BatchNorm2d(4)}
    net = Graph(lambda self, x: self.b(self.conv(torch.relu(self.a(self.conv(x))))), **parts)
    reasons = left(net, inputs(2, 4, 3, 3))
    assert set(reasons) == {"a", "b"}
    assert "'conv' is one of 2 calls of 'conv', used unlike" in reasons["a"]
    once = Graph(lambda self, x: self.conv(torch.relu(self.a(self.conv(x)))), **parts)
    assert "used unlike" in left(once, inputs(2, 4, 3, 3))["a"]
    behind = Graph(
        lambda self, x: self.conv(self.a(torch.relu(x))) + self.conv(x),
        conv=parts["conv"],
        a=Switch(4),
    )
    assert "'conv' is one of 2 calls of 'conv'" in left(behind, inputs(2, 4, 3, 3))["a"]


def test_a_shared_normalisation_folds_into_each_layer() -> None:
    parts = {"a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 4, 1), "norm": nn.BatchNorm2d(4)}
    net = Graph(lambda self, x: self.norm(self.b(torch.relu(self.norm(self.a(x))))), **parts)
    made, report = folded(net, inputs(2, 4, 3, 3))
    assert [m.into for m in report.merged] == [("a",), ("b",)] and not scales(made)


def test_tied_weights_stay() -> None:
    parts = {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "switch": Switch(4)}
    parts["b"].weight = parts["a"].weight
    net = Graph(lambda self, x: self.b(torch.relu(self.switch(self.a(x)))), **parts)
    assert "'a' shares its weights with another place" in left(net, inputs(2, 4))["switch"]
    alone = Graph(
        lambda self, x: self.switch(self.a(x)) @ self.a.weight, a=nn.Linear(4, 4), switch=Switch(4)
    )
    assert "'a' shares its weights" in left(alone, inputs(2, 4))["switch"]


def test_weights_that_are_asked_for_their_shape_alone_are_not_tied() -> None:
    net = Graph(
        lambda self, x: self.switch(self.a(x.to(self.a.weight.dtype))) * self.a.weight.shape[0],
        a=nn.Linear(4, 3),
        switch=Switch(3),
    )
    made = trace(net)
    with made.graph.inserting_before(next(n for n in made.graph.nodes if n.op == "output")):
        made.graph.call_function(getattr, (made.graph.get_attr("a.weight"), "shape"))
    made.recompile()
    _, report = fold(made, inputs(2, 4))
    assert report.left == ()


def test_modules_with_hooks_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Switch(4))
    net[0].register_forward_hook(lambda module, args, output: output + 1)
    assert "'_0' has hooks" in left(net, inputs(2, 4))["1"]
    net = nn.Sequential(nn.Linear(4, 4), Switch(4), nn.Tanh())
    net[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    assert left(net, inputs(2, 4))["1"] == "has hooks, which would no longer run"


class AllLeaves(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential)


def opaque(net: nn.Module) -> fx.GraphModule:
    """Returns a graph in which modules of any class are single operations."""
    return fx.GraphModule(net, AllLeaves().trace(net))


def test_parametrised_weights_stay() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), Switch(4))
    assert "'_0' before it is no layer" in left(net, inputs(2, 4), tracer=opaque)["1"]


def test_a_normalisation_by_the_batch_stays() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False), Switch(4))
    traced = trace(net.double())
    made, report = fold(traced, inputs(3, 4))
    assert not report.merged and "no running statistics" in report.left[0].reason
    assert "no running statistics" in report.left[1].reason
    torch.testing.assert_close(made(inputs(5, 4)), net.eval()(inputs(5, 4)))


def test_a_source_that_is_changed_in_place_is_not_read_later() -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        source = torch.tanh(x)
        gated = self.switch(source)
        other = self.act(source)
        return self.conv(gated) + other

    net = Graph(run, switch=Switch(4), act=nn.ReLU(inplace=True), conv=nn.Conv2d(4, 4, 1))
    assert "'act' changes 'tanh' in place" in left(net, inputs(2, 4, 3, 3))["switch"]


def test_a_layer_of_ones_own_class_is_not_known() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x) + 1

    net = nn.Sequential(Doubled(4, 4), nn.BatchNorm1d(4))
    reasons = left(net, inputs(2, 4), tracer=opaque)
    assert "'_0' before it is no layer that could take it up" in reasons["1"]


def test_the_network_given_stays_as_it_was() -> None:
    net = trace(
        settled(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()))
    )
    net.get_submodule("0").weight.requires_grad_(False)
    before, code = copy.deepcopy(net.state_dict()), net.code
    made, _ = fold(net.train(), inputs(2, 3, 5, 5, dtype=torch.float32))
    assert net.training and net.code == code
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training for module in made.modules())
    bias = made.get_submodule("0").bias
    assert bias.dtype == torch.float32 and not bias.requires_grad
    assert list(made.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_number_types_stay(dtype: torch.dtype) -> None:
    net = settled(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU())
    )
    insert = nn.Sequential(net, Switch(4), nn.BatchNorm2d(4, affine=False), nn.ReLU()).to(dtype)
    made, report = fold(trace(insert), inputs(2, 3, 5, 5, dtype=dtype))
    assert {leaf.dtype for leaf in made.parameters()} == {dtype}
    assert report.difference <= max(1e-5, 8 * torch.finfo(dtype).eps)
    assert report.difference_float64 < 1e-12


def test_numbers_too_small_become_zero() -> None:
    net = nn.Sequential(nn.Linear(4, 3), Switch(3), nn.ReLU())
    with torch.no_grad():
        net[0].weight.fill_(1), net[0].bias.fill_(1)
        net[1].theta.copy_(torch.tensor([1e-39, -1e-42, 1e-30]))
    made, report = fold(trace(net), torch.ones(2, 4))
    assert report.n_flushed == 2 * (4 + 1)
    assert not made.get_submodule("0").weight[:2].any()
    assert made.get_submodule("0").weight[2].eq(1e-30).all()


def test_a_network_that_is_not_deterministic_is_refused() -> None:
    calls = iter(range(100))

    class Drifting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + next(calls)

    net = nn.Sequential(nn.Linear(4, 3), Switch(3), Drifting(), nn.Linear(3, 2))
    traced = opaque(net)
    with pytest.raises(
        TraceError, match=r"outputs differ by .* in torch.float64, allowed is 1e-10"
    ):
        fold(traced, torch.ones(2, 4))
    with pytest.raises(TraceError, match=r"worst at node '_[23]'.*deterministic"):
        fold(traced, torch.ones(2, 4))


def test_a_network_that_jumps_at_what_rounding_leaves_is_folded() -> None:
    class Jumps(nn.Module):
        """The sign of what is 0 but for rounding, beside numbers that do not jump."""

        def forward(self, x: Tensor) -> Tensor:
            return x + 1e-3 * torch.sign((x * 0.3 + x * 0.1) - x * 0.4)

    net = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), Jumps(), nn.Linear(9, 2))
    net, x = settled(net).double().eval(), inputs(50, 4)
    made, report = fold(trace(net), x)
    assert not scales(made)
    assert 1e-6 < report.difference_float64 < 1e-2
    torch.testing.assert_close(made(x), net(x), rtol=0, atol=0.05)


def test_what_rounding_costs_is_checked_too() -> None:
    net = settled(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 3)))
    x = inputs(50, 4, dtype=torch.float32)
    with pytest.raises(TraceError, match=r"in torch.float32, allowed is 0; worst at node '_[23]'"):
        fold(trace(net), x, tolerance=0)
    assert 0 < fold(trace(net), x)[1].difference < 1e-5
    net = settled(nn.Sequential(nn.Tanh(), Switch(4), nn.Flatten(), nn.Linear(4, 3)))
    with pytest.raises(TraceError, match="worst at node '_3'"):
        fold(trace(net), x, tolerance=0)


def test_numbers_that_are_not_finite_are_kept_or_refused() -> None:
    net = nn.Sequential(nn.Linear(2, 2), Switch(2), nn.ReLU())
    with torch.no_grad():
        net[0].bias[0] = torch.inf
    made, _ = fold(trace(net), torch.ones(2, 2))
    assert made(torch.ones(2, 2))[:, 0].isinf().all()
    norm = nn.BatchNorm1d(2)
    norm.running_var[0] = torch.inf
    norm.running_mean[0] = torch.inf
    with pytest.raises(TraceError, match="outputs differ by inf"):
        fold(trace(nn.Sequential(norm, nn.Linear(2, 2), nn.Tanh())), torch.full((2, 2), torch.inf))


BLOCKS = [
    "conv",
    "padded",
    "depthwise",
    "transposed",
    "norm",
    "switch",
    "relu",
    "pool",
    "dropout",
    "fork",
]


class Chain(nn.Module):
    """Blocks of 4 channels, one after another; ``fork`` adds what was there at the last fork."""

    def __init__(self, blocks: list[str], head: list[str]) -> None:
        super().__init__()
        makers: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: nn.Conv2d(4, 4, 1, bias=False),
            "padded": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
            "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular"),
            "transposed": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1, groups=2),
            "norm": lambda: nn.BatchNorm2d(4),
            "switch": lambda: Switch(4),
            "relu": nn.ReLU,
            "pool": lambda: nn.AvgPool2d(3, 1, 1),
            "dropout": nn.Dropout2d,
            "fork": nn.Identity,
        }
        heads: dict[str, Callable[[], nn.Module]] = {
            "linear": lambda: nn.Linear(36, 36),
            "norm": lambda: nn.BatchNorm1d(36, affine=False),
            "switch": lambda: Switch(36),
            "relu": nn.ReLU,
        }
        self.blocks = blocks
        self.body = nn.ModuleList(makers[block]() for block in blocks)
        self.head = nn.Sequential(*(heads[block]() for block in head), nn.Linear(36, 2))

    def forward(self, x: Tensor) -> Tensor:
        kept = x
        for name, block in zip(self.blocks, self.body, strict=True):
            x = block(x)
            if name == "fork":
                x, kept = x + kept, x
        return self.head(x.flatten(1))


@pytest.mark.slow
@given(
    blocks=st.lists(st.sampled_from(BLOCKS), max_size=9),
    head=st.lists(st.sampled_from(["linear", "norm", "switch", "relu"]), max_size=4),
)
def test_any_chain_folds_as_far_as_it_can(blocks: list[str], head: list[str]) -> None:
    net = Chain(blocks, head)
    x = inputs(2, 4, 3, 3)
    made, report = folded(net, x)
    n_scales = (blocks + head).count("norm") + (blocks + head).count("switch")
    assert len(report.merged) + len(report.left) == n_scales
    assert len(scales(made)) == len(report.left)
    for node in made.graph.nodes:
        if node.op == "call_module" and isinstance(
            made.get_submodule(node.target), (Switch, nn.BatchNorm2d)
        ):
            before = node.all_input_nodes[0]
            layer = made.get_submodule(before.target) if before.op == "call_module" else None
            plain = isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d))
            assert not plain or len(before.users) > 1
    again, second = fold(made, x)
    assert not second.merged and second.left == report.left
    assert again.code == made.code


def network() -> fx.GraphModule:
    body = (
        nn.Conv2d(2, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    traced = trace(
        nn.Sequential(*body, nn.Linear(24, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    )
    insert_switches(traced, start="sampled", generator=torch.Generator().manual_seed(2))
    return settled(traced)


def test_the_result_goes_through_torch_export() -> None:
    net, x = network(), inputs(4, 2, 6, 6, dtype=torch.float32)
    made, report = fold(net, x)
    assert not report.left
    program = torch.export.export(made, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for size in (2, 3, 4):
        torch.testing.assert_close(program.module()(x[:size]), net.eval()(x[:size]))


@pytest.mark.slow
def test_the_result_goes_through_onnx() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, x = network(), inputs(4, 2, 6, 6, dtype=torch.float32)
    made, _ = fold(net, x)
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                made,
                (x,),
                dynamo=True,
                verbose=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        logging.disable(logging.NOTSET)
    proto = program.model_proto
    assert not {"BatchNormalization", "Mul"} & {node.op_type for node in proto.graph.node}
    session = runtime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for size in (1, 3):
        got = session.run(None, {session.get_inputs()[0].name: x[:size].numpy()})[0]
        torch.testing.assert_close(
            torch.from_numpy(got), net.eval()(x[:size]), rtol=1e-4, atol=1e-5
        )


def test_conversions_to_float32_do_not_end_the_check_in_double_precision() -> None:
    class Precise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x).to(torch.float32)
            h = h * torch.softmax(h, -1, dtype=torch.float32)
            return self.b(h.float() * 2.0)

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    net = trace(Precise(), x)
    insert_switches(net)
    _, report = fold(settled(net), x)
    assert [merged.module for merged in report.merged] == ["switch_a"]
    assert report.difference_float64 < 1e-14


def test_whole_numbers_are_divided_in_double_precision_there() -> None:
    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.time = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(1, 2)

        def forward(self, x: Tensor) -> Tensor:
            step = x.argmax(-1, keepdim=True) / 3  # of the type that torch makes by default
            return self.b(self.a(x)) + self.time(step)

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    net = trace(Timed(), x)
    insert_switches(net)
    _, report = fold(settled(net), x)
    assert [merged.module for merged in report.merged] == ["switch_a"]
    assert report.difference_float64 < 1e-14
    assert torch.get_default_dtype() is torch.float32
