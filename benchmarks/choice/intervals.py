"""Coverage of 90 % intervals of regression families on test rows, on three real data sets; 85 to 95 % is the aim.

diabetes (442 rows, scikit-learn), oes97 and oes10 (334 and 403 rows, 16 targets each, from the folder of
NETDIAL_DATA). For each seed another split (60 / 20 / 20) and another start. Laws and half-widths are of validation rows, and λ
is the one with the least squared error there. Beside the coverage stand the NLL on test rows with that law and with a noise
variance of 1 (nats per example, standardised targets) and R².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import netdial as nd
from benchmarks.common.result import Result
from netdial.core.errors import NetdialError
from netdial.data import Splits
from netdial.data._optional import require
from netdial.data.folder import require_folder
from netdial.measure import intervals
from netdial.task import Regression

LEVEL = 0.9
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0, 1)
OBJECTIVES = ("scaled-kl", "ard", "l2")
_EPOCHS, _QUICK_EPOCHS = 60, 15


def _diabetes(seed: int) -> Splits:
    return nd.load_data("diabetes", seed=seed, valid=0.2, test=0.2)


def _oes(name: str) -> Callable[[int], Splits]:
    def read(seed: int) -> Splits:
        file = f"{name}.parquet"
        path: Path = require_folder(None, name, file) / file
        columns = require("pyarrow.parquet", "reading Parquet").read_schema(path).names[-16:]
        return nd.load_data(str(path), target=",".join(columns), seed=seed, valid=0.2, test=0.2)

    return read


DATA = {"diabetes": _diabetes, "oes97": _oes("oes97"), "oes10": _oes("oes10")}


@dataclass(frozen=True)
class Found:
    """What one family does on test rows at the λ that validation chooses."""

    coverage: float
    nll: float
    unit_nll: float
    r2: float
    lam: float


def measure(*, quick: bool = False) -> Result:
    """Returns the coverage by data set and objective, mean over seeds."""
    seeds = QUICK_SEEDS if quick else SEEDS
    objectives = OBJECTIVES[:1] if quick else OBJECTIVES
    value, spread, rows, missing = {}, {}, [], []
    for name, read in DATA.items():
        for objective in objectives:
            try:
                found = [_one(read(seed), objective, seed, quick) for seed in seeds]
            except NetdialError as error:
                missing.append(f"{name}: {error}")
                break
            label = f"{name} {objective}"
            value[label] = fmean(one.coverage for one in found)
            spread[label] = stdev(one.coverage for one in found)
            means = {
                key: round(fmean(getattr(one, key) for one in found), 3)
                for key in ("nll", "unit_nll", "r2")
            }
            rows.append(
                {
                    "data": name,
                    "objective": objective,
                    "coverage": f"{value[label]:.3f} ± {spread[label]:.3f}",
                    **means,
                    "lam": ", ".join(f"{one.lam:.3g}" for one in found),
                }
            )
    return Result(
        name="intervals",
        value=value,
        unit="share of test targets inside 90 % intervals",
        better="higher",
        seeds=seeds,
        quick=quick,
        baseline="a noise variance of 1: 99 to 100 %",
        floor="; ".join(missing) or "0.9 is exact",
        spread=spread,
        rows=rows,
    )


def _one(data: Splits, objective: str, seed: int, quick: bool) -> Found:
    """Trains a family and looks at its intervals on test rows."""
    net = nd.build("mlp:50", input_shape=data.input_shape, n_outputs=data.n_outputs, seed=seed)
    epochs = _QUICK_EPOCHS if quick else _EPOCHS
    family = nd.fit(
        net, data.train, data.valid, objective=objective, regions=5, lam=(1e-3, 1e2), epochs=epochs, batch_size=32,
        seed=seed,
    )  # fmt: skip
    path = nd.evaluate(family, data.valid, lams=9, n_samples=0)
    errors = [member.metrics["r2"] for member in path.members]
    lam = path.members[errors.index(max(errors))].lam
    draws = 32 if family.log_std is not None else 0
    (member,) = nd.evaluate(family, data.test, lams=[lam], n_samples=draws).members
    (unit,) = nd.evaluate(family, data.test, kind=Regression(), lams=[lam], n_samples=draws).members
    found = intervals(family, data.test, lam, level=LEVEL)
    target = data.test.target
    assert target is not None
    inside = found.covered(target.restore(data.test.y.double()))
    best = member.predictive or member.metrics
    plain = unit.predictive or unit.metrics
    return Found(
        float(inside.double().mean()), best["nll"], plain["nll"], member.metrics["r2"], lam
    )
