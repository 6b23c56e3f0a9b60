"""Bytes of a compressed CIFAR-10 network over NNCodec's, at equal loss on validation images.

LeNet-5 for colour images (62,006 parameters), 10,000 training images (JPEG), flips and crops; trained for three times the
length of one of the trainings that follow. ``nd.compress`` makes files of it, size after size. NNCodec codes the dense network
trained on for as long, and networks that lose weights as ours do, size after size, as many times and for as long, by magnitude
and by netdial's own criterion; each at seven steps of quantisation, with its trellis. For each excess of log loss over
the dense network's on 5,000 validation images the smallest file of either side within it is taken; test images only say what
these are worth. The headline is the excess of .02 nats, which was fixed before anything was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import nn

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.compression.size._compressed import Pair, Recipe, context_of, pair
from benchmarks.compression.size._nncodec import coded, is_there
from netdial.compression.file import write
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.sparsify import bits_of
from netdial.compression.pipeline.steps import thinner
from netdial.core.errors import MissingExtra
from netdial.data.dataset import Dataset
from netdial.jobs.pool import make_all
from netdial.measure.compare import terms_of
from netdial.measure.forward import outputs
from netdial.nets.foreign import copy_network
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import named

_STORE = Store(Path("runs/benchmarks/ndz"))
_SEEDS, _STEPS = range(3), range(-32, -11, 3)
_RATE, _AUGMENT = 2e-3, "crop-flip"
_LIMIT = 0.02
"""Nats of validation loss above the dense network's, of the headline."""
_LIMITS = (0.0, _LIMIT, 0.05, 0.1)
_FACTOR = 0.6
"""Size of a network compared with the one before it, as in netdial's search."""


@dataclass(frozen=True)
class AgainstNncodec(Cell):
    """One seed."""

    seed: int
    epochs: int
    examples: int
    steps: str = str(_STEPS)

    @property
    def label(self) -> str:
        """Words for people."""
        return f"cifar10 lenet5 seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns bytes, validation loss and test results of every file of either side."""
        data = nd.load_data("cifar10")
        data = replace(data, train=data.train.select(torch.arange(self.examples)))
        settings: dict[str, Any] = {"max_loss": _LIMIT, "epochs": self.epochs, "lr": _RATE}
        made = pair(data, Recipe("lenet5", 3 * self.epochs, _RATE, _AUGMENT, settings, None), self.seed, run.path)  # fmt: skip
        config = CompressConfig(**settings, seed=self.seed)
        limits = [_loss(made.start, data.valid) + excess for excess in _LIMITS]
        sides = {"ours": _own(data, made, run.path), "theirs": _theirs(data, made, config)}
        found: dict[str, Any] = {"dense": _tested(made.start, data)}
        seconds = {"ours": made.seconds["ours"], "theirs": made.seconds["control"]}
        for name, files in sides.items():
            begin = process_time()
            smallest = _smallest(files, limits)
            seconds[name] += process_time() - begin
            found[name] = [_told(one, data) for one in smallest]
        return {**found, "seconds": seconds}


@dataclass(frozen=True, eq=False)
class File:
    """A compressed network.

    Attributes:
        n_bytes: its size.
        of: what it is.
        net: what is read back.
        valid: log loss on validation images.
    """

    n_bytes: int
    of: str
    net: nn.Module
    valid: float


def _own(data: nd.Splits, made: Pair, folder: Path) -> Iterator[File]:
    """Yields our files."""
    for number, point in enumerate(made.found.front):
        path = folder / f"{number}.ndz"
        write(path, point.tensors, recipe={"spec": "lenet5"})
        yield File(path.stat().st_size, f"file {number}", point.net, _loss(point.net, data.valid))


def _theirs(data: nd.Splits, made: Pair, config: CompressConfig) -> Iterator[File]:
    """Yields NNCodec's streams."""
    for name, net in [("dense", made.control), *_sparse(data, made, config)]:
        for step in _STEPS:
            size, back = coded(net.state_dict(), step)
            read = copy_network(net).eval()
            read.load_state_dict(back)
            yield File(size, f"{name}, qp {step}", read, _loss(read, data.valid))


