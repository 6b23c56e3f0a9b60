"""Figure 3 of the 2022 paper: how close are the members of a family to directly trained networks (Wine, 5 seeds)?

Grebenkova et al. 2022, §4.1: softmax regression with a diagonal normal posterior, 142 examples to train on and 36 to
test on, batches of one example, 200 epochs, Adam at 5e-4, prior variance 1, log standard deviation started at -3, λ
from 1e2 to 1e6. Closeness is the symmetrised KL divergence of the posteriors of a member and of the direct network.

The family sees k = 5 independent λ with each example, the papers' number, equally weighted. The learning rate never falls
and a batch is one example, so no network comes to rest: ``direct, again`` (the same start, another order of examples) is how
close a second direct network comes to the first, and nothing can be expected to come closer.
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
from netdial.config import FitConfig, make_config
from netdial.data import Dataset, Task, load
from netdial.evaluation import outputs
from netdial.family import Family, Fields, symmetrised_kl
from netdial.fitting import finetune, run, stack, unstack
from netdial.nets import build

LAMS = (1e2, 1e3, 1e4, 1e5, 1e6)
WAYS = {
    "linear": ("linear", 5),
    "piecewise": ("piecewise", 5),
}
DIRECT, AGAIN, SHORT, TUNED = "direct", "direct, again", "direct, 1 epoch", " + 1 epoch"
COLUMNS = (
    "λ",
    "way",
    "log10 KL",
    "lowest",
    "highest",
    "closer than linear",
    "+1 epoch",
    "closer by it",
    "accuracy",
    "after +1 epoch",
)
PLOT = Path(__file__).parent.parent / "runs" / "benchmarks" / "wine-fig3.html"


class Job(NamedTuple):
    """One piece of work: everything that is trained one ``way`` from one seed."""

    seed: int
    way: str
    epochs: int
    lr: float


class Net(NamedTuple):
    """One network at one λ: its posterior and the test accuracy of its mean weights."""

    seed: int
    label: str
    lam: float
    fields: Fields
    accuracy: float


class Table:
    """All networks of a measurement, asked by label and λ; answers are seed by seed."""

    def __init__(self, nets: list[Net]) -> None:
        self.seeds = sorted({net.seed for net in nets})
        self.labels = list(dict.fromkeys(net.label for net in nets))
        self._nets = {(net.seed, net.label, net.lam): net for net in nets}

    def distances(self, label: str, lam: float) -> list[float]:
        """Returns log10 of the symmetrised divergence from the direct network, in nats."""
        pairs = [
            (self._nets[seed, label, lam].fields, self._nets[seed, DIRECT, lam].fields)
            for seed in self.seeds
        ]
        return [float(symmetrised_kl(a, b).clamp_min(1e-12).log10()) for a, b in pairs]

    def overall(self, label: str) -> list[float]:
        """Returns the mean of the distances over λ, which weighs every λ alike."""
        by_lam = [self.distances(label, lam) for lam in LAMS]
        return [statistics.fmean(values) for values in zip(*by_lam, strict=True)]

    def accuracy(self, label: str, lam: float) -> float:
        """Returns the mean accuracy."""
        return statistics.fmean(self._nets[seed, label, lam].accuracy for seed in self.seeds)

    def closer(self, label: str, other: str, lam: float) -> str:
        """Returns for how many seeds the one is closer to the direct network than the other."""
        pairs = zip(self.distances(label, lam), self.distances(other, lam), strict=True)
        return f"{sum(a < b for a, b in pairs)} of {len(self.seeds)}"


def measure(*, quick: bool = False) -> Result:
    """Returns the distance of every way of training from the direct networks; writes the figure."""
    ways = [DIRECT, *WAYS]
    seeds = range(1 if quick else 5)
    epochs, lr = (15, 5e-3) if quick else (200, 5e-4)
    jobs = [Job(seed, way, epochs, lr) for seed in seeds for way in ways]
    if quick:
        found = [trained(job) for job in jobs]
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=2, mp_context=spawn) as pool:
            found = list(pool.map(trained, jobs))
    table = Table([net for nets in found for net in nets])
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure(table).write_html(PLOT, include_plotlyjs=True)
    print(f"figure: {PLOT}")
    overall = {
        label: table.overall(label) for label in table.labels if label not in (DIRECT, SHORT)
    }
    return Result(
        "wine-fig3",
        {label: statistics.median(values) for label, values in overall.items()},
        "log10 nats, mean over λ, median over seeds",
        "lower",
        seeds=tuple(seeds),
        quick=quick,
        baseline="networks trained directly with the same recipe"
        + (f"; quick: {epochs} epochs at ten times the rate" if quick else ""),
        floor=f"'{AGAIN}': what batches of one example leave between two direct networks",
        spread={label: (min(values), max(values)) for label, values in overall.items()},
        rows=[row(table, way, lam) for lam in LAMS for way in (DIRECT, AGAIN, SHORT, *ways[1:])],
    )


def trained(job: Job) -> list[Net]:
    """Returns what one piece of work trains, at every λ."""
    torch.set_num_threads(1)
    task = load("wine", seed=job.seed, test=36 / 178)
    parts = (task.train, task.valid)
    data = Dataset(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    net = build("linear", input_shape=(13,), n_outputs=3, seed=job.seed)
    if job.way == DIRECT:
        direct, again = direct_networks(net, data, recipe(job))
        short, _ = direct_networks(net, data, recipe(job._replace(epochs=1)))
        families = {
            label: dict.fromkeys(LAMS, family)
            for label, family in ((DIRECT, direct), (AGAIN, again), (SHORT, short))
        }
    else:
        family = Family(net, recipe(job).family())
        family = run(family, data, None, kind="classification", config=recipe(job))
        tuning = recipe(job._replace(epochs=1, seed=job.seed + 1000))
        families = {
            job.way: dict.fromkeys(LAMS, family),
            job.way + TUNED: {lam: finetune(family, lam, data, config=tuning) for lam in LAMS},
        }
    return [
        Net(job.seed, label, lam, fields(of[lam], lam), accuracy(of[lam], task, lam))
        for label, of in families.items()
        for lam in LAMS
    ]


def recipe(job: Job) -> FitConfig:
    """Returns the settings of the paper."""
    kind, groups = WAYS.get(job.way, ("linear", 1))
    return make_config(
        map=kind,
        lo=LAMS[0],
        hi=LAMS[-1],
        regions=5,
        epochs=job.epochs,
        batch_size=1,
        groups=groups,
        sampling="independent",
        weighting="uniform",
        lr=job.lr,
        std_rate=1.0,
        schedule="constant",
        accelerator="cpu",
        seed=job.seed,
    )


def direct_networks(net: nn.Module, data: Dataset, config: FitConfig) -> list[Family]:
    """Returns two sets of direct networks: the same start, another order of examples, in one batched run."""
    config = config.model_copy(update={"map": "table", "lams": LAMS})
    both = stack([Family(net, config.family()), Family(net, config.family())])
    return unstack(run(both, data, None, kind="classification", config=config), 2)


def fields(family: Family, lam: float) -> Fields:
    """Returns the posterior of a member, cut loose from the family."""
    found = family.fields_at([lam])
    assert found.log_std is not None
    return Fields(found.layout, found.mean.detach().clone(), found.log_std.detach().clone())


def accuracy(family: Family, task: Task, lam: float) -> float:
    """Returns the test accuracy of a member's mean weights."""
    right = outputs(family.export(lam), task.test).argmax(dim=1) == task.test.y
    return float(right.double().mean())


