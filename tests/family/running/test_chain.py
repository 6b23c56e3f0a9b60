"""Chains: which networks are one, and that running them so is what the handler of any network does."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import netdial as nd
from netdial.channels.layers.pick import Pick
from netdial.core.layout import Layout
from netdial.core.noise import Noise
from netdial.family import Family, FamilyConfig
from netdial.family.running.chain import POINTWISE, Chain

F64 = torch.float64
UNIT = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=F64)


def mlp(middle: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), middle(), nn.Linear(7, 6), middle(), nn.Linear(6, 3))


def tied() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


functions = F  # by whatever name


class Written(nn.Module):
    """A perceptron as people write it; its layers are registered last to first."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.fc2, self.fc1 = nn.Linear(6, 3), nn.Linear(7, 6), nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), -1)
        x = functions.relu(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        scores: Tensor = self.out(x)
        return scores


class Looped(nn.Module):
    """Layers in a list, inside another module, and a function that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)])
        self.act = torch.sigmoid

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number < len(self.layers) - 1:
                x = self.act(x)
        return x


class Held(nn.Module):
    """Weights that the network holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.b, self.w = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4, 5))
        self.v = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, self.w, self.b), inplace=True), self.v)


class Other(nn.Module):
    """Two layers and code between that is no chain, though it looks like one; every class below is one way."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.depth = nn.Linear(5, 4), nn.Linear(4, 3), 2
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.relu(self.fc1(x)))


class Residual(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc2(h + F.relu(h))


class Earlier(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        F.relu(h)
        return self.fc2(h)


class ByMode(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc2(F.relu(h) if self.training else h)


class ByRows(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc2(F.relu(h) if x.size(0) == 4 else h)


class ByAttribute(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        return self.fc2(F.relu(h) if self.depth == 2 else h)


class Keeping(Other):
    def forward(self, x: Tensor) -> Any:
        h = self.fc1(x)
        self.seen.append(h)
        return self.fc2(h)


class Transposed(Other):
    def forward(self, x: Tensor) -> Any:
        return self.fc2(F.linear(self.fc1(x), self.fc1.weight.T))


class Pair(Other):
    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.fc1(x)), x


class HalfUsed(Other):
    def forward(self, x: Tensor) -> Any:
        return self.fc1(x)


class Caught(Other):
    def forward(self, x: Tensor) -> Any:
        try:
            return self.fc2(self.fc1(x + 1))
        except:  # noqa: E722
            return self.fc2(self.fc1(x))


def picking(*before: nn.Module) -> nn.Sequential:
    """A network that reads three of five inputs."""
    return nn.Sequential(*before, Pick(torch.tensor([4, 0, 1])), nn.Linear(3, 2))


class Layers(fx.Tracer):
    """Keeps all layers whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def graph_of(net: nn.Module) -> fx.GraphModule:
    return fx.GraphModule(net, Layers().trace(net))


class PickingRows(Other):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor([0]))

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.fc1(x.index_select(0, self.index)))


def put() -> nn.Module:
    net = Other()
    vars(net)["forward"] = net.fc1.forward
    return net


