"""The search for a small file of a whole family: that of one network, with tracks in place of values.

A size is good enough only if no member at a knot loses too much: the front's excess is that of the knot that loses most; where
a standard error may be lost, that of the one that loses most beyond its own.

Shapes: J knots, G terms of a metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from netdial.compression.codebook import Codebook
from netdial.compression.exact import array_of, as_held
from netdial.compression.pipeline.families.moving import (
    INNER,
    SharedMoving,
    WholeMoving,
    lam_at,
)
from netdial.compression.pipeline.families.vectors import shared_tracks
from netdial.compression.pipeline.free import reorder
from netdial.compression.pipeline.leaves import Division
from netdial.compression.pipeline.quantise import curvature_of
from netdial.compression.pipeline.result import FrontPoint, Level, SizePoints
from netdial.compression.pipeline.search import Search
from netdial.compression.pipeline.steps import losses_of, tuned
from netdial.compression.tracks import Track, at_knots, stored
from netdial.family.family import Family
from netdial.family.knots import family_at_knots
from netdial.measure.compare import excess
from netdial.measure.forward import recalibrate

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_BITS = (3.0, 4.5)
"""Bits of a weight's code on average that are tried at every size."""
_HALVINGS = 9
_LEAST, _MOST = 1e-9, 1e9


@dataclass(frozen=True, eq=False)
class TrackSearch(Search):
    """The search for one file of a family.

    Attributes:
        family: the family given.
        plain: its division, by the names of the network.
    """

    family: Family
    plain: Division

    def _begin(self) -> Level:
        return replace(super()._begin(), precisions=self.context.config.precisions(_BITS))

    def _points(self, level: Level, name: str, most: float) -> SizePoints:
        net = cast(WholeMoving, level.net)
        weights = {n: leaf.cpu().double().numpy() for n, leaf in net.tracks().items()}
        pulls = self._pulls(net)
        ways: list[tuple[str, float | None]] = [
            (f"{bits:.3g}bits", bits) for bits in level.precisions
        ]
        if self.context.config.share == "kmeans":
            ways = [("values", None)]
        points = [self._shared(net, weights, pulls, f"{name}-{way}", bits) for way, bits in ways]
        return SizePoints(points, min(p.n_bytes for p in points))

    def _pulls(self, net: WholeMoving) -> dict[str, Array]:
        """Returns second derivatives of the losses of the members at the knots by leaf ``[J, ...]``."""
        config, context = self.context.config, self.context
        if config.share == "kmeans":
            return {n: np.ones((net.knots, *p.shape)) for n, p in net.inner.named_parameters()}
        found = [
            curvature_of(net.member(j / (net.knots - 1)), context.data, context.task, config.seed)
            for j in range(net.knots)
        ]
        return {n: np.stack([one[n].cpu().double().numpy() for one in found]) for n in found[0]}

    def _shared(
        self,
        net: WholeMoving,
        weights: Mapping[str, Array],
        pulls: Mapping[str, Array],
        name: str,
        bits: float | None,
    ) -> FrontPoint:
        """Returns the family of shared tracks, trained."""
        context = self.context
        price = 0.0 if bits is None else self._price(weights, pulls, bits)
        most = context.config.most_values(bits or 0.0)
        books = self._books(weights, pulls, price, _counts(most))
        whole = {
            n: torch.from_numpy(leaf).to(net.moves) for n, leaf in weights.items() if n not in books
        }
        state = SharedMoving(net.member(0.5), books, whole, net.knots, net.dial)
        made = cast(SharedMoving, tuned(context, state, name))
        tensors = self._stored(made)
        family = decoded(self.family, tensors, net.knots)
        return self._measured(family, tensors, price)

    def _books(
        self,
        weights: Mapping[str, Array],
        pulls: Mapping[str, Array],
        price: float,
        counts: list[int],
    ) -> dict[str, Track]:
        seed = self.context.config.seed
        return {
            n: shared_tracks(weights[n], pulls[n], price, counts, seed) for n in self.plain.shared
        }

    def _price(
        self, weights: Mapping[str, Array], pulls: Mapping[str, Array], bits: float
    ) -> float:
        """Returns the price at which codes of weights that are not 0 take so many bits on average, or nearly."""
        low, high = math.log(_LEAST), math.log(_MOST)
        most = self.context.config.most_values(bits)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            books = self._books(weights, pulls, math.exp(middle), [most])
            low, high = (middle, high) if _code_bits(books) > bits else (low, middle)
        return math.exp(high)

    def _stored(self, made: SharedMoving) -> dict[str, Codebook | Array]:
        """Returns the tensors of the file: tracks in the order of units that codes best, statistics measured afresh."""
        leaves, net = made.tracks(), made.member(0.5)
        if self.context.config.free:
            _, moved = reorder(net, self.plain, self._few())  # the buffers of the network follow
            for name in moved.keys() & leaves.keys():
                leaves[name] = _permuted(leaves[name], moved[name].numpy().reshape(-1))
        found = stored(
            {n: t if isinstance(t, Track) else t.cpu().numpy() for n, t in leaves.items()}
        )
        held = self.family.statistics
        found |= {n: array_of(b) for n, b in net.named_buffers() if n not in held.names}
        found |= {
            n: np.stack([array_of(b)] * len(held.centres))
            for n, b in net.named_buffers()
            if n in held.names
        }
        if not held.names:
            return found
        family = decoded(self.family, found, made.knots)
        members = [
            recalibrate(family, family.export(lam_at(family, u)), self.context.data)
            for u in held.centres
        ]
        return found | {
            n: np.stack([array_of(net.get_buffer(n)) for net in members]) for n in held.names
        }

    def _measured(
        self, family: Family, tensors: Mapping[str, Codebook | Array], price: float
    ) -> FrontPoint:
        terms = member_losses(family, self)
        gaps, errors = zip(
            *(excess(torch.stack(pair), 0) for pair in zip(self.start, terms, strict=True)),
            strict=True,
        )
        above = torch.stack([gap[1] for gap in gaps])
        error = torch.stack([one[1] for one in errors])
        config = self.context.config
        by_error = config.max_bytes is None and config.max_loss is None
        worst = int((above - error if by_error else above).argmax())
        kept = sum(
            int((t.codes if isinstance(t, Codebook) else t).astype(bool).sum())
            for t in tensors.values()
        )
        size = self.size_of(tensors, family)
        return FrontPoint(
            size, float(terms.mean()), float(above[worst]), float(error[worst]), kept, price, family, tensors
        )  # fmt: skip

    def _best(self, points: Sequence[FrontPoint]) -> FrontPoint:
        """Returns the point whose worst member loses least."""
        return min(points, key=lambda p: (p.excess, p.n_bytes))

    def _few(self) -> Tensor:
        index = torch.arange(min(64, len(self.context.data)))
        return self.context.data.inputs(index, like=next(self.family.net.parameters()))

    def _exact(self) -> dict[str, Array]:
        return {}


