"""Prune and retrain: the valley of a histogram, and the experiment on a small data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from netdial.papers import perform
from netdial.papers.retraining import LAMS, WAYS, valley


def test_the_valley_of_one_mode_and_of_two() -> None:
    source = torch.Generator().manual_seed(0)
    one = torch.randn(10_000, generator=source, dtype=torch.float64)
    two = one.abs() + 2
    two[::2] *= -1
    for weights, low, high in ((one, 0.8, 1.0), (two, 0.0, 0.0)):
        counts, edges = torch.histogram(weights, bins=31)
        assert low <= valley(counts.tolist(), edges.tolist()) <= high
    assert valley([3.0, 1.0], [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.slow
def test_the_experiment_says_what_holds(tmp_path: Path) -> None:
    found = perform("retraining", folder=tmp_path, quick=True, data="digits", workers=1)
    accuracy, facts, modes = found.tables
    assert len(accuracy.rows) == len(LAMS) * len(WAYS)
    assert [row[0] for row in modes.rows] == ["L2", "L1"]
    assert len(facts.rows) == 4
    assert "Weights turn bimodal" in found.lead
    values = found.values["accuracy"]
    assert values["l2 0.9 previous"][0] > values["l2 0.9 none"][0] - 0.05
    assert (tmp_path / "report.html").exists()
