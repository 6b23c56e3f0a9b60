"""Figure 3: distances are the symmetrised divergence; a small run trains everything that is compared."""

from __future__ import annotations

import math

import pytest
import torch

from netdial.core.layout import Layout
from netdial.family import Fields
from netdial.jobs.pool import make_all
from netdial.papers.wine_fig3 import (
    AGAIN,
    DIRECT,
    LAMS,
    SHORT,
    TUNED,
    MeasuredNetworks,
    Net,
    Wine,
    figure,
    row,
)
from netdial.runs.store import Store

LAYOUT = Layout.of({"w": torch.zeros(2)})


def net(label: str, lam: float, mean: float, seed: int = 0) -> Net:
    fields = Fields(LAYOUT, torch.full((1, 2), mean), torch.zeros(1, 2))
    return Net(seed, label, lam, fields, 1.0)


def test_distance_is_the_symmetrised_divergence() -> None:
    table = MeasuredNetworks(
        net(label, lam, mean) for label, mean in ((DIRECT, 0.0), ("x", 3.0)) for lam in LAMS
    )
    # equal spreads of 1: each divergence is half the squared distance 3² + 3²
    assert table.overall("x") == [pytest.approx(math.log10(18))]
    assert table.closer(DIRECT, "x", 1e2) == "1 of 1"


def test_closer_counts_seeds() -> None:
    means = {DIRECT: (0.0, 0.0, 0.0), "x": (1.0, 2.0, 3.0), "y": (2.0, 1.0, 4.0)}
    table = MeasuredNetworks(
        net(label, lam, mean, seed)
        for label, row in means.items()
        for seed, mean in enumerate(row)
        for lam in LAMS
    )
    assert table.closer("x", "y", 1e3) == "2 of 3"


@pytest.mark.slow
def test_everything_that_is_compared_is_trained_and_kept(tmp_path) -> None:
    store = Store(tmp_path)
    cells = [Wine(0, way, epochs=1, lr=5e-3) for way in (DIRECT, "piecewise")]
    make_all(cells, store, workers=1)
    table = MeasuredNetworks(net for cell in cells for net in cell.read(store))
    assert table.labels == [DIRECT, AGAIN, SHORT, "piecewise", "piecewise" + TUNED]
    for lam in LAMS:
        found = row(table, AGAIN, lam)
        assert math.isfinite(float(found["log10 KL"]))
        assert 0 <= float(found["accuracy"]) <= 1
        assert table.distances(DIRECT, lam) == [pytest.approx(-12)]


def test_the_figure_has_a_line_for_each_way() -> None:
    nets = [net(label, lam, 1.0) for label in (DIRECT, AGAIN, SHORT, "linear") for lam in LAMS]
    traces = figure(MeasuredNetworks(nets)).plot.data
    ways = [trace.name for trace in traces if trace.legendgroup != "direct"]
    assert ways == [AGAIN, "linear"]
    assert len(traces) == len(ways) + len(LAMS)  # and the level of direct networks at each λ


def test_the_recipe_is_the_papers() -> None:
    recipe = Wine(3, "piecewise").recipe()
    assert (recipe.epochs, recipe.lr, recipe.batch_size) == (200, 5e-4, 1)
    assert (recipe.objective, recipe.lo, recipe.hi) == ("scaled-kl", 1e2, 1e6)
    assert (recipe.prior_var, recipe.log_std, recipe.regions, recipe.groups) == (1.0, -3.0, 5, 5)
    assert (recipe.lo, recipe.hi) == (1e2, 1e6)
