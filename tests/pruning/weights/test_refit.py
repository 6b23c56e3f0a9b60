"""Weights that are left make up for those that went: closed forms, what stays as it is, and that all ways agree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.pruning.weights import Policy, prune, surface
from netdial.pruning.weights.refit import Refit

from .problems import LAMS, family_of


def inputs(*shape: int) -> Dataset:
    """Returns inputs whose columns tell something of each other."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x + 0.7 * x.roll(1, dims=1) + 0.5
    return Dataset(x, torch.zeros(len(x), dtype=torch.int64))


def pruned_of(net: Any, seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
    """Returns a copy without half of its weights, drawn at random, and what is left of each parameter."""
    source = torch.Generator().manual_seed(seed)
    pruned, kept = copy.deepcopy(net), {}
    for name, leaf in pruned.named_parameters():
        kept[name] = (
            torch.rand(leaf.shape, generator=source) > 0.5
            if leaf.ndim > 1
            else torch.ones(leaf.shape, dtype=torch.bool)
        )
        leaf.data.mul_(kept[name])
    return pruned, kept


def regression(x: Tensor, y: Tensor, start: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Returns weights and biases of the ridge regressions of columns of y on the columns of x that are left to each."""
    centre, mean = x.mean(0), y.mean(0)
    weight, bias = torch.zeros_like(start), torch.zeros_like(mean)
    for row in range(len(start)):
        here = left[row].nonzero()[:, 0]
        around = (x - centre)[:, here]
        hold = (1e-2 * around.square().mean(0) * len(x)).sqrt().diag()
        wanted = torch.cat([y[:, row] - mean[row], hold @ start[row, here]])
        found = torch.linalg.lstsq(torch.cat([around, hold]), wanted[:, None]).solution[:, 0]
        weight[row, here] = found
        bias[row] = mean[row] - found @ centre[here]
    return weight, bias


def test_each_row_is_a_ridge_regression_of_what_was_made_on_what_is_left() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    data = inputs(256, 6)
    pruned, kept = pruned_of(net)
    start = copy.deepcopy(pruned)
    Refit(data)(net, pruned, kept)
    first, second = pruned[0], pruned[2]
    x = data.x
    expected = regression(x, net[0](x).detach(), start[0].weight.detach(), kept["0.weight"])
    torch.testing.assert_close((first.weight.data, first.bias.data), expected, rtol=1e-4, atol=1e-5)
    read = torch.tanh(first(x)).detach()
    expected = regression(read, net(x).detach(), start[2].weight.detach(), kept["2.weight"])
    torch.testing.assert_close(
        (second.weight.data, second.bias.data), expected, rtol=1e-4, atol=1e-5
    )
    assert not pruned[0].weight[~kept["0.weight"]].any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv1d(3, 4, 3, padding=1, stride=2),
        lambda: nn.Conv2d(3, 4, (3, 2), dilation=2, padding=(1, 2), padding_mode="circular"),
        lambda: nn.Conv2d(3, 4, 3, padding="same"),
        lambda: nn.Conv3d(3, 4, 2),
    ],
    ids=["stride", "dilation", "same", "three dimensions"],
)
def test_a_convolution_is_fit_to_its_patches(make: Callable[[], Any]) -> None:
    """What a channel sends that is the sum of two others is not lost with its weights."""
    torch.manual_seed(0)
    net = make().double()
    places = net.weight.ndim - 2
    data = inputs(256, 3, *[7] * places)
    data.x[:, 2] = data.x[:, 0] - 0.5 * data.x[:, 1]  # so the third channel can be done without
    pruned, kept = copy.deepcopy(net), {"weight": torch.ones_like(net.weight, dtype=torch.bool)}
    kept["weight"][:, 2] = False
    kept["bias"] = torch.ones(4, dtype=torch.bool)
    pruned.weight.data[:, 2] = 0
    before = copy.deepcopy(pruned)
    Refit(data)(nn.Sequential(net), nn.Sequential(pruned), {f"0.{n}": k for n, k in kept.items()})
    with torch.no_grad():
        now, was = ((each(data.x) - net(data.x)).square().mean() for each in (pruned, before))
    assert now < 1e-2 * was


def test_where_nothing_is_lost_nothing_changes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    same = copy.deepcopy(net)
    Refit(inputs(256, 6))(net, same, {n: p > -9 for n, p in net.named_parameters()})
    for name, leaf in net.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], leaf, rtol=1e-7, atol=1e-9)


class Own(nn.Linear):
    """A layer that makes something else of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's outputs."""
        return nn.functional.linear(x, self.weight.abs(), self.bias)


class Twice(nn.Module):
    """Layers of which all but the last cannot be refit: used twice, of their own kind, of several groups."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.own, self.grouped = (
            nn.Linear(6, 6),
            Own(6, 6),
            nn.Conv1d(6, 6, 1, groups=2),
        )
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Returns two outputs."""
        x = self.own(self.twice(torch.relu(self.twice(x))))
        return cast(Tensor, self.last(self.grouped(x[:, :, None])[:, :, 0]))


def test_only_layers_whose_sums_are_their_own_change() -> None:
    torch.manual_seed(0)
    net = Twice().double()
    pruned, kept = pruned_of(net)
    before = copy.deepcopy(pruned).state_dict()
    del kept["last.bias"]  # no leaf of the family
    kept["last.weight"][:] = torch.tensor([True, True, True, False, True, False])
    Refit(inputs(256, 6))(net, pruned, kept)
    changed = {n for n, leaf in pruned.state_dict().items() if not torch.equal(leaf, before[n])}
    assert changed == {"last.weight"}


def test_a_layer_that_lost_all_of_its_weights_gives_its_mean() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    pruned, kept = copy.deepcopy(net), {n: p > -9 for n, p in net.named_parameters()}
    kept["2.weight"][:] = False
    pruned[2].weight.data[:] = 0  # type: ignore[index, operator, union-attr]
    data = inputs(256, 6)
    Refit(data)(net, pruned, kept)
    torch.testing.assert_close(pruned(data.x[:1])[0], net(data.x).mean(0))


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_layers_of_no_weights_are_passed_over() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 0), nn.Linear(0, 4), nn.Linear(4, 3)).double()
    pruned, kept = pruned_of(net)
    Refit(inputs(256, 6))(net, pruned, kept)
    torch.testing.assert_close(pruned(inputs(256, 6).x), net(inputs(256, 6).x))


