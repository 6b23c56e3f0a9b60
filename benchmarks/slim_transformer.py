"""A small vision transformer made smaller: parameters and CPU latency at most one point below it, against Torch-Pruning.

The network (48 wide, 3 blocks, 4 heads, 7×7 patches) is trained on 4,000 digits of MNIST, cut to each of three shares of its
parameters, and trained on for half as many epochs. Both sides start from the same network, with the same steps and optimiser.
Ours is ``nd.slim(exact=False)``, which cuts heads, perceptrons and the residual stream. Which recipe stands for a side, and at
which rate it is trained on, is chosen on validation data of the first seed at one share; both sides choose among the same
rates. The third rival is a dense network of that size, trained from scratch for as much processor time as training, slimming
and training on took together, its rate chosen as well.

For each seed the smallest network counts that loses at most a point of validation accuracy. ``at the level`` are the
parameters needed for exactly one point less, straight in the logarithm between sizes. Test data are read at the end, for what
was chosen. Milliseconds are those of ``netdial.measure.latency.quiet_ms``, one thread, all four networks in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch
from torch import nn

from benchmarks._peer import NOT_INSTALLED, count, installed
from benchmarks._vit import ViT, accuracy, narrow, peer_cut, trained
from benchmarks.result import Result
from benchmarks.shrink_vs_peer import _front, _needed
from netdial.data import Dataset, load_data
from netdial.measure.latency import quiet_ms
from netdial.pruning.channels import slim

SHARES = (0.16, 0.1, 0.065)
OURS: dict[str, dict[str, Any]] = {
    "taylor in 8 steps": {"steps": 8},
    "taylor per parameter in 8 steps": {"steps": 8, "per": "params"},
    "taylor in 8 steps, whole heads": {"steps": 8, "heads": "whole"},
}
"""Recipe -> settings of ``nd.slim``."""
PEERS = ("magnitude uniform", "taylor global")
DEPTHS = (2,)
"""Blocks of the small dense network that are tried."""
RATES = (1e-2, 5e-3)
"""Rates of training on that are tried, recipes at the first."""
_PILOT = 0.1
_POINT = 1.0
_START_RATE = 5e-3
"""Best of 2e-3, 5e-3 and 1e-2 on validation data of the first seed."""


@dataclass(frozen=True)
class Small:
    """A small network.

    Attributes:
        net: the network.
        recipe: how it was made.
        rate: peak rate of its last training.
        share: parameters asked for, over those of the whole.
        valid: validation accuracy, in points.
        seconds: processor time of all that made it.
    """

    net: nn.Module
    recipe: str
    rate: float
    share: float
    valid: float
    seconds: float


@dataclass(frozen=True)
class Start:
    """The network at the start of a seed, and its data.

    Attributes:
        net: trained.
        train: training part.
        valid: validation part.
        test: test part.
        level: validation accuracy, in points.
        seconds: processor time of its training.
        epochs: of the training on.
        seed: of everything.
    """

    net: ViT
    train: Dataset
    valid: Dataset
    test: Dataset
    level: float
    seconds: float
    epochs: int
    seed: int


@dataclass(frozen=True)
class Side:
    """Who makes a network smaller.

    Attributes:
        cut: what makes the network that is to be trained, by recipe and share of the parameters.
        recipes: those that are tried.
        scratch: whether it is trained from scratch, for as long as ours took in all.
    """

    cut: Callable[[Start, str, float], nn.Module]
    recipes: Sequence[str]
    scratch: bool = False


def measure(*, quick: bool = False) -> Result:
    """Returns parameters over those of the whole, speed-ups, and what the rivals need over ours."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    sides = {"ours": Side(_slimmed, tuple(OURS))}
    if installed():
        sides["Torch-Pruning"] = Side(_peer, PEERS)
    else:
        print(NOT_INSTALLED)
    sides["small dense"] = Side(_dense, tuple(map(str, DEPTHS)), scratch=True)
    rows: list[Mapping[str, object]] = []
    figures: dict[str, list[float]] = {}
    chosen: dict[str, tuple[str, float]] = {}
    for seed in seeds:
        start = _start(seed, quick=quick)
        found: dict[str, list[Small]] = {}
        for name, side in sides.items():
            taken = {small.share: small.seconds for small in found.get("ours", ())}
            tried: list[Small] = []
            if name not in chosen:
                tried = _pilot(start, side, taken.get(_PILOT, 0.0), quick=quick)
                best = max(tried, key=lambda small: small.valid)
                chosen[name] = best.recipe, best.rate
            known = {s.share: s for s in tried if (s.recipe, s.rate) == chosen[name]}
            for share in _shares(name, quick=quick):
                if share not in known:
                    known[share] = _made(start, side, *chosen[name], share, taken.get(share, 0.0))
            extra = [small for small in tried if small not in known.values()]
            rows += [_row(start, name, small) for small in [*extra, *known.values()]]
            found[name] = [known[share] for share in sorted(known)]
        for name, value in _figures(start, found).items():
            figures.setdefault(name, []).append(value)
    return Result(
        "slim-transformer",
        {name: statistics.median(values) for name, values in figures.items()},
        "of the whole, ratio or points",
        "higher",
        seeds=seeds,
        quick=quick,
        baseline=f"chosen on validation data of seed 0: {chosen}",
        spread={name: (min(values), max(values)) for name, values in figures.items()},
        rows=rows,
    )


