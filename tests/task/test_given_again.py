"""Networks of several inputs or outputs that came out of netdial, given to it once more."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.functional import cross_entropy

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.core.inputs import as_packed, one_tensor
from netdial.core.inputs.modules import scored
from netdial.pruning.channels.reducing import Pruned
from netdial.shrinking.shrink import Shrunk

X, Z = torch.randn(64, 8), torch.randn(64, 5)
Y = (X[:, 0] > Z[:, 0]).long()


class Two(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 12), nn.Linear(5, 12)
        self.c, self.d = nn.Linear(24, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor, z: Tensor) -> Any:
        return self.d(self.c(torch.cat([self.a(x).relu(), self.b(z).relu()], 1)).relu())


class Both(Two):
    """Gives two outputs besides."""

    def forward(self, x: Tensor, z: Tensor) -> Any:
        found = super().forward(x, z)
        return {"logits": found, "twice": 2 * found}


class Apart(Two):
    """Takes one input, gives two outputs."""

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        found = super().forward(x, x[:, :5])
        return found, 2 * found


BY_POSITION, BY_NAME = (X, Z), {"z": Z, "x": X}
GIVEN: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "by position": (Two, BY_POSITION),
    "by name": (Two, BY_NAME),
    "two outputs": (Both, BY_NAME),
    "one input, two outputs": (Apart, X),
    "own graph": (lambda: fx.symbolic_trace(Two()), BY_POSITION),
    "own graph by name": (lambda: fx.symbolic_trace(Two()), BY_NAME),
    "own graph, two outputs": (lambda: fx.symbolic_trace(Apart()), X),
}


def called(net: nn.Module, inputs: Any) -> Any:
    """Returns what a network gives, called by its own arguments."""
    if isinstance(inputs, dict):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple) else net(x=inputs)


def slimmed(net: nn.Module, inputs: Any) -> Pruned:
    """Returns a network with fewer channels."""
    return nd.slim(net, share=0.2, scope="layer", exact=False, example=inputs)


def shrunk(net: nn.Module, inputs: Any) -> Shrunk:
    """Returns a network of 450 parameters or fewer."""
    return nd.shrink(net, (inputs, Y), size="450 params", epochs=4, batch_size=16)


def plain(found: Pruned | Shrunk) -> nn.Module:
    """Returns the network alone."""
    return found.net if isinstance(found, Pruned) else found.fold()[0]


@pytest.mark.slow
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("cut", [slimmed, shrunk])
def test_what_was_cut_is_slimmed_as_the_opened_class_is(
    given: str, cut: Callable[..., Any], tmp_path: Path
) -> None:
    make, inputs = GIVEN[given]
    torch.manual_seed(0)
    found = cut(make(), inputs)
    first = plain(found)
    nd.save(found, tmp_path / "first.safetensors")
    opened = nd.load_model(tmp_path / "first.safetensors", make())
    torch.testing.assert_close(called(opened, inputs), called(first, inputs))
    again = slimmed(first, inputs)
    want = called(slimmed(opened, inputs).net, inputs)
    torch.testing.assert_close(called(again.net, inputs), want)
    nd.save(again, tmp_path / "again.safetensors")
    for net in (first, make()):
        same = nd.load_model(tmp_path / "again.safetensors", net)
        torch.testing.assert_close(called(same, inputs), want)


@pytest.mark.slow
@pytest.mark.parametrize("given", GIVEN)
def test_what_was_slimmed_is_shrunk_and_trained(given: str, tmp_path: Path) -> None:
    make, inputs = GIVEN[given]
    torch.manual_seed(0)
    first = slimmed(make(), inputs).net
    small = shrunk(first, inputs)
    nd.save(small, tmp_path / "small.safetensors")
    for net in (first, make()):
        opened = nd.load_model(tmp_path / "small.safetensors", net)
        torch.testing.assert_close(called(opened, inputs), called(plain(small), inputs))
    family = nd.fit(first, (inputs, Y), epochs=1)
    member = family.export(0.1)
    loss = cross_entropy(scored(called(member, inputs)), Y).item()
    path = nd.evaluate(family, (inputs, Y), lams=[0.1], n_samples=0)
    assert path.column("nll") == [pytest.approx(loss, rel=1e-5)]
    nd.save(family, tmp_path / "family.safetensors")
    same = nd.load_model(tmp_path / "family.safetensors", first)
    assert isinstance(same, nd.Family)
    torch.testing.assert_close(called(same.export(0.1), inputs), called(member, inputs))
    slimmed(member, inputs)


def test_other_inputs_are_refused_once_more() -> None:
    first = slimmed(Two(), BY_NAME).net
    with pytest.raises(ConfigError, match=r"takes inputs x \[8\], z \[5\]; got"):
        nd.slim(first, share=0.2, example={"x": X, "w": Z})


def test_exported_programs_of_several_inputs_are_refused() -> None:
    program = torch.export.export(Two(), BY_POSITION).module()
    with pytest.raises(ConfigError, match=r"made by torch\.export"):
        nd.slim(program, share=0.2, example=BY_POSITION)


@pytest.mark.parametrize("copied", [lambda net: pickle.loads(pickle.dumps(net)), copy.deepcopy])
def test_networks_of_several_inputs_are_pickled(copied: Callable[[Any], Any]) -> None:
    torch.manual_seed(0)
    net: Any = one_tensor(Two(), as_packed(BY_POSITION, ["", ""], "data")[1])
    same = copied(net)
    assert type(same) is type(net)
    assert same.a.weight is not net.a.weight
    packed = torch.cat(BY_POSITION, 1)
    assert torch.equal(same(X, Z), net(X, Z))
    assert torch.equal(same(packed), net(packed))
