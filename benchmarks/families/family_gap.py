"""Largest difference of mean-weight test accuracy between a piecewise family and directly trained networks (MNIST).

784-50-10, scaled KL, 5 regions; both trained by the same recipe for the same epochs. For λ ≥ 1 the direct networks have stopped
improving by then within the noise of a run; below they go on fitting the training set (docs/experiments.md has twice the
epochs). Means over seeds, then the largest absolute difference over λ, where the family is better too.
"""

from __future__ import annotations

from benchmarks.common import mnist
from benchmarks.common.result import Result


def measure(*, quick: bool = False) -> Result:
    """Returns the gap in points of accuracy, for either way to share out a batch among values of λ."""
    families, theirs, seeds, baseline = mnist.piecewise_and_direct(quick)
    value, spread, rows = {}, {}, []
    for sampling, ours in families.items():
        gaps = ours.accuracy.mean(0) - theirs.accuracy.mean(0)
        worst = (ours.accuracy - theirs.accuracy).abs().max(dim=1).values
        value[sampling] = float(gaps.abs().max())
        spread[sampling] = [float(worst.min()), float(worst.max())]
        rows += [
            {
                "sampling": sampling,
                "lam": lam,
                "family %": float(ours.accuracy[:, i].mean()),
                "± ": float(ours.accuracy[:, i].std(correction=0)),
                "direct %": float(theirs.accuracy[:, i].mean()),
                "±": float(theirs.accuracy[:, i].std(correction=0)),
                "family - direct": float(gaps[i]),
            }
            for i, lam in enumerate(mnist.LAMS)
        ]
    return Result(
        "family-gap",
        value,
        "points",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline=baseline,
        floor="0; the spread of direct networks over seeds is the noise of the comparison",
        spread=spread,
        rows=rows,
    )
