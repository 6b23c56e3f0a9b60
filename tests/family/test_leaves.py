"""Leaves: what is frozen stays, what is shared is trained alike, and the settings that a network brings with it are kept."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family import Family, FamilyConfig
from netdial.measure.forward import recalibrate
from netdial.models.family import load_family, save_family
from netdial.pruning.weights.rounds import retrain
from netdial.train.finetune import specialise


def net(seed: int = 0, *, frozen: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)
    )
    made[1].running_mean.uniform_(-1, 1)  # type: ignore[operator]
    if frozen:
        made[:2].requires_grad_(False)
    return made


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(32, 4)
    return x, (x[:, 0] > 0).long()


def frozen_part(model: nn.Module) -> dict[str, Tensor]:
    """Everything of the first two layers, running statistics included."""
    return {n: t for n, t in model.state_dict().items() if n.startswith(("0.", "1."))}


def assert_still(model: nn.Module, start: nn.Module) -> None:
    before, after = frozen_part(start), frozen_part(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in before), name


SETTINGS: list[dict[str, Any]] = [
    {},
    {"optimizer": "AdamW", "schedule": "constant"},
    {"optimizer": "SGD", "momentum": 0.9},
    {"objective": "l2"},
    {"map": "lowrank", "sampling": "whole"},
    {"precision": "64-true"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_frozen_leaves_never_move_and_come_back_frozen(
    settings: dict[str, Any], data: tuple[Tensor, Tensor]
) -> None:
    start = net()
    family = nd.fit(start, data, epochs=2, batch_size=16, groups=4, **settings)
    wanted = start.double() if settings.get("precision") == "64-true" else start
    for lam in (0.01, 10.0):
        assert_still(family.export(lam), wanted)
    trained = family.export(1.0).state_dict()
    assert not torch.equal(trained["3.weight"], wanted.state_dict()["3.weight"])


@pytest.mark.parametrize(
    "patterns", [("0.*", "1.*"), ("0", "1"), ("0.weight", "*0.bias", "BatchNorm1d")]
)
def test_patterns_freeze_names_layers_and_classes(
    patterns: tuple[str, ...], data: tuple[Tensor, Tensor]
) -> None:
    start = net(frozen=False)
    family = nd.fit(start, data, epochs=2, batch_size=16, groups=4, freeze=patterns)
    assert_still(family.export(1.0), start)
    assert all(p.requires_grad for p in start.parameters())


def test_frozen_leaves_stay_in_directly_trained_and_finetuned_networks(
    data: tuple[Tensor, Tensor],
) -> None:
    starts = [net(0), net(1)]
    starts[1].load_state_dict({**starts[1].state_dict(), "1.running_var": torch.full((6,), 2.0)})
    for start, family in zip(
        starts, nd.fit_direct(starts, data, lams=[0.1, 1.0], epochs=2, batch_size=16), strict=True
    ):
        assert_still(family.export(0.1), start)
        assert_still(nd.finetune(family, 1.0, data, epochs=1, batch_size=16).export(1.0), start)
    plain = nd.fit(net(frozen=False), data, epochs=1, batch_size=16, groups=4)
    member = plain.export(0.5)
    tuned = nd.finetune(plain, 0.5, data, epochs=2, batch_size=16, freeze=("0", "1")).export(0.5)
    assert_still(tuned, member.train())
    assert not torch.equal(tuned.get_parameter("3.weight"), member.get_parameter("3.weight"))


def test_networks_that_differ_in_what_is_frozen_are_not_confused(
    data: tuple[Tensor, Tensor],
) -> None:
    starts = [nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(2)]
    for start in starts:
        start[0].requires_grad_(False)
    families = nd.fit_direct(starts, data, lams=[0.1], epochs=1, batch_size=16)
    for start, family in zip(starts, families, strict=True):
        assert torch.equal(family.at(0.1)["0.weight"], start.get_parameter("0.weight"))


def test_frozen_leaves_have_no_divergence_and_count_as_parameters() -> None:
    whole, part = Family(net(frozen=False)), Family(net())
    one = 0.5 * (torch.tensor(-6.0).exp() - 1 + 6)  # of a number with mean 0 and log_std -3
    square = sum(float(p.square().sum()) for p in net()[:2].parameters())
    count = sum(p.numel() for p in net()[:2].parameters())
    expected = float(count * one + 0.5 * square)
    assert float((whole.kl([1.0]) - part.kl([1.0])).detach()) == pytest.approx(expected, rel=1e-4)
    assert part.n_params == whole.n_params
    assert part.frozen == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert part.effective_parameters([1.0]) < part.layout.size


def test_a_frozen_normalisation_layer_uses_its_statistics_and_does_not_update_them(
    data: tuple[Tensor, Tensor],
) -> None:
    start = net()
    family = Family(start).train()
    assert not family.net.get_submodule("1").training and family.net.get_submodule("0").training
    assert family.held == ("1",) and not family.statistics.names
    unit = torch.tensor([0.5], dtype=torch.float64)
    out = family.run(data[0], family.fields(unit), unit)
    assert torch.allclose(out, start.eval()(data[0]), atol=1e-5)
    member = recalibrate(family, family.export(1.0), Dataset(*data))
    assert_still(member, start)
    assert Family(net(frozen=False)).held == ()


def test_a_normalisation_layer_without_parameters_goes_with_the_layer_around_it() -> None:
    def backbone() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False))

    still = nn.Sequential(backbone().requires_grad_(False), backbone(), nn.Linear(3, 2))
    assert Family(still).held == ("0.1",)
    free = nn.Sequential(backbone(), nn.Linear(3, 2))
    family = Family(free, FamilyConfig(freeze=("0.1",)))
    assert family.held == ("0.1",) and family.frozen == ()
    assert Family(free, family.config).held == ("0.1",)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="all 8 are frozen"):
        Family(net().requires_grad_(False))
    with pytest.raises(ConfigError, match="all 8 are frozen"):
        Family(net(frozen=False), FamilyConfig(freeze=("*",)))


@pytest.mark.parametrize("option", ["freeze", "shared"])
def test_a_pattern_that_means_nothing_is_refused_with_the_nearest_name(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option} pattern '0.weigth'.*'0.weight'"):
        Family(net(), replace(FamilyConfig(), **{option: ("0.weigth",)}))  # type: ignore[arg-type]


def test_tied_weights_are_meant_by_each_of_their_names_and_stay_tied(
    data: tuple[Tensor, Tensor],
) -> None:
    made = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    made[2].weight = made[0].weight
    family = nd.fit(made, data, epochs=1, batch_size=16, groups=4, freeze=("2.weight",))
    assert family.frozen == ("0.weight",)
    member = family.export(1.0)
    assert member.get_parameter("0.weight") is member.get_submodule("2").weight
    assert torch.equal(member.get_parameter("0.weight"), made.get_parameter("0.weight"))


def test_what_is_frozen_comes_back_from_a_file_whatever_the_given_network_has_frozen(
    tmp_path: Path, data: tuple[Tensor, Tensor]
) -> None:
    start = net()
    family = nd.fit(start, data, epochs=1, batch_size=16, groups=4, shared=("3.bias",))
    save_family(family, tmp_path / "f")
    for given in (net(5, frozen=False), net(6).requires_grad_(False)):
        loaded = load_family(tmp_path / "f", given)
        assert loaded.frozen == family.frozen and loaded.held == family.held
        assert loaded.layout == family.layout
        assert_still(loaded.export(0.5), start)
        assert torch.equal(loaded.export(0.5)(data[0]), family.export(0.5)(data[0]))


def test_frozen_leaves_keep_their_number_type(tmp_path: Path, data: tuple[Tensor, Tensor]) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Linear(4, 6, dtype=torch.bfloat16).requires_grad_(False)
            self.steps = nn.Parameter(torch.arange(2), requires_grad=False)
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.below(x.bfloat16()).float()) + 0 * self.steps
            return out

    start = Half()
    family = nd.fit(start, data, epochs=1, batch_size=16, groups=4)
    assert family.dtype == torch.float32
    save_family(family, tmp_path / "f")
    for made in (family, load_family(tmp_path / "f", Half()), specialise(family, 1.0)):
        member = made.export(1.0)
        assert member.get_parameter("below.weight").dtype == torch.bfloat16
        assert member.get_parameter("steps").dtype == torch.int64
        assert torch.equal(member.get_parameter("below.weight"), start.below.weight)
        assert torch.equal(member(data[0]), family.export(1.0)(data[0]))


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        (lambda n: n.bfloat16(), "'0.weight' is torch.bfloat16"),
        (lambda n: n[3].double(), "'0.weight' is torch.float32.*'3.weight' is torch.float64"),
        (lambda n: n[3].to("meta"), "'3.bias' has no values"),
    ],
)
def test_leaves_that_cannot_be_trained_as_they_are_are_refused(change: Any, facts: str) -> None:
    made = net(frozen=False)
    change(made)
    with pytest.raises(ConfigError, match=facts):
        Family(made)


def test_pruning_and_fresh_starts_leave_frozen_leaves_alone(data: tuple[Tensor, Tensor]) -> None:
    start = net()
    family = nd.fit(start, data, epochs=1, batch_size=16, groups=4)
    assert_still(nd.prune(family, 1.0, 0.9, data=data).export(1.0), start)
    done = retrain(
        family, 1.0, Dataset(*data), share=0.5, rounds=1, start="random", epochs=1, batch_size=16
    )
    assert_still(done[-1].family.export(1.0), start)


def test_the_given_network_is_left_as_it_is(data: tuple[Tensor, Tensor]) -> None:
    start = net()
    before = copy.deepcopy(start.state_dict())
    nd.fit(start, data, epochs=1, batch_size=16, groups=4)
    assert all(torch.equal(before[n], t) for n, t in start.state_dict().items())
    assert [p.requires_grad for p in start.parameters()] == [False] * 4 + [True] * 4
