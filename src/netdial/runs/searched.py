"""What a run of ``netdial search`` found, read from its records. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from netdial.core.best import beside_random, guard_remarks
from netdial.core.records import Record
from netdial.runs.curves import CONSTANT

OUTCOME = "outcome"
"""Method of the record of what training gave the network that was found."""
DRAWINGS = "structure"
"""Folder of a run that holds drawings of the structure: ``epoch-00001.svg`` …, ``found.svg``."""


@dataclass
class TrialRow:
    """One structure that was trained from fresh weights.

    Attributes:
        number: in the order of training, from 0.
        role: ``search``, ``candidate`` (of a search by gradient), ``front`` (along λ), or ``baseline`` for random search.
        values: ``loss`` (validation, nats; absent if training diverged), ``params``, ``epochs``, ``seconds``.
    """

    number: int
    role: str
    values: dict[str, float] = field(default_factory=dict)


@dataclass
class Searched:
    """What a search found; parts that were not recorded are empty.

    Attributes:
        chosen: edge -> operation.
        cost: ``params``, ``macs``, ``vertices``, ``edges``, ``ms`` (if it was measured), ``seconds`` and ``examples`` of the
            search.
        scores: ``valid/accuracy``, ``test/nll`` and the like of the network.
        constant: the same of a prediction that looks at no input.
        gap: ``mixture``, ``inherited``, ``retrained``: validation losses in nats.
        guards: of a search by gradient: ``skips`` (identities in the network), ``most_skips``, ``skips_before``,
            ``skips_entered``, and the ``epoch`` whose structure was taken.
        curvature: of the structure's loss after each epoch, if it was watched.
        baseline: ``difference`` of the loss from that of the best random structure, its ``standard_error``, ``trials``,
            ``structures`` (how many of these differ), ``best_loss``.
        part: part of the data of the comparison.
        trials: structures that were trained.
        loss: part of the data -> (step, loss) along a search by gradient.
        gamma: edge -> operation -> (step, probability) along a search by gradient.
        front: of a search along λ at each λ: ``lam``, and of the structure ``params``, ``macs`` and ``loss`` (validation).
        own_loss: of the network on validation data, as losses of trials are: of a regression under a noise of variance 1.
    """

    chosen: dict[str, str] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    constant: dict[str, float] = field(default_factory=dict)
    gap: dict[str, float] = field(default_factory=dict)
    guards: dict[str, float] = field(default_factory=dict)
    curvature: list[float] = field(default_factory=list)
    baseline: dict[str, float] = field(default_factory=dict)
    part: str = ""
    trials: list[TrialRow] = field(default_factory=list)
    loss: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    gamma: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    front: list[dict[str, float]] = field(default_factory=list)
    own_loss: float | None = None

    @property
    def verdict(self) -> str:
        """How the network compares with random search at equal cost, in one sentence; empty if it was not compared."""
        found = self.baseline
        if "difference" not in found:
            return ""
        error = found.get("standard_error", math.inf)
        count = found.get("structures", found.get("trials", 0))  # in older runs
        return beside_random(found["difference"], error, count, self.part)

    @property
    def remarks(self) -> list[str]:
        """What guards of the search did, in sentences."""
        found = self.guards
        if not found:
            return []
        return guard_remarks(
            found["skips_before"],
            found["most_skips"],
            self.curvature,
            found["epoch"],
            found.get("skips"),
            found.get("skips_entered"),
        )

    @property
    def is_no_better(self) -> bool:
        """Whether it was compared with random search and is not better."""
        return bool(self.verdict) and not self.verdict.startswith("Better")

    @property
    def leaves_no_choice(self) -> bool:
        """Whether all random structures, and what was found, came to one size and one loss, to the last digit."""
        rows = [trial.values for trial in self.trials if trial.role == "baseline"]
        found = (
            self.cost.get("params"),
            self.own_loss if self.own_loss is not None else self.gap.get("retrained"),
        )
        return len(rows) > 1 and {(row.get("params"), row.get("loss")) for row in rows} == {found}


def searched(records: Iterable[Record]) -> Searched:
    """Returns what the records of a search say."""
    found = Searched()
    trials: dict[tuple[str, int], TrialRow] = {}
    front: dict[float, dict[str, float]] = {}
    for row in records:
        if row.method == "train":
            _of_training(found, trials, row)
        elif row.method == "evaluate":
            found.scores[row.column] = row.value
        elif row.method == CONSTANT:
            found.constant[row.column] = row.value
        elif row.method == "cost":
            found.cost[row.name] = row.value
        elif row.method == OUTCOME:
            found.own_loss = row.value
        elif row.method == "gap":
            found.gap[row.name] = row.value
        elif row.method == "guards" and row.name == "curvature":
            found.curvature.append(row.value)
        elif row.method == "guards":
            found.guards[row.name] = row.value
        elif row.method == "baseline":
            found.baseline[row.name], found.part = row.value, row.part or ""
        elif row.method == "front" and row.lam is not None:
            front.setdefault(row.lam, {})[row.name] = row.value
        elif row.method == "structure":
            found.chosen[str(row.where["edge"])] = str(row.where["operation"])
    found.front = [{"lam": lam, **values} for lam, values in sorted(front.items())]
    found.trials = sorted(trials.values(), key=lambda trial: (trial.role, trial.number))
    return found


def _of_training(found: Searched, trials: dict[tuple[str, int], TrialRow], row: Record) -> None:
    where = row.where
    if "trial" in where:
        role, number = str(where.get("role", "")), int(where["trial"])
        trial = trials.setdefault((role, number), TrialRow(number, role))
        trial.values[row.name] = row.value
    elif row.name == "gamma":
        edge, operation = str(where["edge"]), str(where["operation"])
        line = found.gamma.setdefault(edge, {}).setdefault(operation, [])
        line.append((row.step, row.value))
    elif row.name == "loss" and row.part is not None:
        found.loss.setdefault(row.part, []).append((row.step, row.value))
