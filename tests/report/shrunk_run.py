"""A made-up but realistic run that shrank, written by hand: records and the log of collections."""

from __future__ import annotations

import json
import math
from typing import Any

from netdial.core.records import Record
from netdial.runs.run import Run
from netdial.runs.shrinkage import KILLS

from ..early import early

STEPS_PER_EPOCH = 50
CONFIG: dict[str, Any] = {
    "way": "shrink",
    "data": "mnist",
    "model": "mlp:300-100",
    "kind": "classification",
    "epochs": 10,
    "seed": 0,
    "lam": 0.01,
    "size": "20k params",
    "n_train": 54000,
    "n_valid": 6000,
    "n_test": 10000,
    "n_params": 266610,
}
WIDTHS = {"fc1": 300, "fc2": 100}
COSTS = {
    "start": {"params": 266610, "macs": 266200, "bytes": 1066440, "ms_1": 0.2, "ms_64": 1.6},
    "end": {"params": 20009, "macs": 19950, "bytes": 80036, "ms_1": 0.16, "ms_64": 0.4},
}


def share(layer: int, epoch: float, last: float) -> float:
    """Returns how much of a layer is left."""
    return 0.04 + 0.96 * math.exp(-(2 + 0.2 * layer) * epoch / last)


def widths_at(epoch: float, epochs: int, widths: dict[str, int]) -> dict[str, int]:
    """Returns the channels of each layer."""
    return {
        name: max(round(width * share(index, epoch, epochs)), 1)
        for index, (name, width) in enumerate(widths.items())
    }


def train_records(name: str, epochs: int, widths: dict[str, int]) -> list[Record]:
    """Returns sizes at the start, and sizes, losses and scores at the end of each epoch."""
    rows = []
    for epoch in range(epochs + 1):
        left = widths_at(epoch, epochs, widths)
        part = (sum(left.values()) / sum(widths.values())) ** 2
        found: dict[str, tuple[float, str]] = {
            "shrink/params": (round(266610 * part), "parameters"),
            "shrink/macs": (round(266200 * part), "macs"),
        }
        found |= {f"shrink/width/{n}": (width, "channels") for n, width in left.items()}
        if epoch:
            found |= {
                "train/fit": (2.3 * math.exp(-0.5 * epoch) + 0.05, "nats/example"),
                "train/epoch_seconds": (0.5 + part, "s"),
                "shrink/collect_seconds": (0.05 * part, "s"),
                "shrink/lam": (0.01 * (1 + math.cos(math.pi * epoch / epochs)) / 2, ""),
                "valid/objective": (2.3 * math.exp(-0.5 * epoch) + 0.08, "nats/example"),
                "valid/accuracy": (0.97 - 0.6 * math.exp(-epoch) - 0.01 * epoch / epochs, ""),
            }
        step = epoch * STEPS_PER_EPOCH
        rows += [
            early(name, "train", None, 0, step, n, float(v), unit) for n, (v, unit) in found.items()
        ]
    return rows


def end_records(name: str, epochs: int) -> list[Record]:
    """Returns what the network cost before and after, and what it is worth."""
    found = {f"shrink/{when}/{n}": v for when, costs in COSTS.items() for n, v in costs.items()}
    found["shrink/fold_difference"] = 3.2e-7
    step = epochs * STEPS_PER_EPOCH
    rows = [early(name, "cost", None, 0, step, n, float(v)) for n, v in found.items()]
    scores = {"valid/accuracy": 0.961, "test/accuracy": 0.958, "valid/nll": 0.13}
    return rows + [early(name, "evaluate", None, 0, step, n, v) for n, v in scores.items()]


def collections(epochs: int, widths: dict[str, int]) -> list[dict[str, Any]]:
    """Returns the log: one collection at the end of every epoch."""
    log = []
    for epoch in range(1, epochs + 1):
        before, left = (widths_at(e, epochs, widths) for e in (epoch - 1, epoch))
        gone = {n: list(range(left[n], before[n])) for n in widths if left[n] < before[n]}
        log.append(
            {
                "step": epoch * STEPS_PER_EPOCH,
                "lam": 0.01,
                "rule": "size",
                "gone": gone,
                "widths": left,
                "n_params": 1000,
                "folded": {"fc3.bias": 2} if epoch == 1 else {},
                "refused": {"fc2": "keeps at least 1 of 4 channels"} if epoch > epochs - 2 else {},
                "difference": 1.4e-7,
                "seconds": 0.05,
            }
        )
    return log


def write_log(run: Run, log: list[dict[str, Any]]) -> None:
    """Writes the log of collections."""
    text = "".join(json.dumps(line) + "\n" for line in log)
    (run.path / KILLS).write_text(text, encoding="utf-8")
