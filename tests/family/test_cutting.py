"""Cutting a family: members of the smaller family are what survives of the members of the whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.cutting import cut_module, leaf_shapes, leaves
from netdial.core.errors import ShapeError
from netdial.core.plan import Group, Plan, Slot
from netdial.family.config import FamilyConfig
from netdial.family.cutting import cut_family
from netdial.family.family import Family
from netdial.family.maps import MAPS
from netdial.models.family import load_family, save_family

WIDTHS = {"conv": 5, "dense": 4}
LAMS = (0.01, 1.0, 100.0)
POSTERIORS = ("normal", "point")


class Net(nn.Module):
    """A convolution with statistics, a constant buffer, a PReLU that is shared over λ, and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(2, 5, 2), nn.BatchNorm2d(5)
        self.act, self.dense, self.out = nn.PReLU(5), nn.Linear(20, 4), nn.Linear(4, 3)
        self.scale: Tensor
        self.register_buffer("scale", torch.linspace(1, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.act(self.norm(self.conv(x)))
        out: Tensor = self.out(self.dense(hidden.flatten(1)).relu() * self.scale)
        return out


def groups() -> list[Group]:
    conv, dense = (tuple((c,) for c in range(width)) for width in WIDTHS.values())
    flat = tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(5))
    names = ["conv.weight", "conv.bias", "act.weight"]
    names += [f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    rows = [Slot(name, 0, conv) for name in names]
    made = [Slot(name, 0, dense) for name in ("dense.weight", "dense.bias", "scale")]
    return [
        Group("conv", (*rows, Slot("dense.weight", 1, flat))),
        Group("dense", (*made, Slot("out.weight", 1, dense))),
    ]


def plan_without(conv: Any = (1, 3), dense: Any = (0,)) -> Plan:
    return Plan.remove(groups(), {"conv": conv, "dense": dense}, leaf_shapes(Net()))


def family(name: str, posterior: Any = "normal", seed: int = 0, **options: Any) -> Family:
    """A family whose parameters and statistics have been moved, as after training."""
    lams = LAMS if name == "table" else ()
    config = FamilyConfig(
        map=name, lams=lams, posterior=posterior, hidden=3, shared=("act.*",), **options
    )
    made = Family(Net(), config)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*made.parameters(), *made.statistics.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=source))
    return made.double().eval()


def same(one: Family, other: Family) -> bool:
    """Whether two families have the same members, posteriors, statistics and outputs at all λ."""
    x = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for lam in LAMS:
        mine, theirs = one.export(lam), other.export(lam)
        state = theirs.state_dict()
        if not all(torch.equal(leaf, state[name]) for name, leaf in mine.state_dict().items()):
            return False
        if not torch.equal(mine(x), theirs(x)):
            return False
    both = [f.fields_at(LAMS).var for f in (one, other)]
    return (both[0] is None) == (both[1] is None) and (
        both[0] is None or torch.equal(both[0], both[1])  # type: ignore[arg-type]
    )


removals = st.fixed_dictionaries(
    {name: st.sets(st.integers(0, w - 1), max_size=w - 1) for name, w in WIDTHS.items()}
)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("name", list(MAPS))
@settings(max_examples=8)
@given(removed=removals, seed=st.integers(0, 5))
def test_members_are_what_survives(
    name: str, posterior: str, removed: dict[str, set[int]], seed: int
) -> None:
    whole, plan = family(name, posterior, seed), plan_without(**removed)
    cut = cut_family(whole, plan)
    for lam in LAMS:
        members, others = whole.at(lam), cut.at(lam)
        assert members.keys() == others.keys()
        for leaf, tensor in members.items():
            assert torch.allclose(others[leaf], plan.cut(leaf, tensor), rtol=0, atol=1e-12), leaf
        buffers, fewer = whole.buffers_at(lam), cut.buffers_at(lam)
        for leaf, tensor in buffers.items():
            assert torch.equal(fewer[leaf], plan.cut(leaf, tensor)), leaf


@pytest.mark.parametrize("name", list(MAPS))
def test_spreads_and_divergences_are_those_of_what_survives(name: str) -> None:
    whole, plan = family(name), plan_without()
    cut = cut_family(whole, plan)
    before, after = whole.fields_at(LAMS), cut.fields_at(LAMS)
    assert before.var is not None and after.var is not None
    for row in range(len(LAMS)):
        variances = after.layout.split(after.var[row])
        for leaf, var in before.layout.split(before.var[row]).items():
            assert torch.allclose(variances[leaf], plan.cut(leaf, var), rtol=0, atol=1e-12)
    ratio = before.mean.square() / before.var
    for objective, each in (
        ("scaled-kl", 0.5 * (before.var + before.mean.square() - 1 - before.var.log())),
        ("ard", 0.5 * ratio.log1p()),
    ):
        layout = before.layout
        masks = {
            n: plan.mask(n, shape) for n, shape in zip(layout.names, layout.shapes, strict=True)
        }
        kept = layout.join(masks)
        smaller = cut_family(family(name, objective=objective), plan)
        assert smaller.objective == objective
        assert torch.allclose(smaller.kl(LAMS), each[:, kept].sum(dim=1))


