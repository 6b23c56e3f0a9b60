"""Several families as one, so that they train in one run, side by side; and apart again.

Table maps give all their rows to one table; piecewise maps stand one after another in a ``StackedMap``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netdial.family.family import Family
from netdial.family.maps import LinearMap, PiecewiseMap, StackedMap, TableMap

_USUAL = vars(nn.Module()).keys()
"""Attributes that every module has; what they hold is compared by itself."""


def can_stack(families: Sequence[Family]) -> bool:
    """Returns whether families can train side by side, none of them knowing of the others.

    Their maps are tables, or piecewise-linear ones; and they differ in nothing but the leaves that vary, so that one network
    can stand for all: networks of another architecture cannot. Parameters that are shared along λ, running statistics and the
    centre of a prior would be shared among the families.
    """
    first = families[0]
    if first.config.shared or first.statistics.names:
        return False
    if any(type(one) not in (TableMap, PiecewiseMap, LinearMap) for one in first.maps.values()):
        return False
    if not all(_same_architecture(first.net, family.net) for family in families[1:]):
        return False
    held = [[*family.shared, *family.net.buffers(), *_anchor(family)] for family in families]
    return all(torch.equal(a, b) for other in held[1:] for a, b in zip(held[0], other, strict=True))


def stack(families: Sequence[Family]) -> Family:
    """Returns one family that holds the maps of all, in training order; of one it is that family itself."""
    first = families[0]
    if len(families) == 1:
        return first
    joined = Family(first.net, first.config)
    for path in first.maps:
        parts: list[Any] = [family.maps[path] for family in families]
        joined.set_submodule(path, _joined(parts))
    return joined


def unstack(family: Family, count: int) -> list[Family]:
    """Returns the families that ``stack`` joined, in evaluation mode."""
    if count == 1:
        return [family]
    parts = []
    for index in range(count):
        part = Family(family.net, family.config)
        for path, whole in family.maps.items():
            part.maps[path].pivots.data.copy_(whole.pivots.detach().chunk(count)[index])
        parts.append(part.eval())
    return parts


def _same_architecture(one: nn.Module, other: nn.Module) -> bool:
    """Returns whether two networks are sure to differ in nothing but the numbers of their parameters and buffers."""
    parts, others = dict(one.named_modules()), dict(other.named_modules())
    if list(parts) != list(others):
        return False
    return all(_same_layer(layer, others[name]) for name, layer in parts.items())


def _same_layer(one: nn.Module, other: nn.Module) -> bool:
    if type(one) is not type(other) or _tensors(one) != _tensors(other):
        return False
    mine, theirs = (
        {k: v for k, v in vars(each).items() if k not in _USUAL} for each in (one, other)
    )
    return mine.keys() == theirs.keys() and all(_same(mine[k], theirs[k]) for k in mine)


def _tensors(layer: nn.Module) -> list[Any]:
    """Returns name, shape, type and freedom of the parameters and buffers that a layer itself holds."""
    held = {**layer._parameters, **layer._buffers}
    return [
        (k, None if v is None else (v.shape, v.dtype, v.requires_grad)) for k, v in held.items()
    ]


def _same(one: Any, other: Any) -> bool:
    """Returns whether two attributes are equal; what cannot be compared is not."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    try:
        if one is other:
            return True
        by_identity = getattr(type(one), "__eq__", None) is object.__eq__
        if by_identity and type(one) is type(other):
            mine, theirs = vars(one), vars(other)
            return mine.keys() == theirs.keys() and all(_same(mine[k], theirs[k]) for k in mine)
        return bool(one == other)
    except Exception:  # of objects of the user's
        return False


def _anchor(family: Family) -> list[Tensor]:
    return [] if family.anchor is None else [family.anchor]


def _joined(parts: Sequence[Any]) -> TableMap | StackedMap:
    pivots = torch.cat([part.pivots.detach() for part in parts])
    if isinstance(parts[0], TableMap):
        return TableMap(parts[0].layout, pivots, torch.cat([part.rows for part in parts]))
    return StackedMap(parts[0].layout, pivots, len(parts))
