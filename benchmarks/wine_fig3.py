"""Figure 3 of the 2022 paper: how close are the members of a family to directly trained networks (Wine, 5 seeds)?

Grebenkova et al. 2022, §4.1: softmax regression with a diagonal normal posterior, 142 examples to train on and 36 to
test on, batches of one example, 200 epochs, Adam at 5e-4, prior variance 1, log standard deviation started at -3, λ
from 1e2 to 1e6. Closeness is the symmetrised KL divergence of the posteriors of a member and of the direct network.

The family sees 5 independent λ with each example, equally weighted, as in the paper. The learning rate never falls and
a batch is one example, so no network comes to rest: ``direct, again`` (the same start, another order of examples) is
how close a second direct network comes to the first, and nothing can be expected to come closer.
"""

from __future__ import annotations

import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.result import Result
from netdial.data import Dataset, Task, load
from netdial.evaluate import outputs
from netdial.family import Family, symmetrised_kl
from netdial.fit import finetune, run, stack, unstack
from netdial.nets import build
from netdial.train import FitConfig, make_config

LAMS = (1e2, 1e3, 1e4, 1e5, 1e6)
MAPS = ("linear", "piecewise")
TUNED = " + 1 epoch"
AGAIN, SHORT = "direct, again", "direct, 1 epoch"
PLOT = Path(__file__).parent.parent / "runs" / "benchmarks" / "wine-fig3.html"


class Point(NamedTuple):
    """One network of one seed: its distance from the direct network (log10 of nats) and its test accuracy."""

    seed: int
    label: str
    lam: float
    distance: float
    accuracy: float


def measure(*, quick: bool = False) -> Result:
    """Returns the median distance over λ and seeds of every way of training; writes the figure."""
    seeds = (0,) if quick else (0, 1, 2, 3, 4)
    epochs, lr = (20, 5e-3) if quick else (200, 5e-4)
    jobs = [(seed, epochs, lr) for seed in seeds]
    if quick:
        points = one_seed(jobs[0])
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
            points = [point for found in pool.map(one_seed, jobs) for point in found]
    labels = [way + tuned for way in MAPS for tuned in ("", TUNED)] + [AGAIN]
    by_seed = {
        label: [statistics.median(distances(points, label, seeds=(seed,))) for seed in seeds]
        for label in labels
    }
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure(points).write_html(PLOT, include_plotlyjs=True)
    print(f"figure: {PLOT}")
    return Result(
        "wine-fig3",
        {label: statistics.median(values) for label, values in by_seed.items()},
        "log10 nats",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="directly trained networks with the same recipe"
        + ("; quick: 20 epochs at ten times the rate" if quick else ""),
        floor=f"'{AGAIN}': what the noise of batches of one example leaves between two direct networks",
        spread={label: (min(values), max(values)) for label, values in by_seed.items()},
        rows=[row(points, lam, len(seeds)) for lam in LAMS],
    )


