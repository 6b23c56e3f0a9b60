"""The one-standard-error choice: parameters it keeps, relative to those of the best-accuracy member, on six data sets.

Families are trained by the defaults, and under ``ard``. Members are searched over 13 values of λ × 14 shares removed, as pruned
and also fine-tuned after every step of pruning. The best-accuracy member is the best of that search; where several are
equally good it is the *sparsest* of them, so what is pruned away at no loss is not counted in our favour. Beside it stands
the best member of the family before pruning.
"""

from __future__ import annotations

import statistics

import torch

from benchmarks.choice._datasets import Learned, learned, medians, seeds
from benchmarks.common.result import Result
from netdial.choice import Candidate, Choice, choose
from netdial.choice.rules import best
from netdial.jobs.presets import PRESETS
from netdial.train.schedules import usual_batch_size

LAMS = {False: 13, True: 5}
"""Values of λ, by whether the version is the quick one."""
EPOCHS = 5
LR = 2e-3


def measure(*, quick: bool = False) -> Result:
    """Returns the median over data sets of parameters kept ÷ those of the best member."""
    torch.set_num_threads(1)
    cells, absent = learned(quick)
    cells += learned(quick, objective="ard")[0]
    kept: dict[str, dict[str, list[float]]] = {}
    rows = []
    for cell in cells:
        print(cell.label)
        for way, epochs in (("as pruned", 0), ("fine-tuned", 1 if quick else EPOCHS)):
            label = way if cell.objective == "scaled-kl" else f"{cell.objective}, {way}"
            choice, unpruned = _choices(cell, epochs)
            top = choice.table.cells[best(choice.table, range(len(choice.table.cells)))]
            ratios = {
                f"{label} ÷ best of λ × share": choice.row.params / top.params,
                f"{label} ÷ best before pruning": choice.row.params / unpruned.params,
            }
            for name, ratio in ratios.items():
                kept.setdefault(name, {}).setdefault(cell.data, []).append(ratio)
            rows.append(_row(cell, label, choice, top, unpruned))
    return Result(
        "choose-onese",
        {name: medians(by) for name, by in kept.items()},
        "parameters ÷ parameters",
        "lower",
        seeds=seeds(quick),
        quick=quick,
        baseline="1: the best-accuracy member itself",
        floor=f"left out, not in NETDIAL_DATA: {', '.join(absent)}" if absent else "",
        spread={
            name: (min(means), max(means))
            for name, by in kept.items()
            if (means := [statistics.fmean(values) for values in by.values()])
        },
        rows=rows,
    )


def _choices(cell: Learned, epochs: int) -> tuple[Choice, Candidate]:
    """Returns the one-standard-error choice, and the best member that nothing was removed from."""
    task = cell.task
    size = PRESETS.get(cell.data, {}).get("batch_size", usual_batch_size(len(task.train)))
    settings = {"batch_size": size, "lr": LR} if epochs else {}
    choice = choose(
        cell.family,
        task.valid,
        by="one-se",
        metric="accuracy",
        train=task.train,
        lams=LAMS[cell.quick],
        finetune_epochs=epochs,
        seed=cell.seed,
        **settings,
    )
    whole = [i for i, member in enumerate(choice.table.cells) if member.share == 0]
    return choice, choice.table.cells[best(choice.table, whole)]


def _row(
    cell: Learned, label: str, choice: Choice, top: Candidate, unpruned: Candidate
) -> dict[str, object]:
    table = choice.table
    everyone = range(len(table.cells))
    excess, error = table.excess([table.cells.index(choice.row)], best(table, everyone))
    tested = choice.tested(cell.task.test).test["accuracy"]
    return {
        "data": cell.data,
        "seed": cell.seed,
        "members": label,
        "best: λ": top.lam,
        "removed": top.share,
        "kept": top.params,
        "valid %": 100 * top.value,
        "one-SE: λ": choice.lam,
        "removed ": choice.share,
        "kept ": choice.row.params,
        "valid % ": 100 * choice.row.value,
        "lost, points": 100 * float(excess[0]),
        "1 SE, points": 100 * float(error[0]),
        "test %": 100 * tested,
        "before pruning, valid %": 100 * unpruned.value,
    }
