"""Branches that die while a network trains: taken out, logged, saved, and gone on with."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.fold.bypass import bypassed
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.method import ShrinkMethod
from netdial.shrinking.shrink import Shrunk, prepare
from netdial.shrinking.state import ShrinkState
from netdial.task import Classification
from netdial.train.config import make


class Residual(nn.Module):
    """A stem, a branch beside the stream, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(4, 6, 3, padding=1)
        self.one = nn.Conv2d(6, 5, 3, padding=1)
        self.two = nn.Conv2d(5, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``[B, 3]``."""
        x = torch.relu(self.stem(x))
        x = x + self.two(torch.relu(self.one(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


CONFIG = make(
    ShrinkConfig,
    {"lam": 5.0, "switch_rate": 0.5, "lam_schedule": "constant", "start": "unit", "epochs": 6},
)


def begun(pictures: tuple[Tensor, Tensor]) -> tuple[ShrinkMethod, ShrinkState]:
    method = ShrinkMethod(CONFIG, task=Classification(), steps=1)
    state = method.init(prepare(Residual(), pictures[0][:2], CONFIG))
    state.module.train()
    return method, state


@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_a_branch_that_dies_is_taken_out_and_training_goes_on(
    pictures: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    method, state = begun(pictures)
    assert set(state.rules) == {"switch_one"}
    before = state.module.eval()(pictures[0])
    while not bypassed(state.module):
        state.module.train()
        method.step(state, pictures)
        assert state.step < 6, "nothing died"
        before = state.module.eval()(pictures[0])
    last = state.events[-1]
    assert last.rule == "bypass"
    assert last.gone["one"] == (0, 1, 2, 3, 4)
    assert "one.weight" not in dict(state.module.named_parameters())
    held = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in state.module.parameters()}
    state.module.train()
    method.step(state, pictures)
    after = state.module.eval()(pictures[0])
    assert not torch.equal(before, after)
    save_network(Shrunk(state.graph, state.plan, state.alive), tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors", Residual())
    assert torch.allclose(again(pictures[0]), after, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_goes_on_bit_for_bit_across_the_death_of_a_branch(
    stop: int, pictures: tuple[Tensor, Tensor]
) -> None:
    method, whole = begun(pictures)
    for _ in range(stop):
        method.step(whole, pictures)
    saved = copy.deepcopy(whole.tree())
    other, state = begun(pictures)
    state.restore(saved)
    state.module.train()
    for _ in range(2):
        method.step(whole, pictures)
        other.step(state, pictures)
    assert bypassed(whole.module) == bypassed(state.module)
    first, second = whole.module.state_dict(), state.module.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.alive == state.alive
    assert whole.plan == state.plan
    assert whole.graph.widths == state.graph.widths
    for name, left in whole.alive.items():
        gone = whole.plan.removed.get(name, ())
        assert not set(left) & set(gone), "numbered as at the start"
