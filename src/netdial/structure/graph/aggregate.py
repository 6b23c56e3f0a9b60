"""Aggregation: how a node joins what its edges bring.

``sum``, ``mean``, ``product`` join element by element, ``concat`` along the first dimension after the batch. The mean and the
concatenation count every edge of the space, also those that bring nothing, so a network derived from a space is the space at
that vertex. A product with an edge that brings nothing is nothing.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, NetdialError, ShapeError, first_line
from netdial.core.registry import Registry
from netdial.structure.graph.operations import Shape

Join = Callable[[list[Tensor], int], Tensor]


@dataclass(frozen=True)
class Aggregator:
    """How a node joins tensors.

    Attributes:
        name: what it is called in drawings and fingerprints; users' own have names of their own.
        join: (tensors, edges of the node in the space) -> the value of the node.
        absent: what an edge does that brings nothing: ``dropped`` (it is left out), ``zeros`` (a tensor of zeros stands in
            for it) or ``fatal`` (the node is nothing).
        ordered: whether the order of the edges matters.
        alone: whether one tensor alone comes out as it went in, where the node has a single edge.
    """

    name: str
    join: Join
    absent: Literal["dropped", "zeros", "fatal"] = "dropped"
    ordered: bool = False
    alone: bool = True


AGGREGATORS: Registry[Aggregator] = Registry("aggregator")


def _sum(parts: list[Tensor], edges: int) -> Tensor:
    return functools.reduce(operator.add, parts)


def _mean(parts: list[Tensor], edges: int) -> Tensor:
    return _sum(parts, edges) / edges


def _product(parts: list[Tensor], edges: int) -> Tensor:
    return functools.reduce(operator.mul, parts)


def _concat(parts: list[Tensor], edges: int) -> Tensor:
    return torch.cat(parts, dim=1)


for _made in (
    Aggregator("sum", _sum),
    Aggregator("mean", _mean),
    Aggregator("product", _product, absent="fatal"),
    Aggregator("concat", _concat, absent="zeros", ordered=True),
):
    AGGREGATORS.add(_made.name)(_made)


def aggregator(given: str | Callable[[list[Tensor]], Tensor] | Aggregator) -> Aggregator:
    """Returns an aggregator by its name, or one around a user's function.

    A user's function gets a list with one tensor for every edge of the node, in the order in which the edges were added;
    those of edges that bring nothing are zeros.

    Raises:
        ConfigError: the name is unknown, or it is no function.
    """
    if isinstance(given, Aggregator):
        return given
    if isinstance(given, str):
        return AGGREGATORS[given]
    if not callable(given):
        raise ConfigError(
            f"aggregator: a {type(given).__name__}; give one of {', '.join(AGGREGATORS)}, or a function of a list of tensors"
        )
    name = getattr(given, "__qualname__", type(given).__name__)
    function = given
    return Aggregator(
        name, lambda parts, edges: function(parts), absent="zeros", ordered=True, alone=False
    )


def joined_shape(node: str, aggregator: Aggregator, shapes: dict[str, Shape]) -> Shape:
    """Returns the shape of a node, without the batch, from those that its edges bring.

    Args:
        node: its name.
        aggregator: how it joins.
        shapes: edge -> shape.

    Raises:
        ShapeError: the edges disagree; the message names two of them and their shapes.
    """
    names, found = list(shapes), list(shapes.values())
    across = aggregator.name == "concat"
    for name, shape in shapes.items():
        first = found[0]
        agrees = len(shape) == len(first) and shape[1:] == first[1:] if across else shape == first
        if not agrees and aggregator.name in AGGREGATORS:
            raise ShapeError(
                f"node {node} ({aggregator.name}): edge {names[0]} brings shape {list(first)}, edge {name} brings "
                f"{list(shape)}; they have to {'agree but for the first dimension' if across else 'be the same'}"
            )
    tensors = [torch.zeros(2, *shape) for shape in found]
    try:
        out = aggregator.join(tensors, len(tensors))
    except NetdialError:
        raise
    except Exception as error:
        raise ShapeError(
            f"node {node} ({aggregator.name}): fails on shapes {[list(shape) for shape in found]} "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(out, Tensor) or out.ndim < 1 or len(out) != 2:
        raise ShapeError(
            f"node {node} ({aggregator.name}): does not return one tensor with as many examples as it was given"
        )
    return tuple(out.shape[1:])
