"""Several inputs of a network in one tensor: flat, one after another, whole numbers as floating-point ones.

Everything that trains, measures and cuts networks then has one tensor to shuffle, to move and to run on. Whole numbers up to
2²⁴ are exact in single precision; larger ones are refused.

Shapes: B examples, F numbers of all inputs of one example.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError

_EXACT = 2**24
"""Whole numbers up to here are exact in single precision."""


@dataclass(frozen=True)
class Packing:
    """How several inputs lie in one tensor; or what one is called, which is that tensor.

    Attributes:
        names: name of each in the call of the network; empty for those given by position, which come first.
        shapes: shape of each, without the batch.
        dtypes: number type of each, as torch calls it.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of each input for one example."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def width(self) -> int:
        """F, numbers of all inputs for one example."""
        return sum(self.sizes)

    def call(self, parts: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments of a network's call, by position and by name."""
        args = tuple(part for name, part in zip(self.names, parts, strict=True) if not name)
        kwargs = {name: part for name, part in zip(self.names, parts, strict=True) if name}
        return args, kwargs

    def arranged(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """Returns the inputs in a call in their order.

        Raises:
            DataError: there are others.
        """
        rest = iter(args)
        try:
            found = [kwargs[name] if name in kwargs else next(rest) for name in self.names]
        except StopIteration:
            found = []
        if len(found) != len(self.names) or len(args) + len(kwargs) != len(found):
            places, names = self.names.count(""), ", ".join(filter(None, self.names))
            wanted = [f"{places} by position"] * bool(places) + [names] * bool(names)
            raise DataError(
                f"{len(args)} inputs by position and {', '.join(kwargs) or 'none by name'}; this network takes "
                + " and ".join(wanted)
            )
        return found

    @property
    def is_several(self) -> bool:
        """Whether there are several inputs."""
        return len(self.names) > 1

    def taken_by(self, forward: Callable[..., Any]) -> Packing | None:
        """Returns the inputs in the order in which a network's forward pass takes them by name.

        None for one that goes by position: the first argument has its name, or none has.
        """
        arguments = inspect.signature(forward).parameters
        if not self.is_several:
            first = next(iter(arguments.values()), None)
            any_name = first is not None and first.kind is first.VAR_KEYWORD
            by_name = self.names[0] in list(arguments)[1:] or (any_name and self.names[0])
            return self if by_name else None
        return self.in_order(list(arguments))

    def fits(self, other: Packing) -> bool:
        """Returns whether inputs packed in another way are those that this one is for."""
        return (self.names, self.shapes) == (other.names, other.shapes)

    def in_order(self, names: Sequence[str]) -> Packing:
        """Returns the same inputs, those by name in the order of names; others follow as they are."""
        known = {name: place for place, name in enumerate(names, 1)}
        rank = [known.get(name, len(known) + 1) if name else 0 for name in self.names]
        order = sorted(range(len(rank)), key=rank.__getitem__)
        return Packing(
            tuple(self.names[i] for i in order),
            tuple(self.shapes[i] for i in order),
            tuple(self.dtypes[i] for i in order),
        )

    def serves(self, other: Packing) -> bool:
        """Returns whether inputs packed in another way are those that this one is for; names may come in any order."""
        return self.fits(other) or self._places(other) is not None

    def of(self, x: Tensor, other: Packing, where: str) -> Tensor:
        """Returns inputs ``[B, F]`` that are packed in another way as this one packs them; names may come in any order.

        Args:
            x: the inputs.
            other: how they lie in it.
            where: whose they are, for messages.

        Raises:
            DataError: they are other inputs.
        """
        if self.fits(other):
            return x
        places = self._places(other)
        if places is None:
            raise DataError(
                f"{where}: inputs {other}; the network takes {self}; give all of one shape (pad texts to one length), with the "
                "names that it was made for"
            )
        if not self.is_several:
            return x
        parts = x.split(list(other.sizes), dim=1)
        return torch.cat([parts[place] for place in places], 1)

    def _places(self, other: Packing) -> list[int] | None:
        """Returns where each input of this one lies in another; None if that has others. Inputs by position keep theirs."""
        if self.shapes == other.shapes and not any(other.names):
            return list(range(len(self.names)))  # all by position, as in a call
        own, theirs = (
            [
                (name or str(place), shape)
                for place, (name, shape) in enumerate(zip(one.names, one.shapes, strict=True))
            ]
            for one in (self, other)
        )
        return [theirs.index(one) for one in own] if sorted(own) == sorted(theirs) else None

    def __str__(self) -> str:
        """Returns names and shapes of the inputs, for messages."""
        parts = zip(self.names, self.shapes, strict=True)
        return ", ".join(f"{name or 'by position'} {list(shape)}" for name, shape in parts)


def is_several(inputs: Any, count: int | None = None) -> bool:
    """Returns whether inputs are several: a mapping, a tuple with a tensor in it, or a list of tensors with a row each.

    Args:
        inputs: what was given as inputs.
        count: examples; a list of as many tensors is one of rows.
    """
    if isinstance(inputs, Mapping):
        return True
    if not isinstance(inputs, tuple | list) or not inputs:
        return False
    tensors = [hasattr(part, "shape") and len(part.shape) > 0 for part in inputs]
    if isinstance(inputs, tuple):
        return any(tensors)
    return all(tensors) and len(inputs) != count and all(len(part) == count for part in inputs)


def as_packed(parts: Sequence[Tensor], names: Sequence[str], where: str) -> tuple[Tensor, Packing]:
    """Returns several inputs as one tensor ``[B, F]``, and how they lie in it; one input ``[B, ...]`` as it is.

    Args:
        parts: inputs ``[B, ...]``.
        names: their names, empty for those by position.
        where: whose they are, for messages.

    Raises:
        DataError: one is a single number, they differ in length, or hold whole numbers too large to be exact.
    """
    for place, (name, part) in enumerate(zip(names, parts, strict=True)):
        if not part.ndim:
            raise DataError(
                f"{where}: input {name or place} is the single number {part.item():g}, and inputs have a row for each example; "
                "let forward take it by default, from an attribute of the network, or give it once for each example"
            )
    order = sorted(range(len(parts)), key=lambda i: bool(names[i]))  # by position first
    lengths = {len(part) for part in parts}
    if len(lengths) != 1:
        raise DataError(
            f"{where}: inputs differ in length: {', '.join(map(str, sorted(lengths)))}; give one row per example in each"
        )
    if len(parts) == 1:
        only = parts[0]
        kind_of = str(only.dtype).removeprefix("torch.")
        return only, Packing(tuple(names), (tuple(only.shape[1:]),), (kind_of,))
    for part in parts:
        whole = not part.is_floating_point() and part.dtype != torch.bool
        if whole and part.numel() and int(part.abs().max()) > _EXACT:
            raise DataError(
                f"{where}: whole numbers up to {int(part.abs().max())}; beside other inputs they may go up to {_EXACT}"
            )
    kind = torch.float64 if any(part.dtype == torch.float64 for part in parts) else torch.float32
    packing = Packing(
        tuple(names[i] for i in order),
        tuple(tuple(parts[i].shape[1:]) for i in order),
        tuple(str(parts[i].dtype).removeprefix("torch.") for i in order),
    )
    return torch.cat(
        [
            parts[i].flatten(1).to(kind) if parts[i].ndim > 1 else parts[i][:, None].to(kind)
            for i in order
        ],
        1,
    ), packing
