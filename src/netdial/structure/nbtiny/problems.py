"""The problems of NB-Tiny: points on spirals in the plane, one class for each arm.

A linear layer is at chance, one hidden layer of eight units is far from enough, and how deep a network is decides how
well it does: so the order of networks is large beside the noise of their starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from netdial.core.noise import generator
from netdial.data.dataset import Dataset

Part = Literal["train", "valid", "test"]
SIZES: dict[Part, int] = {"train": 800, "valid": 1500, "test": 3000}


@dataclass(frozen=True)
class TinyProblem:
    """Spirals.

    Attributes:
        name: what it is called; its random numbers depend on it.
        arms: spirals, one class each.
        turns: how often each goes round.
        noise: standard deviation that is added to both coordinates; the outer radius is 2.
    """

    name: str
    arms: int
    turns: float
    noise: float = 0.04

    def part(self, part: Part) -> Dataset:
        """Returns a part, ``[N, 2]`` inputs and ``[N]`` classes, the same at every call."""
        count, source = SIZES[part], generator("nbtiny", self.name, part)
        along = torch.rand(count, generator=source).sqrt()
        arm = torch.randint(self.arms, (count,), generator=source)
        angle = 2 * math.pi * (self.turns * along + arm / self.arms)
        exact = 2 * along[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return Dataset(exact + self.noise * torch.randn(count, 2, generator=source), arm)


PROBLEMS: dict[str, TinyProblem] = {
    problem.name: problem
    for problem in (TinyProblem("spirals", 2, 1.75), TinyProblem("three-spirals", 3, 1.5))
}
