"""Figure 3 of the 2022 paper: how close are the members of a family to directly trained networks (Wine, 5 seeds)?

Grebenkova et al. 2022, §4.1: softmax regression with a diagonal normal posterior, 142 examples to train on and 36 to
test on, batches of one example, 200 epochs, Adam at 5e-4, prior variance 1, log standard deviation started at -3, λ
from 1e2 to 1e6. Closeness is the symmetrised KL divergence of the posteriors of a member and of the direct network.

The family sees k = 5 independent λ with each example, the 2021 paper's number (Algorithm 1 of 2022 draws one), equally
weighted. The learning rate never falls and a batch is one example, so no network comes to rest: ``direct, again`` (the same
start, another order of examples) is how close a second direct network comes to the first, and nothing can be expected to come
closer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.core.storage.container import load_tree, save_tree
from netdial.data import Dataset, Splits, load_data
from netdial.family import Family, Fields, symmetrised_kl
from netdial.family.stacking import stack, unstack
from netdial.measure import outputs
from netdial.nets import build
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Figure, Outcome, TextTable
from netdial.papers.lab.training import both
from netdial.report.text import at_lam
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import FitConfig, make_config
from netdial.train.finetune import finetune
from netdial.train.fit import run as train

LAMS = (1e2, 1e3, 1e4, 1e5, 1e6)
WAYS = ("linear", "piecewise")
DIRECT, AGAIN, SHORT, TUNED = "direct", "direct, again", "direct, 1 epoch", " + 1 epoch"
_FILE, _KIND = "nets.safetensors", "networks at λ"
_EPOCHS, _RATE = 200, 5e-4
_QUICK_EPOCHS, _QUICK_RATE = 15, 5e-3


class Net(NamedTuple):
    """One network at one λ: its posterior and the test accuracy of its mean weights."""

    seed: int
    label: str
    lam: float
    fields: Fields
    accuracy: float


@dataclass(frozen=True)
class Wine(Cell):
    """Everything that is trained one ``way`` from one seed: ``direct``, or the map of a family."""

    seed: int
    way: str
    epochs: int = _EPOCHS
    lr: float = _RATE

    @property
    def label(self) -> str:
        """Words for people."""
        return f"wine {self.way} seed {self.seed}"

    @property
    def cost(self) -> float:
        """Epochs."""
        return float(self.epochs)

    def make(self, run: Run, store: Store) -> None:
        """Trains and measures."""
        nets = [
            {
                "label": net.label,
                "lam": net.lam,
                "mean": net.fields.mean,
                "log_std": net.fields.log_std,
                "accuracy": net.accuracy,
            }
            for net in self.trained()
        ]
        save_tree(run.path / _FILE, nets, _KIND)

    def read(self, store: Store) -> list[Net]:
        """Returns the networks."""
        layout = Layout.of(dict(self.net().named_parameters()))
        return [
            Net(
                self.seed,
                net["label"],
                net["lam"],
                Fields(layout, net["mean"], net["log_std"]),
                net["accuracy"],
            )
            for net in load_tree(store.path(self) / _FILE, _KIND)
        ]

    def net(self) -> nn.Module:
        """Returns the network before training."""
        return build("linear", input_shape=(13,), n_outputs=3, seed=self.seed)

    def trained(self) -> list[Net]:
        """Returns what is trained, at every λ."""
        task = load_data("wine", seed=self.seed, test=36 / 178)
        data = both(task.train, task.valid)
        families = self.direct(data) if self.way == DIRECT else self.family(data)
        return [
            Net(self.seed, label, lam, _fields(of[lam], lam), _accuracy(of[lam], task, lam))
            for label, of in families.items()
            for lam in LAMS
        ]

    def direct(self, data: Dataset) -> dict[str, dict[float, Family]]:
        """Returns directly trained networks, a second set of them, and networks trained for one epoch alone."""
        first, again = _direct_networks(self.net(), data, self.recipe())
        short, _ = _direct_networks(self.net(), data, replace(self, epochs=1).recipe())
        made = ((DIRECT, first), (AGAIN, again), (SHORT, short))
        return {label: dict.fromkeys(LAMS, family) for label, family in made}

    def family(self, data: Dataset) -> dict[str, dict[float, Family]]:
        """Returns a family, and each of its members after one epoch at its own λ."""
        made = Family(self.net(), self.recipe().family())
        made = train(made, data, None, kind="classification", config=self.recipe())
        tuning = replace(self, epochs=1, seed=self.seed + 1000).recipe()
        return {
            self.way: dict.fromkeys(LAMS, made),
            self.way + TUNED: {lam: finetune(made, lam, data, config=tuning) for lam in LAMS},
        }

    def recipe(self) -> FitConfig:
        """Returns the settings of the paper."""
        return make_config(
            objective="scaled-kl",
            map="linear" if self.way == DIRECT else self.way,
            lo=LAMS[0],
            hi=LAMS[-1],
            regions=5,
            epochs=self.epochs,
            batch_size=1,
            groups=1 if self.way == DIRECT else 5,
            sampling="independent",
            weighting="uniform",
            lr=self.lr,
            std_rate=1.0,
            schedule="constant",
            accelerator="cpu",
            seed=self.seed,
        )


class MeasuredNetworks:
    """All networks of a measurement, asked by label and λ; answers are seed by seed."""

    def __init__(self, nets: Iterable[Net]) -> None:
        self._nets = {(net.seed, net.label, net.lam): net for net in nets}
        self.seeds = sorted({seed for seed, _, _ in self._nets})
        self.labels = list(dict.fromkeys(label for _, label, _ in self._nets))

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


def experiment(lab: Lab) -> Outcome:
    """Returns the distance of every way of training from the direct networks."""
    if lab.data not in (None, "wine"):
        raise ConfigError(
            f"data={lab.data!r}: wine-fig3 is an experiment on wine; leave the data out"
        )
    epochs, lr = (_QUICK_EPOCHS, _QUICK_RATE) if lab.quick else (_EPOCHS, _RATE)
    cells = [Wine(seed, way, epochs, lr) for seed in lab.seed_list(5) for way in (DIRECT, *WAYS)]
    lab.make(cells)
    table = MeasuredNetworks(net for cell in cells for net in cell.read(lab.store))
    compared = [label for label in table.labels if label not in (DIRECT, SHORT)]
    overall = {label: table.overall(label) for label in compared}
    middle = {label: statistics.median(values) for label, values in overall.items()}
    return Outcome(
        lab.name,
        "Members of a family and directly trained networks",
        f"Mean over λ of the log10 symmetrised divergence from direct networks, nats: linear {middle['linear']:.2f}, "
        f"piecewise {middle['piecewise']:.2f}; a second set of direct networks comes as close as {middle[AGAIN]:.2f}.",
        (_shown(table, compared),),
        (figure(table),),
        {
            "overall": overall,
            "rows": [
                row(table, label, lam) for lam in LAMS for label in (DIRECT, AGAIN, SHORT, *WAYS)
            ],
        },
        {
            "data": "wine, 142 examples to train on, 36 to test on",
            "epochs": epochs,
            "rate": lr,
            "starts": len(table.seeds),
            "λ": list(LAMS),
        },
        (f"A small version: {epochs} epochs at ten times the paper's rate.",) if lab.quick else (),
        facts={
            "chosen": (
                "piecewise",
                f"the map that is asked about: {middle['piecewise']:.2f}, log10 of the divergence from direct networks",
            ),
            "rival": (
                f"{middle[AGAIN]:.2f}",
                "a second set of direct networks: as close as chance alone allows",
            ),
        },
    )


def row(table: MeasuredNetworks, label: str, lam: float) -> dict[str, object]:
    """Returns what there is to say of one way at one λ; the counts are of seeds."""
    found: dict[str, object] = {"λ": lam, "way": label}
    if label != DIRECT:
        values = table.distances(label, lam)
        found["log10 KL"] = statistics.median(values)
        found["lowest"], found["highest"] = min(values), max(values)
    if label == "piecewise":
        found["closer than linear"] = table.closer(label, "linear", lam)
    if label in WAYS:
        tuned = label + TUNED
        found["+1 epoch"] = statistics.median(table.distances(tuned, lam))
        found["closer by it"] = table.closer(tuned, label, lam)
        found["after +1 epoch"] = table.accuracy(tuned, lam)
    return {**found, "accuracy": table.accuracy(label, lam)}


def figure(table: MeasuredNetworks) -> Figure:
    """Returns the paper's figure: accuracy against distance, a line for each way, direct accuracies in grey."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import COLOURS, LEGEND_PIXELS, MUTED
    from netdial.report.sections.size_figures import single

    palette = (*COLOURS.values(), "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6")
    plot = single(380, "test accuracy of the mean weights", LEGEND_PIXELS)
    labels = [label for label in table.labels if label not in (DIRECT, SHORT)]
    places = {
        label: [statistics.median(table.distances(label, lam)) for lam in LAMS] for label in labels
    }
    ends = [f(x for row in places.values() for x in row) for f in (min, max)]
    for place, lam in enumerate(LAMS):
        plot.add_trace(
            go.Scatter(
                x=ends,
                y=[table.accuracy(DIRECT, lam)] * 2,
                mode="lines",
                name="directly trained",
                legendgroup="direct",
                showlegend=place == 0,
                line={"color": MUTED, "width": 1, "dash": "dot"},
                hovertemplate=f"direct, λ = {lam:g}: <b>%{{y:.2%}}</b><extra></extra>",
            )
        )
    for place, label in enumerate(labels):
        plot.add_trace(
            go.Scatter(
                x=places[label],
                y=[table.accuracy(label, lam) for lam in LAMS],
                text=[f"λ = {lam:g}" for lam in LAMS],
                mode="lines+markers",
                name=label,
                line={"color": palette[place % len(palette)], "width": 2},
                hovertemplate=f"{label}, %{{text}}: <b>%{{y:.2%}}</b><extra></extra>",
            )
        )
    plot.update_layout(hovermode="closest", yaxis={"tickformat": "~%"})
    plot.update_xaxes(
        title_text="log10 of the symmetrised KL divergence from the direct network, nats"
    )
    return Figure(
        "Accuracy against distance",
        plot,
        "One point for each λ; dotted: directly trained networks.",
    )


