"""A small vision transformer made smaller: parameters and CPU latency at most one point below it, against Torch-Pruning.

The network (48 wide, 3 blocks, 4 heads, 7×7 patches) is trained on 4,000 digits of MNIST for ten epochs. A small network is
made of it (``late``) or of the same network after two epochs (``early``), and trained on. Ours, early: ``nd.slim`` takes the
same share of each layer, residual stream and heads included, down to twice the size that is asked for; ``nd.shrink`` takes
the rest while it trains. Torch-Pruning cuts to the size at once, by the ways of its examples for transformers, early or late.
The third rival is a small dense network from scratch. Rivals are trained on until they have taken as much processor time as
ours did in all, from scratch, so that a network that is cut late has less time afterwards.

Every side has its weights decayed: 4,000 images are few, and even the smallest network learns them by heart. Which recipe,
rate and decay stand for a side is chosen on validation data of the first seed at one size, among the same rates and decays.

For each seed the smallest network counts that loses at most a point of validation accuracy. ``at the level`` are the
parameters needed for exactly one point less, straight in the logarithm between sizes; a rival that never comes there counts
as its largest network, ours as the whole. Test data are read at the end, for what was chosen. Milliseconds are those of
``netdial.measure.latency.quiet_ms``, one thread, all networks in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch
from torch import nn

from benchmarks.common.peer import NOT_INSTALLED, count, installed
from benchmarks.common.result import Result
from benchmarks.shrinking.shrink_vs_peer import _front, _needed
from benchmarks.slimming._vit import ViT, accuracy, narrow, peer_cut, trained
from netdial.data import Dataset, load_data
from netdial.measure.latency import quiet_ms
from netdial.pruning.channels import slim
from netdial.shrinking.shrink import shrink

OURS = ("early, then shrunk", "early", "late")
PEERS = tuple(
    f"{when} {how}"
    for when in ("early", "late")
    for how in ("taylor global", "magnitude uniform", "taylor isomorphic")
)
DEPTHS = ("2", "3")
"""Blocks of the small dense networks that are tried."""
SHARES = {
    "ours": (0.05, 0.042, 0.034),
    "Torch-Pruning": (0.075, 0.058, 0.045),
    "small dense": (0.075, 0.058, 0.045),
}
"""Side -> parameters that are asked for, over those of the whole; around what a side needs on the first seed."""
SETTINGS = ((2e-2, 0.2), (1e-2, 0.4), (1e-2, 0.1), (1e-2, 1e-4))
"""Peak rate and weight decay of training on; recipes are tried at the first, the best of them at all."""
_POINT = 1.0
_EPOCHS, _EARLY, _ON = 10, 2, 30
"""Epochs of the whole, of a network that is cut early before it is cut, and of ours after that."""
_START = (5e-3, 0.6)
"""Rate and decay of the whole: best of 5e-3 and 1e-2 with .0001 to 2 on validation data of the first seed."""


@dataclass(frozen=True)
class Small:
    """A small network.

    Attributes:
        net: the network.
        recipe: how it was made.
        setting: peak rate and weight decay of its last training.
        share: parameters asked for, over those of the whole.
        valid: validation accuracy, in points.
        seconds: processor time of all that made it.
    """

    net: nn.Module
    recipe: str
    setting: tuple[float, float]
    share: float
    valid: float
    seconds: float


@dataclass(frozen=True)
class Start:
    """The network at the start of a seed, and its data.

    Attributes:
        nets: ``late``, trained, and ``early``, after two epochs.
        seconds: processor time that each took.
        train: training part.
        valid: validation part.
        test: test part.
        level: validation accuracy of the trained one, in points.
        seed: of everything.
        epochs: that ours are trained on for.
    """

    nets: Mapping[str, ViT]
    seconds: Mapping[str, float]
    train: Dataset
    valid: Dataset
    test: Dataset
    level: float
    seed: int
    epochs: int


@dataclass(frozen=True)
class Side:
    """Who makes a network smaller.

    Attributes:
        make: what makes a network of a recipe, setting and share, given the processor time that it may take in all.
        recipes: those that are tried.
    """

    make: Callable[[Start, str, tuple[float, float], float, float], nn.Module]
    recipes: Sequence[str]


def measure(*, quick: bool = False) -> Result:
    """Returns parameters over those of the whole, speed-ups, and what the rivals need over ours."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2, 3, 4)
    sides = {"ours": Side(_ours, OURS)}
    if installed():
        sides["Torch-Pruning"] = Side(_peer, PEERS)
    else:
        print(NOT_INSTALLED)
    sides["small dense"] = Side(_dense, DEPTHS)
    rows: list[Mapping[str, object]] = []
    figures: dict[str, list[float]] = {}
    chosen: dict[str, tuple[str, tuple[float, float]]] = {}
    for seed in seeds:
        start = _start(seed, quick=quick)
        found: dict[str, list[Small]] = {}
        seconds = 0.0
        for name, side in sides.items():
            shares = SHARES[name][: 2 if quick else None]
            tried: list[Small] = []
            if name not in chosen:
                tried = _pilot(start, side, shares[1], seconds, quick=quick)
                best = max(tried, key=lambda small: small.valid)
                chosen[name] = best.recipe, best.setting
            known = {s.share: s for s in tried if (s.recipe, s.setting) == chosen[name]}
            for share in shares:
                if share not in known:
                    known[share] = _made(start, side, *chosen[name], share, seconds)
            extra = [small for small in tried if small not in known.values()]
            rows += [_row(start, name, small) for small in [*extra, *known.values()]]
            found[name] = [known[share] for share in sorted(known)]
            seconds = seconds or statistics.mean(small.seconds for small in found["ours"])
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
    """Returns data and the networks of a seed: the trained one, and another of the same beginning after two epochs."""
    task = load_data("mnist", seed=seed)
    train = task.train.select(torch.arange(1_000 if quick else 4_000))
    nets, seconds = {}, {}
    for when, epochs in (("early", _EARLY), ("late", 4 if quick else _EPOCHS)):
        torch.manual_seed(seed)
        rate, decay = _START
        net, spent = trained(ViT(48, 3, 4), train, epochs=epochs, lr=rate, decay=decay, seed=seed)
        assert isinstance(net, ViT)
        nets[when], seconds[when] = net, spent
    level = accuracy(nets["late"], task.valid)
    print(f"seed {seed}: {count(nets['late'])} parameters, validation {level:.2f}, {seconds}")
    on = 6 if quick else _ON
    return Start(nets, seconds, train, task.valid, task.test, level, seed, on)


