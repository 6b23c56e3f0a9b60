"""λ chosen by accuracy against λ chosen by the log loss: test log loss, calibration and accuracy of what predicts.

Three small classification problems (the same as those of a check by others: 50 hidden units, Adam, one cycle at 4e-3, 1,000
steps of batches of 32, 13 values of λ, a quarter of the rows for validation, 2,000 test rows):

``wide``       generated, 2 classes, 200 inputs of which 10 are useful, 200 rows
``noisy``      generated, 5 classes, 20 inputs, a fifth of the labels at random, 400 rows
``covertype``  500 rows, where the file is there

Rules: ``accuracy`` takes the best accuracy and predicts with mean weights; ``log loss`` the smallest log loss of mean weights;
``log loss, either`` the smallest log loss of mean weights or of the predictive, and predicts with that, as estimators do.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from sklearn.datasets import make_classification
from torch import Tensor

import netdial as nd
from benchmarks.common.result import Result
from netdial.core.best import MEAN, PREDICTIVE
from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.measure.evaluation import evaluate
from netdial.measure.path import Path

_LAMS, _DRAWS, _TEST = 13, 16, 2000
_RULES: dict[str, tuple[str, list[str]]] = {
    "accuracy": ("accuracy", [MEAN]),
    "log loss": ("nll", [MEAN]),
    "log loss, either": ("nll", [MEAN, PREDICTIVE]),
}
"""Name -> metric that decides, and what may predict."""


def measure(*, quick: bool = False) -> Result:
    """Returns the mean test log loss by data set and rule."""
    torch.set_num_threads(1)
    seeds = range(2 if quick else 5)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        for name, train, valid, test in _problems(seed):
            net = nd.build(
                "mlp:50",
                input_shape=(train.x.shape[1],),
                n_outputs=int(test.y.max()) + 1,
                seed=seed,
            )
            steps = 250 if quick else 1000
            family = nd.fit(
                net, train, objective="scaled-kl", regions=5, epochs=-(-steps * 32 // len(train)), batch_size=32,
                lr=4e-3, seed=seed,
            )  # fmt: skip
            for rule, (metric, ways) in _RULES.items():
                known = evaluate(family, valid, lams=_LAMS, n_samples=_DRAWS, metric=metric)
                member, way = known.choose("best", ways)
                tested = evaluate(family, test, lams=[member.lam], n_samples=_DRAWS)
                found.setdefault(f"{name}: {rule}", []).append(_row(tested, way, member.lam))
    return Result(
        "choose-loss",
        {label: _mean(rows, "nll") for label, rows in found.items()},
        "nats per example, test",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="accuracy: how members were chosen before",
        spread={
            label: statistics.stdev([row["nll"] for row in rows]) for label, rows in found.items()
        },
        rows=[
            {"what": label, **{name: round(_mean(rows, name), 3) for name in rows[0]}}
            for label, rows in found.items()
        ],
    )


def _row(tested: Path, way: str, lam: float) -> dict[str, float]:
    member = tested.members[0]
    metrics = member.predictive if way == PREDICTIVE else member.metrics
    shown = {name: metrics[name] for name in ("nll", "ece", "accuracy")}
    return {
        **shown,
        "constant": tested.constant["nll"],
        "log10 λ": float(torch.tensor(lam).log10()),
        "predictive": float(way == PREDICTIVE),
    }


def _problems(seed: int) -> Iterator[tuple[str, Dataset, Dataset, Dataset]]:
    """Yields name, training, validation and test part."""
    x, y = make_classification(
        200 + _TEST, 200, n_informative=10, n_redundant=0, class_sep=1.0, random_state=seed
    )
    yield "wide", *_parts(torch.as_tensor(x), torch.as_tensor(y), 200)
    x, y = make_classification(
        400 + _TEST, 20, n_informative=8, n_classes=5, flip_y=0.2, random_state=seed
    )
    yield "noisy", *_parts(torch.as_tensor(x), torch.as_tensor(y), 400)
    try:
        task = nd.load_data("covertype_15120.parquet", target="Cover_Type", seed=seed)
    except DataError:
        return
    order = torch.randperm(len(task.train), generator=generator(seed, "choose-loss"))
    yield "covertype", *_parts(task.train.inputs(order), task.train.y[order], 500)


def _parts(x: Tensor, y: Tensor, count: int) -> tuple[Dataset, Dataset, Dataset]:
    """Returns three quarters of ``count`` rows, the rest of them, and the test rows; inputs standardised by the first."""
    first = 3 * count // 4
    spread = x[:first].std(dim=0)
    spread = torch.where(
        spread > 1e-6, spread, 1.0
    )  # inputs that are constant in the training rows
    x = (x - x[:first].mean(dim=0)) / spread
    rows = (slice(0, first), slice(first, count), slice(count, count + _TEST))
    train, valid, test = (Dataset(x[at].float(), y[at].long()) for at in rows)
    return train, valid, test


def _mean(rows: list[dict[str, float]], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)
