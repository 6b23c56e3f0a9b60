"""Units of columns and targets: a data set in any unit gives the same family, and errors come back in that unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netdial as nd
from netdial.core.errors import DataError
from netdial.data.scale import TargetScale, moments, standardise
from netdial.task import Regression


def table(path: Path, x_unit: float, y_unit: float, offset: float = 0.0) -> Path:
    """Writes 40 rows of y = 2 a + noise in units of their own."""
    source = np.random.default_rng(0)
    a, b, noise = source.normal(size=(3, 40))
    columns = np.stack([a * x_unit, b, (2 * a + 0.1 * noise + offset) * y_unit], axis=1)
    np.savetxt(path, columns, delimiter=",", header="a,b,y", comments="", fmt="%.17g")
    return path


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e-3, 1e25, 1e45, 1e100])
def test_the_unit_of_columns_and_targets_changes_nothing(tmp_path: Path, unit: float) -> None:
    plain = nd.load_data(table(tmp_path / "a.csv", 1, 1), target="y")
    other = nd.load_data(table(tmp_path / "b.csv", unit, unit), target="y")
    assert torch.allclose(plain.train.x, other.train.x, atol=1e-5)
    assert torch.allclose(plain.train.y, other.train.y, atol=1e-5)
    assert other.schema is not None and plain.schema is not None
    assert other.schema.target.std[0] == pytest.approx(plain.schema.target.std[0] * unit, rel=1e-9)


@pytest.mark.parametrize("unit", [1e-100, 1e-30, 1.0, 1e25, 1e45, 1e100])
def test_errors_are_in_the_unit_of_the_target(unit: float) -> None:
    y = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])
    outputs = y + torch.tensor([[0.5], [-0.5], [0.5], [-0.5]])
    found = Regression(scale=TargetScale(("y",), (3 * unit,), (2 * unit,))).metrics(outputs, y)
    assert found["rmse"] == pytest.approx(unit, rel=1e-9)
    assert found["r2"] == pytest.approx(1 - 1 / 5)


@pytest.mark.parametrize(("size", "offset"), [(1e-6, 0.0), (1e-30, 0.0), (1.0, 1e4), (1.0, 1e6)])
def test_r2_is_exact_for_small_targets_and_far_from_zero(size: float, offset: float) -> None:
    """Sums of squares whose differences cancel gave an R² of 0 for small targets."""
    source = torch.Generator().manual_seed(0)
    y = torch.randn(50, 1, generator=source) * size + offset
    outputs = y + torch.randn(50, 1, generator=source) * size
    wide, far = y.double(), (outputs - y).double()
    expected = 1 - float(far.square().sum() / (wide - wide.mean()).square().sum())
    assert Regression().metrics(outputs, y)["r2"] == pytest.approx(expected, rel=1e-9)


def test_targets_come_back_without_rounding_to_single_precision() -> None:
    scale = TargetScale(("y",), (1e9 + 1,), (1e-3,))
    assert float(scale.restore(torch.zeros(1, 1, dtype=torch.float64))) == 1e9 + 1
    assert float(scale.restore(torch.ones(1, 1, dtype=torch.float64))) == 1e9 + 1 + 1e-3


@pytest.mark.parametrize("start", [10**15, 2**53, 4_929_123_456_780_000])
def test_long_whole_numbers_are_standardised(start: int) -> None:
    """Their spread is below 1e-12 of their mean, but it is no rounding; inputs were as large as their differences."""
    column = start + torch.arange(0, 1000, 4, dtype=torch.int64)[:, None]
    z, mean, std = standardise(column, torch.arange(len(column)))
    exact = np.arange(0, 1000, 4)
    assert float(std) == pytest.approx(exact.std(), rel=1e-4)
    assert float(z.abs().max()) < 2 and float(z.double().std(correction=0)) == pytest.approx(
        1, rel=1e-4
    )
    assert float(mean) == pytest.approx(start + exact.mean(), rel=1e-15)


def test_rounding_is_no_spread() -> None:
    column = torch.tensor([[0.1 + 0.2], [0.3], [0.3]], dtype=torch.float64)
    assert not standardise(column, torch.arange(3))[0].abs().gt(1e-12).any()


def test_a_constant_column_stays_constant_in_any_unit() -> None:
    for value in (0.0, 0.1, 1e-30, 1e-300, 1e15, 9e18):
        column = torch.full((1000, 1), value, dtype=torch.float64)
        mean, std = moments(column)
        assert float(mean) == pytest.approx(value, rel=1e-12) and float(std) == 1
        assert not standardise(column, torch.arange(10))[0].any()


def test_a_target_too_large_to_be_squared_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'y'.*e\+20\d.*unit"):
        nd.load_data(table(tmp_path / "a.csv", 1, 1e200), target="y")


@pytest.mark.parametrize("make", [torch.tensor, np.array, list, tuple])
def test_units_are_numbers_whatever_they_were_held_in(make: Any, tmp_path: Path) -> None:
    scale = TargetScale(["a", "b"], make([1.0, 2.0]), make([0.5, 4.0]))  # type: ignore[arg-type]
    assert scale == TargetScale(("a", "b"), (1.0, 2.0), (0.5, 4.0))
    task = Regression(scale=scale)
    family = nd.Family(
        nd.build("linear", input_shape=(3,), n_outputs=2), nd.FamilyConfig(task=task)
    )
    nd.save(family, tmp_path / "f.safetensors")
    net = nd.build("linear", input_shape=(3,), n_outputs=2)
    assert nd.load_model(tmp_path / "f.safetensors", net).task == task


@pytest.mark.parametrize(
    ("names", "mean", "std", "told"),
    [
        ("price", (1.0,), (2.0,), r"names='price'; .*\('price',\)"),
        (("price",), 1.0, (2.0,), "mean=1.0; expected one number for each target"),
        (("price",), (1.0,), ("x",), "std=.*expected one number"),
        (("price",), (float("nan"),), (2.0,), "expected finite numbers"),
    ],
)
def test_what_is_no_unit_is_refused(names: Any, mean: Any, std: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        TargetScale(names, mean, std)