def one_seed(job: tuple[int, int, float]) -> list[Point]:
    """Trains everything for one seed: (seed, epochs, learning rate)."""
    seed, epochs, lr = job
    torch.set_num_threads(1)
    task = load("wine", seed=seed, test=36 / 178)
    parts = (task.train, task.valid)
    train = Dataset(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    net = build("linear", input_shape=(13,), n_outputs=3, seed=seed)
    config = recipe(seed=seed, epochs=epochs, lr=lr)
    direct, again = direct_networks(net, train, config)
    short, _ = direct_networks(net, train, config.model_copy(update={"epochs": 1}))
    members = {
        AGAIN: dict.fromkeys(LAMS, again),
        SHORT: dict.fromkeys(LAMS, short),
        "direct": dict.fromkeys(LAMS, direct),
    }
    for way in MAPS:
        family = trained(net, train, config.model_copy(update={"map": way}))
        tuning = config.model_copy(update={"epochs": 1, "seed": seed + 1000})
        members[way] = dict.fromkeys(LAMS, family)
        members[way + TUNED] = {lam: finetune(family, lam, train, config=tuning) for lam in LAMS}
    return [
        Point(seed, label, lam, apart(direct, found[lam], lam), accuracy(found[lam], task, lam))
        for label, found in members.items()
        for lam in LAMS
    ]


def recipe(*, seed: int, epochs: int, lr: float) -> FitConfig:
    """Returns the settings of the paper."""
    return make_config(
        lo=LAMS[0],
        hi=LAMS[-1],
        regions=5,
        epochs=epochs,
        batch_size=1,
        groups=5,
        sampling="independent",
        weighting="uniform",
        lr=lr,
        std_rate=1.0,
        schedule="constant",
        accelerator="cpu",
        seed=seed,
    )


def direct_networks(net: nn.Module, train: Dataset, config: FitConfig) -> list[Family]:
    """Returns two sets of directly trained networks: the same start, another order of examples, in one batched run."""
    table = config.model_copy(update={"map": "table", "lams": LAMS})
    both = stack([Family(net, table.family()), Family(net, table.family())])
    return unstack(run(ready(both, 2), train, None, kind="classification", config=table), 2)


def trained(net: nn.Module, train: Dataset, config: FitConfig) -> Family:
    """Returns a trained family."""
    family = ready(Family(net, config.family()), 1)
    return run(family, train, None, kind="classification", config=config)


def ready(family: Family, blocks: int) -> Family:
    """Lets the family find out that its members can run at once: a batch of one example is too small to tell."""
    family.side_by_side(torch.randn(4 * blocks, 13), blocks, 5 * blocks)
    return family


def apart(direct: Family, other: Family, lam: float) -> float:
    """Returns log10 of the symmetrised divergence between two members, in nats."""
    with torch.no_grad():
        found = symmetrised_kl(direct.fields_at([lam]), other.fields_at([lam]))
    return float(found.clamp_min(1e-12).log10())


def accuracy(family: Family, task: Task, lam: float) -> float:
    """Returns the test accuracy of a member's mean weights."""
    right = outputs(family.export(lam), task.test).argmax(dim=1) == task.test.y
    return float(right.double().mean())


def row(points: list[Point], lam: float, seeds: int) -> dict[str, object]:
    """Returns what is shown of one λ: median distances, mean accuracies, and how many seeds agree with the paper."""
    found: dict[str, object] = {"λ": lam}
    for way in MAPS:
        for label in (way, way + TUNED):
            found[label] = statistics.median(distances(points, label, lam=lam))
    found[AGAIN] = statistics.median(distances(points, AGAIN, lam=lam))
    pairs = {
        "piecewise < linear": ("piecewise", "linear"),
        "tuned < linear": ("linear" + TUNED, "linear"),
        "tuned < piecewise": ("piecewise" + TUNED, "piecewise"),
    }
    for claim, (closer, farther) in pairs.items():
        both = zip(
            distances(points, closer, lam=lam), distances(points, farther, lam=lam), strict=True
        )
        found[claim] = f"{sum(a < b for a, b in both)} of {seeds}"
    for label in ("direct", *MAPS, "piecewise" + TUNED, SHORT):
        found[f"acc {label}"] = mean_accuracy(points, label, lam)
    return found


def distances(
    points: list[Point], label: str, *, lam: float | None = None, seeds: tuple[int, ...] = ()
) -> list[float]:
    """Returns the distances of one way of training, seed by seed, at one λ or at all."""
    return [
        point.distance
        for point in points
        if point.label == label and lam in (None, point.lam) and (not seeds or point.seed in seeds)
    ]


def mean_accuracy(points: list[Point], label: str, lam: float) -> float:
    """Returns the mean over seeds of the test accuracy."""
    return statistics.fmean(p.accuracy for p in points if (p.label, p.lam) == (label, lam))


def figure(points: list[Point]) -> Any:
    """Returns the paper's figure: accuracy against distance, a line for each way, direct accuracies in grey."""
    import plotly.graph_objects as go

    plot = go.Figure()
    for lam in LAMS:
        level = mean_accuracy(points, "direct", lam)
        plot.add_hline(level, line={"color": "lightgrey"}, annotation_text=f"direct, λ = {lam:g}")
    for label in [way + tuned for way in MAPS for tuned in ("", TUNED)] + [AGAIN]:
        plot.add_scatter(
            x=[statistics.median(distances(points, label, lam=lam)) for lam in LAMS],
            y=[mean_accuracy(points, label, lam) for lam in LAMS],
            text=[f"λ = {lam:g}" for lam in LAMS],
            mode="lines+markers",
            name=label,
        )
    plot.update_layout(
        title="Wine: members of a family and directly trained networks",
        xaxis_title="log10 of the symmetrised KL divergence from the direct network, nats",
        yaxis_title="test accuracy of the mean weights",
    )
    return plot