def row(table: Table, label: str, lam: float) -> dict[str, object]:
    """Returns what is shown of one way at one λ; the counts are of seeds."""
    found: dict[str, object] = dict.fromkeys(COLUMNS, "")
    found.update({"λ": lam, "way": label, "accuracy": table.accuracy(label, lam)})
    if label != DIRECT:
        values = table.distances(label, lam)
        found.update({"log10 KL": statistics.median(values)})
        found.update({"lowest": min(values), "highest": max(values)})
    if label.startswith("piecewise"):
        rival = label.replace("piecewise", "linear")
        found["closer than linear"] = table.closer(label, rival, lam)
    if label in WAYS:
        tuned = label + TUNED
        found["+1 epoch"] = statistics.median(table.distances(tuned, lam))
        found["closer by it"] = table.closer(tuned, label, lam)
        found["after +1 epoch"] = table.accuracy(tuned, lam)
    return found


def figure(table: Table) -> Any:
    """Returns the paper's figure: accuracy against distance, a line for each way, direct accuracies in grey."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    plot = go.Figure()
    for lam in LAMS:
        level = table.accuracy(DIRECT, lam)
        plot.add_hline(level, line={"color": "lightgrey"}, annotation_text=f"direct, λ = {lam:g}")
    for label in table.labels:
        if label in (DIRECT, SHORT):
            continue
        plot.add_scatter(
            x=[statistics.median(table.distances(label, lam)) for lam in LAMS],
            y=[table.accuracy(label, lam) for lam in LAMS],
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
