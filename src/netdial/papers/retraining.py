"""Prune and retrain, as Han et al. (2015): three facts that the lecture on structure selection lists, put to the test.

    1  L2 is better for pruning than L1 when training follows; without it, L1 is.
    2  Training on from the previous optimum is better than training what is left from random weights.
    3  After pruning the weights have several modes.

Networks are trained directly under λ ‖w‖² or λ ‖w‖₁ at three λ each, weights are removed by magnitude over all layers, and
what is kept is trained again under the same penalty, for equally many epochs whatever the way, at half the peak rate where
training goes on from an optimum. λ is chosen on
validation data for every share, way and penalty; what is compared is test accuracy, seed by seed.

Shapes: L complexity values, R seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netdial.core.best import signed
from netdial.family import Family
from netdial.measure import evaluate
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Figure, Outcome, TextTable, lost_words
from netdial.papers.lab.training import Training, classification
from netdial.pruning.weights.pruned import prune
from netdial.pruning.weights.rounds import retrain
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import make_config

LAMS = {"l2": (0.1, 1.0, 10.0), "l1": (0.03, 0.3, 3.0)}
SHARES = (0.8, 0.9, 0.95, 0.98)
"""Shares removed; below them retraining changes little, so the default ones are not all shown."""
WAYS = {
    "none": "not retrained",
    "previous": "from the previous optimum",
    "rounds": "the same, in 3 rounds",
    "random": "from random weights",
}
_BINS = 60

_ROUNDS = 3


@dataclass(frozen=True)
class Retrained(Cell):
    """Directly trained networks, pruned by magnitude and trained again.

    Attributes:
        training: the networks.
        share: share of the weights removed.
        way: one of ``WAYS``.
        epochs: epochs of retraining in all.
    """

    training: Training
    share: float
    way: str
    epochs: int

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.way} {self.share:g} {self.training.label}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The training."""
        return (self.training,)

    @property
    def cost(self) -> float:
        """Epochs."""
        return 0.1 if self.way == "none" else 0.5 * self.epochs * len(self.training.config.lams)

    def make(self, run: Run, store: Store) -> list[dict[str, Any]]:
        """Prunes, trains and measures the networks one by one."""
        family, task = self.training.family(store), self.training.task(store)
        rows = []
        for lam in family.config.lams:
            member = self.member(family, lam, task)
            row = {
                part: evaluate(member, task.part(part), lams=[lam], n_samples=0).column("accuracy")[
                    0
                ]
                for part in ("valid", "test")
            }
            counts, edges = torch.histogram(_weights(member, lam).double(), bins=_BINS)
            rows.append({**row, "counts": counts.tolist(), "edges": edges.tolist()})
        return rows

    def member(self, family: Family, lam: float, task: Any) -> Family:
        """Returns one network when all is done to it."""
        data, config = self.training.part(task), self.training.config
        if self.way == "none":
            return prune(family, lam, self.share, criterion="magnitude", fold=False)
        rounds = _ROUNDS if self.way == "rounds" else 1
        afresh = self.way == "random"
        done = retrain(
            family, lam, data, share=self.share, rounds=rounds, criterion="magnitude", fold=False,
            start="random" if afresh else "previous", epochs=self.epochs // rounds,
            lr=config.known_lr if afresh else config.known_lr / 2, objective=config.objective, batch_size=config.batch_size,
            seed=config.seed,
        )  # fmt: skip
        return done[-1].family

    def read(self, store: Store) -> list[dict[str, Any]]:
        """Returns for each λ: accuracy on ``valid`` and ``test``, and a histogram of the weights that are kept."""
        found: list[dict[str, Any]] = store.read(self)
        return found


