"""Layers without units, as a network whose channels all went may have: families, smaller networks and shrinking take them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

pytestmark = pytest.mark.filterwarnings("ignore")

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
DATA = (X, (X[:, 0] > 0).long())


class Hollow(nn.Module):
    """A hidden layer beside one without units, of which the bias that reads it is left."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.none, self.reads = nn.Linear(4, 0), nn.Linear(0, 2)
        self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        beside: Tensor = self.reads(self.none(x))
        return beside + self.out(self.hidden(x).tanh())


@pytest.mark.parametrize("objective", ["scaled-kl", "ard", "l2"])
def test_a_family_takes_a_layer_without_units(objective: str) -> None:
    family = nd.fit(Hollow(), DATA, objective=objective, epochs=2)
    lams = [0.1, 1.0, 10.0]
    together: Tensor = family.eval()(X, lams)
    for row, lam in zip(together, lams, strict=True):
        member = family.export(lam)
        torch.testing.assert_close(row, member(X))
        own = member.out(member.hidden(X).tanh()) + member.reads.bias
        torch.testing.assert_close(row, own)


@pytest.mark.parametrize("objective", ["scaled-kl", "l2"])
def test_layers_are_drawn_without_the_empty_one(objective: str) -> None:
    class Bare(Hollow):
        """The same without a bias that reads nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.none = nn.Linear(4, 0, bias=False)

    family = nd.fit(Bare(), DATA, objective=objective, epochs=2)
    assert {line.name for line in family.plot_layers().data} == {"reads", "hidden", "out"}


def test_draws_of_a_layer_without_units_are_those_of_its_bias() -> None:
    """At the same numbers of noise the outputs are those of the network that has the bias alone."""
    family = Family(Hollow(), FamilyConfig(log_std=-1.0)).eval()
    units = torch.tensor([0.2, 0.8], dtype=torch.float64)
    spread: Any = family.log_std
    with torch.no_grad():
        for row in spread.pivots:
            for name, part in family.layout.split(row).items():
                part.fill_(0.0 if name == "reads.bias" else -30.0)
    drawn = family.run(X.repeat(40, 1), family.fields(units), units, Noise(0, 0, [0, 1])).detach()
    lams = [float(family.domain.lam(unit)) for unit in units]
    means = torch.cat([family.export(lam)(X.repeat(20, 1)) for lam in lams])
    noise = (drawn - means).detach()
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.05)


def test_channels_beside_a_layer_without_units_go() -> None:
    family = nd.fit(Hollow(), DATA, objective="l2", epochs=2)
    assert nd.slim(family, 1.0, share=0.5, data=DATA).widths == {"hidden": 3}
    shrunk, _ = nd.shrink(Hollow(), DATA, DATA, lam=0.1, epochs=2).fold()
    assert bool(shrunk(X).isfinite().all())