def _smallest(files: Iterator[File], limits: list[float]) -> list[File | None]:
    """Returns the smallest file within each validation loss, None where there is none."""
    found = list(files)
    return [
        min((one for one in found if one.valid <= limit), key=lambda one: one.n_bytes, default=None)
        for limit in limits
    ]


def _told(file: File | None, data: nd.Splits) -> dict[str, Any] | None:
    """Returns what is recorded of a file; its test results are read here, once."""
    if file is None:
        return None
    return {"bytes": file.n_bytes, "of": file.of, "valid": file.valid, **_tested(file.net, data)}


def measure(*, quick: bool) -> Result:
    """Returns bytes of ours over theirs."""
    if not is_there():
        raise MissingExtra("NNCodec is not installed: pip install --no-deps nncodec")
    torch.set_num_threads(1)
    cells = [AgainstNncodec(s, *((2, 2_000) if quick else (8, 10_000))) for s in _SEEDS]
    cells = cells[:1] if quick else cells
    make_all(cells, _STORE, workers=1, report=print)
    found = [_STORE.read(cell) for cell in cells]
    value, spread, rows = {}, {}, []
    for place, excess in enumerate(_LIMITS):
        ratios = []
        for cell, one in zip(cells, found, strict=True):
            ours, theirs = one["ours"][place], one["theirs"][place]
            rows.append(_row(cell.seed, excess, one, ours, theirs))
            if ours and theirs:
                ratios.append(ours["bytes"] / theirs["bytes"])
        if len(ratios) == len(cells):
            label = f"within {excess:g} nats"
            value[label], spread[label] = statistics.fmean(ratios), (min(ratios), max(ratios))
    return Result(
        "ndz-cifar",
        value,
        "of NNCodec's bytes",
        "lower",
        seeds=[cell.seed for cell in cells],
        quick=quick,
        baseline="the smallest of NNCodec's streams within the same validation loss",
        spread=spread,
        rows=rows,
    )


def _row(
    seed: int,
    excess: float,
    one: dict[str, Any],
    ours: dict[str, Any] | None,
    theirs: dict[str, Any] | None,
) -> dict[str, object]:
    """Returns bytes of both, and test accuracy and log loss."""
    row: dict[str, object] = {"seed": seed, "excess": excess, "dense": _words(one["dense"])}
    for name, found in (("ours", ours), ("NNCodec", theirs)):
        row[name] = found["bytes"] if found else "none"
        row[f"{name}, test"] = _words(found) if found else ""
    seconds = {f"seconds, {name}": round(s) for name, s in one["seconds"].items()}
    return row | {"of": theirs["of"] if theirs else ""} | seconds


def _words(found: dict[str, Any]) -> str:
    return f"{100 * found['accuracy']:.1f} %, {found['nll']:.3f}"


def _sparse(data: nd.Splits, made: Pair, config: CompressConfig) -> Iterator[tuple[str, nn.Module]]:
    """Yields networks that lose weights time after time, each trained on from the one before."""
    for criterion in ("magnitude", "gradient"):
        context = context_of(data, made.start, replace(config, criterion=criterion), _AUGMENT)
        net, masks = made.start, {n: made.start.get_parameter(n).detach() != 0 for n in context.division.weights}  # fmt: skip
        goal = bits_of(masks, 3.0)
        for turn in range(made.sizes):
            goal *= _FACTOR
            name = f"{criterion}, {_FACTOR ** (turn + 1):.2g} of the bits"
            net, masks = thinner(context, net, masks, goal, name)
            yield name, net.eval()


def _tested(net: nn.Module, data: nd.Splits) -> dict[str, float]:
    right = (outputs(net, data.test).argmax(dim=1) == data.test.y).double()
    return {"accuracy": float(right.mean()), "nll": _loss(net, data.test)}


def _loss(net: nn.Module, part: Dataset) -> float:
    return float(terms_of(outputs(net, part)[None], part.y, named("classification")).mean())
