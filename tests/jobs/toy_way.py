"""A way of training in one file: the mean of the targets, learned by gradient steps; for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from netdial.core.records import Record
from netdial.core.storage.container import load_tree, save_tree
from netdial.jobs.ways import WAYS, Answer, Way, Work
from netdial.report.page import Section
from netdial.runs.run import Run
from netdial.train.config import TrainConfig
from netdial.train.session import Interrupted

from ..early import early

STOP_AFTER = 0
"""Epoch after which training is interrupted; 0 never."""


class ToyConfig(TrainConfig):
    """Settings of the toy; `pull` is its own."""

    pull: float = 0.25


def prepare(problem: Any, config: ToyConfig) -> tuple[Tensor, int]:
    return torch.zeros(1, dtype=torch.float64), 1


def train(work: Work) -> float:
    """Pulls the guess towards the mean of the targets, one step an epoch; saves after each, stops if it is told to."""
    guess, session = work.start, work.session
    checkpoint = session["checkpoint"]
    if session["resuming"] and checkpoint.exists():
        guess = load_tree(checkpoint, "checkpoint")["guess"]
    mean = float(work.problem.task.train.y.double().mean())
    for epoch in range(work.step, work.config.epochs):
        guess = guess + work.config.pull * (mean - guess)
        tree = {"state": {"step": epoch + 1}, "guess": guess}
        record = early(work.run.name, "train", None, 0, epoch + 1, "toy/guess", float(guess), "")
        work.run.replace([record])
        save_tree(checkpoint, tree, "checkpoint")
        checkpoint = session["saved"]()
        if epoch + 1 == STOP_AFTER:
            raise Interrupted("stopped")
    return float(guess)


def conclude(work: Work, guess: float) -> None:
    step = work.run.last_step
    work.run.replace([early(work.run.name, "evaluate", None, 0, step, "toy/answer", guess, "")])


def answer(run: Run) -> float:
    found = [record.value for record in run.records() if record.name == "toy/answer"]
    return found[-1] if found else float("nan")


def headline(run: Run) -> Answer:
    table = Table("guess")
    table.add_row(f"{answer(run):.4f}")
    row = {"metric": "valid/rmse", "best": answer(run)}
    return Answer({"guess": answer(run)}, [table], ["a guess was made"], row)


def tell(run: Run, records: Sequence[Record]) -> dict[str, Any]:
    return {
        "lead": f"The guess is {answer(run):.4f}.",
        "sentence": "A toy.",
        "tiles": [],
        "notes": [],
        "figures": {},
        "data": {},
    }


TOY = Way(
    name="toy",
    help="Guess the mean of the targets.",
    config=lambda: ToyConfig,
    prepare=prepare,
    train=train,
    conclude=conclude,
    headline=headline,
    section=lambda: Section("page.html.j2", tell),
)


def register() -> None:
    WAYS.add("toy")(TOY)