CHAINS: dict[str, Callable[[], nn.Module]] = {
    **{kind.__name__: (lambda kind=kind: mlp(kind)) for kind in POINTWISE},
    "one layer": lambda: nn.Linear(5, 3),
    "nested, from images": lambda: nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Identity(), nn.Linear(4, 3)
    ),
    "some biases": lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3)),
    "a class": Written,
    "a class, from images": Written,
    "a list of layers": Looped,
    "wrapped": lambda: nn.Sequential(Looped(), nn.Identity()),
    "a graph": lambda: graph_of(Written()),
    "inputs picked": picking,
    "inputs picked, from images": lambda: picking(nn.Flatten()),
    "a graph that picks inputs": lambda: graph_of(picking()),
    "no function between": lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3), nn.Sigmoid()),
}
OTHERS: dict[str, nn.Module] = {
    "dropout": nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.Linear(4, 3)),
    "normalisation": nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
    "convolution": nn.Sequential(nn.Conv1d(2, 3, 2), nn.Flatten(), nn.Linear(9, 2)),
    "tied": tied(),
    "two functions": nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Tanh()),
    "function first": nn.Sequential(nn.ReLU(), nn.Linear(5, 4)),
    "flattened in part": nn.Sequential(nn.Flatten(1, 2), nn.Linear(5, 4)),
    "a graph that is none": graph_of(Residual()),
    "picked late": nn.Sequential(nn.Linear(5, 4), Pick(torch.tensor([0, 2])), nn.Linear(2, 3)),
    "picked before flattening": picking(Pick(torch.tensor([0, 1, 2, 3, 4])), nn.Flatten()),
    "flattened late": nn.Sequential(nn.Linear(5, 4), nn.Flatten()),
    **{kind.__name__: kind() for kind in Other.__subclasses__()},
    "another forward": put(),
    "another class": nn.Sequential(nn.Linear(5, 4), nn.Bilinear(4, 4, 3)),
}


def family_of(net: nn.Module, **options: Any) -> Family:
    """A family of random maps, in double precision."""
    torch.manual_seed(0)
    family = Family(net, FamilyConfig(**{"map": "piecewise", "regions": 3, **options})).double()
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=F64, generator=source)
    return family


def outcome(family: Family, x: Tensor, blocks: int) -> list[Tensor]:
    """Returns outputs, divergences, and the gradients of a function of both."""
    fields = family.fields(UNIT)
    kl = fields.kl(torch.full((4,), 0.7, dtype=F64))
    out = family.run(x, fields, UNIT, Noise(3, 5, range(4)), blocks)
    loss = (out * torch.arange(1.0, 1 + out.shape[1], dtype=F64)).sin().sum() + kl.square().mean()
    return [out, kl, *torch.autograd.grad(loss, list(family.parameters()))]


