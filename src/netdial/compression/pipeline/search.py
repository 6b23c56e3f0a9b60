"""The front of size against loss, and the network on it that was asked for; ``nd.compress`` ends here.

Sizes fall by a constant factor; every network is trained from the one before, its weights are shared, trained, put in order and
measured on validation rows. For a size in bytes the search goes straight to it, or by as many larger networks as ``steps``
says, and once more from the same network with more weights if bytes are left over; values that are too long for it are not
trained. For a loss it ends where the loss has risen too far twice, and looks once more below the last good one; for a price it
ends where loss and bits together have risen.
Nothing is chosen on test data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from netdial.compression.codebook import Codebook
from netdial.compression.exact import array_of
from netdial.compression.pipeline.free import ordered, tidied
from netdial.compression.pipeline.leaves import tensors_of
from netdial.compression.pipeline.rate import Array
from netdial.compression.pipeline.result import (
    PRECISIONS,
    Compressed,
    FrontPoint,
    Level,
    SizePoints,
    Sizer,
    exact_bits,
    pareto,
    waterfall,
)
from netdial.compression.pipeline.sparsify import bits_of
from netdial.compression.pipeline.steps import (
    Context,
    Values,
    keep_level,
    kept_level,
    losses_of,
    shared,
    thinner,
    trained_values,
)
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.measure.compare import excess, terms_of
from netdial.measure.forward import outputs
from netdial.measure.noise import under_errors

_FACTOR = 0.6
"""Size of a network compared with the one before it."""
_FIRST = 4.0
"""Bits for a weight of the network given, from which sizes fall."""
_SIZES, _AGAIN = 12, 8
"""Sizes that are tried at most on the way down; and to meet a size in bytes."""
_NEAR, _FULL, _UP, _TRIES = 0.97, 0.93, 3, 3
_ABOVE = 1.6
"""Size of a network on the way to a size in bytes, compared with the next."""
_UNTRAINED = 1.01
"""Size of values before they are trained, compared with the bytes allowed, above which they will not fit after it either."""
_FINER = (4.0, 5.0, 6.0)
"""Bits of value that are tried where a loss is not met with fewer."""
_WAIT = 2
"""Sizes in a row that may be worse before the search for a price, or lose too much before that for a loss, ends."""


@dataclass(frozen=True, eq=False)
class Search:
    """The search for one network.

    Attributes:
        context: data and settings.
        net: the network given, dead inputs folded.
        valid: validation rows.
        size_of: bytes of the file of stored tensors, and of what it says of the network.
        start: what examples add to the metric with the network that losses are compared with ``[G]``.
        given: the metric of the network given, where it may be another one than that.
    """

    context: Context
    net: nn.Module
    valid: Dataset
    size_of: Sizer
    start: Tensor
    given: float | None

    def run(self) -> tuple[list[FrontPoint], FrontPoint, str]:
        """Returns the front, the network chosen, and why.

        Raises:
            ConfigError: no network is as small, or as good, as was asked for.
        """
        config = self.context.config
        if config.max_bytes is not None:
            return self._for_bytes(config.max_bytes)
        if config.price is not None:
            return self._for_price(config.price)
        return self._for_loss(config.max_loss)

    def _begin(self) -> Level:
        masks = {n: self.net.get_parameter(n).detach() != 0 for n in self.context.division.weights}
        return Level(math.inf, self.net, masks, self.context.config.precisions(PRECISIONS))

    def _descend(
        self, level: Level, goal: float, name: str, most: float = math.inf
    ) -> tuple[Level, SizePoints]:
        """Returns the network of another size, and what becomes of it in at most so many bytes."""
        kept = kept_level(self.context, name, goal, self.net)
        if kept is None:
            net, masks = thinner(self.context, level.net, level.masks, goal, name)
            keep_level(self.context, name, goal, net, masks)
        else:
            net, masks = kept
        level = replace(level, goal=goal, net=net, masks=masks)
        return level, self._points(level, name, most)

    def _points(self, level: Level, name: str, most: float) -> SizePoints:
        context, config = self.context, self.context.config
        net = tidied(level.net, context.division, self._few()) if config.free else level.net
        masks = {n: level.masks[n] & (net.get_parameter(n) != 0) for n in level.masks}
        ways: list[tuple[str, float | None, float | None]] = [("values", None, None)]
        if config.share != "kmeans":
            ways = [(f"{bits:.3g}bits", bits, None) for bits in level.precisions]
            ways += [("price", None, config.price)] if config.price is not None else []
        points, lengths = list[FrontPoint](), list[int]()
        for way, bits, price in ways:
            chosen = shared(context, net, masks, bits=bits, price=price)
            if most < math.inf:
                lengths.append(self._in_file(chosen)[2])
                if lengths[-1] > _UNTRAINED * most:
                    continue
            points.append(self._point(chosen, f"{name}-{way}"))
        return SizePoints(points, min([*lengths, *(p.n_bytes for p in points)]))

    def _in_file(self, chosen: Values) -> tuple[nn.Module, Mapping[str, Codebook | Array], int]:
        """Returns the network of shared values, its tensors as the file holds them, and the bytes of that."""
        net, tensors = chosen.stored()
        if self.context.config.free:
            tensors = ordered(net, self.context.division, tensors, self._few())
        return net, tensors, self.size_of(tensors, net)

    def _point(self, chosen: Values, name: str) -> FrontPoint:
        """Returns a network whose shared values have been trained."""
        net, tensors, size = self._in_file(trained_values(self.context, chosen, name))
        terms = losses_of(net, self.valid, self.context)
        gaps, errors = excess(torch.stack([self.start, terms]), 0)
        kept = [
            int((t.codes if isinstance(t, Codebook) else t).astype(bool).sum())
            for t in tensors.values()
        ]
        return FrontPoint(
            size,
            float(terms.mean()),
            float(gaps[1]),
            float(errors[1]),
            sum(kept),
            chosen.price,
            net,
            tensors,
        )

    def _few(self) -> Tensor:
        index = torch.arange(min(64, len(self.context.data)))
        return self.context.data.inputs(index, like=next(self.net.parameters()))

    def _for_bytes(self, most: int) -> tuple[list[FrontPoint], FrontPoint, str]:
        level, front, text = self._begin(), list[FrontPoint](), self.size_of({}, None)
        if text >= most:
            raise ConfigError(
                f"max_bytes={most}: without any weights the file has {text} bytes, its header and its text, which says how the "
                "network is built and used; allow more"
            )
        fixed = exact_bits(self._exact())
        if fixed / 8 >= most:
            raise ConfigError(
                f"max_bytes={most}: what is kept exactly (normalisation, buffers) takes {math.ceil(fixed / 8)} bytes; "
                "allow more"
            )
        before = self.context.config.steps - 1
        goal = _ABOVE**before * (8.0 * most * _NEAR - fixed)
        whole, reached = level.n_weights, list[int]()
        for turn in range(before + _AGAIN):
            above = level
            level, found = self._descend(above, goal, f"size{turn}", most)
            front += found.points
            reached.append(found.least)
            if fits := [p for p in found.points if p.n_bytes <= most]:
                best, full = self._best(fits), level
                if best.n_bytes < _FULL * most and level.n_weights < whole:
                    goal *= _NEAR * most / best.n_bytes
                    full, found = self._descend(above, goal, f"size{turn}-fuller", most)
                    front += found.points
                if full.n_weights == whole:
                    front += self._finer(full, f"size{turn}-finer", found.points, most)
                best = self._best([p for p in front if p.n_bytes <= most])
                return front, best, f"the least loss of files of up to {most} bytes"
            if not any(bool(mask.any()) for mask in level.masks.values()):
                break
            # names and tables do not shrink: all that is too much comes from weights
            surplus = 8 * (found.least - _NEAR * most * _ABOVE ** max(0, before - 1 - turn))
            now = min(goal, bits_of(level.masks, self.context.config.value_bits))
            goal = max(now - surplus, _FACTOR**2 * now)
        raise ConfigError(
            f"max_bytes={most}: the smallest file that was reached has {min(reached)}, of which {text} are there without any "
            "tensor; allow more bytes, fewer --values, or compress a smaller network"
        )

    def _finer(
        self, level: Level, name: str, known: Sequence[FrontPoint], most: int
    ) -> list[FrontPoint]:
        """Returns a network that has all its weights with values of as many bits as fill the bytes that are left over."""
        fits, high = [p for p in known if p.n_bytes <= most], self.context.config.finest
        if not fits or not level.n_weights or fits[-1].n_bytes >= _FULL * most:
            return []
        size, bits = fits[-1].n_bytes, (low := level.precisions[len(fits) - 1])
        for _ in range(_TRIES if low < high else 0):
            bits = min(bits + 8 * (_NEAR * most - size) / level.n_weights, high)
            if bits <= low:  # tables of values grow faster than bits
                bits = (low + high) / 2
            found = self._points(replace(level, precisions=(bits,)), name, most)
            if any(p.n_bytes <= most for p in found.points):
                return found.points
            size, high = found.least, bits
        return []

    def _best(self, points: Sequence[FrontPoint]) -> FrontPoint:
        """Returns the point of least loss; of those within one paired standard error of it, that of the least proper loss.

        A metric such as accuracy cannot tell networks apart that the proper loss can.
        """
        task, targets = self.context.task, self.valid.y.cpu()
        found = torch.stack([outputs(point.net, self.valid) for point in points])
        terms = torch.stack([losses_of(point.net, self.valid, self.context) for point in points])
        gaps, errors = excess(terms, int(terms.mean(dim=1).argmin()))
        proper = terms_of(found, targets, task).mean(dim=1)
        near = [i for i in range(len(points)) if gaps[i] <= errors[i]]
        return points[min(near, key=lambda i: (float(proper[i]), points[i].n_bytes))]

    def _exact(self) -> dict[str, Array]:
        held = tensors_of(self.net)
        return {n: array_of(held[n]) for n in self.context.division.exact}

    def _for_loss(self, most: float | None) -> tuple[list[FrontPoint], FrontPoint, str]:
        def good(point: FrontPoint) -> bool:
            return point.excess <= (point.error if most is None else most)

        level, front, seen = self._begin(), list[FrontPoint](), list[Level]()
        goal, good_level, missed = self._first_goal(), level, list[float]()
        for turn in range(_SIZES):
            level, found = self._descend(level, goal, f"size{turn}")
            front, seen = front + found.points, [*seen, level]
            missed.append(goal)
            if any(map(good, found.points)):
                good_level, missed = level, []
            elif len(missed) == _WAIT:
                more = self._above(good_level, missed[0], f"size{turn}", good)
                front += [point for _, found in more for point in found.points]
                seen += [above for above, _ in more]
                break
            goal *= _FACTOR
        asked = "one paired standard error" if most is None else f"{most:g}"
        if not any(map(good, front)):
            front += self._more_precise(seen, good)
        fits = [p for p in front if good(p)]
        if not fits:
            best = min(front, key=lambda p: p.excess)
            raise ConfigError(
                f"max_loss: no network stays within {asked} of the loss; the best one, {best.n_bytes} bytes, is worse by "
                f"{best.excess:.3g} ± {best.error:.2g} {self.context.loss_words}; "
                "allow more, more --values, or train longer (epochs, tuning)"
            )
        return (
            front,
            min(fits, key=lambda p: (p.n_bytes, p.loss)),
            f"the smallest file whose loss ({self.context.loss_words}) rises by no more than {asked}",
        )

    def _above(
        self, level: Level, goal: float, name: str, good: Callable[[FrontPoint], bool]
    ) -> list[tuple[Level, SizePoints]]:
        """Returns what is between a size that is too small and the one before it; above it, if there was none before."""
        if math.isfinite(level.goal):
            return [self._descend(level, math.sqrt(goal * level.goal), f"{name}-between")]
        found: list[tuple[Level, SizePoints]] = []
        for turn in range(1, _UP + 1):
            found.append(self._descend(level, goal / _FACTOR**turn, f"{name}-above{turn}"))
            if any(map(good, found[-1][1].points)):
                break
        return found

    def _more_precise(
        self, levels: Sequence[Level], good: Callable[[FrontPoint], bool]
    ) -> list[FrontPoint]:
        """Returns levels with values of more bits, from that of most weights down, until a loss is not met."""
        found, finest = list[FrontPoint](), self.context.config.finest
        for number, level in enumerate(sorted(levels, key=lambda one: -one.n_weights)):
            if finest <= level.precisions[-1]:
                break
            finer = replace(level, precisions=tuple(sorted({min(b, finest) for b in _FINER})))
            found += (points := self._points(finer, f"finer{number}", math.inf).points)
            if not any(map(good, points)):
                break
        return found

    def _for_price(self, price: float) -> tuple[list[FrontPoint], FrontPoint, str]:
        count, task, targets = len(self.context.data), self.context.task, self.valid.y.cpu()

        def total(point: FrontPoint) -> float:
            out = outputs(point.net, self.valid)
            nats = float(under_errors(task, out, targets).nll(out, targets).mean())
            return count * nats / math.log(2) + price * 8 * point.n_bytes

        level, front, waited = self._begin(), list[FrontPoint](), 0
        goal, least = self._first_goal(), math.inf
        for turn in range(_SIZES):
            level, found = self._descend(level, goal, f"size{turn}")
            front += found.points
            # what the price itself thins may be empty at any size
            now = min(map(total, found.points[: len(level.precisions)]))
            waited = 0 if now < least else waited + 1
            least = min(least, now)
            if waited >= _WAIT:
                break
            goal *= _FACTOR
        return (
            front,
            min(front, key=total),
            f"the least sum of loss and {price:g} times the bits of the file",
        )

    def _first_goal(self) -> float:
        masks = self._begin().masks
        whole = bits_of(masks, self.context.config.value_bits)
        count = sum(mask.numel() for mask in masks.values())
        return _FACTOR * min(whole, _FIRST * count)


def finished(search: Search, dense: float, free: Mapping[str, int]) -> Compressed:
    """Runs a search and returns the compressed network with its waterfall, whose first step has so many bytes."""
    points, chosen, why = search.run()
    task, config = search.context.task, search.context.config
    start = float(search.start.mean())
    given = start if search.given is None else search.given
    stages = waterfall(chosen, dense, given, start)
    metric, words = config.metric or task.proper, search.context.loss_words
    return Compressed(pareto([*points, chosen]), chosen, stages, why, metric, words, free)
