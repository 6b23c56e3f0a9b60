"""Relative excess of the objective of a piecewise family over directly trained networks', worst λ (MNIST).

Same networks as family-gap. The objective is fit + complexity in nats per example, the fit averaged over draws of the
posterior, on validation data and on training data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks import mnist
from benchmarks.result import Result


def measure(*, quick: bool = False) -> Result:
    """Returns the worst relative excess on validation and on training data."""
    ours, theirs, seeds, baseline = mnist.piecewise_and_direct(quick)
    parts = {"validation": (ours.valid, theirs.valid), "training": (ours.train, theirs.train)}
    excess = {name: relative(a, b) for name, (a, b) in parts.items()}
    rows = [
        {
            "lam": lam,
            **{f"family {name}": float(a.mean(0)[i]) for name, (a, _) in parts.items()},
            **{f"direct {name}": float(b.mean(0)[i]) for name, (_, b) in parts.items()},
            **{f"excess {name}": float(excess[name][i]) for name in parts},
        }
        for i, lam in enumerate(mnist.LAMS)
    ]
    worst = {
        name: [float(relative(a[s : s + 1], b[s : s + 1]).max()) for s in range(len(seeds))]
        for name, (a, b) in parts.items()
    }
    return Result(
        "objective-gap",
        {name: float(values.max()) for name, values in excess.items()},
        "relative",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline=baseline,
        floor="0 if the map can express the optimum at these λ and both are trained to it; below 0 is possible when "
        "direct networks overfit the validation data",
        spread={name: [min(values), max(values)] for name, values in worst.items()},
        rows=rows,
    )


def relative(ours: Tensor, theirs: Tensor) -> Tensor:
    """Returns the relative excess ``[λ]`` of means over seeds ``[seeds, λ]``."""
    found: Tensor = ours.mean(0) / theirs.mean(0) - 1
    return torch.nan_to_num(found, nan=float("inf"))