def _pilot(start: Start, side: Side, share: float, seconds: float, *, quick: bool) -> list[Small]:
    """Returns all that is tried at one share: recipes at the first setting, then the best of them at the others."""
    recipes = side.recipes[: 1 if quick else None]
    tried = [_made(start, side, recipe, SETTINGS[0], share, seconds) for recipe in recipes]
    best = max(tried, key=lambda small: small.valid).recipe
    settings = SETTINGS[1 : 1 if quick else None]
    return tried + [_made(start, side, best, setting, share, seconds) for setting in settings]


def _made(
    start: Start,
    side: Side,
    recipe: str,
    setting: tuple[float, float],
    share: float,
    seconds: float,
) -> Small:
    """Returns a small network, with the processor time from scratch."""
    begin = process_time()
    net = side.make(start, recipe, setting, share, seconds)
    spent = process_time() - begin + start.seconds.get(_when(recipe), 0.0)
    return Small(net, recipe, setting, share, accuracy(net, start.valid), spent)


def _when(recipe: str) -> str:
    """Returns which network a recipe begins with."""
    return recipe.replace(",", " ").split()[0]


def _ours(
    start: Start, recipe: str, setting: tuple[float, float], share: float, seconds: float
) -> nn.Module:
    """Returns the network slimmed by us and trained on, or slimmed by us to twice the size and shrunk to it."""
    rate, decay = setting
    size = int(share * count(start.nets["late"]))
    shrunk = recipe.endswith("shrunk")
    when = _when(recipe)
    how: dict[str, Any] = {"criterion": "taylor", "steps": 8}
    if when == "early":
        how = {"criterion": "magnitude", "scope": "layer"}
    small = slim(
        start.nets[when],
        size=f"{2 * size if shrunk else size} params",
        exact=False,
        heads="inside",
        emission="fold",
        data=start.train,
        kind="classification",
        seed=start.seed,
        **how,
    )
    (lam,) = small.family.config.lams
    net = small.family.export(lam)
    if not shrunk:
        epochs = start.epochs if when == "early" else start.epochs // 2
        return trained(net, start.train, epochs=epochs, lr=rate, decay=decay, seed=start.seed)[0]
    done = shrink(
        net,
        start.train,
        kind="classification",
        size=f"{size} params",
        epochs=start.epochs,
        lr=rate,
        lam2=decay / 2,  # the gradient of λ₂ w² is 2 λ₂ w
        batch_size=64,
        seed=start.seed,
    )
    return done.fold()[0].eval()


