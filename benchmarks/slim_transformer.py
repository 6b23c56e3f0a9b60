"""A small vision transformer made smaller: parameters and CPU latency at most one point below it, against Torch-Pruning.

The network (48 wide, 3 blocks, 4 heads, 7×7 patches) is trained on 4,000 digits of MNIST, cut to each of four shares of its
parameters, and trained on for half as many epochs. Both sides start from the same network and have the same steps, optimiser
and rates. Ours is ``nd.slim(exact=False)``, which cuts heads, perceptrons and the residual stream. Which recipe stands for a
side is chosen on validation data of the first seed at one share. The third rival is a dense network of that size, trained from
scratch for as much processor time as training, slimming and training on took together.

For each seed the smallest network counts that loses at most a point of validation accuracy. ``at the level`` are the
parameters needed for exactly one point less, straight in the logarithm between sizes. Test data are read at the end, for what
was chosen. Milliseconds are those of ``netdial.measure.latency.quiet_ms``, one thread, all four networks in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time

import torch
from torch import nn

from benchmarks._peer import NOT_INSTALLED, count, installed
from benchmarks._vit import ViT, accuracy, narrow, peer_cut, trained
from benchmarks.result import Result
from benchmarks.shrink_vs_peer import _front, _needed
from netdial.channels.rules import Heads
from netdial.data import Dataset, load_data
from netdial.measure.latency import quiet_ms
from netdial.pruning.channels import slim
from netdial.pruning.channels.choosing import Scope

SHARES = (0.25, 0.16, 0.1, 0.065)
OURS: dict[str, tuple[Heads, Scope]] = {
    "taylor global, whole heads": ("whole", "global"),
    "taylor global": ("inside", "global"),
    "taylor uniform": ("inside", "layer"),
}
"""Recipe -> what goes of heads, and what is ranked together."""
PEERS = ("magnitude uniform", "taylor global", "taylor isomorphic")
DEPTHS = (3, 2)
"""Blocks of the small dense network that are tried."""
_PILOT = 0.1
_POINT = 1.0
_DENSE_RATE, _RATE = 2e-3, 3e-3


@dataclass(frozen=True)
class Small:
    """A small network.

    Attributes:
        net: the network.
        share: parameters asked for, over those of the whole.
        valid: validation accuracy, in points.
        seconds: processor time of all that made it.
    """

    net: nn.Module
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


Maker = Callable[[Start, str, float, float], Small]
"""Start, recipe, share of the parameters, and processor time of ours at that share, for who trains for as long."""


def measure(*, quick: bool = False) -> Result:
    """Returns parameters over those of the whole, speed-ups, and what the rivals need over ours."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    makers: dict[str, tuple[Maker, Sequence[str]]] = {"ours": (_slimmed, tuple(OURS))}
    if installed():
        makers["Torch-Pruning"] = (_peer, PEERS)
    else:
        print(NOT_INSTALLED)
    makers["small dense"] = (_dense, tuple(map(str, DEPTHS)))
    rows: list[Mapping[str, object]] = []
    figures: dict[str, list[float]] = {}
    recipes: dict[str, str] = {}
    for seed in seeds:
        start = _start(seed, quick=quick)
        found: dict[str, list[Small]] = {}
        for side, (make, names) in makers.items():
            known: dict[float, Small] = {}
            taken = {small.share: small.seconds for small in found.get("ours", ())}
            if side not in recipes:
                tried = {
                    name: make(start, name, _PILOT, taken.get(_PILOT, 0.0))
                    for name in names[: 1 if quick else None]
                }
                recipes[side] = max(tried, key=lambda name: tried[name].valid)
                rows += [_row(start, side, name, small) for name, small in tried.items()]
                known[_PILOT] = tried[recipes[side]]
            for share in _shares(side, quick=quick):
                if share not in known:
                    known[share] = make(start, recipes[side], share, taken.get(share, 0.0))
                    rows.append(_row(start, side, recipes[side], known[share]))
            found[side] = [known[share] for share in sorted(known)]
        for name, value in _figures(start, found).items():
            figures.setdefault(name, []).append(value)
    return Result(
        "slim-transformer",
        {name: statistics.median(values) for name, values in figures.items()},
        "of the whole, ratio or points",
        "higher",
        seeds=seeds,
        quick=quick,
        baseline=f"chosen on validation data of seed 0: {recipes}",
        spread={name: (min(values), max(values)) for name, values in figures.items()},
        rows=rows,
    )


def _start(seed: int, *, quick: bool) -> Start:
    """Returns data and the trained network of a seed."""
    task = load_data("mnist", seed=seed)
    train = task.train.select(torch.arange(1_000 if quick else 4_000))
    torch.manual_seed(seed)
    epochs = 2 if quick else 10
    net, seconds = trained(ViT(48, 3, 4), train, epochs=epochs, lr=_DENSE_RATE, seed=seed)
    level = accuracy(net, task.valid)
    print(f"seed {seed}: {count(net)} parameters, validation {level:.2f}, {seconds:.0f} s")
    assert isinstance(net, ViT)
    return Start(net, train, task.valid, task.test, level, seconds, epochs // 2, seed)


def _shares(side: str, *, quick: bool) -> Sequence[float]:
    """Returns the shares that a side is made for; the dense networks take longest."""
    return SHARES[1:3] if quick or side == "small dense" else SHARES


def _slimmed(start: Start, recipe: str, share: float, _: float) -> Small:
    """Returns the network slimmed by us and trained on."""
    begin = process_time()
    heads, scope = OURS[recipe]
    small = slim(
        start.net,
        size=f"{int(share * count(start.net))} params",
        criterion="taylor",
        per="params",
        exact=False,
        heads=heads,
        scope=scope,
        data=start.train,
        kind="classification",
        seed=start.seed,
    )
    (lam,) = small.family.config.lams
    return _on(start, small.family.export(lam), share, process_time() - begin)


def _peer(start: Start, recipe: str, share: float, _: float) -> Small:
    """Returns the network cut by Torch-Pruning and trained on."""
    begin = process_time()
    goal = share * count(start.net)
    small = peer_cut(start.net, start.train, goal, recipe, start.seed)
    return _on(start, small, share, process_time() - begin)


def _on(start: Start, small: nn.Module, share: float, seconds: float) -> Small:
    """Returns a small network trained on."""
    net, more = trained(small, start.train, epochs=start.epochs, lr=_RATE, seed=start.seed)
    return Small(net, share, accuracy(net, start.valid), start.seconds + seconds + more)


def _dense(start: Start, depth: str, share: float, seconds: float) -> Small:
    """Returns a dense network of the size, trained from scratch for the time that ours takes in all."""
    torch.manual_seed(start.seed)
    start_net = narrow(int(share * count(start.net)), int(depth))
    net, took = trained(start_net, start.train, seconds=seconds, lr=_RATE, seed=start.seed)
    return Small(net, share, accuracy(net, start.valid), took)


def _row(start: Start, side: str, recipe: str, small: Small) -> dict[str, object]:
    row = {
        "seed": start.seed,
        "side": side,
        "recipe": recipe,
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
