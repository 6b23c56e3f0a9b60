"""Twelve problems on which families and their rivals are compared: small tables, few labels, noise, regressions, images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import make_classification, make_friedman1, make_regression
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.data._optional import require
from netdial.data.dataset import Dataset
from netdial.data.folder import require_folder

_TEST = 2000


@dataclass(frozen=True)
class Problem:
    """Three parts of a data set; inputs and targets of regressions standardised by the training part.

    Attributes:
        kind: ``classification`` or ``regression``.
        train, valid, test: the parts.
        n_outputs: classes, or targets.
    """

    kind: str
    train: Dataset
    valid: Dataset
    test: Dataset
    n_outputs: int

    @property
    def n_columns(self) -> int:
        """Inputs of an example, flat."""
        return self.train.inputs(torch.arange(1)).flatten(1).shape[1]


def problem(name: str, seed: int) -> Problem:
    """Returns a problem; the seed draws the data where they are made up, and the split.

    Raises:
        DataError: its file is not there.
    """
    return PROBLEMS[name](seed)


def is_there(name: str) -> bool:
    """Returns whether the file of a problem is here."""
    try:
        problem(name, 0)
    except DataError:
        return False
    return True


def start(data: Problem, seed: int) -> nn.Module:
    """Returns the network that is compared on a problem, with 50 hidden units, before training."""
    shape = (data.n_columns,)
    return nd.build("mlp:50", input_shape=shape, n_outputs=data.n_outputs, seed=seed)


def _table(x: Tensor, y: Tensor, count: int, kind: str) -> Problem:
    """Returns three quarters of the first ``count`` rows, the rest of them, and up to 2,000 more rows for the test."""
    first = 3 * count // 4
    x = _standardised(x.float(), first)
    if kind == "regression":
        y = _standardised(y.float().reshape(len(y), -1), first)
    rows = (slice(0, first), slice(first, count), slice(count, count + _TEST))
    train, valid, test = (
        Dataset(x[at], y[at] if kind == "regression" else y[at].long()) for at in rows
    )
    n_outputs = y.shape[1] if kind == "regression" else int(y.max()) + 1
    return Problem(kind, train, valid, test, n_outputs)


def _standardised(x: Tensor, first: int) -> Tensor:
    spread = x[:first].std(dim=0)
    return (x - x[:first].mean(dim=0)) / spread.where(spread > 1e-6, 1.0)


def _made(count: int, **how: object) -> Callable[[int], Problem]:
    def make(seed: int) -> Problem:
        x, y = make_classification(count + _TEST, random_state=seed, **how)
        return _table(torch.as_tensor(x), torch.as_tensor(y), count, "classification")

    return make


def _friedman(noise: float) -> Callable[[int], Problem]:
    def make(seed: int) -> Problem:
        x, y = make_friedman1(200 + _TEST, noise=noise, random_state=seed)
        return _table(torch.as_tensor(x), torch.as_tensor(y), 200, "regression")

    return make


def _linear(seed: int) -> Problem:
    x, y = make_regression(200 + _TEST, 60, n_informative=10, noise=100.0, random_state=seed)
    return _table(torch.as_tensor(x), torch.as_tensor(y), 200, "regression")


def file_problem(name: str, target: str | None, count: int) -> Callable[[int], Problem]:
    """Returns a problem of rows drawn from a data set, or from a table; the rows that are not drawn are the test part."""

    def make(seed: int) -> Problem:
        options: dict[str, Any] = {} if target is None else {"target": target}
        task = nd.load_data(name, seed=seed, **options)
        parts = [task.train, task.valid, task.test]
        x = torch.cat([part.inputs(torch.arange(len(part))) for part in parts])
        y = torch.cat([part.y for part in parts])
        order = torch.randperm(len(x), generator=generator(seed, "worth"))
        return _table(x[order], y[order], min(count, 3 * len(x) // 4), task.kind)

    return make


def oes_problem(seed: int) -> Problem:
    """Returns oes97: 263 inputs, 16 targets."""
    path = require_folder(None, "oes97", "oes97.parquet") / "oes97.parquet"
    names = require("pyarrow.parquet", "reading Parquet").read_schema(path).names
    return file_problem(str(path), ",".join(names[-16:]), 266)(seed)


def _mnist(count: int, n_valid: int) -> Callable[[int], Problem]:
    """Returns MNIST with few training images, and its own test part."""

    def make(seed: int) -> Problem:
        task = nd.load_data("mnist", flat=True)
        order = torch.randperm(len(task.train), generator=generator(seed, "worth"))
        train, valid = order[:count], order[count : count + n_valid]
        return Problem(
            "classification", task.train.select(train), task.train.select(valid), task.test, 10
        )

    return make


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "covertype, 500 rows": file_problem("covertype_15120.parquet", "Cover_Type", 500),
    "covertype, 5,000 rows": file_problem("covertype_15120.parquet", "Cover_Type", 5000),
    "gas drift, 300 rows": file_problem("gas_sensor_drift_8of10.parquet", "gas", 300),
    "wide": _made(200, n_features=200, n_informative=10, n_redundant=0),
    "noisy labels": _made(400, n_features=20, n_informative=8, n_classes=5, flip_y=0.2),
    "imbalanced": _made(400, n_features=20, n_informative=5, weights=[0.93], flip_y=0.02),
    "mnist, 200 images": _mnist(150, 50),
    "friedman1, noise 1": _friedman(1.0),
    "friedman1, noise 0.1": _friedman(0.1),
    "linear, noisy": _linear,
    "diabetes": file_problem("diabetes", None, 300),
    "oes97": oes_problem,
}
"""Problems by name."""
