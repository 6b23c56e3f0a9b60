"""Several families as one, so that they train in one run, side by side; and apart again.

Table maps give all their rows to one table; piecewise maps stand one after another in a ``StackedMap``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netdial.family.family import Family
from netdial.family.maps import LinearMap, PiecewiseMap, StackedMap, TableMap


def can_stack(families: Sequence[Family]) -> bool:
    """Returns whether families can train side by side, none of them knowing of the others.

    Their maps are tables, or piecewise-linear ones; and they differ in nothing but the leaves that vary, so that one network
    can stand for all. Parameters that are shared along λ, running statistics and the centre of a prior would be shared among
    the families.
    """
    first = families[0]
    if first.config.shared or first.statistics.names:
        return False
    if any(type(one) not in (TableMap, PiecewiseMap, LinearMap) for one in first.maps.values()):
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


def _anchor(family: Family) -> list[Tensor]:
    return [] if family.anchor is None else [family.anchor]


def _joined(parts: Sequence[Any]) -> TableMap | StackedMap:
    pivots = torch.cat([part.pivots.detach() for part in parts])
    if isinstance(parts[0], TableMap):
        return TableMap(parts[0].layout, pivots, torch.cat([part.rows for part in parts]))
    return StackedMap(parts[0].layout, pivots, len(parts))
