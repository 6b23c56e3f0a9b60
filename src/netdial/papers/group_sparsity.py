"""ShrinkNets against the group lasso: loss at equal sparsity on four data sets (ShrinkNets draft, §3.4, §4.4 and Fig. 1).

Multi-target linear regression (oes97, oes10) and logistic regression (gas drift with 6 classes, MNIST with 10, pixels as
columns). The group lasso (eq. 7) is solved to its optimum, which a duality gap proves. ShrinkNet's problem (eq. 8) is not
convex: it is descended from random starts and from the solution at the next smaller λ, and the best is kept; how far the
starts are apart, and a certain lower bound, say how good that is. A group penalty shortens the columns that it keeps, so
both are also refitted on their columns without it: what is left of the difference is due to the choice of columns.

The draft used scm1d and gina_prior2 where oes10 and MNIST stand here. Inputs and targets are standardised on the training
part, pixels by one common scale. Loss is divided by the number of targets or by ln K, so that it is about 1 without inputs.

Shapes: N examples, p columns, n outputs.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.errors import unknown
from netdial.core.noise import generator
from netdial.data import Splits, load_data
from netdial.data._optional import require
from netdial.data.folder import require_folder
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Figure, Outcome
from netdial.papers.lasso.compared import (
    COMPARED,
    GROUP,
    Fronts,
    Point,
    difference_table,
    differences,
    median_difference,
    optimality,
    optimality_table,
)
from netdial.papers.lasso.group_lasso import Solution, lam_max, refit, solve, sparsity
from netdial.papers.lasso.problem import LinearProblem
from netdial.papers.lasso.regression import (
    Power,
    ShrunkSolution,
    Switched,
    lower_bound,
    random_start,
    shrink,
)
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

SHRINKNETS: dict[str, Power] = {"ShrinkNet p=2": 2, "ShrinkNet p=1": 1}

RIDGE = 1e-5
_PATHS = {GROUP: (-2.5, -0.1), "ShrinkNet p=2": (-2.8, -0.4), "ShrinkNet p=1": (-3.1, -0.6)}
"""Decimal logarithms of the smallest and largest λ, relative to the group lasso's largest; logistic ends a half earlier."""

_LAMS, _QUICK_LAMS = 12, 6
_EXAMPLES, _QUICK_EXAMPLES, _VALID = 1000, 200, 2000
_TOLERANCE, _QUICK_TOLERANCE = 1e-5, 1e-4
_STARTS, _STEPS, _QUICK_STEPS = 2, 1000, 300


def _oes(name: str) -> Callable[[int, str | None], Splits]:
    def read(seed: int, data_dir: str | None) -> Splits:
        file = f"{name}.parquet"
        path = require_folder(data_dir, name, file) / file
        parquet = require("pyarrow.parquet", "reading Parquet")
        target = ",".join(parquet.read_schema(path).names[-16:]) if path.is_file() else "target"
        return load_data(file, target=target, data_dir=data_dir, seed=seed, valid=0.25, test=0.02)

    return read


def _gas(seed: int, data_dir: str | None) -> Splits:
    file = "gas_sensor_drift_8of10.parquet"
    return load_data(file, target="gas", data_dir=data_dir, seed=seed, valid=0.3)


def _mnist(seed: int, data_dir: str | None) -> Splits:
    return load_data("mnist", data_dir=data_dir, seed=seed, flat=True)


DATA: dict[str, Callable[[int, str | None], Splits]] = {
    "oes97": _oes("oes97"),
    "oes10": _oes("oes10"),
    "gas-drift": _gas,
    "mnist": _mnist,
}


