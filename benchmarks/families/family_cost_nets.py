"""Processor time of a family's step over a plain step: convolutions, attention, recurrence, large layers, many groups.

Each family is trained under scaled KL with five regions, and as the library trains it by default (l1, three regions), with
K = 8 values of λ in a batch, K = 64 where it says so; the plain network by a loop without any of netdial: tensors in memory,
fused Adam, the same batches. Both take turns in one process on one thread, and what counts is the quotient of their processor
times within a turn: the median over turns, and the quotient of the quietest ones. Families of anything but perceptrons are one
network for the first part of a run by default: ``one network`` is a step of it, ``mean of a run`` the mean of all steps.
Families of perceptrons are trained with ``compiled=True``, too, where there is a compiler.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.result import Result
from netdial.family import Family
from netdial.family.running.compiled.library import missing
from netdial.nets import build
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.draws import JOINT
from netdial.train.feed import Batch
from netdial.train.method import FamilyMethod

_CLASSES, _TOKENS, _LENGTH = 10, 100, 32
_TURN_S = 0.3
"""Seconds that the plain steps of a turn should take: enough for the clock, short enough that a turn is one moment."""


class Transformer(nn.Module):
    """Two layers of attention over tokens ``[B, T]``."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.embed = nn.Embedding(_TOKENS, width)
        self.place = nn.Parameter(0.02 * torch.randn(_LENGTH, width))
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``[B, 10]``."""
        return cast(Tensor, self.head(self.encoder(self.embed(x) + self.place).mean(dim=1)))


class Recurrent(nn.Module):
    """An LSTM over sequences ``[B, T, 16]``, and a layer on its last state."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, width, batch_first=True)
        self.head = nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``[B, 10]``."""
        return cast(Tensor, self.head(self.lstm(x)[0][:, -1]))


def convolutions_1d() -> nn.Module:
    """Three convolutions over signals ``[B, 6, 128]``."""
    return nn.Sequential(
        *(nn.Conv1d(6, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        nn.Linear(64, _CLASSES),
    )


def perceptron(*widths: int) -> Callable[[], nn.Module]:
    """Returns what makes a multilayer perceptron on 784 inputs."""
    name = "mlp:" + ",".join(map(str, widths))
    return lambda: build(name, input_shape=(784,), n_outputs=_CLASSES)


@dataclass(frozen=True)
class Case:
    """A network and what it is trained on.

    Attributes:
        make: makes the network.
        shape: of one input.
        batch: examples of a step.
        groups: K.
        tokens: whether inputs are tokens.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    groups: int = 8
    tokens: bool = False

    def batches(self, count: int = 4) -> list[tuple[Tensor, Tensor]]:
        """Returns some batches of random numbers."""
        source = torch.Generator().manual_seed(0)
        shape = (count, self.batch, *self.shape)
        tokens = torch.randint(0, _TOKENS, shape, generator=source)
        x = tokens if self.tokens else torch.rand(shape, generator=source)
        y = torch.randint(0, _CLASSES, shape[:2], generator=source)
        return list(zip(x, y, strict=True))


CASES = {
    "LeNet-5": Case(
        lambda: build("lenet5", input_shape=(1, 28, 28), n_outputs=_CLASSES), (1, 28, 28), 256
    ),
    "1-d CNN": Case(convolutions_1d, (6, 128), 128),
    "ResNet-20": Case(
        lambda: build("resnet20", input_shape=(3, 32, 32), n_outputs=_CLASSES), (3, 32, 32), 64
    ),
    "transformer": Case(Transformer, (_LENGTH,), 128, tokens=True),
    "LSTM": Case(Recurrent, (_LENGTH, 16), 128),
    "MLP 517k": Case(perceptron(650), (784,), 256),
    "MLP 1.8M": Case(perceptron(1000, 1000), (784,), 256),
    "MLP 40k, K = 64": Case(perceptron(50), (784,), 256, groups=64),
}
_PERCEPTRONS = [name for name in CASES if name.startswith("MLP")]
"""Networks whose families do not begin as one network."""
_RUN, _COMPILED = "l1, mean of a run", "l1, compiled"


