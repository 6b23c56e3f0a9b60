"""A warning has the place of the caller's line, however deep inside netdial it arises."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import MemberWarning, warn
from netdial.structure.evidence import weigh_structures
from netdial.structure.spaces import ready_space
from netdial.train.config import TrainConfig, make


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


X = torch.linspace(-1, 1, 40)[:, None]
FAR: dict[str, Any] = {"data": (X, 1e5 * X), "kind": "regression"}
SPACE: dict[str, Any] = {"input_shape": (1,), "n_outputs": 1}
TRAININGS: dict[str, Callable[[], object]] = {
    "fit": lambda: nd.fit(nn.Linear(1, 1), epochs=1, **FAR),
    "fit_direct": lambda: nd.fit_direct(nn.Linear(1, 1), lams=[1.0], epochs=1, **FAR),
    "shrink": lambda: nd.shrink(nd.build("mlp:8", **SPACE), size="16 params", epochs=1, **FAR),
    "search": lambda: nd.search(
        ready_space("mlp", **SPACE), (X, 1e5 * X), (X, 1e5 * X), strategy="random", options={"trials": 1},
        epochs=1, candidates=1, starts=1, compare=False,
    ),
    "weigh_structures": lambda: weigh_structures(
        space := ready_space("polynomial", degree=1, **SPACE), list(space.enumerate()), (X, 1e5 * X),
        make(TrainConfig, {"epochs": 1}),
    ),
}  # fmt: skip
"""Everything that trains from data."""


@pytest.mark.parametrize("training", list(TRAININGS))
def test_every_training_tells_of_targets_far_from_unit_scale(training: str) -> None:
    """Searches and shrinking did not."""
    with pytest.warns(UserWarning, match="standardise targets"):
        TRAININGS[training]()


def test_a_constant_target_is_told_of() -> None:
    x = torch.arange(40.0)[:, None]
    targets = torch.cat([x / 40, torch.full((40, 1), 7.0)], dim=1)
    with pytest.warns(UserWarning, match="target 1 is 7 in all 40 examples"):
        nd.fit(nn.Linear(1, 2), (x, targets), epochs=1)