@pytest.mark.parametrize("name", list(CHAINS))
@pytest.mark.parametrize("blocks", [4, 2, 1])
def test_a_chain_is_what_the_handler_makes_of_it(
    name: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = family_of(CHAINS[name]())
    shape = (5, 1) if "images" in name else (5,)
    x = torch.randn(blocks * 3, *shape, dtype=F64)
    assert Chain.of(family.net, family.layout) is not None
    found = outcome(family, x, blocks)
    monkeypatch.setattr(Chain, "takes", lambda chain, x: False)
    for chain, handler in zip(found, outcome(family, x, blocks), strict=True):
        assert torch.allclose(chain, handler, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"posterior": "point"}, {"map": "table", "lams": (0.1, 1.0)}, {"map": "gated"}]
)
def test_other_posteriors_and_maps(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = family_of(mlp(), **options)
    unit = torch.tensor(family._rows, dtype=F64) if "lams" in options else UNIT
    x = torch.randn(4, 5, dtype=F64)

    def run() -> Tensor:
        return family.run(x, family.fields(unit), unit, Noise(0, 0, range(len(unit))))

    found = run()
    monkeypatch.setattr(Chain, "takes", lambda chain, x: False)
    assert torch.allclose(found, run(), rtol=1e-11, atol=1e-12)


def test_pruned_numbers_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    family = family_of(mlp())
    family.restrict(torch.arange(family.layout.size) % 3 > 0)
    x = torch.randn(12, 5, dtype=F64)
    found = outcome(family, x, 4)
    for gradient in found[2:]:
        assert bool((gradient[:, ::3] == 0).all()) and bool((gradient[:, 1::3] != 0).any())
    monkeypatch.setattr(Chain, "takes", lambda chain, x: False)
    for chain, handler in zip(found, outcome(family, x, 4), strict=True):
        assert torch.allclose(chain, handler, rtol=1e-11, atol=1e-12)


def test_the_hand_written_backward_is_the_derivative() -> None:
    net = mlp(nn.Tanh).double()
    layout = Layout.of(dict(net.named_parameters()))
    chain = Chain.of(net, layout)
    assert chain is not None
    means = torch.randn(2, layout.size, dtype=F64, requires_grad=True)
    variances = (torch.rand(2, layout.size, dtype=F64) + 0.1).requires_grad_()
    x = torch.randn(6, 5, dtype=F64)

    def run(means: Tensor, variances: Tensor) -> Tensor:
        return chain.run(x, means, variances, Noise(0, 0, range(2)), 2)

    assert torch.autograd.gradcheck(run, (means, variances))


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_networks_are_no_chains(name: str) -> None:
    net = OTHERS[name]
    assert Chain.of(net, Layout.of(dict(net.named_parameters()))) is None


def test_a_network_with_excluded_parameters_is_no_chain() -> None:
    for pattern in ("0.*", "*.bias"):
        family = family_of(mlp(), shared=(pattern,))
        assert Chain.of(family.net, family.layout) is None


def test_inputs_that_a_chain_leaves_to_the_handler() -> None:
    net = mlp()
    chain = Chain.of(net, Layout.of(dict(net.named_parameters())))
    assert chain is not None
    assert chain.takes(torch.zeros(2, 5))
    assert not chain.takes(torch.zeros(2, 3, 5))
    assert not chain.takes(torch.zeros(2, 5, requires_grad=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not chain.takes(torch.zeros(2, 5))
    hook = net[1].register_forward_hook(lambda *seen: None)
    assert not chain.takes(torch.zeros(2, 5))
    hook.remove()
    assert chain.takes(torch.zeros(2, 5))


def test_a_chain_leaves_the_network_as_it_was_and_does_not_call_hooks() -> None:
    net, called = Looped(), list[Any]()
    net.layers[0].register_forward_hook(lambda *seen: called.append(seen))
    held = dict(vars(net))
    assert Chain.of(net, Layout.of(dict(net.named_parameters()))) is not None
    assert not called and held == vars(net)


def test_inputs_are_picked_by_the_numbers_that_the_network_has_now() -> None:
    family = family_of(picking())
    fields, unit = family.fields(UNIT[:1]), UNIT[:1]
    x = torch.randn(4, 5, dtype=F64)

    def run(x: Tensor) -> Tensor:
        return family.run(x, fields, unit, Noise(0, 0, range(1)))

    with pytest.raises(IndexError):
        run(x[:, :4])
    family.net[0].index = torch.tensor([1, 1, 1])  # as when it moves to another device
    assert torch.equal(run(x), run(x[:, [1] * 5]))


def held_by_layers(net: Held) -> nn.Sequential:
    """Returns the same network with layers that hold its weights."""
    whole = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3, bias=False))
    whole[0].weight, whole[0].bias, whole[2].weight = net.w, net.b, net.v
    return whole


def in_a_row(net: Looped) -> nn.Sequential:
    """Returns the same network in a row."""
    first, second, third = net.layers
    return nn.Sequential(first, nn.Sigmoid(), second, nn.Sigmoid(), third)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), [(Looped, in_a_row), (Held, held_by_layers)])
def test_one_network_is_trained_alike_however_it_is_written(
    kind: Callable[[], Any], other: Callable[[Any], nn.Module]
) -> None:
    torch.manual_seed(0)
    net = kind()
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    found = [nd.fit(one, (x, y), epochs=3, batch_size=20) for one in (net, other(net))]
    for lam in (0.01, 1.0):
        first, second = (family.export(lam)(x) for family in found)
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_family_that_has_run_can_be_pickled() -> None:
    family = family_of(mlp())
    x = torch.randn(4, 5, dtype=F64)
    before = outcome(family, x, 4)
    for first, second in zip(
        before, outcome(pickle.loads(pickle.dumps(family)), x, 4), strict=True
    ):
        assert torch.equal(first, second)