@dataclass(frozen=True)
class Front(Cell):
    """Losses and sparsities of one penalty along its λ, on one split.

    Attributes:
        data: one of ``DATA``.
        seed: draws the split, the examples and the starts.
        penalty: ``GROUP`` or one of ``SHRINKNETS``.
        lams: number of λ.
        quick: fewer examples, one random start, looser tolerances.
    """

    data: str
    seed: int
    penalty: str
    lams: int = _LAMS
    quick: bool = False

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.data} {self.penalty} seed {self.seed}"

    @property
    def cost(self) -> float:
        """Logistic losses take about twice as long."""
        return 1.0 if self.data.startswith("oes") else 2.0

    def make(self, run: Run, store: Store) -> list[Point]:
        """Solves along the path and measures."""
        examples = _QUICK_EXAMPLES if self.quick else _EXAMPLES
        parts = _parts(self.data, self.seed, store.data_dir, examples)
        return self.convex(*parts) if self.penalty == GROUP else self.shrinknet(*parts)

    def read(self, store: Store) -> list[Point]:
        """Returns one point for each λ, the smallest first."""
        found: list[Point] = store.read(self)
        return found

    def path(self, train: LinearProblem) -> list[float]:
        """Returns the λ, evenly spaced on a logarithmic scale below the λ that removes all columns from the group lasso."""
        low, high = _PATHS[self.penalty]
        low += 0.5 if train.kind == "logistic" else 0.0
        return (lam_max(train) * torch.logspace(low, high, self.lams).double()).tolist()

    def convex(self, train: LinearProblem, valid: LinearProblem) -> list[Point]:
        """Returns the group lasso's points, solved from the largest λ down."""
        points: list[Point] = []
        start, height = None, train.null[1]
        for lam in reversed(self.path(train)):
            found = solve(train, lam, start=start, tolerance=self.tolerance, max_steps=20_000)
            start = (found.weights, found.bias)
            proof = {"gap": found.gap / height, "kkt": found.kkt, "steps": found.n_steps}
            points.insert(0, {"lam": lam, **measured(train, valid, found), **proof})
        return points

    def shrinknet(self, train: LinearProblem, valid: LinearProblem) -> list[Point]:
        """Returns ShrinkNet's points: the best of its starts at every λ (λ2 = λ), from the smallest λ up."""
        points: list[Point] = []
        kept, source = None, generator(self.seed, self.data, self.penalty)
        for lam in self.path(train):
            starts = [random_start(train, source) for _ in range(1 if self.quick else _STARTS)]
            starts += [(kept.product, kept.bias)] if kept else []
            penalty = Switched(lam, lam, SHRINKNETS[self.penalty])
            steps = _QUICK_STEPS if self.quick else _STEPS
            ends = [shrink(train, penalty, s, tolerance=1e-2, max_steps=steps) for s in starts]
            kept = min(ends, key=lambda end: end.objective)
            excess = [end.objective / kept.objective - 1 for end in ends]
            proof = {
                "random": statistics.fmean(excess[: len(excess) - (len(points) > 0)]),
                "worst": max(excess),
                "violation": kept.violation,
                "steps": kept.n_steps,
            }
            points.append({"lam": lam, **measured(train, valid, kept), **proof})
        return self.bounded(train, points)

    def bounded(self, train: LinearProblem, points: list[Point]) -> list[Point]:
        """Returns ShrinkNet's points with the share by which a better objective is not excluded."""
        found: list[Point] = []
        start = None
        for point in reversed(points):
            lam = point["lam"]
            penalty = Switched(lam, lam, SHRINKNETS[self.penalty])
            least, proof = lower_bound(train, penalty, point["objective"], start=start)
            start = (proof.weights, proof.bias)
            found.insert(0, {**point, "open": 1 - least / point["objective"]})
        return found

    @property
    def tolerance(self) -> float:
        """The duality gap asked for, relative to the loss without inputs."""
        return _QUICK_TOLERANCE if self.quick else _TOLERANCE


def problems(task: Splits, seed: int, examples: int) -> tuple[LinearProblem, LinearProblem]:
    """Returns training and validation problems of a task; inputs that are constant in training are left out.

    Args:
        task: tables come standardised; images have their pixels centred and divided by one common scale.
        seed: draws the examples.
        examples: at most so many to train on, and 2,000 to validate on.
    """
    source = generator(seed, "examples")
    parts = []
    for part, count in ((task.train, examples), (task.valid, _VALID)):
        rows = torch.randperm(len(part), generator=source)[:count]
        parts.append((part.inputs(rows).double(), part.y[rows]))
    (x, y), (x_valid, y_valid) = parts
    x, x_valid = x[:, : _columns(task)], x_valid[:, : _columns(task)]
    mean, spread = x.mean(dim=0), x.std(dim=0, correction=0)
    keep = spread > 1e-9
    scale = float(spread.square().mean().sqrt()) if task.name == "mnist" else spread[keep]
    x, x_valid = ((part - mean)[:, keep] / scale for part in (x, x_valid))
    linear = task.kind == "regression"
    if linear:
        centre, size = y.double().mean(dim=0), y.double().std(dim=0, correction=0).clamp_min(1e-9)
        y, y_valid = (y - centre) / size, (y_valid - centre) / size
    kind = "linear" if linear else "logistic"
    train, valid = (
        LinearProblem(a, b, kind, n_outputs=task.n_outputs)  # type: ignore[arg-type]
        for a, b in ((x, y), (x_valid, y_valid))
    )
    return train, valid


@functools.lru_cache(maxsize=1)
def _parts(
    data: str, seed: int, data_dir: str | None, examples: int
) -> tuple[LinearProblem, LinearProblem]:
    """Returns the problems of a data set; the cells that follow each other share them."""
    return problems(DATA[data](seed, data_dir), seed, examples)


def _columns(task: Splits) -> int:
    """Returns how many inputs are used: without the batch number of gas drift, which is the last and tells the time."""
    width = task.input_shape[0]
    return width - 1 if task.name.startswith("gas") else width


