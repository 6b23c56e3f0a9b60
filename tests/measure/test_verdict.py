"""The verdict of no loss: a paired test with a margin, and words that are said only where it holds."""

from __future__ import annotations

import math

import pytest
import torch

from netdial.core.errors import ConfigError, ShapeError
from netdial.measure.verdict import verdict


def losses(seeds: int, count: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return (torch.rand(seeds, count, generator=source) < 0.1).double()


def test_the_same_losses_are_no_loss_and_a_worse_network_is_none() -> None:
    control = losses(5, 2000)
    same = verdict(control, control)
    assert same.no_loss and same.words().startswith("no loss")
    assert (same.excess, same.error, same.bound) == (0, 0, 0)
    assert same.margin == pytest.approx(2 * float(control.mean(0).std()) / math.sqrt(2000))
    worse = control.clone()
    worse[:, :60] = 1.0
    judged = verdict(worse, control)
    assert not judged.no_loss and "no loss" not in judged.words()
    assert judged.excess == pytest.approx(float((worse - control).mean()))


def test_few_seeds_are_not_judged_however_good() -> None:
    control = losses(4, 500)
    judged = verdict(control - 1.0, control)
    assert judged.bound < judged.margin
    assert not judged.no_loss and "no loss" not in judged.words() and "5 seeds" in judged.words()


def test_not_knowing_is_not_no_loss() -> None:
    """Few examples: the mean difference is 0, but nobody could have seen one."""
    control = losses(5, 40)
    other = control.roll(1, dims=1)
    judged = verdict(other, control, margin=0.01)
    assert abs(judged.excess) < 0.01 < judged.bound
    assert not judged.no_loss


def test_the_bound_is_that_of_student_over_seeds_where_examples_do_not_differ() -> None:
    control = torch.zeros(5, 10_000, dtype=torch.float64)
    gaps = torch.tensor([0.01, 0.02, 0.0, 0.03, -0.01], dtype=torch.float64)
    judged = verdict(control + gaps[:, None], control, margin=1.0)
    error = float(gaps.std()) / math.sqrt(5)
    assert judged.error == pytest.approx(error)
    assert judged.bound == pytest.approx(0.01 + 2.132 * error)
    assert judged.words("points", 100).startswith("no loss: +1 ±")


def test_shapes_and_margins_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[5, 10\].*\[5, 9\]"):
        verdict(torch.zeros(5, 10), torch.zeros(5, 9))
    with pytest.raises(ConfigError, match="margin=0"):
        verdict(losses(5, 10), losses(5, 10), margin=0.0)