def member_losses(net: nn.Module, search: TrackSearch) -> Tensor:
    """Returns what rows add to the metric with the members at the knots ``[J, G]``, of a family or a moving network."""
    found = []
    for unit in units(search.net):
        one = net.export(lam_at(net, unit)) if isinstance(net, Family) else cast(WholeMoving, net).member(unit)  # fmt: skip
        found.append(losses_of(one, search.valid, search.context))
    return torch.stack(found)


def units(net: nn.Module) -> list[float]:
    """Returns the coordinates of the knots of a moving network."""
    knots = cast(WholeMoving, net).knots
    return [j / (knots - 1) for j in range(knots)]


def decoded(family: Family, tensors: Mapping[str, Codebook | Array], knots: int) -> Family:
    """Returns the family that the tensors of a file stand for."""
    leaves = {
        n: torch.from_numpy(np.asarray(a, order="C")) for n, a in at_knots(tensors, knots).items()
    }
    return family_at_knots(
        family.net,
        family.config.lo,
        family.config.hi,
        knots,
        as_held(leaves, dict(family.net.named_buffers())),
        family.task,
    )


def prefixed(division: Division) -> Division:
    """Returns a division by the names that leaves have in a moving network."""
    return Division(
        tuple(INNER + n for n in division.weights), tuple(INNER + n for n in division.biases), ()
    )


def _counts(most: int) -> list[int]:
    return [2**n for n in range(1, 8) if 2**n < most] + [most]


def _code_bits(books: Mapping[str, Track]) -> float:
    total, count = 0.0, 0
    for one in books.values():
        there = one.codes[one.codes != 0]
        counts = np.bincount(there)[1:].astype(np.float64) if len(there) else np.zeros(0)
        counts = counts[counts > 0]
        total += float((counts * np.log2(counts.sum() / counts)).sum()) if len(counts) else 0.0
        count += len(there)
    return total / max(count, 1)


def _permuted(
    leaf: Track | Tensor, at: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Track | Tensor:
    if isinstance(leaf, Track):
        return Track(leaf.codes.reshape(-1)[at].reshape(leaf.codes.shape), leaf.values)
    return leaf.flatten(1)[:, torch.from_numpy(at)].view(leaf.shape)
