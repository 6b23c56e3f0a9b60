"""What a compression gives: the network, its tensors as they are stored, and the front of size against loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from netdial.compression.codebook import Codebook
from netdial.compression.pipeline.rate import (
    VALUE_BITS,
    Array,
    book_bits,
    context_bits,
    entropy_bits,
)
from netdial.compression.pipeline.training import Masks
from netdial.core.records import TRAINED_ON


@dataclass(frozen=True, eq=False)
class FrontPoint:
    """One network on the front.

    Attributes:
        n_bytes: of its file.
        loss: on validation rows, by the metric that decides, lower is better.
        excess: that above the loss of the network given; where a loss was asked for, of the better of it and a dense control,
            which is the same network trained on for as long.
        error: paired standard error of the excess.
        n_weights: numbers that are not 0.
        price: bits of loss that a bit was worth when values were shared.
        net: the network.
        tensors: name -> codes and values, or numbers.
    """

    n_bytes: int
    loss: float
    excess: float
    error: float
    n_weights: int
    price: float
    net: nn.Module
    tensors: Mapping[str, Codebook | Array]


PRECISIONS = (2.0, 3.0)
"""Bits of value of a weight on average that are tried at every size, where none are given."""


@dataclass(frozen=True, eq=False)
class Level:
    """A network of one size before its values are shared.

    Attributes:
        goal: bits that its code was to have.
        net: the network.
        masks: which of its weights there are.
        precisions: bits of value of a weight on average that it is tried with.
    """

    goal: float
    net: nn.Module
    masks: Masks
    precisions: tuple[float, ...]

    @property
    def n_weights(self) -> int:
        """Weights that there are."""
        return sum(int(mask.sum()) for mask in self.masks.values())


@dataclass(frozen=True, eq=False)
class SizePoints:
    """What became of a network of one size.

    Attributes:
        points: its networks of shared values.
        least: bytes of the smallest file, of those too that are too long and were not trained.
    """

    points: list[FrontPoint]
    least: int


Sizer = Callable[[Mapping[str, Codebook | Array], nn.Module | None], int]
"""(stored tensors, the network that they are) -> bytes of the file; None stands for the network given."""


def pareto(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Returns points by falling size, those that another one beats in both size and loss left out."""
    ranked = sorted(points, key=lambda p: (p.n_bytes, p.loss))
    found: list[FrontPoint] = []
    for point in ranked:
        if not found or point.loss < found[-1].loss:
            found.append(point)
    return tuple(reversed(found))


@dataclass(frozen=True)
class WaterfallStep:
    """One step of the waterfall from the network given to the file.

    Attributes:
        label: ``dense``, ``trained on`` (the dense control, where losses are compared with it), ``pruned``, ``shared`` or
            ``coded``.
        n_bytes: what the network takes up then.
        loss: on validation rows.
    """

    label: str
    n_bytes: float
    loss: float


@dataclass(frozen=True)
class LayerBits:
    """What one tensor takes.

    Attributes:
        name: of the tensor.
        size: numbers in it.
        kept: those that are not 0.
        values: different ones beside 0; 0 where it is kept exactly.
        bits: by the adaptive model.
    """

    name: str
    size: int
    kept: int
    values: int
    bits: float


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed network.

    Attributes:
        front: all networks that were made, by falling size.
        chosen: the one that was asked for.
        stages: from the network given to the file of the chosen one.
        why: how it was chosen, in words.
        free: what cost no bits: name -> count.
        recipe: how a network is built from the tensors, as plain values for the file; None where nobody said.
        metric: what the loss is of.
        loss_words: what the loss is, with its unit.
    """

    front: tuple[FrontPoint, ...]
    chosen: FrontPoint
    stages: tuple[WaterfallStep, ...]
    why: str
    metric: str
    loss_words: str
    free: Mapping[str, int] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None

    def _repr_html_(self) -> str:
        """Returns what each step takes up as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(
            [{"step": s.label, "bytes": s.n_bytes, self.loss_words: s.loss} for s in self.stages],
            self.why,
        )

    def __repr__(self) -> str:
        """Returns how large the file is, and why."""
        return (
            f"Compressed(n_bytes={self.n_bytes}, of={self.stages[0].n_bytes:.0f}, why={self.why!r})"
        )

    @property
    def net(self) -> nn.Module:
        """The network, or the family, decoded, in evaluation mode."""
        return self.chosen.net

    @property
    def of_family(self) -> bool:
        """Whether it is a whole family, and not one network."""
        return "family" in (self.recipe or {})

    @property
    def n_bytes(self) -> int:
        """Bytes of the file."""
        return self.chosen.n_bytes

    @property
    def bounds(self) -> dict[str, float]:
        """Bytes that codes of the same positions and values need at least, by what the code looks at; tables are in both."""
        return {
            "no context": order_0_bits(self.chosen.tensors) / 8,
            "neighbours, rows, columns": sum(layer.bits for layer in self.layers()) / 8,
        }

    def layers(self) -> list[LayerBits]:
        """Returns what each tensor takes, in the order of the network."""
        return [layer_bits(name, tensor) for name, tensor in self.chosen.tensors.items()]


