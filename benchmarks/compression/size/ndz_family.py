"""Size of a whole family in one file against seven files, one for each of seven λ, of members that lose no more.

For each table and seed a family is trained. Each member at seven λ is compressed alone, over a range of sizes, and so is the
family as a whole. On both sides the smallest file counts whose loss on validation rows is at most ``ALLOWED`` nats above
the member's, in the file of the family at each of the seven λ. Test losses are shown beside; nothing is chosen by them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import netdial as nd
from benchmarks.common.result import Result
from netdial.compression.pipeline.result import FrontPoint
from netdial.jobs.pool import make_all
from netdial.measure.forward import outputs
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import named

TABLES = ("breast-cancer", "wine", "digits")

STORE = Store(Path("runs/benchmarks/ndz"))
ALLOWED = 0.02
"""Nats on validation rows above the member."""

_SEEDS, _LAMS = 3, 7


@dataclass(frozen=True)
class CompressedFamily(Cell):
    """One table and seed.

    Attributes:
        table: its name.
        seed: the seed.
        epochs: passes over the data of each training of a compression.
    """

    table: str
    seed: int
    epochs: int

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.table} family seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns sizes and losses."""
        data = nd.load_data(self.table, seed=self.seed, flat=True)
        spec = {
            "spec": "mlp:50",
            "input_shape": list(data.input_shape),
            "n_outputs": data.n_outputs,
        }
        net = nd.build(
            "mlp:50", input_shape=data.input_shape, n_outputs=data.n_outputs, seed=self.seed
        )
        family = nd.fit(net, data.train, data.valid, epochs=40, seed=self.seed)
        lams = family.lams(_LAMS)
        wanted = [_loss(family.export(lam), data.valid, data.kind) + ALLOWED for lam in lams]
        settings: dict[str, Any] = {
            "max_loss": ALLOWED, "epochs": self.epochs, "seed": self.seed, "recipe": {"net": spec},
        }  # fmt: skip
        whole = nd.compress(family, data.train, data.valid, **settings)
        one = whole.chosen
        alone = []
        for lam, most in zip(lams, wanted, strict=True):
            found = nd.compress(family, data.train, data.valid, lam=lam, **settings)
            alone.append(_smallest([*found.front, found.chosen], most))
        return {
            "family": one.n_bytes,
            "files": [point.n_bytes for point in alone],
            "test": {
                "members": _mean(lambda lam: family.export(lam), lams, data),
                "files": statistics.fmean(_loss(p.net, data.test, data.kind) for p in alone),
                "family": _mean(lambda lam: one.net.export(lam), lams, data),  # type: ignore[operator]
            },
        }


def _mean(member: Any, lams: Sequence[float], data: nd.Splits) -> float:
    return statistics.fmean(_loss(member(lam), data.test, data.kind) for lam in lams)


def _smallest(points: Sequence[FrontPoint], most: float) -> FrontPoint:
    fits = [point for point in points if point.loss <= most]
    return min(fits or points[:1], key=lambda point: point.n_bytes)


def _loss(net: Any, part: Any, kind: str) -> float:
    return float(named(kind).nll(outputs(net, part), part.y).mean())


def measure(*, quick: bool) -> Result:
    """Returns bytes of the family's file over those of seven files; the quick version of one table and seed."""
    torch.set_num_threads(1)
    tables, seeds = (TABLES[1:2], range(1)) if quick else (TABLES, range(_SEEDS))
    cells = [
        CompressedFamily(table, seed, 3 if quick else 12) for table in tables for seed in seeds
    ]
    make_all(cells, STORE, workers=1, report=print)
    value, spread, rows = {}, {}, []
    for table in tables:
        name = table.partition(".")[0]
        found = [STORE.read(cell) for cell in cells if cell.table == table]
        ratios = [one["family"] / sum(one["files"]) for one in found]
        value[name], spread[name] = statistics.fmean(ratios), (min(ratios), max(ratios))
        rows += [
            {
                "table": name,
                "seed": seed,
                "family": one["family"],
                "seven files": sum(one["files"]),
                "ratio": round(ratio, 3),
                **{f"test nll, {n}": round(x, 4) for n, x in one["test"].items()},
            }
            for seed, one, ratio in zip(seeds, found, ratios, strict=True)
        ]
    return Result(
        "ndz-family",
        value,
        "ratio",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline=f"seven files of members, validation loss at most {ALLOWED:g} nats above the member on both sides",
        floor="reach: 0.5",
        spread=spread,
        rows=rows,
    )
