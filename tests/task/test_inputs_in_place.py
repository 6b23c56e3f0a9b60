"""Networks whose code changes their inputs in place: data stay as they are, and all is as of one that makes new tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (96,), generator=torch.Generator().manual_seed(1))


class Scaled(nn.Module):
    """Scales its inputs before anything else."""

    def __init__(self, *, in_place: bool, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_place, self.kind = in_place, kind
        self.a = nn.Linear(6, 16) if kind == "linear" else nn.Conv1d(2, 8, 2)
        self.b = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            x -= 0.5
            x /= 2.0
        else:
            x = (x - 0.5) / 2.0
        x = x if self.kind == "linear" else x.view(-1, 2, 3)
        found: Tensor = self.b(F.relu(self.a(x)).flatten(1))
        return found


def numbers(family: nd.Family) -> list[float]:
    return [float(p.detach().double().sum()) for p in family.parameters()]


def removed(family: nd.Family, x: Tensor, criterion: str) -> list[float]:
    data = nd.Dataset(x, Y)
    return numbers(nd.prune(family, 1.0, 0.5, criterion=criterion, data=data))


USES: dict[str, Callable[[nd.Family, Tensor], Any]] = {
    "fit": lambda family, x: numbers(family),
    "call": lambda family, x: family(x, lam=1.0).sum().item(),
    "evaluate": lambda family, x: nd.evaluate(family, (x, Y), lams=3).table(),
    "surface": lambda family, x: nd.surface(family, (x, Y)).table(),
    "choose": lambda family, x: nd.choose(family, (x, Y)).lam,
    "assess": lambda family, x: str(nd.assess(family, (x, Y))),
    "health": lambda family, x: str(nd.health(family, (x, Y))),
    "curvature": lambda family, x: removed(family, x, "obd-ggn"),
    "gradients": lambda family, x: removed(family, x, "taylor"),
    "slim": lambda family, x: nd.slim(family, 1.0, share=0.5, data=(x, Y)).widths,
    "cut": lambda family, x: nd.slim(family.export(1.0), share=0.5, example=x).widths,
}


@pytest.fixture(scope="module", params=["linear", "convolution"])
def families(request: pytest.FixtureRequest) -> list[nd.Family]:
    told: dict[str, Any] = {"epochs": 2, "batch_size": 32, "objective": "ard"}
    return [
        nd.fit(Scaled(in_place=way, kind=request.param), (X.clone(), Y), **told)
        for way in (False, True)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the network at")
@pytest.mark.parametrize("use", USES)
def test_inputs_may_be_changed_in_place(families: list[nd.Family], use: str) -> None:
    found = []
    for family in families:
        x = X.clone()
        found.append(USES[use](family, x))
        assert torch.equal(x, X)
    assert found[0] == found[1]


def test_a_surface_is_that_of_the_data_given() -> None:
    net = Scaled(in_place=True, kind="linear")
    x, family = X.clone(), nd.fit(net, (X.clone(), Y), epochs=1)
    row = nd.surface(family, (x, Y), lams=[0.1], shares=[0.0]).table()[0]
    assert torch.equal(x, X)
    due = F.cross_entropy(family.export(0.1)(X.clone()), Y).item()
    assert row["nll"] == pytest.approx(due, rel=1e-5)
