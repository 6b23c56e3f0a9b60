"""Penalties on the weights of plain networks, by name: what λ multiplies, number by number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SCALE = 0.1
"""Of the logarithms, as ``log-sum`` has it under a prior variance of 1."""

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "l2": torch.square,
    "log-sum": lambda weights: _SCALE * torch.log1p(weights.abs() / _SCALE),
}
