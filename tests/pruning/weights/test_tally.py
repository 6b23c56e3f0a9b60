"""Metrics of many members at once are those of each, whatever the batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.pruning.weights.tally import Mixture, Tally
from netdial.task import named


def drawn(seed: int, kind: str) -> tuple[Tensor, Tensor]:
    """Outputs ``[S, M, b, C]`` and targets."""
    source = torch.Generator().manual_seed(seed)
    out = 2 * torch.randn(4, 3, 20, 5, generator=source)
    if kind == "regression":
        return out, torch.randn(20, 5, generator=source)
    return out, torch.randint(0, 5, (20,), generator=source)


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [("classification", ("accuracy", "nll", "brier")), ("regression", ("rmse", "nll"))],
)
@given(seed=st.integers(0, 50), size=st.integers(1, 20))
def test_metrics_are_those_of_single_members(
    kind: str, metrics: tuple[str, ...], seed: int, size: int
) -> None:
    out, targets = drawn(seed, kind)
    tally, mixture, averaged = (
        Tally(metrics, named(kind)),
        Mixture(named(kind)),
        Tally(metrics, named(kind)),
    )
    parts = targets.split(size)
    for draw in out:
        for number, (part, y) in enumerate(zip(draw.split(size, dim=1), parts, strict=True)):
            mixture.add(number, part, y)
    for part, y in zip(out[0].split(size, dim=1), parts, strict=True):
        tally.add(part, y)
    mixture.score(averaged, parts)
    for member in range(3):
        single = named(kind).predictive(out[:1, member], targets)
        mixed = named(kind).predictive(out[:, member], targets)
        for name in metrics:
            assert float(tally.means()[name][member]) == pytest.approx(single[name], rel=1e-4)
            assert float(averaged.means()[name][member]) == pytest.approx(mixed[name], rel=1e-4)


def test_of_equal_classes_the_first_counts() -> None:
    tally = Tally(("accuracy",), named("classification"))
    tally.add(torch.zeros(1, 4, 3), torch.tensor([0, 0, 1, 2]))
    assert tally.means()["accuracy"].tolist() == [0.5]


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown metric 'rmse' \(allowed: accuracy, .*brier, .*nll\)"
    ):
        Tally(("rmse",), named("classification"))
