"""Families: reading members off, what stays shared, and what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, TraceError
from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.maps import MAPS


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3))


def moved(family: Family) -> Family:
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(
                0.3 * torch.randn(parameter.shape, generator=source, dtype=parameter.dtype)
            )
    return family


def config(name: str = "linear", **options: object) -> FamilyConfig:
    lams = (0.01, 1.0, 100.0) if name == "table" else ()
    return FamilyConfig(map=name, lams=lams, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(MAPS))
def test_every_member_starts_as_the_network_given(name: str) -> None:
    net = mlp()
    family = Family(net, config(name))
    for lam in (0.01, 1.0, 100.0):
        assert all(
            torch.allclose(leaf, dict(net.named_parameters())[n])
            for n, leaf in family.at(lam).items()
        )


def test_the_network_given_is_not_touched() -> None:
    net = mlp()
    before = copy.deepcopy(net.state_dict())
    family = moved(Family(net, config()))
    family.train()
    family.export(1.0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and not any(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", list(MAPS))
def test_members_are_the_maps_values(name: str) -> None:
    family = moved(Family(mlp(), config(name)))
    fields = family.fields_at([0.01, 100.0])
    for row, lam in zip(fields.mean, (0.01, 100.0), strict=True):
        for n, leaf in family.layout.split(row).items():
            if name == "gated":  # products of one row and of two may round otherwise
                torch.testing.assert_close(leaf, family.at(lam)[n])
            else:
                assert torch.equal(leaf, family.at(lam)[n])


@pytest.mark.slow
def test_samples_have_the_posteriors_mean_and_spread(source: torch.Generator) -> None:
    family, count = moved(Family(mlp(), config())).double(), 2000
    draws = torch.stack([family.layout.join(family.sample(1.0, source)) for _ in range(count)])
    fields = family.fields_at([1.0])
    assert fields.var is not None
    stderr = (fields.var[0] / count).sqrt()
    assert bool(((draws.mean(dim=0) - fields.mean[0]).abs() < 5 * stderr).all())
    assert bool(((draws.var(dim=0) / fields.var[0] - 1).abs() < 5 * (2 / count) ** 0.5).all())


def test_samples_follow_their_generator_and_points_do_not_vary() -> None:
    family = moved(Family(mlp(), config()))
    first, second = (family.sample(1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    point = moved(Family(mlp(), config(posterior="point")))
    drawn = point.sample(1.0, torch.Generator())
    assert all(torch.equal(drawn[n], leaf) for n, leaf in point.at(1.0).items())


def test_divergence_of_members() -> None:
    family = moved(Family(mlp(), config(prior_var=2.0))).double()
    fields = family.fields_at([0.1, 10.0])
    assert fields.var is not None
    expected = 0.5 * ((fields.var + fields.mean**2) / 2 - 1 - fields.var.log() + math.log(2)).sum(
        dim=1
    )
    assert torch.allclose(family.kl([0.1, 10.0]), expected)
    narrow = family.kl([0.1, 10.0], torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.allclose(narrow, expected)


@pytest.mark.parametrize(
    ("pattern", "shared"),
    [
        (("LayerNorm",), {"1.weight", "1.bias"}),
        (("*.bias",), {"0.bias", "1.bias", "3.bias"}),
        (("3.*", "1.weight"), {"3.weight", "3.bias", "1.weight"}),
    ],
)
def test_excluded_parameters_stay_the_same_for_every_complexity(
    pattern: tuple[str, ...], shared: set[str]
) -> None:
    family = moved(Family(mlp(), config(shared=pattern)))
    low, high = family.at(0.01), family.at(100.0)
    assert {name for name in low if torch.equal(low[name], high[name])} == shared
    assert not shared & set(family.layout.names)
    assert family.n_params == sum(p.numel() for p in mlp().parameters())
    x, unit = torch.randn(4, 5), torch.tensor([0.5], dtype=torch.float64)
    family.run(x, family.fields(unit), unit, Noise(0, 0, [0])).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in family.shared)
    exported = family.export(1.0)
    assert torch.allclose(exported(x), family.outputs(family.at(1.0), x, 1.0))


def test_parameters_that_do_not_learn_may_be_excluded_and_go_on_not_learning() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = nn.Parameter(torch.arange(3), requires_grad=False)
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.steps

    family = Family(Counted(), config(shared=("steps",)))
    assert torch.equal(family.at(1.0)["steps"], torch.arange(3))
    assert not any(p.requires_grad for p in family.shared)
    family = Family(Counted(), config())
    assert family.frozen == ("steps",) and family.layout.names == ("layer.weight", "layer.bias")


def test_buffers_follow_the_family_and_the_type() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)
            self.register_buffer("shift", torch.full((3,), 0.1))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = nn.functional.linear(
                self.layer(x), torch.eye(3, dtype=x.dtype), self.shift
            )
            return out

    family = Family(Shifted(), config()).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    assert family.outputs(family.at(1.0), x, 1.0).dtype == torch.float64
    assert family.export(1.0)(x).dtype == torch.float64


def test_the_ends_of_the_range_are_members_whatever_their_rounding() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    for lo, hi in [(0.001, 0.1), (0.3, 0.7), (0.1, 0.6)]:
        family = Family(net, FamilyConfig(lo=lo, hi=hi))
        for lam in (lo, hi):
            family.export(lam)


@pytest.mark.parametrize("lam", [1e-4, 101.0])
def test_nothing_is_extrapolated(lam: float) -> None:
    family = Family(mlp(), config())
    for read in (family.at, family.export, family.buffers_at, lambda v: family.kl([v])):
        with pytest.raises(ConfigError, match=r"outside the trained range \[0.001, 100\]"):
            read(lam)
    with pytest.raises(ConfigError, match="outside the trained range"):
        family.sample(lam, torch.Generator())


def test_cut_commutes_with_reading_members() -> None:
    family = moved(Family(mlp(), config()))
    mean, log_std = family.cut("0.weight", 0, torch.tensor([2, 0]))
    unit = family.domain.unit(torch.tensor([1.0]))
    assert torch.allclose(
        mean.layout.split(mean(unit))["0.weight"][0], family.at(1.0)["0.weight"][[2, 0]]
    )
    assert log_std is not None and log_std.layout.split(log_std(unit))["0.weight"].shape == (
        1,
        2,
        5,
    )


@pytest.mark.parametrize("net", [nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Dropout())])
def test_a_network_without_parameters_is_refused(net: nn.Module) -> None:
    with pytest.raises(ConfigError, match="has no parameters to make a family of"):
        Family(net)


def test_excluding_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no parameters to make a family of once \* are shared"):
        Family(mlp(), config(shared=("*",)))


def test_a_network_that_returns_a_tuple_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), x

    family = Family(Pair(), config())
    unit = torch.tensor([0.5], dtype=torch.float64)
    with pytest.raises(
        TraceError, match="returned a tuple, expected one tensor of outputs; wrap it in a module"
    ):
        family.run(torch.randn(2, 5), family.fields(unit), unit)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown map 'piecwise'; did you mean 'piecewise'"):
        Family(mlp(), FamilyConfig(map="piecwise"))
    with pytest.raises(ConfigError, match="posterior='cauchy'; allowed: normal, point"):
        Family(mlp(), FamilyConfig(posterior="cauchy"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="prior_var=0; expected a positive variance"):
        Family(mlp(), FamilyConfig(prior_var=0))
    with pytest.raises(ConfigError, match="expected 0 < lo < hi"):
        Family(mlp(), FamilyConfig(lo=1, hi=0.1))
    with pytest.raises(ConfigError, match="outside the trained range"):
        Family(mlp(), FamilyConfig(map="table", lams=(1e6,)))


def test_under_ard_divergence_and_effective_parameters_are_those_of_the_fitted_prior() -> None:
    family = moved(Family(mlp(), config(objective="ard")))
    fields = family.fields_at([0.5])
    assert fields.var is not None
    share = fields.mean**2 / (fields.mean**2 + fields.var)
    assert torch.allclose(family.effective_parameters([0.5]), share.sum(dim=1))
    assert torch.allclose(family.kl([0.5]), -0.5 * torch.log1p(-share).sum(dim=1), rtol=1e-4)
    family.restrict(torch.arange(family.layout.size) % 2 == 0)
    assert torch.allclose(family.effective_parameters([0.5]), share[:, ::2].sum(dim=1))


def test_a_family_knows_its_objective() -> None:
    assert Family(mlp(), config()).objective == "scaled-kl"
    assert Family(mlp(), config(posterior="point")).objective == "l2"
    assert Family(mlp(), config(objective="scaled-prior")).objective == "scaled-prior"


def test_complexity_values_asked_for_by_number_by_list_or_by_table() -> None:
    family = Family(mlp(), config())
    assert family.lams(3) == family.domain.grid(3)
    assert family.lams((1, 0.5)) == [1.0, 0.5]
    assert Family(mlp(), config("table")).lams(7) == [0.01, 1.0, 100.0]
    with pytest.raises(ConfigError, match="list of complexity values is empty"):
        family.lams([])
    with pytest.raises(ConfigError, match="outside the trained range"):
        family.lams([1e6])


@pytest.mark.parametrize("mode", [True, False])
def test_a_family_goes_back_to_the_mode_it_was_in(mode: bool) -> None:
    family = Family(mlp(), config()).train(mode)
    with family.evaluating():
        assert not family.training and not family.net.training
    assert family.training is mode
    assert {part.training for part in family.net.modules()} == {mode}