@pytest.mark.parametrize("name", list(MAPS))
def test_cutting_commutes_with_pruning(name: str) -> None:
    plan, source = plan_without(), torch.Generator().manual_seed(5)
    first, second = family(name), family(name)
    kept = torch.rand(first.layout.size, generator=source) < 0.6
    first.restrict(kept)
    pruned_then_cut = cut_family(first, plan)
    cut_then_pruned = cut_family(second, plan)
    of_leaf = {n: plan.cut(n, leaf) for n, leaf in first.layout.split(kept).items()}
    cut_then_pruned.restrict(cut_then_pruned.layout.join(of_leaf))
    assert same(pruned_then_cut, cut_then_pruned)
    assert torch.equal(pruned_then_cut.kl(LAMS), cut_then_pruned.kl(LAMS))
    for leaf, tensor in first.at(1.0).items():
        assert torch.allclose(pruned_then_cut.at(1.0)[leaf], plan.cut(leaf, tensor), atol=1e-12)
    assert not same(pruned_then_cut, cut_family(second, plan))


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("name", list(MAPS))
def test_cutting_commutes_with_saving(name: str, posterior: str, tmp_path: Path) -> None:
    plan, whole, template = plan_without(), family(name, posterior), Net()
    whole.restrict(torch.arange(whole.layout.size) % 7 > 0)
    cut = cut_family(whole, plan)
    save_family(whole, tmp_path / "whole")
    save_family(cut, tmp_path / "cut")
    assert same(cut_family(load_family(tmp_path / "whole", Net()), plan), cut)
    cut_module(plan, template)
    assert same(load_family(tmp_path / "cut", template), cut)


def test_cutting_commutes_with_export() -> None:
    plan, whole = plan_without(), family("piecewise")
    x = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    for lam in LAMS:
        member = whole.export(lam)
        cut_module(plan, member)
        assert torch.allclose(member(x), cut_family(whole, plan).export(lam)(x), rtol=0, atol=1e-12)


def test_cuts_compose() -> None:
    whole, first = family("gated"), plan_without((1, 3), ())
    rows = {name: {0: (1, 2)} for name in ("dense.weight", "dense.bias", "scale")}
    second = Plan({**rows, "out.weight": {1: (1, 2)}})
    assert same(cut_family(cut_family(whole, first), second), cut_family(whole, first.then(second)))


def everything(one: Family) -> dict[str, Tensor]:
    return {**leaves(one), **{f"net.{name}": leaf for name, leaf in leaves(one.net).items()}}


def test_the_whole_family_stays_and_shares_nothing() -> None:
    whole = family("lowrank")
    whole.mean.base.requires_grad_(False)
    whole.shared[0].requires_grad_(False)
    before = {name: leaf.clone() for name, leaf in everything(whole).items()}
    cut = cut_family(whole, plan_without())
    assert not cut.mean.base.requires_grad and not cut.shared[0].requires_grad
    assert cut.mean.slope.requires_grad and not cut.training and not cut.net.training
    assert cut.config == whole.config
    with torch.no_grad():
        for tensor in everything(cut).values():
            tensor.zero_()
    assert all(torch.equal(everything(whole)[name], leaf) for name, leaf in before.items())


def test_an_empty_plan_gives_a_family_of_its_own() -> None:
    whole = family("table")
    same_again = cut_family(whole, Plan())
    assert same(same_again, whole)
    with torch.no_grad():
        same_again.mean.pivots.zero_()
        same_again.shared[0].zero_()
    assert bool((whole.mean.pivots != 0).any()) and bool((whole.shared[0] != 0).any())


def test_a_cut_family_trains() -> None:
    cut = cut_family(family("piecewise"), plan_without()).train()
    x, losses = torch.randn(8, 2, 3, 3, dtype=torch.float64), []
    unit = torch.tensor([0.5], dtype=torch.float64)
    for _ in range(20):
        cut.zero_grad()
        loss = cut.run(x, cut.fields(unit), unit).square().mean()
        loss.backward()
        with torch.no_grad():
            for parameter in cut.mean.parameters():
                parameter.sub_(parameter.grad, alpha=0.01)
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_what_does_not_fit_is_refused_and_the_family_stays() -> None:
    whole = family("linear")
    with pytest.raises(ShapeError, match=r"conv\.bias: keeps other positions of out_channels"):
        cut_family(whole, Plan({"conv.weight": {0: (0, 1)}}))
    assert same(whole, family("linear"))
