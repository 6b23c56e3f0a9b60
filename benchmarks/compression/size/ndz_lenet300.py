"""Size of a compressed LeNet-300-100 on MNIST against its 1,066,440 dense bytes, beside a dense control of the same recipe.

Training varies images by shifts of up to a pixel. A dense network is trained; from it go on, for the same epochs, at the same
rates and with the same share of its own outputs as targets, a dense control and the compressed one. "No loss" is said only if
the upper 95 % bound of the test error above the control's, paired on the 10,000 test images and over 5 seeds or more, stays
below twice the standard error of the control's. Precision is chosen on validation images. The limit is a hundredth of the dense
bytes, a round number and no outcome of a search. Length and rate of training were chosen on training images that were held out,
with seeds 100 to 102; a test of 5 seeds and half as long, at half the rate, had failed before. Seeds are kept in
``runs/benchmarks/ndz``.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.compression.size._compressed import Recipe, one_seed, stacked
from netdial.jobs.pool import make_all
from netdial.measure.verdict import verdict
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

STORE = Store(Path("runs/benchmarks/ndz"))
PAPER = 40.0
"""Han et al. 2016, Table 1."""

_SEEDS = range(30, 40)
_MOST = 10_664


@dataclass(frozen=True)
class CompressedImages(Cell):
    """One seed.

    Attributes:
        spec: the network.
        seed: the seed.
        epochs: passes over the data, of the dense network and of the compression.
        tuning: passes over the data with shared values.
        most: bytes that the file may have.
        lr: peak learning rate.
        examples: training images; 0 for all.
        batch_size: of all trainings.
        steps: networks on the way to the size.
        bits: of a value; None for what the search tries by itself.
    """

    spec: str
    seed: int
    epochs: int
    tuning: int
    most: int
    lr: float = 2e-3
    examples: int = 0
    batch_size: int = 256
    steps: int = 1
    bits: float | None = None

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.spec} {self.most} bytes seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns sizes and test errors."""
        data = images(self.examples)
        settings = {
            "max_bytes": self.most, "epochs": self.epochs, "tuning": self.tuning, "lr": self.lr, "distil": 0.7,
            "batch_size": self.batch_size, "steps": self.steps, "bits": self.bits,
        }  # fmt: skip
        recipe = Recipe(self.spec, self.epochs, self.lr, "shift", settings, "accuracy")
        return one_seed(data, recipe, self.seed, run.path)


def images(examples: int = 0) -> nd.Splits:
    """Returns MNIST as images, with so many training examples; 0 for all."""
    from dataclasses import replace

    data = nd.load_data("mnist")
    if not examples:
        return data
    return replace(data, train=data.train.select(torch.arange(examples)))


def measure(*, quick: bool) -> Result:
    """Returns how many times smaller the file is."""
    seeds = _SEEDS[:1] if quick else _SEEDS
    epochs, tuning, examples = (3, 1, 10_000) if quick else (24, 9, 0)
    cells = [
        CompressedImages("mlp:300-100", seed, epochs, tuning, _MOST, lr=4e-3, examples=examples)
        for seed in seeds
    ]
    return judged("ndz-lenet300", cells, quick=quick, paper=PAPER)


def judged(name: str, cells: list[CompressedImages], *, quick: bool, paper: float) -> Result:
    """Returns the result of some seeds: ratio, and the verdict on the loss."""
    torch.set_num_threads(1)
    make_all(cells, STORE, workers=1, report=print)
    found = [STORE.read(cell) for cell in cells]
    judged = verdict(stacked(found, "compressed"), stacked(found, "control"))
    ratios = [one["dense_bytes"] / one["bytes"] for one in found]
    rows = [
        {
            "seed": cell.seed,
            "bytes": one["bytes"],
            "ratio": round(ratio, 1),
            "weights": one["n_weights"],
            "side %": round(100 * one["side"], 1),
            "sizes": one["sizes"],
            **{f"{name} s": round(one["seconds"][name]) for name in ("start", "ours", "control")},
            **{
                f"{n} %": round(100 - 100 * statistics.fmean(one[n]), 2)
                for n in ("start", "control", "compressed")
            },
        }
        for cell, one, ratio in zip(cells, found, ratios, strict=True)
    ]
    return Result(
        name,
        statistics.fmean(ratios),
        "ratio",
        "higher",
        seeds=[cell.seed for cell in cells],
        quick=quick,
        baseline=f"{paper:g} times (Han et al. 2016, counted without a container)",
        floor=judged.words("points", 100),
        spread={name: (min(ratios), max(ratios))},
        rows=rows,
    )
