"""Comparing outputs, and running networks in evaluation mode."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.outputs import (
    TOLERANCE,
    contents_kept,
    evaluated,
    evaluating,
    modes_kept,
    same_outputs,
)

number = st.floats(-1e3, 1e3)


@given(values=st.lists(number, min_size=1, max_size=5), apart=st.floats(-1, 1))
def test_the_difference_is_relative_to_the_largest_number_wanted(
    values: list[float], apart: float
) -> None:
    wanted = torch.tensor(values, dtype=torch.float64)
    got = wanted.clone()
    got[0] += apart
    found = same_outputs(wanted, got)
    scale = float(wanted.abs().max()) or 1.0
    assert found.difference == pytest.approx(float((got - wanted).abs().max()) / scale)
    assert bool(found) == (found.difference <= TOLERANCE[torch.float64])
    at_least = same_outputs(wanted, got, least=1e6)
    assert at_least.scale == 1e6 and at_least.absolute == found.absolute


def test_all_tensors_of_a_structure_share_one_scale() -> None:
    small, large = torch.tensor([1e-3]), torch.tensor([100.0])
    wanted, got = {"a": small, "b": [large, None]}, {"a": small + 5e-4, "b": [large, None]}
    assert same_outputs(wanted, got).difference == pytest.approx(5e-6, rel=1e-3)
    assert same_outputs(small, small + 5e-4).difference == pytest.approx(0.5, rel=1e-3)
    assert same_outputs([], []).difference == 0


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ([1.0, 2.0], [1.0], False),
        ([1.0, math.nan], [1.0, math.nan], False),
        ([1.0, math.nan], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, math.nan], False),
        ([1.0, math.inf], [1.0, math.inf], True),
        ([1.0, math.inf], [1.0, -math.inf], False),
        ([0.0], [0.0], True),
        ([], [], True),
    ],
)
def test_what_is_not_a_number_or_of_another_shape(
    wanted: list[float], got: list[float], same: bool
) -> None:
    one, other = torch.tensor(wanted), torch.tensor(got)
    assert bool(same_outputs(one, other)) == same
    nan = math.nan in wanted and math.nan in got
    assert bool(same_outputs(one, other, equal_nan=True)) == (same or nan)


def test_default_tolerances_go_by_the_number_type() -> None:
    one = torch.ones(1, dtype=torch.float64)
    assert not same_outputs(one, one + 1e-9)
    assert same_outputs(one.float(), one.float() + 1e-6)
    assert same_outputs(one.bfloat16(), one.bfloat16()).tolerance == TOLERANCE[torch.float32]
    assert same_outputs(one + 1j, one + 1.5j, tolerance=0.1).absolute == 0.5


class Noisy(nn.Module):
    """Drops, draws and gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.drop = nn.Linear(2, 3), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x += 1
        return self.drop(self.one(x)), {"noise": torch.rand(2)}


def test_evaluation_leaves_modes_inputs_and_generators_as_they_were() -> None:
    net, x = Noisy().train(), torch.zeros(4, 2)
    net.drop.eval()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    out, noise = evaluated(net, x)
    assert torch.equal(out, net.one(torch.ones(4, 2)).detach()) and noise.shape == (2,)
    assert not out.requires_grad
    assert torch.equal(before, torch.get_rng_state()) and not x.any()
    assert net.training and net.one.training and not net.drop.training


def test_modes_come_back_after_an_error() -> None:
    net, other = nn.Dropout(), nn.Dropout().eval()
    with evaluating(net, other):
        assert not net.training and not torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), evaluating(net, other):
        raise ZeroDivisionError
    assert net.training and not other.training and torch.is_grad_enabled()
    with modes_kept(net):
        net.eval()
    assert net.training


class Recorder(nn.Module):
    """A network that hooks its layers when it is first called, and gives what they made."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.seen = nn.Linear(3, 4), nn.Linear(4, 2), []

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not getattr(self, "hooked", False):
            for layer in (self.one, self.two):
                layer.register_forward_hook(lambda _, args, made: self.seen.append(made))
            self.hooked = True
        self.seen.clear()
        self.two(self.one(x))
        return tuple(self.seen)


def test_hooks_that_the_first_call_registers_are_not_registered_twice() -> None:
    net = Recorder()
    for _ in range(2):
        assert [part.shape[1] for part in evaluated(net, torch.ones(2, 3))] == [4, 2]
    assert not net.one._forward_hooks
    assert len(net(torch.ones(2, 3))) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_layer_holds_what_it_did() -> None:
    """Its buffers lie in no dictionary of Python's."""
    net = torch.jit.script(nn.BatchNorm1d(3)).train()
    before = net.running_mean.clone()
    with contents_kept(net):
        net(torch.randn(5, 3))
    assert torch.equal(net.running_mean, before)
