"""Shared values for all leaves of a network: which leaf gets how many, at one price of a bit.

Bits go where the loss asks for them: every leaf is shared at the least of its distortion + price · bits, with the same price,
so that a bit more or less would change the loss alike in all of them. A price can be given, or found such that the values of
weights take so many bits on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netdial.compression.codebook import Codebook
from netdial.compression.exact import array_of
from netdial.compression.pipeline import sharing
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import Division, tensors_of
from netdial.compression.pipeline.rate import cost_of_presence
from netdial.compression.pipeline.sharing import Shared
from netdial.compression.pipeline.training import Book
from netdial.core.errors import ConfigError, TraceError
from netdial.core.noise import generator
from netdial.curvature import diagonal
from netdial.data.dataset import Dataset
from netdial.task import Task

Array = np.ndarray[Any, Any]

_EXAMPLES = 2048
"""Examples that curvature is measured on."""
_DAMPING = 1e-2
_HALVINGS = 13
_LEAST, _MOST = 1e-9, 1e9
_NATS = math.log(2)
"""Nats of a bit; curvature is that of a loss in nats."""


@dataclass(frozen=True, eq=False)
class SharedLeaf:
    """One leaf to share.

    Attributes:
        weights: its numbers.
        pull: second derivatives of the loss over all training data.
        zero: bits saved beyond those of its value by a weight that becomes 0; None if none may.
    """

    weights: Array
    pull: Array
    zero: Array | None


def curvature_of(net: nn.Module, data: Dataset, task: Task, seed: int = 0) -> dict[str, Tensor]:
    """Returns second derivatives of the loss over all data in each parameter, measured on some of them; positive.

    Where a network does something that cannot be differentiated twice, the squared gradients of a few batches stand in.
    """
    count = min(len(data), _EXAMPLES)
    index = torch.randperm(len(data), generator=generator(seed, "curvature"))[:count]
    part = data.select(index.to(data.x.device))
    try:
        found = diagonal(net, part, kind=task, how="ggn")
    except (ConfigError, TraceError):
        found = _squared(net, part, task)
    scale = len(data) / count
    return {
        n: h.clamp_min(0) * scale + _DAMPING * (h.clamp_min(0).mean() * scale + 1e-12)
        for n, h in found.items()
    }


def _squared(net: nn.Module, data: Dataset, task: Task) -> dict[str, Tensor]:
    """Returns sums of squared gradients of small batches by parameter, times the batch: near the Fisher information."""
    was, size = net.training, 8
    net.eval()
    sums = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for index in torch.arange(len(data)).split(size)[:64]:
        net.zero_grad(set_to_none=True)
        part = data.select(index)
        with torch.enable_grad():
            task.nll(net(part.inputs(like=next(net.parameters()))), part.y).sum().backward()
        for name, p in net.named_parameters():
            if p.grad is not None:
                sums[name] += p.grad.square()
    net.zero_grad(set_to_none=True)
    net.train(was)
    return sums


def leaves_of(
    net: nn.Module,
    division: Division,
    masks: Mapping[str, Tensor],
    pulls: Mapping[str, Tensor],
    *,
    thin: bool,
) -> dict[str, SharedLeaf]:
    """Returns the leaves to share with what sharing depends on; ``thin`` lets further weights become 0."""
    found = {}
    for name in division.shared:
        weights = net.get_parameter(name).detach().cpu().double()
        there = weights != 0 if name not in masks else masks[name].cpu() & (weights != 0)
        pull = pulls.get(name, torch.ones_like(weights)).cpu().double()
        zero = None if name in division.weights else torch.zeros_like(weights)
        if thin and zero is None:
            zero = cost_of_presence(there, 0.0).double()
        found[name] = SharedLeaf(
            (weights * there).numpy(), pull.numpy(), None if zero is None else zero.numpy()
        )
    return found


def shared_at(
    leaves: Mapping[str, SharedLeaf], price: float, config: CompressConfig, values: int
) -> dict[str, Shared]:
    """Returns each leaf at the least of distortion + price · bits, over the number of values up to so many."""
    return {name: _best(leaf, price, config, values) for name, leaf in leaves.items()}


def _best(leaf: SharedLeaf, price: float, config: CompressConfig, values: int) -> Shared:
    if config.share == "uniform":
        tried = [
            sharing.uniform(leaf.weights, step, leaf.pull) for step in _steps(leaf.weights, values)
        ]
    else:
        counts = [2**n for n in range(1, 8) if 2**n < values] + [values]
        tried = [
            sharing.entropy(
                leaf.weights, leaf.pull, price, k, zero=leaf.zero, start=config.start, seed=config.seed
            )
            for k in counts
        ]  # fmt: skip
    return min(tried, key=lambda one: one.loss + price * one.bits)


def _steps(weights: Array, most: int) -> Sequence[float]:
    """Returns steps to try: from one value on each side of 0 to as many as are allowed."""
    largest = float(np.abs(weights).max()) or 1.0
    counts = np.unique(np.round(np.geomspace(1, max(most / 2, 1), 12)).astype(int))
    return [largest / int(count) for count in counts]


def value_bits(shared: Mapping[str, Shared]) -> float:
    """Returns the mean entropy of the values of weights that are not 0, in bits."""
    total, count = 0.0, 0
    for one in shared.values():
        there = one.codes[one.codes != 0]
        counts = np.unique(there, return_counts=True)[1].astype(np.float64)
        total += float((counts * np.log2(counts.sum() / counts)).sum()) if len(counts) else 0.0
        count += len(there)
    return total / max(count, 1)


def price_for(leaves: Mapping[str, SharedLeaf], bits: float, config: CompressConfig) -> float:
    """Returns the price at which weights that are not 0 take so many bits of value on average, or nearly."""
    low, high = math.log(_LEAST), math.log(_MOST)
    values = config.most_values(bits)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if value_bits(shared_at(leaves, math.exp(middle), config, values)) > bits:
            low = middle
        else:
            high = middle
    return math.exp(high)


def share_network(
    net: nn.Module,
    division: Division,
    masks: Mapping[str, Tensor],
    pulls: Mapping[str, Tensor],
    config: CompressConfig,
    *,
    bits: float | None = None,
    price: float | None = None,
) -> tuple[dict[str, Book], float]:
    """Returns shared values of all leaves, ready to be trained, and the price they were made at.

    Args:
        net: the network; it is not changed.
        division: which leaves.
        masks: which weights are there.
        pulls: second derivatives of the loss.
        config: how values are found.
        bits: bits of value that a weight takes on average; or
        price: what a bit is worth, in bits of loss. ``kmeans`` needs neither.
    """
    leaves = leaves_of(net, division, masks, pulls, thin=price is not None)
    if config.share == "kmeans":
        found = {
            name: sharing.share(
                leaf.weights, config.most_values(), start=config.start, seed=config.seed
            )
            for name, leaf in leaves.items()
        }
        return _books(net, found), 0.0
    nats = _NATS * price if price is not None else price_for(leaves, bits or 3.0, config)
    values = config.most_values(0.0 if bits is None else bits)
    return _books(net, shared_at(leaves, nats, config, values)), nats / _NATS


def _books(net: nn.Module, found: Mapping[str, Shared]) -> dict[str, Book]:
    books = {}
    for name, one in found.items():
        like = net.get_parameter(name)
        values = torch.from_numpy(one.values).to(like)
        books[name] = Book(torch.from_numpy(one.codes).long().to(like.device), nn.Parameter(values))
    return books


def encoded(net: nn.Module, books: Mapping[str, Book]) -> dict[str, Codebook | Array]:
    """Returns all tensors of a network by name, those that share values as codes and values in half precision where it is one.

    Values that became alike while they were trained are one; those that nobody has are left out. Nothing is shared with the
    network, which may change afterwards.
    """
    found: dict[str, Codebook | Array] = {}
    for name, leaf in tensors_of(net).items():
        if name in books:
            found[name] = tidy(
                books[name].codes.cpu().numpy(), books[name].values.detach().float().cpu().numpy()
            )
        else:
            found[name] = array_of(leaf)
    return found


def tidy(codes: Array, values: Array) -> Codebook:
    """Returns codes and values with each value once, 0 first and the others rising; values are rounded to half precision."""
    rounded = values.astype(np.float32)
    half = rounded.astype(np.float16).astype(np.float32)
    fits = np.isfinite(half) & ((half != 0) | (rounded == 0))
    rounded = np.where(fits, half, rounded)
    dense = rounded[codes]
    kinds = np.unique(dense)
    ranked = np.concatenate([[np.float32(0)], kinds[kinds != 0]]).astype(np.float32)
    place = np.searchsorted(kinds, dense)
    number = np.array([int(np.flatnonzero(ranked == kind)[0]) for kind in kinds], np.int32)
    return Codebook(number[place].astype(np.int32), ranked)
