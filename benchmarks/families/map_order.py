"""Every map against directly trained networks: accuracy gap, objective gap, symmetrised KL, cost; one table (MNIST)."""

from __future__ import annotations

from benchmarks.common import mnist
from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from benchmarks.families import family_cost
from benchmarks.families.objective_gap import relative

_MAPS = [
    ("linear", 1),
    ("piecewise", 2),
    ("piecewise", 5),
    ("piecewise", 10),
    ("lowrank", 1),
    ("gated", 1),
]


def measure(*, quick: bool = False) -> Result:
    """Returns the excess of the validation objective by map (worst λ), with everything else in the rows."""
    task = mnist.data(quick)
    seeds, examples, epochs = mnist.plan(quick)
    direct = [mnist.Cell("direct", (seed,), epochs["direct"], examples) for seed in seeds]
    cells = {
        (kind, regions): [
            mnist.Cell(kind, (seed,), epochs["maps"], examples, regions) for seed in seeds
        ]
        for kind, regions in _MAPS
    }
    mnist.train([*direct, *(cell for group in cells.values() for cell in group)])
    reference = [family for cell in direct for family in mnist.families(cell)]
    theirs = mnist.paths(reference, task)
    costs = _costs(quick)
    rows, value = [_row("table (direct)", theirs, theirs, 0.0, None)], {}
    for (kind, regions), group in cells.items():
        made = [family for cell in group for family in mnist.families(cell)]
        label = f"{kind} {regions}" if kind == "piecewise" else kind
        ours = mnist.paths(made, task)
        apart = float(mnist.divergence(made, reference).mean(0).median())
        rows.append(_row(label, ours, theirs, apart, costs[label]))
        value[label] = float(relative(ours.valid, theirs.valid).max())
    return Result(
        "map-order",
        value,
        "relative excess of the validation objective, worst λ",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline=f"direct networks, {epochs['direct']} epochs; families {epochs['maps']} epochs; cost ÷ plain network",
        rows=rows,
    )


def _row(
    label: str, ours: mnist.Paths, theirs: mnist.Paths, apart: float, cost: float | None
) -> dict[str, object]:
    return {
        "map": label,
        "accuracy gap, points": float(
            (ours.accuracy.mean(0) - theirs.accuracy.mean(0)).abs().max()
        ),
        "validation excess, worst λ": float(relative(ours.valid, theirs.valid).max()),
        "training excess, worst λ": float(relative(ours.train, theirs.train).max()),
        "training excess, mean": float(relative(ours.train, theirs.train).mean()),
        "symmetrised KL, nats (median λ)": apart,
        "cost ÷ plain": cost,
    }


def _costs(quick: bool) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    x, y = torch.rand(20_000, 784), torch.randint(0, 10, (20_000,))
    contenders = {"plain": family_cost.plain(x, y, 1024, 20)}
    for kind, regions in _MAPS:
        label = f"{kind} {regions}" if kind == "piecewise" else kind
        contenders[label] = family_cost.family(x, y, 1024, 20, map=kind, regions=regions)
    return interleaved(contenders, baseline="plain", rounds=3 if quick else 7)[1]
