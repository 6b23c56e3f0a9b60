"""Data sets of scikit-learn: shapes, splits, and statistics of the training part only."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from netdial.core.errors import ConfigError, MissingExtra
from netdial.data import load_data
from netdial.data.scale import standardise

SHAPES = {"wine": (178, 13, 3), "digits": (1797, 64, 10), "breast-cancer": (569, 30, 2)}


@pytest.mark.parametrize("name", SHAPES)
def test_classification(name: str) -> None:
    pytest.importorskip("sklearn")
    rows, features, classes = SHAPES[name]
    task = load_data(name)
    assert task.kind == "classification"
    assert len(task.train) + len(task.valid) + len(task.test) == rows
    assert abs(len(task.test) - 0.2 * rows) <= 0.5
    assert task.input_shape == (features,)
    assert task.n_outputs == len(task.classes) == classes
    assert task.train.x.dtype == torch.float32 and task.train.y.dtype == torch.int64
    assert json.loads(json.dumps(task.source)) == task.source


def test_standardised_by_the_training_part_only() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    task = load_data("wine", seed=3)
    raw = datasets.load_wine()
    train = raw.data[task.rows["train"]]
    want = (raw.data[task.rows["test"]] - train.mean(0)) / train.std(0)
    assert torch.allclose(task.test.x.double(), torch.tensor(want), atol=1e-5)
    assert torch.equal(task.test.y, torch.tensor(raw.target[task.rows["test"]]))
    assert torch.allclose(task.train.x.mean(0), torch.zeros(13), atol=1e-5)
    assert not torch.allclose(task.valid.x.mean(0), torch.zeros(13), atol=1e-3)


def test_regression_target_comes_back_in_its_units() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    task = load_data("diabetes")
    assert task.kind == "regression" and task.classes == () and task.n_outputs == 1
    mean, std = task.source["target_mean"][0], task.source["target_std"][0]
    raw = torch.tensor(datasets.load_diabetes().target)[task.rows["valid"]]
    assert torch.allclose(task.valid.y[:, 0].double() * std + mean, raw, atol=1e-4)
    assert any("targets standardised" in note for note in task.source["notes"])


def test_seed_decides() -> None:
    pytest.importorskip("sklearn")
    assert torch.equal(load_data("wine", seed=5).train.x, load_data("wine", seed=5).train.x)
    assert not torch.equal(load_data("wine", seed=5).rows["test"], load_data("wine").rows["test"])


def test_constant_column_becomes_zero() -> None:
    z, _, std = standardise(torch.full((4, 1), 7.0), torch.arange(4))
    assert torch.equal(z, torch.zeros(4, 1)) and std.item() == 1


def test_options_that_do_not_apply() -> None:
    with pytest.raises(ConfigError, match="data 'wine' takes no target"):
        load_data("wine", target="proline")


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'netdial\[data\]'"):
        load_data("wine")
