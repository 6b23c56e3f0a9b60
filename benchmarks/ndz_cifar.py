"""Bytes of a compressed CIFAR-10 network over NNCodec's, both as small as validation rows allow.

LeNet-5 for colour images (62,006 parameters), 10,000 training images (JPEG), flips and crops; trained for three times the
length of what follows. Of the files that ``nd.compress`` makes, size after size, the smallest one is taken whose log loss on
5,000 validation images is at most .02 nats above that of a dense control, trained on as many times as there were sizes.
NNCodec codes the control, and networks that lose weights as ours do, size after size, as many times and for as long, by
magnitude and by netdial's own criterion; each at seven steps of quantisation, with its trellis. Of all its streams the smallest
one is taken whose loss keeps the same limit. Both are judged by the test accuracy as well.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import netdial as nd
from benchmarks._compressed import Pair, Recipe, context_of, pair
from benchmarks._nncodec import coded, is_there
from benchmarks.result import Result
from netdial.compression.file import write
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.sparsify import bits_of
from netdial.compression.pipeline.steps import thinner
from netdial.core.errors import MissingExtra
from netdial.data.dataset import Dataset
from netdial.jobs.pool import make_all
from netdial.measure.compare import excess, terms_of
from netdial.measure.forward import outputs
from netdial.nets.foreign import copy_network
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import named

_STORE = Store(Path("runs/benchmarks/ndz"))
_SEEDS, _STEPS = range(3), range(-32, -11, 3)
_RATE, _AUGMENT = 2e-3, "crop-flip"
_LIMIT = 0.02
"""Nats of validation loss above the control's."""
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
        """Returns bytes, validation losses and test errors."""
        data = nd.load_data("cifar10")
        data = replace(data, train=data.train.select(torch.arange(self.examples)))
        settings: dict[str, Any] = {"max_loss": _LIMIT, "epochs": self.epochs, "lr": _RATE}
        made = pair(data, Recipe("lenet5", 3 * self.epochs, _RATE, _AUGMENT, settings, None), self.seed, run.path)  # fmt: skip
        config = CompressConfig(**settings, seed=self.seed)
        return {
            "dense bytes": made.found.stages[0].n_bytes,
            "own": _own(data, made, run.path),
            "theirs": self._theirs(data, made, config),
            "control": _worth(made.control, made.control, data),
        }

    def _theirs(self, data: nd.Splits, made: Pair, config: CompressConfig) -> dict[str, Any]:
        """Returns the smallest of NNCodec's streams that is as good as the control."""
        best: dict[str, Any] = {}
        for name, net in [("control", made.control), *_sparse(data, made, config)]:
            for step in _STEPS:
                size, back = coded(net.state_dict(), step)
                read = copy_network(net).eval()
                read.load_state_dict(back)
                gap, _ = _excess(read, made.control, data.valid)
                if gap <= _LIMIT and size < best.get("bytes", math.inf):
                    best = {
                        "bytes": size,
                        "of": name,
                        "step": step,
                        **_worth(read, made.control, data),
                    }
        return best


def _own(data: nd.Splits, made: Pair, folder: Path) -> dict[str, Any]:
    """Returns the smallest of our files that is as good as the control; the control as it is, dense, if none is."""
    best: dict[str, Any] = {
        "bytes": made.found.stages[0].n_bytes,
        **_worth(made.control, made.control, data),
    }
    for number, point in enumerate(made.found.front):
        if _excess(point.net, made.control, data.valid)[0] <= _LIMIT:
            path = folder / f"{number}.ndz"
            write(path, point.tensors, recipe={"spec": "lenet5"})
            size = path.stat().st_size
            if size < best["bytes"]:
                best = {"bytes": size, **_worth(point.net, made.control, data)}
    return best


def measure(*, quick: bool) -> Result:
    """Returns bytes of ours over theirs."""
    if not is_there():
        raise MissingExtra("NNCodec is not installed: pip install --no-deps nncodec")
    torch.set_num_threads(1)
    cells = [AgainstNncodec(s, *((2, 2_000) if quick else (8, 10_000))) for s in _SEEDS]
    cells = cells[:1] if quick else cells
    make_all(cells, _STORE, workers=1, report=print)
    found = [_STORE.read(cell) for cell in cells]
    ratios = [one["own"]["bytes"] / one["theirs"]["bytes"] for one in found]
    rows = [
        {
            "seed": cell.seed,
            "dense bytes": round(one["dense bytes"]),
            "ours": one["own"]["bytes"],
            "NNCodec": one["theirs"]["bytes"],
            "of": f"{one['theirs']['of']}, qp {one['theirs']['step']}",
            **{
                f"test {what}, {name}": round(one[key][what], 4)
                for key, name in (("control", "control"), ("own", "ours"), ("theirs", "NNCodec"))
                for what in ("accuracy", "nll")
            },
        }
        for cell, one in zip(cells, found, strict=True)
    ]
    return Result(
        "ndz-cifar",
        statistics.fmean(ratios),
        "of NNCodec's bytes",
        "lower",
        seeds=[cell.seed for cell in cells],
        quick=quick,
        baseline="the smallest of NNCodec's streams within the same limit of the control's validation loss",
        spread={"bytes": (min(ratios), max(ratios))},
        rows=rows,
    )


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


def _losses(net: nn.Module, part: Dataset) -> Tensor:
    out = outputs(net, part)[None]
    return terms_of(out, part.y, named("classification"))[0]


def _excess(net: nn.Module, control: nn.Module, part: Dataset) -> tuple[float, float]:
    """Returns the loss above the control's, and its paired standard error."""
    gaps, errors = excess(torch.stack([_losses(control, part), _losses(net, part)]), 0)
    return float(gaps[1]), float(errors[1])


def _worth(net: nn.Module, control: nn.Module, data: nd.Splits) -> dict[str, float]:
    gap, error = _excess(net, control, data.valid)
    right = (outputs(net, data.test).argmax(dim=1) == data.test.y).double()
    return {
        "excess": gap,
        "error": error,
        "accuracy": float(right.mean()),
        "nll": float(_losses(net, data.test).mean()),
    }
