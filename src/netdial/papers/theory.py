"""Theorem 2 of the 2022 paper as an experiment: the better a family's objective, the closer its pruning criterion.

The theorem says that if the expected objective of a sequence of families goes to that of the optima, then any continuous
function of the parameters, such as the pruning criterion, goes to its values at the optima; it asks for a single optimum in a
compact region. Here the sequence is a family in training, photographed at growing epochs; the optima are directly trained
networks from the same start; the criterion is the relative density exp(-μ²/2σ²) (eq. 17). For every λ two numbers are
followed: the excess of the training objective over the direct network's, and the mean absolute difference of the criterion.
The theorem predicts that they fall together. Softmax regression has the single optimum; a network with hidden units has not,
and is there to see what is left.

Shapes: L complexity values, P weights, T photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.data import Dataset
from netdial.family import Family
from netdial.measure import evaluate
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Figure, Outcome, TextTable
from netdial.papers.lab.training import Training, classification
from netdial.report.text import at_lam
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import make_config
from netdial.train.fit import run as train

LAMS = (0.01, 0.1, 1.0, 10.0, 100.0)
MAPS = ("linear", "piecewise")
_DRAWS, _EXAMPLES = 16, 5_000


class TheoryProblem(NamedTuple):
    """A network on some data; epochs of direct training and of the families, and settings of both."""

    model: str
    direct: int
    family: int
    settings: dict[str, Any]


SMALL: dict[str, Any] = {"batch_size": 16, "groups": 4, "lr": 1e-2, "regions": 5}
PROBLEMS = {
    "wine": TheoryProblem("linear", 400, 300, SMALL),
    "mnist": TheoryProblem("mlp:50", 30, 40, {"batch_size": 512, "lr": 8e-3, "regions": 5}),
}


@dataclass(frozen=True)
class Photographs(Cell):
    """A family in training, compared again and again with directly trained networks.

    Attributes:
        training: the family.
        direct: the networks.
    """

    training: Training
    direct: Training

    @property
    def label(self) -> str:
        """Words for people."""
        return f"watched {self.training.label}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The directly trained networks."""
        return (self.direct,)

    @property
    def cost(self) -> float:
        """That of the training, and a little."""
        return 1.3 * self.training.cost

    @property
    def epochs(self) -> list[int]:
        """Epochs after which photographs are taken: about 12, evenly spaced on a logarithmic scale."""
        last = self.training.config.known_epochs
        return sorted({max(1, round(last ** (i / 11))) for i in range(12)})

    def make(self, run: Run, store: Store) -> list[dict[str, Any]]:
        """Trains the family and returns what was measured on the way."""
        training, task = self.training, self.training.task(store)
        part = training.part(task)
        seen = part.select(torch.arange(min(_EXAMPLES, len(part))))
        family = Family(training.net(task), training.config.family())
        direct = self.direct.family(store)
        best, criterion = _objective(direct, seen, len(part)), _criterion(direct)
        taken = []

        def look(number: int) -> None:
            family.eval()
            taken.append(
                {
                    "epoch": number,
                    "excess": (_objective(family, seen, len(part)) - best).tolist(),
                    "distance": (_criterion(family) - criterion).abs().mean(dim=1).tolist(),
                    "rank": _spearman(_strength(family), _strength(direct)).tolist(),
                }
            )
            family.train()

        train(
            family,
            part,
            None,
            kind=task.kind,
            config=training.config,
            report=lambda epoch: look(epoch.number) if epoch.number in self.epochs else None,
        )
        return taken

    def read(self, store: Store) -> list[dict[str, Any]]:
        """Returns the photographs: epoch, and excess, distance and rank correlation ``[L]``."""
        found: list[dict[str, Any]] = store.read(self)
        return found


def experiment(lab: Lab) -> Outcome:
    """Returns how closely excess and distance go together."""
    problems = _problems(lab)
    for data in problems:
        classification(data, lab.store.data_dir)
    seeds = lab.seed_list(3)
    cells = {
        (data, kind, seed): _cell(data, problem, kind, seed)
        for data, problem in problems.items()
        for kind in MAPS
        for seed in seeds
    }
    lab.make(list(cells.values()))
    taken = {where: cell.read(lab.store) for where, cell in cells.items()}
    agreement = {data: _agreement(taken, data, seeds) for data in problems}
    words = "; ".join(f"{data} {found.mean():.2f}" for data, found in agreement.items())
    return Outcome(
        lab.name,
        "The better the objective, the closer the pruning criterion",
        f"Rank correlation between the excess of the objective and the distance of the criterion during training, mean over λ: "
        f"{words} (1 is what Theorem 2 suggests, 0 no relation).",
        tuple(_table(data, taken, agreement[data], seeds) for data in problems),
        tuple(_figure(data, taken, seeds[0]) for data in problems),
        {
            "lams": list(LAMS),
            "agreement": {data: found.tolist() for data, found in agreement.items()},
            "photographs": [
                {"data": data, "map": kind, "seed": seed, "taken": rows}
                for (data, kind, seed), rows in taken.items()
            ],
        },
        {
            "problems": {data: problem._asdict() for data, problem in problems.items()},
            "maps": list(MAPS),
            "starts": len(seeds),
            "objective": f"on the first {_EXAMPLES:,} training examples, {_DRAWS} draws of the posterior",
        },
        (
            "The direct networks stand for the optima. Where they are not at rest, or where there are several optima, "
            "a family can come closer to an optimum without coming closer to them.",
        ),
    )


