"""A warning has the place of the caller's line, however deep inside netdial it arises."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import MemberWarning, warn


def test_a_warning_of_ours_points_at_the_caller() -> None:
    with pytest.warns(MemberWarning, match="mind") as found:
        warn("mind", MemberWarning)
    assert found[0].filename == __file__


def test_training_points_at_the_line_that_called_it() -> None:
    x = torch.arange(40.0)[:, None]
    y = 1e4 * (x > 20).float()
    frame = inspect.currentframe()
    assert frame is not None
    with pytest.warns(UserWarning, match="standardise targets") as found:
        nd.fit(nn.Linear(1, 1), (x, y), kind="regression", epochs=1)
    assert found[0].filename == __file__
    assert found[0].lineno == frame.f_lineno - 2


def test_a_constant_target_is_told_of() -> None:
    x = torch.arange(40.0)[:, None]
    targets = torch.cat([x / 40, torch.full((40, 1), 7.0)], dim=1)
    with pytest.warns(UserWarning, match="target 1 is 7 in all 40 examples"):
        nd.fit(nn.Linear(1, 2), (x, targets), epochs=1)