def waterfall(
    chosen: FrontPoint, dense: float, given: float, start: float
) -> tuple[WaterfallStep, ...]:
    """Returns the steps from a network of so many bytes to the file of the chosen one.

    Args:
        chosen: the network in the file.
        dense: bytes of the network given.
        given: its loss.
        start: that of the network that losses are compared with, which is a dense control where it is another.
    """
    longer = (WaterfallStep(TRAINED_ON, dense, start),) if start != given else ()
    return (
        WaterfallStep("dense", dense, given),
        *longer,
        WaterfallStep("pruned", unshared_bytes(chosen.tensors), chosen.loss),
        WaterfallStep("shared", uncoded_bytes(chosen.tensors), chosen.loss),
        WaterfallStep("coded", chosen.n_bytes, chosen.loss),
    )


def layer_bits(name: str, tensor: Codebook | Array) -> LayerBits:
    """Returns what one stored tensor takes."""
    if isinstance(tensor, Codebook):
        kept = int((tensor.codes != 0).sum())
        return LayerBits(name, tensor.codes.size, kept, len(tensor.values) - 1, book_bits(tensor))
    bits = 8.0 * tensor.nbytes
    return LayerBits(name, tensor.size, int((tensor != 0).sum()), 0, bits)


def order_0_bits(tensors: Mapping[str, Codebook | Array]) -> float:
    """Returns the bits of a code that knows how often there is a number and how often each value, and tables of values."""
    bits = exact_bits(tensors)
    for tensor in tensors.values():
        if isinstance(tensor, Codebook):
            flat = tensor.codes.reshape(-1)
            there = flat[flat != 0]
            bits += entropy_bits((flat != 0).astype(np.int32)) + entropy_bits(there)
            bits += VALUE_BITS * (len(tensor.values) - 1)
    return bits


def positions_bits(tensors: Mapping[str, Any]) -> float:
    """Returns the bits that tell which numbers are not 0."""
    books = [t for t in tensors.values() if isinstance(t, Codebook)]
    return sum(context_bits((book.codes != 0).astype("int32")) for book in books)


def exact_bits(tensors: Mapping[str, Any]) -> float:
    """Returns the bits of tensors that are kept exactly."""
    return float(sum(8.0 * t.nbytes for t in tensors.values() if not isinstance(t, Codebook)))


def unshared_bytes(tensors: Mapping[str, Any]) -> float:
    """Returns the bytes of the sparse network before values are shared: each number that is not 0 in 32 bits, and positions."""
    kept = sum(int((t.codes != 0).sum()) for t in tensors.values() if isinstance(t, Codebook))
    return (positions_bits(tensors) + exact_bits(tensors) + VALUE_BITS * kept) / 8


def uncoded_bytes(tensors: Mapping[str, Any]) -> float:
    """Returns the bytes of shared values before coding: codes of one length, positions, tables."""
    bits = positions_bits(tensors) + exact_bits(tensors)
    for tensor in tensors.values():
        if isinstance(tensor, Codebook):
            used = len(tensor.values) - 1
            kept = int((tensor.codes != 0).sum())
            bits += kept * max(used - 1, 0).bit_length() + VALUE_BITS * used
    return bits / 8