def _peer(
    start: Start, recipe: str, setting: tuple[float, float], share: float, seconds: float
) -> nn.Module:
    """Returns the network cut by Torch-Pruning and trained on."""
    begin = process_time()
    when, how = _when(recipe), recipe.split(" ", 1)[1]
    net = start.nets[when]
    goal = share * count(net)
    small = peer_cut(net, start.train, goal, how, start.seed)
    spent = process_time() - begin + start.seconds[when]
    return _on(start, small, setting, seconds - spent)


def _dense(
    start: Start, depth: str, setting: tuple[float, float], share: float, seconds: float
) -> nn.Module:
    """Returns a dense network of the size, trained from scratch."""
    torch.manual_seed(start.seed)
    net = narrow(int(share * count(start.nets["late"])), int(depth))
    return _on(start, net, setting, seconds)


def _on(start: Start, net: nn.Module, setting: tuple[float, float], seconds: float) -> nn.Module:
    """Returns a network that has been trained for some processor time."""
    rate, decay = setting
    return trained(net, start.train, seconds=seconds, lr=rate, decay=decay, seed=start.seed)[0]


def _row(start: Start, side: str, small: Small) -> dict[str, object]:
    rate, decay = small.setting
    row = {
        "seed": start.seed,
        "side": side,
        "recipe": small.recipe,
        "rate": rate,
        "decay": decay,
        "share": small.share,
        "parameters": count(small.net),
        "valid": small.valid,
        "loss": start.level - small.valid,
        "seconds": small.seconds,
    }
    print(row, flush=True)
    return row


def _figures(start: Start, found: Mapping[str, Sequence[Small]]) -> dict[str, float]:
    """Returns the figures of a seed."""
    net = start.nets["late"]
    whole, level, figures = count(net), start.level - _POINT, dict[str, float]()
    chosen = {side: _chosen(smalls, level) for side, smalls in found.items()}
    needed = {}
    for side, smalls in found.items():
        front = _front([(count(small.net), small.valid) for small in smalls])
        beyond = side == "ours" and front[-1][1] < level
        needed[side] = whole if beyond else _needed(front, level)
        figures |= {
            f"{side}: parameters over the whole": count(chosen[side].net) / whole,
            f"{side}: parameters over the whole, at the level": needed[side] / whole,
            f"{side}: points of test accuracy lost": accuracy(net, start.test)
            - accuracy(chosen[side].net, start.test),
            f"{side}: seconds": chosen[side].seconds,
        }
    for side in set(found) - {"ours"}:
        figures[f"parameters of {side} over ours, at the level"] = needed[side] / needed["ours"]
    for batch in (1, 64):
        x = start.test.inputs(torch.arange(batch))
        first, *times = quiet_ms([net, *(small.net for small in chosen.values())], x)
        for side, ms in zip(chosen, times, strict=True):
            figures[f"{side}: speed-up, batch {batch}"] = first / ms
    return figures


def _chosen(smalls: Sequence[Small], level: float) -> Small:
    """Returns the smallest network that reaches a level, the best one if none does."""
    good = [small for small in smalls if small.valid >= level]
    best = max(smalls, key=lambda small: small.valid)
    return min(good, key=lambda small: count(small.net)) if good else best
