"""A made-up but realistic run: smooth functions of complexity, and training that settles."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from netdial.core.records import Record
from netdial.runs.run import Run

from ..early import early

EPOCHS, STEPS_PER_EPOCH = 20, 211
STEPS = EPOCHS * STEPS_PER_EPOCH

CONFIG: dict[str, Any] = {
    "data": "mnist",
    "model": "mlp:50",
    "objective": "scaled-kl",
    "map": "piecewise",
    "lo": 1e-3,
    "hi": 1e2,
    "epochs": EPOCHS,
    "seed": 0,
    "kind": "classification",
    "n_train": 54000,
    "n_valid": 6000,
    "n_test": 10000,
    "n_params": 39760,
    "optimiser": {"name": "adam", "lr": 0.004, "betas": [0.9, 0.999]},
}


def grid(lo: float = 1e-3, hi: float = 1e2, n: int = 16) -> list[float]:
    """Returns ``n`` complexity values from ``lo`` to ``hi``, evenly spaced on a log scale."""
    return [lo * (hi / lo) ** (i / (n - 1)) for i in range(n)]


def member_values(lam: float, kind: str) -> dict[str, float]:
    """Returns what an evaluation of one member would give."""
    u = (math.log10(lam) + 3) / 5
    values = {
        "kl_bits": 9.5e5 * 10 ** (-3.2 * u),
        "effective_parameters": 31000 * math.exp(-3.6 * u),
    }
    values |= {"n_params": 39760.0, "objective": 0.06 + 0.5 * u**2}
    for split, shift in (("valid", 0.0), ("test", 0.003)):
        if kind == "classification":
            accuracy = round((0.978 - shift - 0.16 * u**4 - 0.006 * (1 - u) ** 2) * 6000) / 6000
            values |= {
                f"{split}/accuracy": accuracy,
                f"{split}/accuracy_predictive": accuracy - 0.012 * u,
            }
            values |= {f"{split}/brier": 1 - accuracy, f"{split}/ece": 0.02 + 0.1 * u**2}
        else:
            error = 54 + 900 * shift + 9 * u**3 + 4 * (1 - u) ** 2
            values |= {
                f"{split}/rmse": error,
                f"{split}/rmse_predictive": error + u,
                f"{split}/r2": 1 - (error / 77) ** 2,
            }
        nll = 0.09 + 5 * shift + 0.75 * u**3 + 0.05 * (1 - u) ** 3
        values |= {f"{split}/nll": nll, f"{split}/nll_predictive": nll + 0.04 * u - 0.01}
    return values


def with_comparison(
    rows: dict[float, dict[str, float]], kind: str
) -> dict[float, dict[str, float]]:
    """Adds how much worse each member is than the best, with a paired standard error of 0.02 (6 for regression)."""
    losses = {
        lam: row["valid/rmse"] ** 2 if kind == "regression" else row["valid/nll"]
        for lam, row in rows.items()
    }
    least = min(losses.values())
    for lam, row in rows.items():
        excess = losses[lam] - least
        error = 6.0 if kind == "regression" else 0.02
        row |= {"valid/excess": excess, "valid/excess_error": error if excess else 0.0}
    return rows


def training_records(name: str, epochs: int = EPOCHS) -> list[Record]:
    """Returns the records of training: per epoch, the mean and eight strata."""
    noise = random.Random(0)
    rows = []
    for epoch in range(1, epochs + 1):
        step = epoch * STEPS_PER_EPOCH
        terms: list[tuple[float | None, float, float]] = []
        for lam in grid(1.9e-3, 5.2e1, 8):
            fit = 0.05 + 0.03 * (math.log10(lam) + 3) ** 1.3 + 1.9 * math.exp(-0.55 * epoch)
            complexity = 0.9 / (1 + lam) ** 0.5 * (0.08 + 4 * math.exp(-0.3 * epoch))
            jitter = noise.uniform(0.96, 1.04), noise.uniform(0.96, 1.04)
            terms.append((lam, fit * jitter[0], complexity * jitter[1]))
        terms.append((None, fmean(term[1] for term in terms), fmean(term[2] for term in terms)))
        for group, fit, complexity in terms:
            for what, value in (
                ("loss", fit + complexity),
                ("fit", fit),
                ("complexity", complexity),
            ):
                rows.append(
                    early(name, "train", group, 0, step, f"train/{what}", value, "nats/example")
                )
        rows.append(early(name, "train", None, 0, step, "train/epoch_seconds", 1.3, "s"))
    return rows


def evaluation_records(name: str, kind: str = "classification") -> list[Record]:
    """Returns the records of an evaluation at 16 complexity values."""
    return [
        early(name, "evaluate", lam, 0, STEPS, what, value)
        for lam, values in with_comparison(
            {lam: member_values(lam, kind) for lam in grid()}, kind
        ).items()
        for what, value in values.items()
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Returns a function that makes a finished run with the records given (all of them by default)."""

    def make(
        name: str = "mnist-mlp50",
        records: list[Record] | None = None,
        *,
        done: bool = True,
        **config: Any,
    ) -> Run:
        config = {**CONFIG, **config}
        run = Run.create(tmp_path, name, config)
        if records is None:
            records = training_records(name) + evaluation_records(name, config["kind"])
        run.record(records)
        if done:
            run.finish()
        return run

    return make
