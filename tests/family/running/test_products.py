"""Products that are no linear layer's: of one line, by a line, with a bias for all outputs, told by name; what is no batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.core.noise import Noise
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

G = torch.Generator().manual_seed(0)
X = torch.randn(8, 8, generator=G)


class Held(nn.Module):
    """A network that holds leaves of its own; as many examples as outputs, so that a wrong shape can go unnoticed."""

    uses: tuple[str, ...] = ()
    first: nn.Linear
    last: nn.Linear
    line: Tensor
    one: Tensor
    weight: Tensor
    kernel: Tensor
    drop: nn.Dropout
    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        held = {
            "first": nn.Linear(8, 8),
            "last": nn.Linear(8, 3),
            "line": nn.Parameter(torch.randn(8)),
            "one": nn.Parameter(torch.ones(1)),
            "weight": nn.Parameter(torch.randn(8, 8)),
            "kernel": nn.Parameter(torch.randn(1, 1, 3)),
            "drop": nn.Dropout(0.5),
        }
        for name in self.uses:
            setattr(self, name, held[name])
        self.register_buffer("place", torch.randn(1, 8))


class OneLine(Held):
    uses = ("first", "line", "last")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(x + self.first(self.line)))
        return found


class ByALine(Held):
    uses = ("first", "line", "last")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(x)) * F.linear(x, self.line)[:, None])
        return found


class OneBias(Held):
    uses = ("weight", "one", "last")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(F.linear(x, self.weight, self.one)))
        return found


class ByName(Held):
    uses = ("weight", "kernel", "last")

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.conv1d(
            input=F.linear(input=x, weight=self.weight)[:, None], weight=self.kernel, padding=1
        )
        found: Tensor = self.last(torch.relu(hidden[:, 0]))
        return found


class DroppedConstant(Held):
    uses = ("first", "drop", "last")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(x) + self.drop(self.place)))
        return found


NETS = (OneLine, ByALine, OneBias, ByName, DroppedConstant)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_members_without_spread_are_what_they_are_exported_as(
    kind: type[Held], posterior: str
) -> None:
    family = Family(kind(), FamilyConfig(posterior=posterior, log_std=-30.0)).eval()
    unit = torch.tensor([0.5], dtype=torch.float64)
    out = family.run(X, family.fields(unit), unit, Noise(0, 0, [0]))
    torch.testing.assert_close(out, family.export(float(family.domain.lam(unit)))(X))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("objective", ["l1", "ard"])
def test_they_are_trained(kind: type[Held], objective: str) -> None:
    family = nd.fit(kind(), (X, torch.arange(8) % 3), objective=objective, epochs=2, joint=0)
    assert family.export(1.0)(X).isfinite().all()


class Bare(Held):
    uses = ("weight", "one")

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.one)


def test_a_bias_of_all_outputs_has_one_draw_for_all() -> None:
    family = Family(Bare(), FamilyConfig(log_std=-30.0))
    spread: Any = family.log_std
    with torch.no_grad():
        for row in spread.pivots:
            family.layout.split(row)["one"].fill_(0.0)
    unit = torch.tensor([0.5], dtype=torch.float64)
    drawn = family.run(X, family.fields(unit), unit, Noise(0, 0, [0])).detach()
    moved = drawn - X @ family.at(float(family.domain.lam(unit)))["weight"].T - 1
    assert float(moved.std()) < 1e-5 < abs(float(moved.mean()))


def test_a_chain_reads_no_number_of_its_neighbours() -> None:
    """A bias of one number was read as one for each output, the rest from the leaves behind it."""
    assert Family(OneBias()).chain is None