def experiment(lab: Lab) -> Outcome:
    """Returns whether the three facts hold."""
    data = lab.data or "mnist"
    classification(data, lab.store.data_dir)
    seeds = lab.seed_list(3)
    shares = SHARES[1:3] if lab.quick else SHARES
    epochs = _ROUNDS if lab.quick else 5 * _ROUNDS
    cells = {
        (penalty, share, way): [
            Retrained(_training(lab, data, penalty, seed), share, way, epochs) for seed in seeds
        ]
        for penalty in LAMS
        for share in (0.0, *shares)
        for way in (WAYS if share else ["none"])
    }
    lab.make([cell for group in cells.values() for cell in group])
    best = {key: _chosen(group, lab.store) for key, group in cells.items()}
    accuracy = {
        key: torch.tensor([row["test"] for row in rows], dtype=torch.float64)
        for key, rows in best.items()
    }
    facts = [_fact(name, *pair, shares, accuracy) for name, pair in _PAIRS.items()]
    modes = _modes(best, shares)
    first = cells["l2", 0.0, "none"][0].training
    return Outcome(
        lab.name,
        "Prune and retrain: three facts",
        " ".join(fact[-1] for fact in facts) + f" {modes[-1]}",
        (
            TextTable(
                "Test accuracy by share removed",
                ("penalty", "retraining", "0 %", *(f"{share:.0%}" for share in shares)),
                tuple(
                    (
                        penalty.upper(),
                        words,
                        _spread(accuracy[penalty, 0.0, "none"]) if way == "none" else "",
                        *(_spread(accuracy[penalty, share, way]) for share in shares),
                    )
                    for penalty in LAMS
                    for way, words in WAYS.items()
                ),
                "Mean ± standard deviation over seeds; λ by validation accuracy for every cell.",
            ),
            TextTable(
                "The facts, in points of accuracy",
                ("difference", *(f"{share:.0%}" for share in shares)),
                tuple(fact[:-1] for fact in facts),
                "Mean ± standard error of the differences over seeds.",
            ),
            TextTable(
                "The valley at zero among the weights that are kept",
                ("penalty", "before pruning", *(f"{share:.0%}, retrained" for share in shares)),
                modes[0],
                "Density at zero over the highest density: 1 for a single mode at zero, 0 for a gap between two.",
            ),
        ),
        (_histogram(best, shares),),
        {
            "accuracy": {" ".join(map(str, key)): value.tolist() for key, value in accuracy.items()},
            "lams": {" ".join(map(str, key)): [r["lam"] for r in rows] for key, rows in best.items()},
        },
        {
            "data": data,
            "network": first.model,
            "training": first.label,
            "retraining": f"{epochs} epochs",
            "seeds": len(seeds),
        },
        facts={
            "lost": (
                lost_words(float((accuracy["l2", 0.0, "none"] - accuracy["l2", shares[-1], "rounds"]).mean())),
                f"of test accuracy under L2, by removing {shares[-1]:.0%} of the weights in 3 rounds",
            ),
        },
    )  # fmt: skip


_PAIRS = {
    "L2 in place of L1, not retrained": (("l2", "none"), ("l1", "none")),
    "L2 in place of L1, retrained": (("l2", "previous"), ("l1", "previous")),
    "The previous optimum in place of random weights, under L2": (
        ("l2", "previous"),
        ("l2", "random"),
    ),
    "Rounds in place of one shot, under L2": (("l2", "rounds"), ("l2", "previous")),
}


def valley(counts: Sequence[float], edges: Sequence[float]) -> float:
    """Returns the density at zero over the highest density of a histogram with bins of equal width."""
    around = next((n for n in range(len(counts)) if edges[n] <= 0 < edges[n + 1]), None)
    return 0.0 if around is None else counts[around] / max(counts)


def _training(lab: Lab, data: str, penalty: str, seed: int) -> Training:
    config = make_config(
        objective=penalty, map="table", lams=LAMS[penalty], epochs=5 if lab.quick else 30, batch_size=512, lr=4e-3, seed=seed,
    )  # fmt: skip
    return Training(data, "mlp:50", config, examples=10_000 if lab.quick else 0)


def _weights(member: Family, lam: float) -> Tensor:
    """Returns what is kept of all matrices, in one vector."""
    matrices = [leaf.flatten() for leaf in member.at(lam).values() if leaf.ndim > 1]
    flat = torch.cat(matrices)
    return flat[flat != 0]


