"""Cascading Indian buffet process: a prior over layered structures of any width and depth (Adams, Wallach & Ghahramani 2010).

The units of a layer come to a buffet one after another, and what they taste are their parents. Unit j tastes a dish that m
earlier units have tasted with probability m / (j + β - 1), and Poisson(α β / (j + β - 1)) new dishes. The dishes are the units
of the next layer, which come to a buffet of their own, until a layer is empty: with probability 1 from any finite layer.

α is the expected number of parents of a unit; β says how wide layers are at that α: the expected width above K units is
α Σ_{j=1..K} β / (β + j - 1), from α at β → 0 (all share parents) to α K at β → ∞ (all have their own).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from netdial.core.errors import ConfigError
from netdial.core.noise import derive_seed
from netdial.structure.buffet.cascade import Cascade, Matrix


@dataclass(frozen=True)
class CascadingBuffet:
    """A cascading Indian buffet process.

    Attributes:
        alpha: α, above 0: expected number of parents of a unit.
        beta: β, above 0: the larger, the wider the layers and the fewer shared parents.
        max_depth: hidden layers at which a cascade is cut. Wide cascades (α of several) live for very long.
    """

    alpha: float = 1.0
    beta: float = 1.0
    max_depth: int = 100

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name}={value}; expected a finite number above 0")
        if self.max_depth < 1:
            raise ConfigError(f"max_depth={self.max_depth}; expected at least 1")

    def expected_width(self, units: int) -> float:
        """Returns the expected number of units above a layer; their number is Poisson with this mean."""
        return self.alpha * sum(self.beta / (self.beta + j) for j in range(units))

    def sample(self, visible: int, seed: int) -> Cascade:
        """Returns a cascade above some visible units, drawn from the process."""
        source = np.random.default_rng(derive_seed(seed, "buffet"))
        rows, matrices = visible, list[Matrix]()
        while len(matrices) < self.max_depth:
            matrix = self._buffet(rows, source)
            rows = matrix.shape[1]
            if rows == 0:
                break
            matrices.append(matrix)
        return Cascade(visible, tuple(matrices))

    def log_prob(self, cascade: Cascade) -> float:
        """Returns the log probability of a cascade whose hidden units are in a random order.

        A matrix of N rows, K columns and m_k ones in column k has probability
        (αβ)^K / K! · exp(-α Σ_j β/(β+j-1)) · Π_k B(m_k, N - m_k + β): that of the two-parameter buffet (Ghahramani, Griffiths &
        Sollich 2007), shared among the orders of its columns.

        Raises:
            ConfigError: the cascade is deeper than ``max_depth``.
        """
        if cascade.depth > self.max_depth:
            raise ConfigError(f"depth {cascade.depth} is above max_depth={self.max_depth}")
        total: float = sum(map(self._log_matrix, cascade.matrices), 0.0)
        ended = cascade.depth < self.max_depth
        return total - (self.expected_width(cascade.widths[-1]) if ended else 0.0)

    def _log_matrix(self, matrix: Matrix) -> float:
        rows, columns = matrix.shape
        total: float = columns * math.log(self.alpha * self.beta) - math.lgamma(columns + 1)
        total -= self.expected_width(rows)
        whole = math.lgamma(rows + self.beta)
        counts: list[int] = matrix.sum(axis=0).tolist()
        for ones in counts:
            total += math.lgamma(ones) + math.lgamma(rows - ones + self.beta) - whole
        return total

    def _buffet(self, rows: int, source: np.random.Generator) -> Matrix:
        tasted: list[list[int]] = []
        for j in range(rows):
            for dish in tasted:
                if source.random() < len(dish) / (j + self.beta):
                    dish.append(j)
            new = source.poisson(self.alpha * self.beta / (j + self.beta))
            tasted += [[j] for _ in range(new)]
        matrix = np.zeros((rows, len(tasted)), dtype=bool)
        for column, dish in enumerate(tasted):
            matrix[dish, column] = True
        return matrix
