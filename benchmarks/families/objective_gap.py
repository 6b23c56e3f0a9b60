"""Relative excess of the objective of a piecewise family over directly trained networks', worst λ (MNIST).

Same networks as family-gap. The objective is fit + complexity in nats per example, the fit averaged over draws of the
posterior, on validation data and on training data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common import mnist
from benchmarks.common.result import Result


def measure(*, quick: bool = False) -> Result:
    """Returns the worst relative excess on validation and on training data, for either way to share out a batch."""
    families, theirs, seeds, baseline = mnist.piecewise_and_direct(quick)
    value, spread, rows = {}, {}, []
    for sampling, ours in families.items():
        for part, a, b in (
            ("validation", ours.valid, theirs.valid),
            ("training", ours.train, theirs.train),
        ):
            label = part if sampling == "stratified" else f"{part}, {sampling}"
            excess = relative(a, b)
            worst = [float(relative(a[s : s + 1], b[s : s + 1]).max()) for s in range(len(seeds))]
            value[label], spread[label] = float(excess.max()), [min(worst), max(worst)]
            rows += [
                {"figure": label, "lam": lam, "family": f, "direct": d, "excess": e}
                for lam, f, d, e in zip(
                    mnist.LAMS, a.mean(0).tolist(), b.mean(0).tolist(), excess.tolist(), strict=True
                )
            ]
    return Result(
        "objective-gap",
        value,
        "relative",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline=baseline,
        floor="0 if the map can express the optimum at these λ and both are trained to it; below 0 is possible when "
        "direct networks overfit the validation data",
        spread=spread,
        rows=rows,
    )


def relative(ours: Tensor, theirs: Tensor) -> Tensor:
    """Returns the relative excess ``[λ]`` of means over seeds ``[seeds, λ]``."""
    found: Tensor = ours.mean(0) / theirs.mean(0) - 1
    return torch.nan_to_num(found, nan=float("inf"))
