"""A prior that is centred on the weights at the start: closed forms, files, and what refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import netdial as nd
from netdial.core.errors import ConfigError, DataError, TraceError
from netdial.core.layout import Layout
from netdial.family.family import Family
from netdial.family.fields import Anchor, Fields
from netdial.train.finetune import specialise

LAYOUT = Layout.of({"w": torch.zeros(4)})


def _fields(kept: Tensor | None = None) -> tuple[Fields, Anchor]:
    source = torch.Generator().manual_seed(0)
    mean, log_std, at = (torch.randn(2, 4, generator=source).double() for _ in range(3))
    anchor = Anchor(at[0], at[1].exp())
    return Fields(LAYOUT, mean, log_std, kept, anchor=anchor), anchor


def test_divergence_is_that_of_two_normals() -> None:
    fields, (at, scale) = _fields()
    assert fields.log_std is not None
    prior_var = torch.tensor([0.5, 3.0]).double()
    own = Normal(fields.mean, fields.log_std.exp())
    prior = Normal(at.expand(2, 4), scale * prior_var.sqrt()[:, None])
    assert torch.allclose(fields.kl(prior_var), kl_divergence(own, prior).sum(1))
    moved = (fields.mean - at) / scale
    assert torch.allclose(fields.square_norm(), moved.square().sum(1))
    assert torch.allclose(fields.absolute_norm(), moved.abs().sum(1))
    ratio = moved.square() / (fields.log_std.exp() / scale).square()
    assert torch.allclose(fields.relevance(), 0.5 * torch.log1p(ratio).sum(1))
    means, variances = fields.flats()
    assert torch.equal(means, fields.mean) and variances is not None
    assert torch.allclose(variances, fields.log_std.exp().square())


def test_pruned_numbers_have_no_divergence() -> None:
    kept = torch.tensor([True, False, True, True])
    fields, (at, scale) = _fields(kept)
    assert fields.log_std is not None
    some = Fields(
        Layout.of({"w": torch.zeros(3)}),
        fields.mean[:, kept],
        fields.log_std[:, kept],
        anchor=Anchor(at[kept], scale[kept]),
    )
    var = torch.ones(2).double()
    assert torch.allclose(fields.kl(var), some.kl(var))
    assert torch.allclose(fields.square_norm(), some.square_norm())


def _line() -> tuple[nn.Linear, Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, generator=source)
    y = x @ torch.tensor([[1.0], [-1.0], [0.5]]) + 0.1 * torch.randn(20, 1, generator=source)
    net = nn.Linear(3, 1, bias=False)
    net.weight.data = torch.tensor([[2.0, 0.0, -1.0]])
    return net, x, y


@pytest.mark.slow
@pytest.mark.parametrize("lam", [0.5, 5.0])
def test_ridge_towards_the_start(lam: float) -> None:
    net, x, y = _line()
    (family,) = nd.fit_direct(
        [net],
        (x, y),
        lams=[lam],
        objective="l2",
        anchor="start",
        epochs=400,
        lr=0.05,
        batch_size=20,
    )
    start = net.weight.detach().T
    matrix = x.T @ x + 2 * lam * torch.eye(3)
    expected = torch.linalg.solve(matrix, x.T @ y + 2 * lam * start)
    found: Any = family.export(lam)
    assert torch.allclose(found.weight.T, expected, atol=1e-2)


SETTINGS: dict[str, Any] = {"objective": "l2", "epochs": 60, "lr": 0.05, "batch_size": 20}


def test_a_strong_prior_keeps_the_start_and_a_weak_one_forgets_it() -> None:
    net, x, y = _line()
    family = nd.fit(net, (x, y), anchor="start", lam=(1e-2, 1e3), **SETTINGS)
    strong, weak = ((family.at(lam)["weight"] - net.weight).norm() for lam in (1e3, 1e-2))
    assert strong < 0.05 < 1 < weak
    path = nd.evaluate(family, (x, y), lams=[1e-2, 1e3])
    assert path.members[1].norm < 0.01 < path.members[0].norm


@pytest.mark.parametrize("channels", [1, 3])
def test_old_inputs_of_networks_whose_outputs_have_places(channels: int) -> None:
    x = torch.randn(20, 1, 4, 4)
    net = nn.Conv2d(1, channels, 3, padding=1)
    y = x if channels == 1 else (x[:, 0] > 0).long() + (x[:, 0] > 1).long()
    family = nd.fit(net, (x, y), anchor="start", old_inputs=x, epochs=1, batch_size=20)
    assert family.n_params == 10 * channels


def test_a_weight_that_old_inputs_need_stays_closer() -> None:
    net, x, y = _line()
    old = torch.tensor([[10.0, 0.0, 0.0]]).repeat(8, 1)  # nothing else matters
    how: dict[str, Any] = {"anchor": "start", "lam": (1e-2, 1e2), **SETTINGS}
    family = nd.fit(net, (x, y), old_inputs=old, **how)
    assert family.anchor is not None
    fisher = torch.tensor([800.0, 0.0, 0.0])  # Σ x², the Gauss-Newton diagonal of a line
    precision = 0.01 + 0.99 * fisher / fisher.mean()
    assert torch.allclose(family.anchor[1], precision.rsqrt())
    plain = nd.fit(net, (x, y), **how)
    moved, before = ((one.at(10.0)["weight"] - net.weight).abs()[0] for one in (family, plain))
    assert moved[0] < 0.7 * before[0] and moved[1] > before[1]


def test_classes_need_no_labels() -> None:
    net, x, _ = _line()
    net = nn.Linear(3, 2)
    family = nd.fit(
        net, (x, (x[:, 0] > 0).long()), anchor="start", old_inputs=x, epochs=1, batch_size=20
    )
    assert family.anchor is not None
    chances = net(x).softmax(1).detach()
    weights = (chances * (1 - chances)).T @ x.square()  # Σ p (1 - p) x²
    found = family.layout.split(family.anchor[1])["weight"]
    ratio = (weights / weights[0, 0]).sqrt()
    assert torch.allclose(found[0, 0] / found, ratio, rtol=0.05)


def test_a_file_keeps_the_anchor(tmp_path: Path) -> None:
    net, x, y = _line()
    family = nd.fit(net, (x, y), anchor="start", old_inputs=x, **{**SETTINGS, "epochs": 2})
    nd.save(family, tmp_path / "family.safetensors")
    other = nn.Linear(3, 1, bias=False)
    again = nd.load_model(tmp_path / "family.safetensors", net=other)
    assert isinstance(again, Family) and again.anchor is not None and family.anchor is not None
    assert torch.equal(again.anchor, family.anchor)
    norms = [one.fields_at([1.0]).square_norm() for one in (family, again)]
    assert torch.equal(*norms)


def test_what_counts_from_zero_refuses_it() -> None:
    net, x, y = _line()
    family = nd.fit(net, (x, y), anchor="start", objective="ard", epochs=1, batch_size=20)
    for asked in (
        lambda: nd.assess(family, (x, y)),
        lambda: nd.finetune(family, 1.0, (x, y)),
        lambda: nd.prune(family, 1.0, 0.5),
    ):
        with pytest.raises(ConfigError, match="anchor='start'"):
            asked()


def test_bad_input_is_refused() -> None:
    net, x, y = _line()
    with pytest.raises(ConfigError, match="anchor"):
        nd.fit(net, (x, y), anchor="middle")
    with pytest.raises(ConfigError, match="old_inputs"):
        nd.fit(net, (x, y), old_inputs=x)
    with pytest.raises(DataError, match="old_inputs"):
        nd.fit(net, (x, y), anchor="start", old_inputs=0 * x, epochs=1)


@pytest.mark.parametrize("outputs", [1, 2])
def test_old_inputs_that_the_network_does_not_take_are_refused_in_words(outputs: int) -> None:
    x = torch.randn(20, 3)
    y = (x[:, 0] > 0).long() if outputs == 2 else x[:, :1]
    with pytest.raises(TraceError, match=r"network Linear: fails on inputs of shape \[\d+, 5\]"):
        nd.fit(nn.Linear(3, outputs), (x, y), anchor="start", old_inputs=torch.randn(6, 5))


@pytest.mark.parametrize("frozen", [(), ("2.*",)])
def test_a_member_by_itself_has_the_same_prior(frozen: tuple[str, ...]) -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    data = (x, (x[:, 0] > 0).long())
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    family = nd.fit(
        net, data, objective="scaled-kl", anchor="start", old_inputs=x[:20], epochs=3, freeze=frozen
    )
    member = specialise(family, 1.0)
    torch.testing.assert_close(member.kl([1.0]), family.kl([1.0]))