def measured(train: LinearProblem, valid: LinearProblem, found: Solution | ShrunkSolution) -> Point:
    """Returns losses (normalised) and sparsity of a solution, and the losses of a refit on its columns."""
    weights = found.product if isinstance(found, ShrunkSolution) else found.weights
    start = (weights, found.bias)
    again = refit(train, weights.any(dim=0), ridge=RIDGE, start=start, max_steps=200)
    unit = train.n_outputs if train.kind == "linear" else math.log(train.n_outputs)

    def loss(problem: LinearProblem, weights: Tensor, bias: Tensor) -> float:
        return problem.fit(problem.outputs(weights, bias)) / unit

    return {
        "objective": found.objective,
        "loss": loss(train, weights, found.bias),
        "valid": loss(valid, weights, found.bias),
        "refit loss": loss(train, again.weights, again.bias),
        "refit valid": loss(valid, again.weights, again.bias),
        "sparsity": sparsity(weights),
        "zeros": sparsity(weights, 0.0),
    }


def experiment(lab: Lab) -> Outcome:
    """Returns how ShrinkNet's losses differ from the group lasso's at equal sparsity."""
    if lab.data is not None and lab.data not in DATA:
        raise unknown("data of group-sparsity", lab.data, DATA)
    chosen, seeds = [lab.data] if lab.data else list(DATA), lab.seed_list(3)
    lams = _QUICK_LAMS if lab.quick else _LAMS
    cells = {
        (data, penalty): [Front(data, seed, penalty, lams, lab.quick) for seed in seeds]
        for data in chosen
        for penalty in (GROUP, *SHRINKNETS)
    }
    lab.make([cells[data, p][i] for data in chosen for i in range(len(seeds)) for p in _PATHS])
    fronts: Fronts = {at: [one.read(lab.store) for one in row] for at, row in cells.items()}
    rows = differences(fronts)
    middle = {
        f"{data}, {penalty}": {
            what: median_difference(rows, data, penalty, what) for what in COMPARED
        }
        for data in chosen
        for penalty in SHRINKNETS
    }
    proof = optimality(fronts)
    gap = max(row["gap"] for row in proof if row["penalty"] == GROUP)
    said = [name for name, found in middle.items() if found["training"] is not None]
    lower = sum((middle[name]["training"] or 0) < 0 for name in said)
    both = sum((middle[name]["training, both refitted"] or 0) < 0 for name in said)
    return Outcome(
        lab.name,
        "ShrinkNets and the group lasso at equal sparsity",
        f"ShrinkNet's training loss is below the group lasso's optimum (duality gap at most {gap:.0e}) in {lower} of "
        f"{len(said)} cases of data and p, median over levels; once both are refitted on their columns, in {both}.",
        (
            *(difference_table(fronts, rows, what) for what in COMPARED),
            optimality_table(proof),
        ),
        (_figure(fronts, chosen),),
        {
            "median": middle,
            "optimality": proof,
            "differences": rows,
            "fronts": [
                {"data": data, "penalty": penalty, "seeds": list(points)}
                for (data, penalty), points in fronts.items()
            ],
        },
        {
            "data": chosen,
            "examples": f"at most {_QUICK_EXAMPLES if lab.quick else _EXAMPLES:,} to train on",
            "λ": f"{lams} for each penalty; λ2 = λ",
            "starts": len(seeds),
            "ridge of refits": RIDGE,
        },
        (
            "Removed: all weights of a column below 1e-3, as in the draft. ShrinkNet's columns are exactly 0 or above it.",
            "The penalty of ShrinkNet grows as the 2/3 power (p = 2) or the square root (p = 1) of a column's length, so what "
            "it keeps is shortened less: compare with the refitted group lasso for the choice of columns alone.",
        ),
        facts={"rival": (f"{both} of {len(said)}", "cases below the group lasso, both refitted")},
    )


def _figure(fronts: Fronts, chosen: Sequence[str]) -> Figure:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import LEGEND_PIXELS, MUTED, axis_name, stacked, title_panel

    plot = stacked(len(chosen), LEGEND_PIXELS)
    lines = [(GROUP, "loss"), (GROUP, "refit loss"), *((name, "loss") for name in SHRINKNETS)]
    colours = (MUTED, MUTED, "#2f7fd8", "#d9660a")
    for index, data in enumerate(chosen, 1):
        for (penalty, what), colour in zip(lines, colours, strict=True):
            points = sorted(fronts[data, penalty][0], key=lambda point: point["sparsity"])
            plot.add_trace(
                go.Scatter(
                    x=[point["sparsity"] for point in points],
                    y=[point[what] for point in points],
                    text=[f"λ = {p['lam']:.2g}, validation {p['valid']:.3g}" for p in points],
                    mode="lines+markers",
                    name=penalty if what == "loss" else f"{penalty}, refitted",
                    line={"color": colour, "dash": "solid" if what == "loss" else "dot"},
                    showlegend=index == 1,
                    yaxis=axis_name("y", index),
                    hovertemplate="%{text}: <b>%{y:.3~g}</b><extra></extra>",
                )
            )
        title_panel(plot, index, f"{data}: training loss, normalised")
        plot.update_layout({axis_name("yaxis", index): {"type": "log"}})
    plot.update_layout(hovermode="closest")
    plot.update_xaxes(
        title_text="columns removed", tickformat="~%", anchor=axis_name("y", len(chosen))
    )
    return Figure("Training loss over sparsity", plot, "Seed 0; the draft's Figure 1.")
