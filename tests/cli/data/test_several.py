"""Networks of several inputs or outputs, given by a function, through the commands."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch

import netdial as nd
from netdial.cli import main

CODE = """
import torch
from torch import nn

G = torch.Generator().manual_seed(0)
X = torch.randn(90, 6, generator=G)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.h, self.b, self.c = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 3), nn.Linear(9, 2)

    def forward(self, x):
        h = torch.relu(self.h(torch.relu(self.a(x))))
        return {"features": self.c(h), "logits": self.b(h)}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.h, self.b = nn.Linear(6, 9), nn.Linear(6, 9), nn.Linear(18, 3)

    def forward(self, x, z):
        return self.b(torch.cat([torch.relu(self.a(x)), torch.relu(self.h(z))], 1))


def outputs():
    return Two(), *((X[k::3], Y[k::3]) for k in range(3))


def inputs():
    return Pair(), *(((X[k::3], X[k::3] + 1), Y[k::3]) for k in range(3))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*constant")
@pytest.mark.parametrize("several", ["outputs", "inputs"])
@pytest.mark.parametrize("way", ["shrink", "fit"])
def test_commands_take_networks_of_several_inputs_and_outputs(
    way: str, several: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "several_parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "several_parts", raising=False)
    name = "run"
    told = (f"several_parts:{several}", "--epochs", "2", "--quiet", "--name", name)
    assert main([way, *told]) == 0
    lam = ("--lam", "0.1") if way == "fit" else ()
    for command in (
        ("evaluate", name),
        ("slim", name, "--share", ".3", *lam),
        ("compress", name, "--epochs", "1", *lam),
        ("export", name, *lam, "--format", "torch-export", "--out", "net.pt2"),
    ):
        assert main([*command, "--trust", "--json"]) == 0, command


class Two(torch.nn.Module):
    """Gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(13, 16), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.relu(self.a(x))
        return self.b(h), x.mean()


@pytest.mark.slow
def test_networks_that_predict_are_copied_and_cut(tmp_path: Path) -> None:
    data = nd.load_data("wine")
    small = nd.shrink(Two(), data.train, epochs=1, lam=0.01)
    nd.save(small, tmp_path / "small", data=data)
    net = nd.load_model(tmp_path / "small", Two())
    x = data.test.inputs()
    right = net.predict(x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert isinstance(other(x), tuple)
        assert other.predict(x).equals(right)
    assert nd.slim(net, share=0.2, example=x).net(x).shape == (len(x), 3)
