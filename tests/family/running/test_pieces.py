"""Pieces: members are made as many at once as memory should hold, and the work of a step grows evenly in P, K and the batch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netdial.family.family import Family
from netdial.family.running import pieces as rule
from netdial.family.running.pieces import at_once, pieces
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import Batch
from netdial.train.method import FamilyMethod

INPUTS, CLASSES = 6, 3


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 70))
def test_pieces_hold_every_member_once_and_share_blocks_evenly(
    members: int, blocks: int, most: int
) -> None:
    blocks = min(blocks, members)
    owners = [member * blocks // members for member in range(members)]
    found = list(pieces(owners, most))
    assert [member for piece in found for member in piece] == list(range(members))
    for piece in found:
        here = [owners[member] for member in piece]
        count = here[-1] - here[0] + 1
        assert len(piece) <= most
        assert here == [here[0] + k // (len(piece) // count) for k in range(len(piece))]
    if blocks in (1, members):
        assert len(found) == -(-members // most)


@given(st.integers(1, 10**9), st.integers(1, 20), st.integers(0, 10**9), st.integers(1, 64))
def test_bounds_on_what_is_made_at_once(
    numbers: int, pivots: int, activations: int, blocks: int
) -> None:
    found = at_once(numbers, pivots, activations=activations, blocks=blocks)
    assert found >= 1
    assert found * numbers <= max(rule.NUMBERS, numbers * pivots)
    assert found * activations <= max(rule.NUMBERS, activations * blocks)


class Counted(TorchDispatchMode):
    """Counts operations, the numbers that they make, and the numbers alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.made = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        parts = out if isinstance(out, tuple | list) else [out]
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        self.operations += 1
        for part in parts:
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in given:
                self.made += part.numel()
                self.largest = max(self.largest, part.numel())
        return out


def perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, CLASSES))


def normalised(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, width), nn.LayerNorm(width), nn.Linear(width, CLASSES))


def convolutional(width: int) -> nn.Module:
    layers = nn.Conv1d(1, width, 3, padding=1), nn.ReLU(), nn.Flatten()
    return nn.Sequential(nn.Unflatten(1, (1, INPUTS)), *layers, nn.Linear(width * INPUTS, CLASSES))


NETS = {"chain": perceptron, "one by one": normalised, "side by side": convolutional}


def counted(net: nn.Module, groups: int, batch: int, sampling: str = "stratified") -> Counted:
    """What the second step of a family makes; the first finds out about the network."""
    config = make_config(groups=groups, sampling=sampling, epochs=100, regions=3)
    method = FamilyMethod(config, task=Classification(), n_data=1000, steps=10)
    state = method.init(Family(net, config.family()).train())
    given = Batch(torch.randn(batch, INPUTS), torch.arange(batch) % CLASSES)
    method.step(state, given)
    with Counted() as counts:
        method.step(state, given)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_no_cliff_in_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight members under and over the bound, from all at once to half of them: what is made for one number of the network."""
    monkeypatch.setattr(rule, "NUMBERS", 4000)
    work = []
    for width in (8, 16, 32, 48, 64, 96, 128, 256):
        net = NETS[name](width)
        numbers = sum(p.numel() for p in net.parameters())
        found = counted(net, 8, 64)
        work.append(found.made / numbers)
        assert found.largest <= max(rule.NUMBERS, 4 * numbers, 64 * INPUTS * width)
    assert max(b / a for a, b in pairwise(work)) < 1.35
    assert max(work[3:]) < 1.6 * min(work[3:])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_no_cliff_in_groups(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "NUMBERS", 4000)
    work = [counted(NETS[name](24), groups, 64).made / groups for groups in (4, 8, 16, 32, 64)]
    assert max(b / a for a, b in pairwise(work)) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("sampling", ["stratified", "whole"])
def test_no_cliff_in_the_batch(name: str, sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "NUMBERS", 20_000)
    work = [
        counted(NETS[name](24), 8, batch, sampling).made / batch
        for batch in (16, 32, 64, 128, 256, 512)
    ]
    assert max(b / a for a, b in pairwise(work)) < 1.2


def test_activations_of_members_that_share_a_batch_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where each sees the whole batch, as many run at once as the bound holds, not all of them."""
    monkeypatch.setattr(rule, "NUMBERS", 20_000)
    assert counted(perceptron(24), 16, 512, "whole").largest <= 20_000


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("sampling", ["stratified", "whole", "table"])
def test_pieces_change_nothing(name: str, sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step in one piece and in several: terms and gradients."""

    def step() -> list[Tensor]:
        torch.manual_seed(0)
        table = {"map": "table", "lams": (0.1, 1.0, 5.0, 20.0)}
        settings: dict[str, Any] = table if sampling == "table" else {"sampling": sampling}
        config = make_config(groups=8, epochs=1, optimizer="SGD", lr=1e-3, regions=1, **settings)
        method = FamilyMethod(config, task=Classification(), n_data=1000, steps=10)
        state = method.init(Family(NETS[name](8), config.family()).double().train())
        given = Batch(torch.randn(24, INPUTS).double(), torch.arange(24) % CLASSES)
        found = method.step(state, given)
        grads = [p.grad for p in state.family.parameters() if p.grad is not None]
        return [found["fit"], found["complexity"], *grads]

    whole = step()
    monkeypatch.setattr(rule, "NUMBERS", 1)
    for one, other in zip(whole, step(), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [normalised, convolutional])
def test_noise_of_all_leaves_is_drawn_at_once(make: Callable[[int], nn.Module]) -> None:
    """However many layers: one call for each group for all weights, and one for each local layer."""

    class Deep(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            layers = [nn.LayerNorm(INPUTS) for _ in range(depth)]
            self.layers = nn.Sequential(*layers, make(8))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layers(x)
            return out

    class Drawn(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.calls += func is torch.ops.aten.normal_.default
            return func(*args, **(kwargs or {}))

    def calls(depth: int) -> int:
        config = make_config(groups=4, epochs=1)
        method = FamilyMethod(config, task=Classification(), n_data=1000, steps=10)
        state = method.init(Family(Deep(depth), config.family()).train())
        given = Batch(torch.randn(16, INPUTS), torch.arange(16) % CLASSES)
        method.step(state, given)
        with Drawn() as counts:
            method.step(state, given)
        return counts.calls

    assert calls(1) == calls(5) == calls(20)
