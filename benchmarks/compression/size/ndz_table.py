"""Size of compressed networks on real tables, against dense ones in half precision with zstd, as they are and of equal loss.

For each table and seed perceptrons of three sizes (100-50, 16, 4) are trained for some rounds, each at its best on validation
rows, and compressed at a price: .002 bits of loss on all training rows for a bit of the file; of the three files that of the
least sum of both on validation rows counts. Its rivals, stored as float16 and packed by zstd at level 19: the large network,
and the smallest of a ladder of dense perceptrons that is no worse on validation rows. Each of these is trained for as many
rounds as all that ours took, by itself and again with the large network's outputs in .7 of the loss, and counts at its best on
validation rows; processor times are printed. Of the smallest both the numbers alone count and a safetensors file, which has
names and shapes as ours has. The verdict is on test rows, against the large network or the same trained on by the recipe of
the search, whichever is better on validation rows.

Inputs of validation and test rows are limited to the range of the training rows: one row of the gas sensors lies 25,000
standard deviations out, and any network's loss on it says nothing of the others.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.compression.size._compressed import Recipe, one_seed, stacked
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import divide, tensors_of
from netdial.compression.pipeline.steps import Context, recipe_alone
from netdial.core.noise import generator
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
_STARTS = ("100-50", "16", "4")
_SEEDS, _LEVEL, _PRICE = range(60, 70), 19, 0.002
_ROUNDS, _DISTIL = 8, 0.7
_RATE, _RATE_ON = 4e-3, 2e-3
"""Peak rates of the first round and of those after it."""


@dataclass(frozen=True)
class CompressedTable(Cell):
    """One table and seed.

    Attributes:
        table: its name.
        seed: the seed.
        epochs: passes over the data of each training.
        rows: training rows that are drawn; 0 for all.
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
        if self.rows:  # the parts are in the order of the table, which may be sorted
            drawn = torch.randperm(len(data.train), generator=generator(self.seed, "rows"))
            data = replace(data, train=data.train.select(drawn[: self.rows]))
        data = _limited(data)
        begin = process_time()
        starts = {width: self._dense(data, width, _ROUNDS)[0] for width in _STARTS}
        large = starts[_STARTS[0]]
        made = {width: self._made(data, width, start, run) for width, start in starts.items()}
        spent = process_time() - begin - sum(one["seconds"]["control"] for one in made.values())
        width = min(made, key=lambda width: self._total(made[width], len(data.train)))
        rounds, begin = sum(_ROUNDS + one["sizes"] for one in made.values()), process_time()
        ladder = [
            self._dense(data, width, rounds, teacher)
            for width in _LADDER
            for teacher in (None, large)
        ]
        seconds = {"ours": spent, "ladder": process_time() - begin}
        best, control = made[width], made[_STARTS[0]]
        fits = [net for net, loss in ladder if loss <= best["valid"]["loss"]]
        packed = [(half_bytes(net), len(_packed(save(halves(net))))) for net in fits]
        dense = {name: control[name] for name in ("start", "control", "dense valid")}
        smallest, file = min(packed, default=(None, None))
        return {
            **best, **dense, "width": width, "seconds": seconds, "dense zstd": half_bytes(large),
            "smallest zstd": smallest, "smallest file": file,
        }  # fmt: skip

    def _made(self, data: nd.Splits, width: str, start: nn.Module, run: Run) -> dict[str, Any]:
        """Returns what became of a dense network of one width."""
        settings = {"epochs": self.epochs, "lr": _RATE_ON, "price": self.price}
        recipe = Recipe(f"mlp:{width}", self.epochs, _RATE, None, settings, "nll")
        return one_seed(data, recipe, self.seed, run.path, start)

    def _total(self, one: dict[str, Any], rows: int) -> float:
        """Returns bits of validation loss for as many rows as are trained on, and those of the file at their price."""
        loss, size = float(one["valid"]["loss"]), float(one["bytes"])
        return rows * loss / math.log(2) + self.price * 8 * size

    def _dense(
        self, data: nd.Splits, width: str, rounds: int, teacher: nn.Module | None = None
    ) -> tuple[nn.Module, float]:
        """Returns a dense network and its validation loss, after the best of some rounds of training."""
        task, tried = named(data.kind), list[tuple[nn.Module, float]]()
        net = nd.build(
            f"mlp:{width}", input_shape=data.input_shape, n_outputs=data.n_outputs, seed=self.seed
        )
        distil = 0.0 if teacher is None else _DISTIL
        for turn in range(rounds):
            lr, seed = _RATE_ON if turn else _RATE, self.seed + 1000 * turn
            config = CompressConfig(epochs=self.epochs, tuning=0, lr=lr, distil=distil, seed=seed)
            taught = net if teacher is None else teacher
            context = Context(data.train, task, config, divide(net), taught)
            net = recipe_alone(context, net, width)
            tried.append((net, float(task.nll(outputs(net, data.valid), data.valid.y).mean())))
        return min(tried, key=lambda one: one[1])


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
        for f in found:
            f["better"] = f[min(f["dense valid"], key=f["dense valid"].__getitem__)]
        judged = verdict(stacked(found, "compressed"), stacked(found, "better"))
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
                "from": f["width"],
                "seconds, ours": round(f["seconds"]["ours"], 1),
                "seconds, ladder": round(f["seconds"]["ladder"], 1),
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
