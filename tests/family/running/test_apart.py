"""Members one by one on leaves made at once: gradients are those of autograd through every member's own run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.running.local import TINY, weights

F64 = torch.float64
UNIT = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=F64)


class Tokens(nn.Module):
    """Attention over tokens, with an embedding tied to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.place = nn.Parameter(torch.randn(5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 7)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.encoder(self.embed(x) + self.place).mean(dim=1)))


class Cells(nn.Module):
    """A recurrent layer, and a cell written by hand whose linear layers meet an example at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.over, self.into, self.head = nn.Linear(5, 5), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 5)
        for now in self.lstm(x)[0].unbind(dim=1):
            state = torch.tanh(self.over(state) + self.into(now))
        return cast(Tensor, self.head(state))


def numbers(*shape: int) -> Tensor:
    return torch.randn(12, *shape, dtype=F64, generator=torch.Generator().manual_seed(1))


def normalised() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        *(nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(75, 4), nn.LayerNorm(4)),
    )


NETS: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, Any]]] = {
    "attention": (Tokens, torch.randint(0, 7, (12, 5)), {}),
    "recurrence": (Cells, numbers(6, 3), {}),
    "statistics": (normalised, numbers(2, 5, 5), {}),
    "shared": (normalised, numbers(2, 5, 5), {"shared": ("4.bias", "1.weight")}),
    "frozen": (normalised, numbers(2, 5, 5), {"freeze": ("0.weight",)}),
    "points": (normalised, numbers(2, 5, 5), {"posterior": "point"}),
    "groups": (normalised, numbers(2, 5, 5), {"posterior": {"LayerNorm": "point"}}),
    "gated": (normalised, numbers(2, 5, 5), {"map": "gated"}),
}


def family_of(name: str) -> tuple[Family, Tensor]:
    make, x, options = NETS[name]
    torch.manual_seed(0)
    settings: dict[str, Any] = {"map": "piecewise", "regions": 3, "log_std": -1.0, **options}
    family = Family(make(), FamilyConfig(**settings)).double().train()
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=F64, generator=source))
    return family, x


def loss_of(out: Tensor) -> Tensor:
    return out.flatten(1).sin().sum(dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [4, 2, 1])
@pytest.mark.parametrize("name", list(NETS))
def test_gradients_are_those_of_members_alone(name: str, blocks: int) -> None:
    family, x = family_of(name)
    count = {"weight": torch.linspace(1, 2, 4, dtype=F64)}
    parts = [part for part in x.chunk(blocks) for _ in range(4 // blocks)]

    family.zero_grad()
    outputs = []
    for row, part in enumerate(parts):
        unit = UNIT[row : row + 1]
        out = family.run(part, family.fields(unit), unit, Noise(3, 5, [row]))
        outputs.append(out.detach())
        (count["weight"][row] * loss_of(out)).sum().backward()
    expected = [None if p.grad is None else p.grad.clone() for p in family.parameters()]

    family.zero_grad()
    runs = family.one_by_one(x, family.fields(UNIT), UNIT, Noise(3, 5, range(4)), blocks)
    for row in range(4):
        out = runs.outputs(row)
        assert torch.allclose(out, outputs[row], rtol=1e-9, atol=1e-10)
        runs.backward(loss_of(out), count["weight"][row].expand(len(out)))
    torch.autograd.backward(runs.tensors, runs.gradients)
    for parameter, wanted in zip(family.parameters(), expected, strict=True):
        if wanted is not None:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, wanted, rtol=1e-8, atol=1e-10)


def test_a_layer_that_meets_an_example_at_every_step_draws_its_weights_once() -> None:
    """A cell written by hand: with everything else certain, outputs are those of one draw of the layer."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.layer(x), self.layer(x)], dim=1)

    family = Family(Twice(), FamilyConfig(log_std=0.0)).double()
    fields, unit = family.fields(UNIT[:1]), UNIT[:1]
    first, second = family.run(numbers(3), fields, unit, Noise(0, 0, [0])).chunk(2, dim=1)
    assert torch.equal(first, second)


def test_looking_at_a_network_leaves_no_trace() -> None:
    family, x = family_of("statistics")
    before = [buffer.clone() for buffer in family.net.buffers()]
    state, mode = torch.get_rng_state(), [module.training for module in family.net.modules()]
    family._runner.plan(x, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, family.net.buffers(), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert mode == [module.training for module in family.net.modules()]


def test_weights_are_mean_and_noise_times_deviation() -> None:
    mean, eps = numbers(3), numbers(3).flip(0)
    var = numbers(3).square() + 0.1
    assert torch.allclose(weights(mean, var, eps), mean + (var + TINY).sqrt() * eps)
    leaves = mean.clone().requires_grad_(), var.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m, v: weights(m, v, eps), leaves)


def test_a_pruned_number_has_no_gradient_and_spoils_none() -> None:
    family, x = family_of("attention")
    kept = torch.arange(family.layout.size) % 3 > 0
    family.restrict(kept)
    runs = family.one_by_one(x, family.fields(UNIT), UNIT, Noise(0, 0, range(4)))
    for row in range(4):
        out = runs.outputs(row)
        runs.backward(
            F.cross_entropy(out, torch.zeros(3).long(), reduction="none"), out.new_ones(3)
        )
    torch.autograd.backward(runs.tensors, runs.gradients)
    for parameter in family.parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert not bool(parameter.grad[:, ~kept].any())
