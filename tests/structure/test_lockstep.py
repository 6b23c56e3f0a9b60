"""Operations side by side are the operations one by one: outputs, gradients and running statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.structure import SearchSpace, Supernet, ZeroOperation, lockstep
from netdial.structure.lockstep import chain_of
from netdial.structure.spaces import ready_space


def conv_space() -> SearchSpace:
    """Two nodes and all that has to be told apart: strides, biases, groups, unknown layers, a product, a concatenation."""
    space = SearchSpace("convolutions")
    x, a, b, c, y = (
        space.input("x", (4, 6, 5)),
        space.node("a"),
        space.node("b", "mean"),
        space.node("c", "concat"),
        space.node("y"),
    )
    operations: dict[str, Any] = {
        "none": ZeroOperation,
        "skip": nn.Identity,
        "conv3": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
        "point": lambda: nn.Sequential(
            nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        ),
        "groups": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
        "pool": lambda: nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.BatchNorm2d(4)),
        "norm": lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.Tanh()),
        "circular": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    }
    for source, target in ((x, a), (x, b), (a, b), (a, c), (b, c)):
        space.edge(source, target, operations)
    shrinking: dict[str, Any] = {
        "two": lambda: nn.Sequential(nn.Conv2d(8, 3, 1, stride=2), nn.Tanh()),
        "three": lambda: nn.Conv2d(8, 3, 3, stride=2, padding=1),
    }
    space.edge(c, y, shrinking)
    space.output(y)
    return space


SPACES = {
    "convolutions": conv_space,
    "images": lambda: ready_space(
        "image-cell", input_shape=(2, 7, 6), n_outputs=3, channels=2, nodes=2
    ),
    "signals": lambda: ready_space(
        "signal-cell", input_shape=(11,), n_outputs=3, channels=2, nodes=2
    ),
    "tables": lambda: ready_space(
        "mlp", input_shape=(5,), n_outputs=3, depth=2, width=4, widths=(2, 4)
    ),
}


def everything(net: Supernet, x: Tensor, *, sparse: bool | None = None) -> list[Tensor]:
    """Returns outputs, gradients of structure parameters, weights and inputs, and buffers."""
    x = x.clone().requires_grad_()
    source = torch.Generator().manual_seed(1)
    rows = {
        key: torch.randn(len(c.operations), generator=source, dtype=x.dtype).requires_grad_()
        for key, c in net.space.choices.items()
    }
    out = net(x, {key: row.softmax(0) for key, row in rows.items()}, sparse=sparse)
    (out.sin() * torch.arange(out.numel()).view_as(out)).sum().backward()
    leaves = [*rows.values(), *net.parameters(), x]
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return [out.detach(), *grads, *net.buffers()]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SPACES))
@pytest.mark.parametrize("training", [True, False])
def test_the_same_but_for_rounding(name: str, training: bool) -> None:
    space = SPACES[name]()
    plain = Supernet(space, fused=False).double().train(training)
    side = Supernet(space).double().train(training)
    wiring = space.wiring
    x = torch.randn(
        4,
        *wiring.shapes[wiring.input],
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    for one, other in zip(everything(plain, x), everything(side, x), strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "signals"])
def test_the_same_in_pieces_and_with_many_channels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One operation in a call, as of large values; and weighted sums as those of many channels are made."""
    calls: list[int] = []
    advance = lockstep._advance

    def counted(group: list[lockstep.ChainJob]) -> None:
        calls.append(len(group))
        advance(group)

    monkeypatch.setattr(lockstep, "_advance", counted)
    test_the_same_but_for_rounding(name, training=True)
    assert max(calls) > 2
    calls.clear()
    monkeypatch.setattr(lockstep, "_NEAR", dict.fromkeys((3, 4), 1))
    test_the_same_but_for_rounding(name, training=True)
    assert max(calls) == 1
    monkeypatch.setattr(lockstep, "_MIXED", 1)
    test_the_same_but_for_rounding(name, training=True)


def test_layers_that_are_not_known_are_not_taken() -> None:
    assert chain_of(nn.Identity()) == []
    assert chain_of(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(2, 2, 1)))) is not None
    hooked = nn.Conv2d(2, 2, 1)
    hooked.register_forward_hook(lambda module, given, out: out + 1)
    momentless = nn.BatchNorm2d(2, momentum=None)

    class Own(nn.Conv2d):
        pass

    for other in (
        nn.Dropout(),
        nn.Linear(2, 2),
        nn.Conv2d(2, 2, 1, padding_mode="circular"),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.ReLU(inplace=True),
        hooked,
        momentless,
        Own(2, 2, 1),
        nn.Sequential(nn.ReLU(), nn.Dropout()),
    ):
        assert chain_of(other) is None


def test_hooks_that_come_later_are_called() -> None:
    net = Supernet(SPACES["signals"]())
    seen = []
    layer = next(
        module for module in net.modules() if isinstance(module, nn.Conv1d) and module.groups > 1
    )
    layer.register_forward_hook(lambda module, given, out: seen.append(out.shape))
    everything(net, torch.randn(2, 11))
    assert seen


def test_copies_of_a_supernet_run_their_own_layers() -> None:
    space = SPACES["images"]()
    net = Supernet(space).double()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.5)
    x = torch.randn(4, 2, 7, 6, dtype=torch.float64)
    plain = Supernet(space, fused=False).double()
    assert torch.allclose(everything(twin, x)[0], everything(plain, x)[0])
    assert not torch.allclose(everything(net, x)[0], everything(plain, x)[0])


def test_an_identity_that_is_hooked_is_no_chain() -> None:
    identity = nn.Identity()
    assert chain_of(identity) == []
    identity.register_forward_hook(lambda module, args, out: 2 * out)
    assert chain_of(identity) is None
    assert chain_of(nn.Sequential(nn.ReLU(), identity)) is None