def test_rows_without_a_bias_stay_as_they_are() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(6, 4)).double()
    pruned, kept = pruned_of(net)
    kept["0.bias"][1] = False
    pruned[0].bias.data[1] = 0
    before = copy.deepcopy(pruned[0])
    Refit(inputs(256, 6))(net, pruned, kept)
    assert torch.equal(pruned[0].weight[1], before.weight[1])
    assert pruned[0].bias[1].item() == 0
    assert not torch.equal(pruned[0].weight[0], before.weight[0])


def far(family: nd.Family, member: nd.Family, lam: float, x: Tensor) -> float:
    """Returns how far outputs are from those of the whole member."""
    return (family.export(lam)(x) - member.export(lam)(x)).square().mean().item()


@pytest.mark.parametrize("policy", [None, Policy(scope="layer"), Policy(biases=True)])
def test_a_pruned_member_is_nearer_to_the_whole_one(policy: Policy | None) -> None:
    family, data = family_of(double=True), inputs(256, 5)
    plain, better = (
        prune(family, 1.0, 0.6, data=data, policy=policy, refit=refit) for refit in (False, True)
    )
    assert plain.kept is not None and better.kept is not None
    assert torch.equal(plain.kept, better.kept)
    assert not family.layout.join(better.at(1.0))[~better.kept].any()
    assert far(family, better, 1.0, data.x) < 0.9 * far(family, plain, 1.0, data.x)


