"""Largest difference of mean-weight test accuracy between a piecewise family and directly trained networks (MNIST).

784-50-10, scaled KL, 5 regions; both trained by the same recipe for the same epochs. For λ ≥ 1 the direct networks have stopped
improving by then within the noise of a run; below they go on fitting the training set (docs/experiments.md has twice the
epochs). Means over seeds, then the largest absolute difference over λ.
"""

from __future__ import annotations

from benchmarks import mnist
from benchmarks.result import Result


def measure(*, quick: bool = False) -> Result:
    """Returns the gap in points of accuracy."""
    ours, theirs, seeds, baseline = mnist.piecewise_and_direct(quick)
    gaps = (ours.accuracy.mean(0) - theirs.accuracy.mean(0)).abs()
    by_seed = (ours.accuracy - theirs.accuracy).abs().max(dim=1).values
    rows = [
        {
            "lam": lam,
            "family %": float(ours.accuracy[:, i].mean()),
            "± ": float(ours.accuracy[:, i].std(correction=0)),
            "direct %": float(theirs.accuracy[:, i].mean()),
            "±": float(theirs.accuracy[:, i].std(correction=0)),
            "difference": float(gaps[i]),
        }
        for i, lam in enumerate(mnist.LAMS)
    ]
    return Result(
        "family-gap",
        float(gaps.max()),
        "points",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline=baseline,
        floor="0; the spread of direct networks over seeds is the noise of the comparison",
        spread={"family-gap": [float(by_seed.min()), float(by_seed.max())]},
        rows=rows,
    )
