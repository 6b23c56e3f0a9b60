"""Processor time of one search step of a supernet of DARTS cells: operations side by side ÷ one by one."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.structure import SearchSpace, Supernet
from netdial.structure.spaces import ready_space

_NETWORKS: dict[str, tuple[tuple[int, ...], int, dict[str, Any]]] = {
    "images 3 x 16 x 16, 16 channels": ((3, 16, 16), 16, {"cells": 2, "channels": 16, "nodes": 3}),
    "images 1 x 14 x 14, 8 channels": ((1, 14, 14), 32, {"cells": 2, "channels": 8, "nodes": 3}),
    "signals of 64, 8 channels": ((1, 64), 32, {"cells": 2, "channels": 8, "nodes": 3}),
}


def measure(*, quick: bool) -> Result:
    """Times both in turns, forward and backward for structure and weights; the quick version has one small network."""
    with one_thread():
        named = dict(list(_NETWORKS.items())[1:2]) if quick else _NETWORKS
        rows = [_row(label, *about, turns=2 if quick else 7) for label, about in named.items()]
    return Result(
        "supernet-step",
        statistics.median(row["ratio"] for row in rows),
        "ratio",
        "lower",
        quick=quick,
        baseline="the same supernet, each operation by itself",
        floor="depthwise convolutions take the same operations either way",
        rows=rows,
    )


def _row(
    label: str, shape: tuple[int, ...], batch: int, options: dict[str, Any], *, turns: int
) -> dict[str, Any]:
    name = "image-cell" if len(shape) == 3 else "signal-cell"
    space = ready_space(name, input_shape=shape, n_outputs=10, **options)
    source = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *shape, generator=source)
    logits = {
        key: torch.randn(len(choice.operations), generator=source).requires_grad_()
        for key, choice in space.choices.items()
    }
    nets = {fused: Supernet(space, fused=fused) for fused in (False, True)}
    taken: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(turns + 1):
        for fused, net in nets.items():
            start = time.process_time()
            _step(net, space, x, logits)
            if turn:
                taken[fused].append(time.process_time() - start)
    plain, side = (min(taken[fused]) for fused in (False, True))
    return {
        "network": label,
        "one by one, ms": 1e3 * plain,
        "side by side, ms": 1e3 * side,
        "ratio": side / plain,
    }


def _step(net: Supernet, space: SearchSpace, x: Tensor, logits: dict[str, Tensor]) -> None:
    """Makes the gradients of a step of first-order DARTS."""
    gamma = {key: row.softmax(0) for key, row in logits.items()}
    torch.autograd.grad(net(x, gamma).square().mean(), list(logits.values()))
    net.zero_grad()
    held = {key: row.detach() for key, row in gamma.items()}
    net(x, held).square().mean().backward()
