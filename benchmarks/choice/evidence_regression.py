"""λ of a regression by evidence from training data alone: RMSE on test rows over that of the λ that validation rows choose.

``friedman`` and ``friedman, low noise``: Friedman's first problem (10 inputs, 5 of use), noise 1 and 0.1 (4 and 0.04 % of the
variance), 150 rows, 50 for validation, 1,000 to test. ``diabetes``: 442 rows, 60/20/20. 50 hidden units, 1,000 steps of batches
of 32, 17 values of λ.

Families: ``scaled-kl`` under the noise variance of training 1, where it is a unit for λ; ``scaled-prior`` under 1 and 0.01,
where it is a setting of its own. All λ that an estimator takes are looked at, whether it may choose (``legal``, on how many
seeds) or not. ``wbic`` and ``thermodynamic`` take the member that is the posterior under the noise variance that they find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from sklearn.datasets import make_friedman1
from torch import Tensor

import netdial as nd
from benchmarks.common.result import Result
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.evidence import assess, chosen, lowest

SEEDS, QUICK_SEEDS = (0, 1, 2), (0,)
FAMILIES = (("scaled-kl", 1.0), ("scaled-prior", 1.0), ("scaled-prior", 0.01))
_CHOOSE = ("elbo", "eb-elbo", "mdl", "laplace-kronecker")
_WHOLE = ("wbic", "thermodynamic")
_STEPS, _QUICK_STEPS, _BATCH, _LAMS = 1000, 250, 32, 17

Parts = tuple[Dataset, Dataset, Dataset]


def _friedman(noise: float) -> Callable[[int], Parts]:
    def make(seed: int) -> Parts:
        x, y = make_friedman1(1200, 10, noise=noise, random_state=seed)
        return _standardised(torch.as_tensor(x), torch.as_tensor(y)[:, None], 150, 50)

    return make


def _standardised(x: Tensor, y: Tensor, train: int, valid: int) -> Parts:
    """Returns three parts, standardised by the first."""
    x, y = ((t - t[:train].mean(dim=0)) / t[:train].std(dim=0) for t in (x, y))
    ends = (slice(0, train), slice(train, train + valid), slice(train + valid, None))
    first, second, third = (Dataset(x[at].float(), y[at].float()) for at in ends)
    return first, second, third


def _diabetes(seed: int) -> Parts:
    data = nd.load_data("diabetes", seed=seed, valid=0.2, test=0.2)
    return data.train, data.valid, data.test


DATA = {"friedman": _friedman(1.0), "friedman, low noise": _friedman(0.1), "diabetes": _diabetes}


@dataclass(frozen=True)
class Taken:
    """The member that somebody takes: λ, RMSE on test rows over that of validation's, and whether it may choose."""

    lam: float
    rmse: float
    ratio: float
    legal: bool


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio of RMSE by data, family and estimator, geometric mean over seeds."""
    torch.set_num_threads(1)
    seeds = QUICK_SEEDS if quick else SEEDS
    value, spread, rows = {}, {}, []
    for name, make in DATA.items():
        for objective, noise_var in FAMILIES:
            found: dict[str, list[Taken]] = {}
            for seed in seeds:
                for by, taken in _one(make(seed), objective, noise_var, seed, quick).items():
                    found.setdefault(by, []).append(taken)
            for by, each in found.items():
                logs = [math.log(one.ratio) for one in each]
                label = f"{name}: {objective}, noise {noise_var:g}: {by}"
                value[label] = math.exp(fmean(logs))
                spread[label] = stdev(logs) if len(logs) > 1 else 0.0
                rows.append(
                    {
                        "data": name,
                        "family": f"{objective}, noise {noise_var:g}",
                        "λ by": by,
                        "RMSE": round(fmean(one.rmse for one in each), 3),
                        "over validation's": f"{value[label]:.3f} ± {spread[label]:.3f}",
                        "λ": ", ".join(f"{one.lam:.2g}" for one in each),
                        "legal": f"{sum(one.legal for one in each)} of {len(each)}",
                    }
                )
    return Result(
        name="evidence-regression",
        value=value,
        unit="RMSE on test rows over that of the member that validation rows choose",
        better="lower",
        seeds=list(seeds),
        quick=quick,
        baseline="validation: 1",
        spread=spread,
        rows=rows,
    )


def _one(
    parts: Parts, objective: str, noise_var: float, seed: int, quick: bool
) -> dict[str, Taken]:
    """Trains a family and returns what each estimator takes; what refuses is left out."""
    train, valid, test = parts
    net = nd.build(
        "mlp:50", input_shape=(train.inputs(torch.arange(1)).shape[1],), n_outputs=1, seed=seed
    )
    epochs = -(-(_QUICK_STEPS if quick else _STEPS) // -(-len(train) // _BATCH))
    family = nd.fit(
        net,
        train,
        valid,
        objective=objective,
        noise_var=noise_var,
        regions=5,
        epochs=epochs,
        batch_size=_BATCH,
        seed=seed,
    )
    lams = family.lams(_LAMS)
    by_valid = nd.evaluate(family, valid, lams=lams).column("rmse")
    by_test = nd.evaluate(family, test, lams=lams).column("rmse")
    best = by_valid.index(min(by_valid))
    found = assess(family, train, lams=lams, by=list(_CHOOSE), seed=seed)
    for by in _WHOLE if objective == "scaled-kl" else ():
        with suppress(ConfigError):  # the noise that it finds lies beyond the range
            found += assess(family, train, lams=lams, by=[by], seed=seed)
    legal = chosen(found)
    places = {"validation": best, **{by: lams.index(lam) for by, lam in lowest(found).items()}}
    return {
        by: Taken(
            lams[at], by_test[at], by_test[at] / by_test[best], by == "validation" or by in legal
        )
        for by, at in places.items()
    }
