"""Running members: side by side equals one by one with exactly the same noise, and what cannot run so falls back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import TraceError
from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.fields import Fields

UNIT = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)


class Swapped(nn.Module):
    """Moves the batch to another dimension, where blocks of examples are no longer one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).view(-1, 2, 2).transpose(0, 1).reshape(-1, 4)
        out: Tensor = self.second(hidden).view(2, -1, 3)[:, :, :1].transpose(0, 1).flatten(1)
        return out.repeat_interleave(2, dim=0)[: len(x)]


class Mixed(nn.Module):
    """Lets examples of a batch see one another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x - x.mean(dim=0))
        return out


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), (5,)),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.Flatten()),
        (2, 5),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(6, 6, 2, dilation=2, bias=False),
            nn.Flatten(),
            nn.Linear(6 * 16, 3),
        ),
        (4, 6, 6),
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2, stride=2), nn.Flatten(), nn.Linear(9, 2)),
        (2, 6),
    ),
}


def family_of(net: nn.Module, **options: object) -> Family:
    """A family of random maps, in double precision."""
    torch.manual_seed(0)
    family = Family(net, FamilyConfig(map="piecewise", regions=3, **options)).double()  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(
                0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=source)
            )
    return family


def one_by_one(family: Family, x: Tensor, unit: Tensor, seed: int | None, blocks: int) -> Tensor:
    """Each member alone on the block that it shares."""
    size, out = len(x) // blocks, []
    for k in range(len(unit)):
        first = k * blocks // len(unit) * size
        noise = Noise(seed, 5, [k]) if seed is not None else None
        fields = family.fields(unit[k : k + 1])
        out.append(family.run(x[first : first + size], fields, unit[k : k + 1], noise))
    return torch.cat(out)


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("blocks", [4, 2, 1])
@pytest.mark.parametrize("noise_seed", [None, 3])
def test_side_by_side_is_one_by_one(name: str, blocks: int, noise_seed: int | None) -> None:
    make, shape = NETS[name]
    family = family_of(make())
    x = torch.randn(blocks * 3, *shape, dtype=torch.float64)
    assert family.side_by_side(x, blocks, 4)
    noise = Noise(noise_seed, 5, range(4)) if noise_seed is not None else None
    together = family.run(x, family.fields(UNIT), UNIT, noise, blocks)
    assert torch.allclose(
        together, one_by_one(family, x, UNIT, noise_seed, blocks), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("blocks", [4, 2])
def test_gradients_side_by_side_are_those_of_one_by_one(name: str, blocks: int) -> None:
    make, shape = NETS[name]
    family = family_of(make())
    x = torch.randn(blocks * 3, *shape, dtype=torch.float64)
    weights = torch.randn(12, dtype=torch.float64)

    def gradients(out: Tensor) -> list[Tensor]:
        loss = (out.flatten(1).sum(dim=1) * weights.repeat(len(out) // 12)).sin().sum()
        return list(torch.autograd.grad(loss, list(family.parameters())))

    if blocks == 2:
        weights = weights.repeat(1)
    together = gradients(family.run(x, family.fields(UNIT), UNIT, Noise(3, 5, range(4)), blocks))
    alone = gradients(one_by_one(family, x, UNIT, 3, blocks))
    for first, second in zip(together, alone, strict=True):
        assert torch.allclose(first, second, rtol=1e-9, atol=1e-10)


def test_means_are_what_the_network_computes_with_them() -> None:
    """The engine against plain ``functional_call`` with each member's parameters."""
    family = family_of(NETS["cnn"][0]())
    x = torch.randn(12, 4, 6, 6, dtype=torch.float64)
    found = family.run(x, family.fields(UNIT), UNIT)
    for k, lam in enumerate(family.domain.lam(UNIT).tolist()):
        expected = torch.func.functional_call(
            family.net.double(), family.at(lam), (x[3 * k : 3 * k + 3],)
        )
        assert torch.allclose(found[3 * k : 3 * k + 3], expected)


@pytest.mark.parametrize("kind", [Swapped, Mixed])
def test_networks_that_cannot_run_side_by_side_are_noticed(kind: type[nn.Module]) -> None:
    family = family_of(kind())
    x = torch.randn(8, 5, dtype=torch.float64)
    assert not family.side_by_side(x, 4, 4)
    with pytest.raises(TraceError, match="one member at a time"):
        family.run(x, family.fields(UNIT), UNIT, None, 4)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4)), (5,)),
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,)),
        (
            nn.Sequential(
                nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False)
            ),
            (5,),
        ),
        (nn.Sequential(nn.ConvTranspose1d(2, 3, 2), nn.Flatten()), (2, 6)),
    ],
)
def test_layers_that_are_not_known_are_not_run_side_by_side(
    net: nn.Module, shape: tuple[int, ...]
) -> None:
    family = family_of(net)
    assert not family.side_by_side(torch.randn(8, *shape, dtype=torch.float64), 4, 4)


def test_excluded_layers_of_any_kind_may_run_side_by_side() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    family = family_of(net, shared=("LayerNorm",))
    x = torch.randn(8, 5, dtype=torch.float64)
    assert family.side_by_side(x, 4, 4)
    together = family.run(x, family.fields(UNIT), UNIT, Noise(3, 5, range(4)), 4)
    assert torch.allclose(together, one_by_one(family, x, UNIT, 3, 4))


def test_the_check_leaves_mode_and_random_numbers_alone() -> None:
    family = family_of(nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5)))
    family.train()
    before = torch.get_rng_state()
    family.side_by_side(torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator()), 4, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert family.training and family.net.training and family.net[1].training


def test_point_fields_need_no_noise() -> None:
    family = family_of(NETS["mlp"][0](), posterior="point")
    fields = family.fields(UNIT)
    assert isinstance(fields, Fields) and fields.log_std is None
    x = torch.randn(8, 5, dtype=torch.float64)
    assert torch.allclose(
        family.run(x, fields, UNIT, Noise(0, 0, range(4))), family.run(x, fields, UNIT)
    )
