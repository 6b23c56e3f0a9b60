"""λ chosen from training data alone: validation accuracy lost against the best λ, on six data sets, by every estimator.

Families are trained by the defaults, and under ``ard``; members are not pruned. Nobody tuned anything here: every estimator of
``netdial.evidence`` that chooses a λ is shown, but for degenerate ones (iwae) and cruder Laplace, beside three rules that
look at no data. Some figures are with a fifth of the training labels drawn at random, where λ matters.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from benchmarks.choice._datasets import Learned, learned, medians, seeds
from benchmarks.common.result import Result
from netdial.choice.search import ChoiceProblem, search
from netdial.evidence import assess, chosen

ESTIMATORS = (
    "elbo",
    "eb-elbo",
    "mdl",
    "mdl-two-part",
    "laplace-kronecker",
    "waic",
    "psis-loo",
    "pac-bayes",
)
BLIND = {"always λ = 1": 1.0, "always the smallest λ": 1e-3, "always the largest λ": 1e2}
"""Rules that look at no data; the nearest value of the grid is taken."""
UNDER_ARD = ("ard-elbo", "waic", "psis-loo")
HEADLINE = ("eb-elbo", "mdl", "laplace-kronecker", "ard-elbo", "psis-loo")
NOISE = 0.2
LAMS = {False: 13, True: 4}
"""Values of λ, by whether the version is the quick one."""


def measure(*, quick: bool = False) -> Result:
    """Returns the median over data sets of the accuracy lost in points, by estimator."""
    torch.set_num_threads(1)
    clean, absent = learned(quick)
    noisy = [] if quick else learned(quick, noise=NOISE)[0]
    relevant, _ = learned(quick, objective="ard")
    lost = {
        "": _lost(clean, ESTIMATORS, LAMS[quick]),
        ", noisy labels": _lost(noisy, ESTIMATORS, LAMS[quick]),
        ", family under ard": _lost(relevant, UNDER_ARD, LAMS[quick]),
    }
    value = {
        f"{name}{label}": medians(by[name])
        for label, by in lost.items()
        for name in HEADLINE
        if name in by
    }
    rows = [
        {
            "by": name,
            "families": label.removeprefix(", ") or "defaults",
            "median": medians(by[name]),
        }
        | {data: sum(values) / len(values) for data, values in by[name].items()}
        for label, by in lost.items()
        for name in by
    ]
    return Result(
        "choose-evidence",
        value,
        "points of validation accuracy",
        "lower",
        seeds=seeds(quick),
        quick=quick,
        baseline="the best value of λ on the validation data themselves: 0 by definition",
        floor=_left_out(absent),
        rows=rows,
    )


def _lost(
    cells: list[Learned], estimators: tuple[str, ...], lams: int
) -> dict[str, dict[str, list[float]]]:
    """Returns points lost: estimator -> data set -> one for each seed."""
    lost: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        print(cell.label)
        family, task = cell.family, cell.task
        table = search(family, ChoiceProblem(task.valid), lams=lams, shares=[0.0])
        accuracy = {member.lam: member.accuracy for member in table.cells}
        estimates = assess(family, task.train, lams=lams, by=estimators)
        nearest = {name: _nearest(accuracy, at) for name, at in BLIND.items()}
        for name, lam in {**chosen(estimates), **nearest}.items():
            gap = 100 * (max(accuracy.values()) - accuracy[lam])
            lost.setdefault(name, {}).setdefault(cell.data, []).append(gap)
    return lost


def _nearest(lams: Iterable[float], at: float) -> float:
    return min(lams, key=lambda lam: abs(lam - at))


def _left_out(absent: list[str]) -> str:
    return f"left out, not in NETDIAL_DATA: {', '.join(absent)}" if absent else ""
