"""The dial of a family's page: networks among which a budget may choose."""

from __future__ import annotations

import pytest

from netdial.report.sections.dial import candidates
from netdial.runs.surfaces import PrunedSurface


@pytest.mark.parametrize(
    ("cell", "left"),
    [
        ({"removed": 30.0, "params": 75.0, "bytes": 331.0}, 75.0),
        ({"removed": 30.0}, 70.0),  # records of an older netdial hold no numbers left
        ({}, 60.0),
    ],
)
def test_a_pruned_member_has_the_weights_that_are_left(cell: dict[str, float], left: float) -> None:
    cells = {(1.0, 0.4): {**cell, "valid/nll": 0.5, "valid/accuracy": 0.9}}
    surface = PrunedSurface("density", "valid/accuracy", "valid/nll", (1.0,), (0.4,), cells)
    (found,) = candidates([], [], surface, {"n_params": 100}, None, "valid/nll")
    assert found.params == pytest.approx(left)
    assert found.bytes == cell.get("bytes")
