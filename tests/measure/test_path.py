"""Evaluation along λ: what is made once, however many members or draws there are."""

from __future__ import annotations

import pytest
import torch

from netdial.family import Family, FamilyConfig
from netdial.measure.path import evaluate


def test_fields_are_made_once_for_all_draws_and_for_all_that_needs_no_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Members are exported one by one, twice with draws; all else makes the fields a few times, however many λ or draws."""
    family = Family(torch.nn.Linear(3, 2), FamilyConfig())
    data = torch.randn(8, 3), torch.arange(8) % 2
    made, ask = [], Family.fields_at
    monkeypatch.setattr(Family, "fields_at", lambda self, lams: made.append(1) or ask(self, lams))

    def count(lams: int, draws: int) -> int:
        made.clear()
        evaluate(family, data, lams=lams, n_samples=draws, kind="classification")
        return len(made)

    assert count(9, 2) == count(9, 12)
    assert count(20, 0) - count(10, 0) == 10
    assert count(20, 2) - count(10, 2) == 30
