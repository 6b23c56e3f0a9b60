"""Weightings w(λ) of the objectives of a family's members.

Shapes: K members.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from netdial.core.registry import Registry

WEIGHTINGS: Registry[Callable[[Tensor], Tensor]] = Registry("weighting")


@WEIGHTINGS.add("uniform")
def uniform(lam: Tensor) -> Tensor:
    """Returns w(λ) = 1 ``[K]``, the weighting of the papers (2022 paper, eqs. 14-16)."""
    return torch.ones_like(lam)


@WEIGHTINGS.add("balanced")
def balanced(lam: Tensor) -> Tensor:
    """Returns w(λ) = 1 / √(1 + 100 λ) ``[K]``.

    Under w = 1 the penalty at the top of the range outweighs everything below it. Any positive weighting has the same
    optimum when the map can express it; when it cannot, the weighting decides where the excess goes. The optimal
    objective grows about as √λ once λ passes 0.01 (MNIST, 784-50-10), so this weighting spreads the relative excess.
    """
    return (1 + 100 * lam).rsqrt()
