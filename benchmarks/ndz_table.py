"""Size of compressed networks on real tables, against dense ones in half precision with zstd, as they are and of equal loss.

For each table and seed a perceptron (100-50) is trained and compressed at a price: .002 bits of loss on all training rows for
a bit of the file, half of what had left digits of seeds 0 to 9 a thousandth of a nat short of "no loss". Its rivals, stored as
float16 and packed by zstd at level 19: the same network, and the smallest of a ladder of dense perceptrons, trained by the same
recipe, that is no worse on validation rows. Of that one both the numbers alone count and a safetensors file, which has names
and shapes as ours has. The verdict is on test rows, against the network trained on by the same recipe.

Inputs of validation and test rows are limited to the range of the training rows: one row of the gas sensors lies 25,000
standard deviations out, and any network's loss on it says nothing of the others.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

import netdial as nd
from benchmarks._compressed import Recipe, one_seed, stacked
from benchmarks.result import Result
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import divide, tensors_of
from netdial.compression.pipeline.steps import Context, recipe_alone
from netdial.jobs.pool import make_all
from netdial.measure.forward import outputs
from netdial.measure.verdict import verdict
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import named

TABLES = {
    "breast-cancer": None,
    "digits": None,
    "covertype_15120.parquet": "Cover_Type",
    "gas_sensor_drift_8of10.parquet": "gas",
}
"""Table -> column to predict; None for one that says so itself."""

STORE = Store(Path("runs/benchmarks/ndz"))
_LADDER = ("100-50", "32", "16", "8", "4", "2")
_SEEDS, _LEVEL, _PRICE = range(10, 20), 19, 0.002


@dataclass(frozen=True)
class CompressedTable(Cell):
    """One table and seed.

    Attributes:
        table: its name.
        seed: the seed.
        epochs: passes over the data of each training.
        rows: training rows that are used; 0 for all.
        price: bits of loss that a bit of the file is worth.
    """

    table: str
    seed: int
    epochs: int
    rows: int = 0
    price: float = _PRICE

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.table} seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns sizes and losses."""
        data = nd.load_data(self.table, seed=self.seed, flat=True, target=TABLES[self.table])
        if self.rows:
            data = replace(
                data, train=data.train.select(torch.arange(min(self.rows, len(data.train))))
            )
        data = _limited(data)
        settings = {"epochs": self.epochs, "lr": 2e-3, "price": self.price}
        recipe = Recipe(f"mlp:{_LADDER[0]}", self.epochs, 4e-3, None, settings, "nll")
        found = one_seed(data, recipe, self.seed, run.path)
        goal = found["valid"]["loss"]
        sizes = {width: self._dense(data, width) for width in _LADDER}
        fits = [(bytes_, file) for bytes_, file, loss in sizes.values() if loss <= goal]
        found["dense zstd"] = sizes[_LADDER[0]][0]
        found["smallest zstd"], found["smallest file"] = min(fits, default=(None, None))
        return found

    def _dense(self, data: nd.Splits, width: str) -> tuple[int, int, float]:
        """Returns bytes of numbers and of a file, and validation loss, of a dense network of the ladder."""
        task = named(data.kind)
        net = nd.build(
            f"mlp:{width}", input_shape=data.input_shape, n_outputs=data.n_outputs, seed=self.seed
        )
        for lr, distil in ((4e-3, 0.0), (2e-3, 0.7)):
            config = CompressConfig(
                epochs=self.epochs, tuning=0, lr=lr, distil=distil, seed=self.seed
            )
            net = recipe_alone(Context(data.train, task, config, divide(net), net), net, width)
        loss = float(task.nll(outputs(net, data.valid), data.valid.y).mean())
        return half_bytes(net), len(_packed(save(halves(net)))), loss


def _limited(data: nd.Splits) -> nd.Splits:
    """Returns data whose validation and test rows stay within the range of the training rows."""
    lo, hi = data.train.x.amin(dim=0), data.train.x.amax(dim=0)
    valid, test = (replace(part, x=part.x.clamp(lo, hi)) for part in (data.valid, data.test))
    return replace(data, valid=valid, test=test)


def half_bytes(net: nn.Module) -> int:
    """Returns the bytes of a network's numbers in half precision, packed by zstd."""
    return len(_packed(b"".join(leaf.numpy().tobytes() for leaf in halves(net).values())))


def halves(net: nn.Module) -> dict[str, Tensor]:
    """Returns a network's tensors by name in half precision."""
    return {name: leaf.detach().half() for name, leaf in tensors_of(net).items()}


def _packed(raw: bytes) -> bytes:
    import pyarrow as pa

    packed: bytes = pa.Codec("zstd", compression_level=_LEVEL).compress(raw, asbytes=True)
    return packed


def measure(*, quick: bool) -> Result:
    """Returns bytes over those of the rivals, the mean of seeds."""
    torch.set_num_threads(1)
    seeds, epochs, rows = (_SEEDS[:1], 4, 1000) if quick else (_SEEDS, 12, 1500)
    tables = list(TABLES)
    cells = [CompressedTable(table, seed, epochs, rows) for table in tables for seed in seeds]
    make_all(cells, STORE, workers=1, report=print)
    value, lines, floor = {}, [], []
    for table in tables:
        found = [STORE.read(cell) for cell in cells if cell.table == table]
        name = table.partition(".")[0]
        value[f"{name}, dense"] = statistics.fmean(f["bytes"] / f["dense zstd"] for f in found)
        for rival in ("smallest zstd", "smallest file"):
            if small := [f["bytes"] / f[rival] for f in found if f[rival]]:
                value[f"{name}, {rival}"] = statistics.fmean(small)
        judged = verdict(stacked(found, "compressed"), stacked(found, "control"))
        floor.append(f"{name}: {judged.words('nats')}")
        lines += [
            {
                "table": name,
                "seed": seed,
                "bytes": f["bytes"],
                "dense": f["dense zstd"],
                "smallest dense": f["smallest zstd"],
                "its file": f["smallest file"],
                "weights": f["n_weights"],
            }
            for seed, f in zip(seeds, found, strict=True)
        ]
    return Result(
        "ndz-table",
        value,
        "ratio",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="dense networks in float16 with zstd, no worse on validation rows",
        floor="; ".join(floor),
        rows=lines,
    )