def _problems(lab: Lab) -> dict[str, TheoryProblem]:
    found = dict(PROBLEMS)
    if lab.data is not None:
        found = {lab.data: PROBLEMS.get(lab.data, TheoryProblem("linear", 60, 40, SMALL))}
    elif lab.quick:
        found = {"wine": PROBLEMS["wine"]}
    if not lab.quick:
        return found
    return {data: problem._replace(direct=20, family=15) for data, problem in found.items()}


def _cell(data: str, problem: TheoryProblem, kind: str, seed: int) -> Photographs:
    paper = {"objective": "scaled-kl", "lo": LAMS[0], "hi": LAMS[-1]}
    common = {**paper, **problem.settings, "seed": seed}
    direct = make_config(**{**common, "map": "table", "lams": LAMS, "epochs": problem.direct})
    family = make_config(**{**common, "map": kind, "epochs": problem.family})
    return Photographs(Training(data, problem.model, family), Training(data, problem.model, direct))


def _objective(family: Family, part: Dataset, n_data: int) -> Tensor:
    """Returns the training objective ``[L]`` in nats per example."""
    path = evaluate(family, part, lams=LAMS, n_data=n_data, n_samples=_DRAWS)
    return torch.tensor(path.column("objective"), dtype=torch.float64)


def _strength(family: Family) -> Tensor:
    """Returns |μ|/σ ``[L, P]``, which orders weights as the relative density does, backwards."""
    with torch.no_grad():
        fields = family.fields_at(LAMS)
        if fields.log_std is None:
            raise ConfigError("a point posterior has no relative density; use posterior='normal'")
        return fields.mean.abs() * (-fields.log_std).exp()


def _criterion(family: Family) -> Tensor:
    """Returns the relative density exp(-μ²/2σ²) ``[L, P]`` (2022 paper, eq. 17)."""
    return (-0.5 * _strength(family).square()).exp()


def _spearman(first: Tensor, second: Tensor) -> Tensor:
    """Returns the rank correlation along the last dimension ``[...]``; nan where either does not vary."""
    ranks = torch.stack([first, second]).double().argsort(dim=-1).argsort(dim=-1).double()
    a, b = ranks - ranks.mean(dim=-1, keepdim=True)
    found: Tensor = (a * b).sum(dim=-1) / (a.square().sum(dim=-1) * b.square().sum(dim=-1)).sqrt()
    return found


def _agreement(
    taken: dict[tuple[str, str, int], list[dict[str, Any]]], data: str, seeds: Sequence[int]
) -> Tensor:
    """Returns the rank correlation of excess and distance ``[L]`` over both maps' photographs, mean over starts."""
    found = []
    for seed in seeds:
        rows = [row for kind in MAPS for row in taken[data, kind, seed]]
        excess, distance = (
            torch.tensor([row[what] for row in rows]) for what in ("excess", "distance")
        )
        found.append(_spearman(excess.T, distance.T))
    return torch.stack(found).mean(dim=0)


def _table(
    data: str,
    taken: dict[tuple[str, str, int], list[dict[str, Any]]],
    agreement: Tensor,
    seeds: Sequence[int],
) -> TextTable:
    rows: list[tuple[str, ...]] = [
        ("", "rank correlation", *(f"{value:.2f}" for value in agreement))
    ]
    for kind in MAPS:
        for place, when in ((0, "first"), (-1, "last")):
            photographs = [taken[data, kind, seed][place] for seed in seeds]
            for what, words in (
                ("excess", "excess, nats"),
                ("distance", "distance of the criterion"),
            ):
                mean = torch.tensor([photo[what] for photo in photographs]).mean(dim=0)
                title = f"{kind}, {when}" if what == "excess" else ""
                rows.append((title, words, *(f"{value:.3g}" for value in mean)))
    return TextTable(
        f"{data}: excess of the objective and distance of the criterion",
        ("", "", *(at_lam(lam) for lam in LAMS)),
        tuple(rows),
        "First and last photograph of each map, mean over starts.",
    )


def _figure(
    data: str, taken: dict[tuple[str, str, int], list[dict[str, Any]]], seed: int
) -> Figure:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import LEGEND_PIXELS, complexity_colours
    from netdial.report.sections.size_figures import single

    colours = complexity_colours(len(LAMS))
    plot = single(380, "mean absolute difference of the relative density", LEGEND_PIXELS)
    for kind, dash in zip(MAPS, ("dot", "solid"), strict=True):
        rows = taken[data, kind, seed]
        for place, (lam, colour) in enumerate(zip(LAMS, colours, strict=True)):
            plot.add_trace(
                go.Scatter(
                    x=[row["excess"][place] for row in rows],
                    y=[row["distance"][place] for row in rows],
                    text=[f"epoch {row['epoch']}" for row in rows],
                    mode="lines+markers",
                    name=f"{kind}, λ = {lam:g}",
                    line={"color": colour, "dash": dash, "width": 2},
                    hovertemplate=f"{kind}, λ = {lam:g}, %{{text}}: %{{x:.3~g}} nats, <b>%{{y:.3~g}}</b><extra></extra>",
                )
            )
    plot.update_layout(hovermode="closest")
    plot.update_xaxes(title_text="excess of the objective, nats per example", type="log")
    return Figure(
        f"{data}: on the way through training",
        plot,
        "Seed 0; each line runs from the right, where training begins.",
    )
