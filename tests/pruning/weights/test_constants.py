"""Constant inputs: folded exactly, and only where that is exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.pruning.weights.constants import find_constants

from .problems import LAMS, family_of, with_dead_input


def run(family: Family, flat: Tensor, x: Tensor) -> Tensor:
    shared = {k: v for k, v in family.at(LAMS[0]).items() if k not in family.layout.names}
    return functional_call(family.net, {**shared, **family.layout.split(flat)}, (x,))


def test_members_stay_what_they_are_on_the_data(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    x, y = with_dead_input(blobs)
    before = family.fields_at(LAMS)
    found = find_constants(family, Dataset(x, y))
    folded = found.folded().expand_as(before.mean)
    after = found.fold(before.mean, ~folded)
    assert folded.shape == after.shape == (3, family.layout.size)
    columns = family.layout.split(folded)
    assert columns["0.weight"][:, :, 2].all()
    assert int(folded.sum()) == 3 * 7
    assert not after[folded].any()
    for old, new in zip(before.mean, after, strict=True):
        assert torch.allclose(run(family, old, x), run(family, new, x), atol=1e-5)
        elsewhere = x.clone()
        elsewhere[:, 2] += 1
        assert not torch.allclose(run(family, old, elsewhere), run(family, new, elsewhere))


def test_only_what_is_removed_moves_to_the_bias(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(double=True)
    x, y = with_dead_input((blobs[0].double(), blobs[1]))
    found = find_constants(family, Dataset(x, y))
    mean = family.fields_at(LAMS).mean.detach()
    kept = torch.ones_like(mean, dtype=torch.bool)
    assert torch.equal(found.fold(mean, kept), mean)
    kept[:, found.positions[:3]] = False
    folded = found.fold(mean, kept)
    for old, new in zip(mean, folded, strict=True):
        assert torch.allclose(run(family, old, x), run(family, new, x))
    assert int((folded != mean).sum(dim=1)[0]) == 3 + 3


def test_later_layers_may_have_inputs_of_the_data_too(blobs: tuple[Tensor, Tensor]) -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.scale = nn.Linear(5, 4), nn.Linear(5, 3), nn.Linear(9, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x).relu()
            return self.last(x) + self.scale(torch.cat([hidden, x], dim=1))

    family = family_of(Skip())
    data = Dataset(*with_dead_input(blobs))
    found = find_constants(family, data)
    names = {name for name, part in family.layout.split(found.folded()).items() if bool(part.any())}
    assert names == {"first.weight", "last.weight"}, "a layer with leaves before it is left alone"


def test_hidden_units_without_life_are_left_alone(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    with torch.no_grad():
        for pivot in family.layout.split(family.mean.pivots)["0.bias"]:
            pivot.fill_(-100.0)
    assert not find_constants(family, Dataset(*blobs)).folded().any()


UNFOLDABLE = {
    "no bias": lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3)),
    "no linear layer first": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)
    ),
    "leaves before": lambda: nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 3)),
}


@pytest.mark.parametrize("name", UNFOLDABLE)
def test_what_cannot_be_folded_is_not(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(UNFOLDABLE[name]())
    assert find_constants(family, Dataset(*with_dead_input(blobs))).positions.numel() == 0


def test_a_weight_used_twice_is_not_folded(blobs: tuple[Tensor, Tensor]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + x.square() @ self.layer.weight.T

    family = family_of(Twice())
    assert find_constants(family, Dataset(*with_dead_input(blobs))).positions.numel() == 0


def test_layers_that_share_a_weight_are_left_alone(blobs: tuple[Tensor, Tensor]) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) * self.b(x.square())

    family = family_of(Tied())
    assert find_constants(family, Dataset(*with_dead_input(blobs))).positions.numel() == 0


def test_a_shared_bias_cannot_take_over(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(shared=("0.bias",))
    assert find_constants(family, Dataset(*with_dead_input(blobs))).positions.numel() == 0


def test_an_input_that_changes_once_is_no_constant(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    x, y = with_dead_input(blobs)
    whole = x.repeat(100, 1), y.repeat(100)
    whole[0][-1, 2] += 1e-3
    assert find_constants(family, Dataset(*whole)).positions.numel() == 0


def test_pictures_in_bytes_and_sequences(blobs: tuple[Tensor, Tensor]) -> None:
    x = (torch.rand(30, 5) * 255).to(torch.uint8)
    x[:, 4] = 0
    data = Dataset(x, blobs[1][:30], torch.full((5,), 127.5), torch.full((5,), 1 / 127.5))
    found = find_constants(family_of(), data)
    assert found.values.unique().tolist() == [-1.0]
    assert found.positions.numel() == 7

    family = family_of(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Flatten(), nn.Linear(14, 3)))
    steps = torch.randn(30, 2, 5)
    steps[:, 0, 1] = 3.0
    assert find_constants(family, Dataset(steps, blobs[1][:30])).positions.numel() == 0
    steps[:, 1, 1] = 3.0
    assert find_constants(family, Dataset(steps, blobs[1][:30])).positions.numel() == 7
