"""Networks slimmed without training on: points of test accuracy lost, beside Torch-Pruning and an epoch of training.

A perceptron, a LeNet-5 and a small residual network on 5,000 digits of MNIST, a small vision transformer on 4,000, are trained;
then each is cut to three shares of its parameters. Ours is ``nd.slim(net, size=…, criterion="taylor", data=…)`` in four steps,
which refits the layers behind what went. Beside it stand

``ours, trained``      that, trained on for an epoch, at the better of two rates
``fold``               the same without refitting: means of what went go into biases
``fold, trained``      that, trained on for as long as refitting took, one epoch at least, at the better of two rates
``Torch-Pruning``      its Taylor importance, global, as its examples do
``…, trained``         that, trained on as above

Rates are chosen on validation data, for every network and seed. Test data are read once for each.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

import netdial as nd
from benchmarks.common.peer import NOT_INSTALLED, count, cut, installed
from benchmarks.common.result import Result
from benchmarks.slimming._vit import ViT, accuracy, peer_cut, trained
from netdial.data import Dataset, Splits

SHARES = (0.5, 0.25, 0.1)
RATES = (1e-3, 3e-3)
_SEEDS = 3


class Residual(nn.Module):
    """Two convolutions with BatchNorm around which the input goes."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.one, self.first = (
            nn.Conv2d(width, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
        )
        self.two, self.second = (
            nn.Conv2d(inner, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        inside = self.first(self.one(x)).relu()
        out: Tensor = (x + self.second(self.two(inside))).relu()
        return out


def networks() -> dict[str, nn.Module]:
    """Returns the networks, new."""
    stem = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    down = [nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    lenet = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    lenet += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)]
    dense = [nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]  # fmt: skip
    return {
        "perceptron": nn.Sequential(
            nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
        ),
        "LeNet-5": nn.Sequential(*lenet, *dense),
        "residual": nn.Sequential(*stem, Residual(16, 32), *down, Residual(32, 48), *pooled),
        "transformer": ViT(48, 3, 4),
    }  # fmt: skip


def measure(*, quick: bool = False) -> Result:
    """Returns the points of test accuracy lost by each, mean over networks, at each share."""
    torch.set_num_threads(1)
    if not installed():
        print(NOT_INSTALLED)
    seeds = range(1 if quick else _SEEDS)
    lost: dict[tuple[str, float, str], list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in seeds:
        data = nd.load_data("mnist", seed=seed)
        for name in list(networks())[:: 2 if quick else 1]:
            net, level = _whole(name, data, seed, quick=quick)
            for share in SHARES:
                for who, (small, took) in _smaller(net, data, share, seed).items():
                    found = level - accuracy(small, data.test)
                    lost.setdefault((name, share, who), []).append(found)
                    seconds.setdefault(who, []).append(took)
                    print(seed, name, share, who, count(small), f"{found:.2f}", f"{took:.1f} s")
    contenders = list(seconds)
    mean = {key: statistics.fmean(values) for key, values in lost.items()}
    rows: list[dict[str, object]] = [
        {"network": name, "share": share}
        | {who: _shown(lost.get((name, share, who), [])) for who in contenders}
        for name, share, who in lost
        if who == contenders[0]
    ]
    times = {who: f"{statistics.fmean(values):.2f}" for who, values in seconds.items()}
    return Result(
        "slim-alone",
        {
            f"{who}, {share:g} left": statistics.fmean(
                value for (_, s, w), value in mean.items() if (s, w) == (share, who)
            )
            for who in contenders
            for share in SHARES
        },
        "points of test accuracy lost",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="the whole networks, see rows",
        rows=[*rows, {"network": "processor time, s"} | times],
    )


def _whole(name: str, data: Splits, seed: int, *, quick: bool) -> tuple[nn.Module, float]:
    """Returns a trained network and its test accuracy in points."""
    torch.manual_seed(seed)
    part = _part(name, data)
    epochs = 2 if quick else 10
    net, _ = trained(networks()[name], part, epochs=epochs, lr=5e-3, seed=seed)
    level = accuracy(net, data.test)
    print(f"seed {seed}: {name}, {count(net)} parameters, test {level:.2f}")
    return net, level


def _part(name: str, data: Splits) -> Dataset:
    return data.train.select(torch.arange(4_000 if name == "transformer" else 5_000))


def _smaller(
    net: nn.Module, data: Splits, share: float, seed: int
) -> Mapping[str, tuple[nn.Module, float]]:
    """Returns what each makes of a network, and the processor time of that."""
    train, goal = _part("transformer" if isinstance(net, ViT) else "", data), share * count(net)
    found = {"ours": _slimmed(net, train, goal, seed, "refit")}
    found["fold"] = _slimmed(net, train, goal, seed, "fold")
    found["ours, trained"] = _trained_on(found["ours"], data, train, 0.0, seed)
    extra = max(0.0, found["ours"][1] - found["fold"][1])
    found["fold, trained"] = _trained_on(found["fold"], data, train, extra, seed)
    if installed():
        begin = process_time()
        if isinstance(net, ViT):
            small: nn.Module = peer_cut(net, train, goal, "taylor global", seed)
        else:
            small = copy.deepcopy(net)
            cut(small, train, goal, "taylor", seed=seed)
        found["Torch-Pruning"] = small.eval(), process_time() - begin
        left = max(0.0, found["ours"][1] - found["Torch-Pruning"][1])
        found["Torch-Pruning, trained"] = _trained_on(
            found["Torch-Pruning"], data, train, left, seed
        )
    return found


def _slimmed(
    net: nn.Module, train: Dataset, goal: float, seed: int, emission: Any
) -> tuple[nn.Module, float]:
    settings: dict[str, Any] = {"exact": False, "heads": "inside"} if isinstance(net, ViT) else {}
    begin = process_time()
    small = nd.slim(
        net, size=f"{int(goal)} params", criterion="taylor", per="params", steps=4, data=train,
        kind="classification", seed=seed, emission=emission, **settings,
    )  # fmt: skip
    return small.net.eval(), process_time() - begin


def _trained_on(
    start: tuple[nn.Module, float], data: Splits, train: Dataset, seconds: float, seed: int
) -> tuple[nn.Module, float]:
    """Returns a small network trained on for some processor time, an epoch at least, and its time at the rate taken."""
    tried = []
    for rate in RATES:
        net, took = trained(
            copy.deepcopy(start[0]), train, seconds=seconds or 1e-9, lr=rate, seed=seed
        )
        tried.append((accuracy(net, data.valid), net, took))
    _, net, took = max(tried, key=lambda one: one[0])
    return net, start[1] + took


def _shown(values: list[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} … {max(values):.2f})"
