"""All outputs of a network in one tensor, ``[B, F]``, and out of it again: for losses that are of more than the scored one."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, fx

from netdial.core.outputs import tensors


@dataclass(frozen=True)
class OutputLayout:
    """How the outputs of a network lie in one tensor.

    Attributes:
        like: what the network gives, from which the structure is taken.
        shapes: of each tensor in it, without the batch; None for one number that stands for all of a batch.
        dtypes: their number types.
    """

    like: Any
    shapes: tuple[tuple[int, ...] | None, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, found: Any, rows: int) -> OutputLayout | None:
        """Returns the layout of what a network gives; None for one tensor, or where examples are not the first dim."""
        parts = tensors(structured(found))
        if isinstance(found, Tensor) or not parts:
            return None
        if any(part.ndim and len(part) != rows for part in parts):
            return None
        shapes = tuple(tuple(part.shape[1:]) if part.ndim else None for part in parts)
        return cls(found, shapes, tuple(part.dtype for part in parts))

    def apart(self, outputs: Tensor) -> Any:
        """Returns what the network gave, of one tensor ``[B, F]``."""
        sizes = [1 if shape is None else math.prod(shape) for shape in self.shapes]
        parts = [
            part.mean() if shape is None else part.reshape(-1, *shape)
            for part, shape in zip(outputs.split(sizes, dim=1), self.shapes, strict=True)
        ]
        return _filled(self.like, iter(map(_in_type, parts, self.dtypes)))


class NotKept:
    """Stands in a loss for what a network gives beside tensors, of which each batch would meet that of the first."""

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("no tensor, and not kept")

    __getattr__ = __getitem__ = __call__ = __iter__ = __len__ = __bool__ = __float__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = __pow__ = _refuse
    __truediv__ = __rtruediv__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse


def unfit(evaluated: Any, trained: Any, rows: tuple[int, int]) -> str:
    """Returns why no loss can be of all that a network gives, in evaluation and in training, for so many examples."""
    found, other = dict(_leaves(evaluated)), dict(_leaves(trained))
    for parts, count in zip((found, other), rows, strict=True):
        for name, part in parts.items():
            if isinstance(part, Tensor) and part.ndim and len(part) != count:
                return (
                    f"output {name} is of shape {list(part.shape)} and has no row for each example; give it one, "
                    ".expand(len(x), -1), or make it one number"
                )
    for name in [*found, *other]:
        one, two = found.get(name, ...), other.get(name, ...)
        numbers = isinstance(one, float) and isinstance(two, float)
        if _form(one) != _form(two) and not numbers:
            return (
                f"output {name} is {_form(one)} in evaluation and {_form(two)} in training; give the same in both, such as a "
                "tensor of 0"
            )
    for name, part in found.items():
        if isinstance(_kept(part), NotKept):
            return (
                f"output {name} is {_form(part)} and no tensor, so each batch would meet that of the first; return tensors, "
                "and make of them in the loss what it needs"
            )
    return "it has no gradient for them once they lie in one tensor"


def fixed(found: Any) -> dict[str, Any]:
    """Returns what a network gives beside tensors that a loss may go by if it never changes: whole numbers and texts."""
    return {name: part for name, part in _leaves(found) if isinstance(part, int | str)}


def _leaves(found: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all that a network gives, by name or place."""
    if is_dataclass(found) and not isinstance(found, type | Mapping):
        found = {field.name: getattr(found, field.name) for field in fields(found)}
    if isinstance(found, Mapping | tuple | list):
        for key, part in found.items() if isinstance(found, Mapping) else enumerate(found):
            yield from _leaves(part, f"{name}.{key}".lstrip("."))
    else:
        yield name, found


def _form(part: Any) -> str:
    if isinstance(part, Tensor):
        return (
            f"a tensor [B{''.join(f', {n}' for n in part.shape[1:])}]"
            if part.ndim
            else "a tensor []"
        )
    return (
        str(part) if part is None or isinstance(part, int | float) else f"a {type(part).__name__}"
    )


def _kept(part: Any) -> Any:
    """Returns what stands in a loss for a part that is no tensor; whole numbers and texts say how outputs are meant."""
    return part if part is None or isinstance(part, Tensor | int | str | NotKept) else NotKept()


def together(found: Any) -> Tensor:
    """Returns all tensors that a network gives for B examples as one, ``[B, F]``."""
    parts = tensors(structured(found))
    rows = next((part.shape[0] for part in parts if part.ndim), 1)
    flat = [part.reshape(rows, -1) if part.ndim else part.expand(rows, 1) for part in parts]
    kind = next(
        (part.dtype for part in flat if part.is_floating_point()), torch.get_default_dtype()
    )
    return torch.cat([part.to(kind) for part in flat], dim=1)


def structured(found: Any) -> Any:
    """Returns what a network gives in plain dicts and tuples; data classes are dicts, and None stands for what is no tensor."""
    if isinstance(found, Tensor | fx.Proxy):
        return found
    if is_dataclass(found) and not isinstance(found, type | Mapping):
        found = {field.name: getattr(found, field.name) for field in fields(found)}
    if isinstance(found, Mapping):
        parts = {str(name): structured(part) for name, part in found.items()}
        return {name: part for name, part in parts.items() if part is not None}
    if isinstance(found, tuple | list):
        return tuple(structured(part) for part in found)
    return None


def _in_type(part: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns whole numbers as such; others in the type that they have now."""
    return part if dtype.is_floating_point else part.round().to(dtype)


def _filled(like: Any, parts: Iterator[Tensor]) -> Any:
    """Returns a structure with other tensors."""
    if isinstance(like, Tensor):
        return next(parts)
    if isinstance(like, Mapping):
        found: Any = copy.copy(like)
        for name, part in like.items():
            found[name] = _filled(part, parts)
        return found
    if isinstance(like, tuple | list):
        made = [_filled(part, parts) for part in like]
        return type(like)(*made) if hasattr(like, "_fields") else type(like)(made)
    if is_dataclass(like) and not isinstance(like, type):
        found = copy.copy(like)
        for field in fields(like):
            object.__setattr__(found, field.name, _filled(getattr(like, field.name), parts))
        return found
    return _kept(like)
