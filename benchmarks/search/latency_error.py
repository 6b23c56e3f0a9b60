"""How far latency tables of search spaces are off: predictions against measured times of random networks that were not fitted.

Each operation is measured alone on this machine, twelve random networks fit the time of an edge, a constant and a scale, and at
least twenty further random networks are predicted and measured. One thread.
"""

from __future__ import annotations

import torch

from benchmarks.common.result import Result
from netdial.structure.graph.space import SearchSpace
from netdial.structure.latency import measure_table
from netdial.structure.spaces import ready_space


def spaces() -> dict[str, tuple[SearchSpace, int]]:
    """Returns spaces and batch sizes by name."""
    mlp = ready_space("mlp", input_shape=(20,), n_outputs=3, widths=[16, 64, 256])
    cell = ready_space("image-cell", input_shape=(3, 16, 16), n_outputs=10, cells=2)
    return {
        "mlp, batch 1": (mlp, 1),
        "mlp, batch 64": (mlp, 64),
        "image-cell, batch 1": (cell, 1),
        "image-cell, batch 16": (cell, 16),
    }


def measure(*, quick: bool) -> Result:
    """Measures tables; the quick version those of a batch of one alone."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    value: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    rows = []
    for name, (space, batch) in spaces().items():
        if quick and batch > 1:
            continue
        found = [measure_table(space, batch_size=batch, seed=seed).agreement for seed in seeds]
        agreements = [one for one in found if one is not None]
        errors = sorted(one.median_error for one in agreements)
        ranks = sorted(one.rank_correlation for one in agreements)
        value[f"{name}: median error"] = errors[-1]
        value[f"{name}: 1 - rank correlation"] = 1 - ranks[0]
        spread[f"{name}: median error"] = (errors[0], errors[-1])
        rows += [
            {
                "space": name,
                "seed": seed,
                "networks": len(one.measured_ms),
                "median error, %": 100 * one.median_error,
                "largest, %": 100 * one.worst_error,
                "R²": one.r2,
                "rank correlation": one.rank_correlation,
                "fastest, ms": min(one.measured_ms),
                "slowest, ms": max(one.measured_ms),
            }
            for seed, one in zip(seeds, agreements, strict=True)
        ]
    return Result(
        "latency-error",
        value,
        "ratio",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="wanted: median error at most 0.15, rank correlation at least 0.9; the worst of the seeds is shown",
        spread=spread,
        rows=rows,
    )
