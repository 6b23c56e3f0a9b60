"""Targets at each place of an image or a text, from a function, through the commands: what is stored is what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import netdial as nd
from netdial.core.errors import ConfigError

from ...marks import may_be_useless
from ..conftest import Call

pytestmark = pytest.mark.slow

SOURCE = """
import torch
from torch import nn

class Mapped(nn.Module):
    def __init__(self, channels, last):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head, self.last = nn.Conv2d(6, channels, 1), last

    def forward(self, x):
        out = self.head(torch.relu(self.norm(self.first(x))))
        return out.movedim(1, -1) if self.last else out

source = torch.Generator().manual_seed(0)
x = torch.randn(120, 1, 3, 4, generator=source)
classes = (x[:, 0] > 0).long() + (x[:, 0] > 1).long()
classes[:, 0, 0] = -100

def given(y, channels, last=False):
    torch.manual_seed(0)
    parts = [(x[a:b], y[a:b]) for a, b in ((0, 60), (60, 90), (90, 120))]
    return Mapped(channels, last), *parts

def first():
    return given(classes, 3)

def last():
    return given(classes, 3, True)

def tags():
    torch.manual_seed(0)
    words = torch.randint(0, 9, (120, 5), generator=source)
    parts = [(words[a:b], words[a:b] % 4) for a, b in ((0, 60), (60, 90), (90, 120))]
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4)), *parts

def numbers():
    return given(0.1 * x, 1)
"""


@may_be_useless
@pytest.mark.parametrize("name", ["first", "last", "numbers"])
def test_commands_take_targets_at_places(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mapped.py").write_text(SOURCE)
    monkeypatch.delitem(sys.modules, "mapped", raising=False)

    def done(*words: str) -> Any:
        said = call(*words, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    def score(net: Any) -> float:
        """Returns accuracy or RMSE on the test part, by hand."""
        module = sys.modules["mapped"]
        x, y = module.x[90:], (module.classes if name != "numbers" else 0.1 * module.x)[90:]
        with torch.no_grad():
            out: Tensor = net.eval()(x)
        if name == "numbers":
            return float((out - y).square().mean().sqrt())
        right = out.argmax(-1 if name == "last" else 1) == y
        return float(right[y >= 0].float().mean())

    metric = "rmse" if name == "numbers" else "accuracy"
    done("fit", f"mapped:{name}", "--epochs", "6", "--points", "3", "--name", "run", "-q")
    rows = done("evaluate", "run", "--trust", "--split", "test", "--points", "2")["members"]
    family = nd.load_model("runs/run", net=getattr(sys.modules["mapped"], name)()[0])
    for row in rows:
        assert row[metric] == pytest.approx(score(family.export(row["lam"])), abs=1e-5)
    with pytest.raises(ConfigError, match=r"a row for each example.* family\.export"):
        family.predict(sys.modules["mapped"].x[:2], lam=0.1)
    for words in (["choose"], ["prune"]):
        done(*words, "run", "--trust")
    done("export", "run", "--lam", "0.1", "--trust", "-o", "member.safetensors")
    member = nd.load_model("member.safetensors", net=family.net)
    assert score(member) == pytest.approx(score(family.export(0.1)), abs=1e-6)
    done("slim", "run", "--lam", "0.1", "--share", "0.5", "--trust", "-o", "small.safetensors")
    budget = ["--max-bytes", "900", "--epochs", "2", "--trust"]
    found = done("compress", "run", "--lam", "0.1", *budget, "--split", "test", "-o", "a.ndz")
    net = nd.load_model("a.ndz", net=family.net)
    assert found["stages"][-1]["metrics"][metric] == pytest.approx(score(net), abs=1e-5)
    assert found["split"] == "test" and sum(found["ledger"].values()) == found["bytes"]


def test_contenders_take_one_target_for_an_example(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mapped.py").write_text(SOURCE)
    said = call("benchmark", "mapped:first", "--seconds", "0.1", "--seeds", "1", "--quiet")
    assert said.code == 2 and "dense-classification" in said.line


@may_be_useless
def test_texts_with_a_class_for_each_word(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mapped.py").write_text(SOURCE)
    fit = (
        "fit",
        "mapped:tags",
        "--epochs",
        "8",
        "--points",
        "3",
        "--objective",
        "ard",
        "--lr",
        "0.05",
    )
    said = call(*fit, "--name", "run", "-q", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["members"][0]["valid/accuracy"] > 0.9
