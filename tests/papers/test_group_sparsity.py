"""Group sparsity: losses at equal sparsity by hand, and the whole experiment on small data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.data import load_data
from netdial.papers import group_sparsity
from netdial.papers.group_sparsity import problems
from netdial.papers.lab.lab import Lab
from netdial.papers.lasso.compared import COMPARED, GROUP, at_level, difference
from netdial.papers.lasso.group_lasso import lam_max, solve
from netdial.runs.store import Store


def front(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"sparsity": removed, "loss": loss, "valid": 2 * loss} for removed, loss in pairs]


def test_losses_are_read_between_points_on_logarithmic_scales() -> None:
    points = front((0.9, 0.4), (0.6, 0.1))
    assert at_level(points, 0.9, "loss") == pytest.approx(0.4)
    assert at_level(points, 0.6, "valid") == pytest.approx(0.2)
    assert at_level(points, 0.8, "loss") == pytest.approx(0.2)  # 0.1, 0.2, 0.4 kept: the middle
    assert at_level(points, 0.95, "loss") is None
    assert at_level(points, 0.5, "loss") is None


def test_points_that_another_one_beats_do_not_count() -> None:
    points = front((0.9, 0.4), (0.8, 0.5), (1.0, 0.01), (0.6, 0.1))
    assert at_level(points, 0.8, "loss") == pytest.approx(0.2)


def test_difference_is_relative_to_the_group_lasso_and_needs_both_fronts() -> None:
    ours, theirs = front((0.9, 0.3), (0.6, 0.1)), front((0.9, 0.4), (0.7, 0.2))
    assert difference(ours, theirs, 0.9, "training") == pytest.approx(-0.25)
    assert difference(ours, theirs, 0.9, "validation") == pytest.approx(-0.25)
    assert difference(ours, theirs, 0.6, "training") is None
    exact = front((0.9, 0.004), (0.6, 0.001))
    assert difference(exact, exact, 0.9, "training") is None


def test_columns_are_standardised_on_the_training_part() -> None:
    train, valid = problems(load_data("wine", seed=0), 0, 80)
    assert train.x.shape == (80, 13)
    torch.testing.assert_close(train.x.mean(dim=0), torch.zeros(13).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(train.x.std(dim=0, correction=0), torch.ones(13).double())
    assert float(valid.x.mean(dim=0).abs().max()) > 1e-3
    numbers, _ = problems(load_data("diabetes", seed=0), 0, 80)
    assert numbers.null[1] == pytest.approx(1.0)
    assert numbers.kind == "linear"


def test_pixels_share_one_scale_and_constant_ones_are_left_out() -> None:
    task = load_data("digits", seed=0)
    object.__setattr__(task, "name", "mnist")
    train, _ = problems(task, 0, 100)
    assert train.x.shape[1] < 64
    assert float(train.x.square().mean(dim=0).mean()) == pytest.approx(
        64 / train.x.shape[1], rel=0.3
    )
    assert float(train.x.std(dim=0).max() / train.x.std(dim=0).min()) > 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        name: lambda seed, folder, name=name: load_data(name, seed=seed) for name in ("wine",)
    }
    monkeypatch.setattr(group_sparsity, "DATA", chosen)


@pytest.mark.usefixtures("small")
@pytest.mark.slow
def test_experiment_on_wine(tmp_path: Path) -> None:
    lab = Lab("group-sparsity", Store(tmp_path), quick=True, seeds=2, workers=1)
    found = group_sparsity.experiment(lab)
    assert len(found.tables) == len(COMPARED) + 1
    rows = {row["penalty"]: row for row in found.values["optimality"]}
    assert rows[GROUP]["gap"] <= 1e-4
    for penalty in group_sparsity.SHRINKNETS:
        assert 0 <= rows[penalty]["random"] <= rows[penalty]["worst"]
        assert 0 <= rows[penalty]["open"] < 1
    for path in found.values["fronts"]:
        assert [len(points) for points in path["seeds"]] == [group_sparsity._QUICK_LAMS] * 2
        losses = [point["loss"] for point in path["seeds"][0]]
        assert losses[0] < losses[-1] <= 1.01
    assert len(found.figures[0].plot.data) == 4
    json.dumps(found.to_json(), allow_nan=False)
    again = group_sparsity.experiment(lab)
    assert again.values == found.values


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_point_of_the_front_is_the_optimum(tmp_path: Path) -> None:
    cell, store = group_sparsity.Front("wine", 0, GROUP, 3, True), Store(tmp_path)
    store.make(cell)
    train, _ = problems(load_data("wine", seed=0), 0, group_sparsity._QUICK_EXAMPLES)
    assert cell.path(train)[-1] == pytest.approx(10**-0.1 * lam_max(train))
    for point in cell.read(store):
        exact = solve(train, point["lam"], tolerance=1e-9)
        assert point["objective"] == pytest.approx(exact.objective, abs=1e-4 * train.null[1])
        assert point["refit loss"] <= point["loss"] + 1e-6


def test_other_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown data of group-sparsity 'oes98'.*oes97"):
        group_sparsity.experiment(Lab("group-sparsity", Store(tmp_path), data="oes98"))
    lab = Lab("group-sparsity", Store(tmp_path, str(tmp_path)), data="oes97", workers=1, quick=True)
    with pytest.raises(DataError, match=r"oes97\.parquet"):
        group_sparsity.experiment(lab)