def _start(seed: int, *, quick: bool) -> Start:
    """Returns data and the trained network of a seed."""
    task = load_data("mnist", seed=seed)
    train = task.train.select(torch.arange(1_000 if quick else 4_000))
    torch.manual_seed(seed)
    epochs = 2 if quick else 10
    net, seconds = trained(ViT(48, 3, 4), train, epochs=epochs, lr=_START_RATE, seed=seed)
    level = accuracy(net, task.valid)
    print(f"seed {seed}: {count(net)} parameters, validation {level:.2f}, {seconds:.0f} s")
    assert isinstance(net, ViT)
    return Start(net, train, task.valid, task.test, level, seconds, epochs // 2, seed)


def _shares(side: str, *, quick: bool) -> Sequence[float]:
    """Returns the shares that a side is made for; the dense networks take longest."""
    return SHARES[1:] if quick or side == "small dense" else SHARES


def _pilot(start: Start, side: Side, seconds: float, *, quick: bool) -> list[Small]:
    """Returns all that is tried at one share: recipes at the first rate, then the best of them at the others."""
    recipes = side.recipes[: 1 if quick else None]
    tried = [_made(start, side, recipe, RATES[0], _PILOT, seconds) for recipe in recipes]
    best = max(tried, key=lambda small: small.valid).recipe
    rates = RATES[1 : 1 if quick else None]
    return tried + [_made(start, side, best, rate, _PILOT, seconds) for rate in rates]


def _made(
    start: Start, side: Side, recipe: str, rate: float, share: float, seconds: float
) -> Small:
    """Returns a small network, trained for as many epochs as all, or for some seconds where it starts from scratch."""
    begin = process_time()
    cut = side.cut(start, recipe, share)
    spent = process_time() - begin
    length: dict[str, Any] = {"seconds": seconds} if side.scratch else {"epochs": start.epochs}
    net, took = trained(cut, start.train, **length, lr=rate, seed=start.seed)
    whole = took if side.scratch else start.seconds + spent + took
    return Small(net, recipe, rate, share, accuracy(net, start.valid), whole)


def _slimmed(start: Start, recipe: str, share: float) -> nn.Module:
    """Returns the network slimmed by us."""
    settings: dict[str, Any] = {"heads": "inside", **OURS[recipe]}
    small = slim(
        start.net,
        size=f"{int(share * count(start.net))} params",
        criterion="taylor",
        exact=False,
        data=start.train,
        kind="classification",
        seed=start.seed,
        **settings,
    )
    (lam,) = small.family.config.lams
    return small.family.export(lam)


def _peer(start: Start, recipe: str, share: float) -> nn.Module:
    """Returns the network cut by Torch-Pruning."""
    return peer_cut(start.net, start.train, share * count(start.net), recipe, start.seed)


def _dense(start: Start, depth: str, share: float) -> nn.Module:
    """Returns a dense network of the size, as it is at first."""
    torch.manual_seed(start.seed)
    return narrow(int(share * count(start.net)), int(depth))


def _row(start: Start, side: str, small: Small) -> dict[str, object]:
    row = {
        "seed": start.seed,
        "side": side,
        "recipe": small.recipe,
        "rate": small.rate,
        "share": small.share,
        "parameters": count(small.net),
        "valid": small.valid,
        "loss": start.level - small.valid,
        "seconds": small.seconds,
    }
    print(row)
    return row


def _figures(start: Start, found: Mapping[str, Sequence[Small]]) -> dict[str, float]:
    """Returns the figures of a seed."""
    whole, figures = count(start.net), dict[str, float]()
    chosen = {side: _chosen(smalls, start.level - _POINT) for side, smalls in found.items()}
    needed = {}
    for side, smalls in found.items():
        front = _front([(count(small.net), small.valid) for small in smalls])
        needed[side] = _needed(front, start.level - _POINT)
        figures |= {
            f"{side}: parameters over the whole": count(chosen[side].net) / whole,
            f"{side}: parameters over the whole, at the level": needed[side] / whole,
            f"{side}: points of test accuracy lost": accuracy(start.net, start.test)
            - accuracy(chosen[side].net, start.test),
            f"{side}: seconds": chosen[side].seconds,
        }
    for side in set(found) - {"ours"}:
        figures[f"parameters of {side} over ours, at the level"] = needed[side] / needed["ours"]
    for batch in (1, 64):
        x = start.test.inputs(torch.arange(batch))
        first, *times = quiet_ms([start.net, *(small.net for small in chosen.values())], x)
        for side, ms in zip(chosen, times, strict=True):
            figures[f"{side}: speed-up, batch {batch}"] = first / ms
    return figures


def _chosen(smalls: Sequence[Small], level: float) -> Small:
    """Returns the smallest network that reaches a level, the best one if none does."""
    good = [small for small in smalls if small.valid >= level]
    best = max(smalls, key=lambda small: small.valid)
    return min(good, key=lambda small: count(small.net)) if good else best