def _chosen(cells: Sequence[Retrained], store: Store) -> list[dict[str, Any]]:
    """Returns for each seed the row of the λ with the best validation accuracy."""
    found = []
    for cell in cells:
        rows = cell.read(store)
        index = max(range(len(rows)), key=lambda i: rows[i]["valid"])
        found.append({**rows[index], "lam": cell.training.config.lams[index]})
    return found


def _fact(
    name: str,
    better: tuple[str, str],
    worse: tuple[str, str],
    shares: Sequence[float],
    accuracy: dict[tuple[str, float, str], Tensor],
) -> tuple[str, ...]:
    """Returns a row of differences, and what they say in words."""
    cells, signs = [], []
    for share in shares:
        gap = 100 * (accuracy[better[0], share, better[1]] - accuracy[worse[0], share, worse[1]])
        error = float(gap.std() / len(gap) ** 0.5) if len(gap) > 1 else 0.0
        cells.append(f"{signed(float(gap.mean()), '+.2f')} ± {error:.2f}")
        signs.append(0 if abs(float(gap.mean())) <= 2 * error else (1 if gap.mean() > 0 else -1))
    held = [f"{share:.0%}" for share, sign in zip(shares, signs, strict=True) if sign > 0]
    against = [f"{share:.0%}" for share, sign in zip(shares, signs, strict=True) if sign < 0]
    said = [
        f"{how} at {', '.join(at)} removed"
        for how, at in (("better", held), ("worse", against))
        if at
    ]
    words = f"{name}: {' and '.join(said) or 'no difference that can be seen'}."
    return (name, *cells, words)


def _modes(
    best: dict[tuple[str, float, str], list[dict[str, Any]]], shares: Sequence[float]
) -> tuple[tuple[tuple[str, ...], ...], str]:
    """Returns the table of valleys, and what it says in words."""
    table, last = [], []
    for penalty in LAMS:
        keys = [(penalty, 0.0, "none"), *((penalty, share, "previous") for share in shares)]
        values = [
            torch.tensor([valley(row["counts"], row["edges"]) for row in best[key]]) for key in keys
        ]
        table.append((penalty.upper(), *map(_spread, values)))
        last.append((float(values[0].mean()), max(float(v.mean()) for v in values[1:])))
    holds = all(after < 0.5 < before for before, after in last)
    words = "Weights turn bimodal" + ("" if holds else " not under every penalty and share")
    return tuple(table), words + "."


def _histogram(
    best: dict[tuple[str, float, str], list[dict[str, Any]]], shares: Sequence[float]
) -> Figure:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import COMPLEXITY_SCALE, LEGEND_PIXELS
    from netdial.report.sections.size_figures import single

    share = 0.9 if 0.9 in shares else shares[0]
    shown = {
        "before pruning": ("l2", 0.0, "none"),
        f"{share:.0%} removed, retrained": ("l2", share, "previous"),
    }
    plot = single(280, "density", LEGEND_PIXELS)
    for (label, key), place in zip(shown.items(), (0, -1), strict=True):
        row = best[key][0]
        counts, edges = torch.tensor(row["counts"]), torch.tensor(row["edges"])
        density = counts / (counts.sum() * (edges[1:] - edges[:-1]))
        plot.add_trace(
            go.Scatter(
                x=edges.repeat_interleave(2)[1:-1].tolist(),
                y=density.repeat_interleave(2).tolist(),
                name=label,
                mode="lines",
                line={"color": COMPLEXITY_SCALE[place], "width": 1.5},
                hovertemplate=f"{label}: <b>%{{y:.3~g}}</b><extra></extra>",
            )
        )
    plot.update_xaxes(
        title_text="weight", range=[-0.8, 0.8], unifiedhovertitle_text="<b>%{x:.3~g}</b>"
    )
    return Figure("Weights before and after (L2, first seed)", plot)


def _spread(values: Tensor) -> str:
    spread = f" ± {float(values.std()):.4f}" if len(values) > 1 else ""
    return f"{float(values.mean()):.4f}{spread}"
