"""Where structure parameters of an edge may lie: vertices or interior of the cube or of the simplex.

``simplex``           numbers from 0 to 1 that sum to 1: a mixture of the operations
``simplex_vertices``  one 1 and zeros: one of the operations
``cube``              numbers from 0 to 1: a gate for each operation
``cube_vertices``     zeros and ones: any set of the operations, none of them included

The interiors are taken with their boundary: a search moves inside, and ends at a vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from typing import get_args

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, unknown
from netdial.family.posteriors.structure import GammaDomain, check_gamma

_NEAR = 1e-6
"""How far from a domain numbers are certainly rounding."""


def check_domain(domain: str, where: str) -> None:
    """Refuses a name that is no domain.

    Raises:
        ConfigError: the message names those that there are.
    """
    if domain not in get_args(GammaDomain):
        raise ConfigError(f"{where}: {unknown('domain', domain, get_args(GammaDomain))}")


def on_simplex(domain: GammaDomain) -> bool:
    """Returns whether exactly one operation is chosen in the end."""
    return domain in ("simplex", "simplex_vertices")


def check_points(gamma: Tensor, domain: GammaDomain, where: str) -> list[list[float]]:
    """Returns structure parameters ``[..., K]`` as rows of plain numbers, checked.

    Args:
        gamma: one number for each operation.
        domain: where they may lie.
        where: whose they are, for the message.

    Raises:
        ConfigError: says which number or sum is wrong.
    """
    rows: list[list[float]] = gamma.detach().reshape(-1, gamma.shape[-1]).tolist()
    if not all(_inside(row, domain) for row in rows):
        try:
            check_gamma(gamma.detach(), domain)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return rows


def _inside(values: Sequence[float], domain: GammaDomain) -> bool:
    """Returns whether numbers surely lie in a domain; looking at them one by one is faster than tensors for so few."""
    near = all(-_NEAR < value < 1 + _NEAR for value in values)  # not of NaN
    if domain.endswith("vertices"):
        near = near and all(value in (0.0, 1.0) for value in values)
    return near and (not on_simplex(domain) or abs(sum(values) - 1) < _NEAR)


def vertices(count: int, domain: GammaDomain) -> list[tuple[int, ...]]:
    """Returns all vertices as the positions that are 1.

    >>> vertices(2, "simplex"), vertices(2, "cube")
    ([(0,), (1,)], [(), (0,), (1,), (0, 1)])
    """
    if on_simplex(domain):
        return [(index,) for index in range(count)]
    sizes = (combinations(range(count), size) for size in range(count + 1))
    return list(chain.from_iterable(sizes))


def count_vertices(count: int, domain: GammaDomain) -> int:
    """Returns how many vertices there are: K of a simplex, 2^K of a cube."""
    return count if on_simplex(domain) else 2**count


def drawn_vertex(count: int, domain: GammaDomain, source: torch.Generator) -> tuple[int, ...]:
    """Returns a vertex drawn from all with equal probability, as the positions that are 1."""
    if on_simplex(domain):
        return (int(torch.randint(count, (), generator=source)),)
    bits = torch.randint(2, (count,), generator=source).tolist()
    return tuple(index for index, bit in enumerate(bits) if bit)


def nearest_vertex(values: Sequence[float], domain: GammaDomain) -> tuple[int, ...]:
    """Returns the positions that are 1 at the nearest vertex; the first one of those that are equally near.

    >>> nearest_vertex([0.2, 0.5, 0.3], "simplex"), nearest_vertex([0.2, 0.5, 0.9], "cube")
    ((1,), (1, 2))
    """
    if on_simplex(domain):
        return (max(range(len(values)), key=lambda index: values[index]),)
    return tuple(index for index, value in enumerate(values) if value >= 0.5)