def test_a_surface_measures_what_prune_gives(blobs: tuple[Tensor, Tensor]) -> None:
    family, shares, lams = family_of(), (0.8, 0.0), LAMS[:2]
    found = surface(family, blobs, lams=lams, shares=shares, train=blobs, refit=True)
    plain = surface(family, blobs, lams=lams, shares=shares, train=blobs)
    assert not torch.equal(found.metrics["nll"], plain.metrics["nll"])
    for k, lam in enumerate(found.lams):
        for s, share in enumerate(shares):
            member = prune(family, lam, share, data=blobs, refit=True)
            row = nd.evaluate(member, blobs).table()[0]
            assert float(found.metrics["nll"][k, s]) == pytest.approx(row["nll"], rel=1e-5)
            net = member.export(lam)
            left = sum(int(p.count_nonzero()) for p in net.parameters())
            assert int(found.params[k, s]) == left


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
def test_a_chosen_member_is_the_one_that_was_looked_at(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    chosen = nd.choose(
        family, blobs, train=blobs, by="best", max_params=20, lams=3, refit=True, n_samples=0
    )
    row = nd.evaluate(chosen.family, blobs).table()[0]
    assert chosen.row.value == pytest.approx(row["nll"], rel=1e-5)
    assert "layers refit" in chosen.card
    plain = nd.choose(family, blobs, train=blobs, by="best", max_params=20, lams=3, n_samples=0)
    assert chosen.row.value != plain.row.value and "layers refit" not in plain.card


def test_draws_go_around_the_weights_that_were_refit(blobs: tuple[Tensor, Tensor]) -> None:
    """The posterior predictive of a surface is that of the pruned member: same noise, other means."""
    family = family_of()
    found = surface(family, blobs, lams=[1.0], shares=(0.5,), train=blobs, refit=True, n_samples=4)
    member = prune(family, 1.0, 0.5, data=blobs, refit=True)
    drawn = surface(member, blobs, lams=[1.0], shares=(0.5,), n_samples=4)
    assert float(found.predictive["nll"]) == pytest.approx(float(drawn.predictive["nll"]), rel=1e-5)


def test_without_training_data_there_is_nothing_to_fit_to(blobs: tuple[Tensor, Tensor]) -> None:
    calls: Mapping[str, object] = {
        "prune": lambda: prune(family_of(), 1.0, 0.5, refit=True),
        "surface": lambda: surface(family_of(), blobs, refit=True),
        "choose": lambda: nd.choose(family_of(), blobs, refit=True),
    }
    for name, call in calls.items():
        with pytest.raises(ConfigError, match="refit"):
            call()  # type: ignore[operator]
        assert name


def test_a_bias_that_is_not_the_familys_stays_and_weights_give_what_it_does_not() -> None:
    """Golden: the ridge regression of what the layer made less its bias, about 0."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(6, 4)).double()
    net[0].bias.data.copy_(torch.tensor([5.0, -3.0, 0.0, 1.0]))
    data, (pruned, kept) = inputs(200, 6), pruned_of(net)
    start, left = pruned[0].weight.detach().clone(), kept["0.weight"]
    Refit(data)(net, pruned, {"0.weight": left})
    for row in range(4):
        here = left[row].nonzero()[:, 0]
        read = data.x[:, here]
        hold = (1e-2 * read.square().mean(0) * len(read)).sqrt().diag()
        made = (data.x @ net[0].weight.detach()[row])[:, None]
        wanted = torch.cat([made, (hold @ start[row, here])[:, None]])
        found = torch.linalg.lstsq(torch.cat([read, hold]), wanted).solution[:, 0]
        torch.testing.assert_close(pruned[0].weight.detach()[row, here], found)
    assert torch.equal(pruned[0].bias, net[0].bias)


@pytest.mark.parametrize("held", [{"freeze": ("*.bias",)}, {"shared": ("*.bias",)}])
def test_refitting_beside_biases_that_do_not_vary_comes_nearer(held: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x = inputs(200, 6).x.float()
    for place in (0, 2):
        net[place].bias.data.fill_(2.0)
    family = nd.fit(net, (x, torch.arange(200) % 3), epochs=2, **held)
    off = []
    for refit in (False, True):
        member = prune(family, 0.1, 0.3, data=(x, torch.arange(200) % 3), refit=refit)
        gap = member.export(0.1)(x) - family.export(0.1)(x)
        off.append(float(gap.detach().square().mean()))
    assert off[1] < off[0]