def measure(*, quick: bool = False) -> Result:
    """Returns the median quotient for each network under the piecewise map, by objective; the linear map stands in the rows."""
    torch.set_num_threads(1)
    rounds = 3 if quick else 11
    value, spread = {}, {}
    rows: list[dict[str, object]] = []
    for name, case in CASES.items():
        torch.manual_seed(0)
        net = case.make()
        steps = {
            "plain": plain(net, case),
            "scaled-kl": family(net, case, objective="scaled-kl", regions=5),
            "l1": family(net, case),
        }
        if not quick:
            steps["scaled-kl, linear map"] = family(net, case, objective="scaled-kl", map="linear")
        if name not in _PERCEPTRONS:
            steps["l1, one network"] = family(net, case, joint=0.999)
        elif not missing():
            steps[_COMPILED] = family(net, case, compiled=True)
        seconds = in_turns(steps, rounds, _TURN_S / 3 if quick else _TURN_S)
        if name not in _PERCEPTRONS:
            both = zip(seconds["l1"], seconds["l1, one network"], strict=True)
            seconds[_RUN] = [JOINT * one + (1 - JOINT) * opened for opened, one in both]
        for label in list(seconds)[1:]:
            quotients = [a / b for a, b in zip(seconds[label], seconds["plain"], strict=True)]
            middle, reach = statistics.median(quotients), (min(quotients), max(quotients))
            if label in ("scaled-kl", "l1", _RUN, _COMPILED):
                value[f"{name}, {label}"], spread[f"{name}, {label}"] = middle, reach
            rows.append(
                {
                    "network": name,
                    "parameters": sum(p.numel() for p in net.parameters()),
                    "batch": case.batch,
                    "K": case.groups,
                    "family": label,
                    "ratio, median": middle,
                    "lowest … highest": reach,
                    "ratio, quietest": min(seconds[label]) / min(seconds["plain"]),
                    "plain step, ms": 1e3 * min(seconds["plain"]),
                }
            )
    return Result(
        "family-cost-nets",
        value,
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="one plain network, same batch, fused Adam, tensors in memory, one thread, processor time",
        floor="1 for what the network itself does on one batch; K small batches in place of one, pivots to move "
        "(6 of mean and of log_std) and two products in dense layers (mean and variance) come on top",
        spread=spread,
        rows=rows,
    )


def in_turns(
    steps: dict[str, Callable[[], None]], rounds: int, turn_s: float
) -> dict[str, list[float]]:
    """Returns seconds of processor time of a step, turn by turn, by contender."""
    count: dict[str, int] = {}
    for label, step in steps.items():
        step()
        count[label] = max(1, round(turn_s / _seconds(step, 1)))
    found: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(rounds):
        for label, step in steps.items():
            found[label].append(_seconds(step, max(1, min(count[label], count["plain"]))))
    return found


def _seconds(step: Callable[[], None], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - start) / times


def plain(net: nn.Module, case: Case) -> Callable[[], None]:
    """Returns one step of an ordinary training loop."""
    net = copy.deepcopy(net).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    batches, turn = case.batches(), iter(range(1_000_000))

    def step() -> None:
        x, y = batches[next(turn) % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def family(net: nn.Module, case: Case, **settings: Any) -> Callable[[], None]:
    """Returns one step of a family, as the library's loop makes it."""
    common = {"batch_size": case.batch, "groups": case.groups, "epochs": 1000, "joint": 0}
    config = make_config(**{**common, **settings})
    batches = [Batch(x, y) for x, y in case.batches()]
    method = FamilyMethod(config, task=Classification(), n_data=50_000, steps=50_000 // case.batch)
    state = method.init(Family(copy.deepcopy(net), config.family()).train())

    def step() -> None:
        method.step(state, batches[state.step % len(batches)])

    return step