def _shown(table: MeasuredNetworks, labels: Sequence[str]) -> TextTable:
    rows = []
    for label in labels:
        distances = [statistics.median(table.distances(label, lam)) for lam in LAMS]
        mean = statistics.median(table.overall(label))
        rows.append((label, "log10 KL", *(f"{d:.2f}" for d in (*distances, mean))))
        rows.append(("", "accuracy", *(f"{table.accuracy(label, lam):.3f}" for lam in LAMS), ""))
    for label in (DIRECT, SHORT):
        rows.append((label, "accuracy", *(f"{table.accuracy(label, lam):.3f}" for lam in LAMS), ""))
    closer = [table.closer("piecewise", "linear", lam) for lam in LAMS]
    rows.append(("piecewise", "closer than linear", *closer, ""))
    return TextTable(
        "Distance from the directly trained network",
        ("", "", *(at_lam(lam) for lam in LAMS), "mean"),
        tuple(rows),
        "log10 of the symmetrised KL divergence in nats, median over starts; accuracy is the mean over starts.",
    )


def _direct_networks(net: nn.Module, data: Dataset, config: FitConfig) -> list[Family]:
    """Returns two sets of direct networks: the same start, another order of examples, in one batched run."""
    config = config.model_copy(update={"map": "table", "lams": LAMS})
    pair = stack([Family(net, config.family()), Family(net, config.family())])
    return unstack(train(pair, data, None, kind="classification", config=config), 2)


def _fields(family: Family, lam: float) -> Fields:
    """Returns the posterior of a member, cut loose from the family."""
    found = family.fields_at([lam])
    assert found.log_std is not None
    return Fields(found.layout, found.mean.detach().clone(), found.log_std.detach().clone())


def _accuracy(family: Family, task: Splits, lam: float) -> float:
    """Returns the test accuracy of a member's mean weights."""
    right: Tensor = outputs(family.export(lam), task.test).argmax(dim=1) == task.test.y
    return float(right.double().mean())
