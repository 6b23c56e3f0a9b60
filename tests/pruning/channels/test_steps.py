"""Channels that go in steps: scores are those of what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.pruning.channels import retrain_structured

G = torch.Generator().manual_seed(0)
X = torch.randn(128, 6, generator=G)
Y = (X[:, :2].sum(1) > 0).long()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2)
    )


def slim(part: nn.Module, **settings: Any) -> nd.Pruned:
    return nd.slim(part, data=(X, Y), criterion="taylor", **settings)


@pytest.mark.parametrize("goal", [{"share": 0.75}, {"size": "60 params"}])
def test_steps_are_cuts_one_after_another(goal: dict[str, Any]) -> None:
    begin = net()
    done = slim(begin, **goal, steps=2)
    parts: list[dict[str, Any]] = [{"share": 0.5}, {"share": 0.5}]
    if "size" in goal:
        whole = sum(p.numel() for p in begin.parameters())
        parts = [{"size": f"{(whole * 60) ** 0.5:.6f} params"}, goal]
    first = slim(begin, **parts[0])
    second = slim(first.net, **parts[1])
    assert done.widths == second.widths
    torch.testing.assert_close(done.net(X), second.net(X), rtol=1e-4, atol=1e-5)
    assert done.plan == first.plan.then(second.plan)


def test_rows_and_plan_are_those_of_the_network_at_the_start(tmp_path: Path) -> None:
    done = slim(net(), share=0.75, steps=4)
    assert {row.group: row.before for row in done.rows} == {"0": 12, "2": 10}
    assert {row.group: row.after for row in done.rows} == done.widths
    assert sum(done.widths.values()) in (5, 6)
    for row in done.rows:
        assert sum(row.assumed.values()) == row.before - row.after
    nd.save(done, tmp_path / "net.safetensors")
    again: Tensor = nd.load_model(tmp_path / "net.safetensors", net())(X)
    torch.testing.assert_close(again, done.net(X), rtol=1e-4, atol=1e-5)


def test_a_number_of_steps_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="steps"):
        slim(net(), share=0.5, steps=0)


@pytest.mark.parametrize("steps", [1, 8])
def test_steps_end_where_no_channel_can_go(steps: int) -> None:
    """Each layer keeps one channel; in steps it used to be refused what goes in one cut."""
    done = slim(net(), share=0.99, steps=steps)
    assert set(done.widths.values()) == {1} and done.net(X).shape == (128, 2)
    assert {row.group: row.before for row in done.rows} == {"0": 12, "2": 10}


def test_rounds_end_where_no_channel_can_go() -> None:
    rounds = retrain_structured(net(), None, (X, Y), share=0.99, rounds=8, epochs=1, batch_size=64)
    assert len(rounds) < 8 and set(rounds[-1].trained.widths.values()) == {1}
