"""Markov chain over cascades: draws from the posterior of a layered structure, and of its weights, given data.

Three moves of Metropolis and Hastings: an edge appears or goes; a unit with one child and no parents is born or dies; a weight
moves. An edge that appears draws its weight from the prior, so that neither its density nor its proposal is left in the ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netdial.core.errors import ConfigError
from netdial.core.noise import derive_seed
from netdial.structure.buffet.cascade import Cascade
from netdial.structure.buffet.linear_gaussian import Weights
from netdial.structure.buffet.prior import CascadingBuffet

LogLikelihood = Callable[[Cascade, Weights], float]


@dataclass(frozen=True, eq=False)
class CascadeDraw:
    """A state of the chain.

    Attributes:
        cascade: the structure.
        weights: weights of its edges, a matrix for each incidence matrix, 0 where there is no edge.
        log_likelihood: log p(data | structure, weights).
    """

    cascade: Cascade
    weights: tuple[NDArray[np.float64], ...]
    log_likelihood: float


class CascadeChain:
    """Draws of p(structure, weights | data).

    Args:
        prior: prior of structures.
        log_likelihood: (structure, weights) -> log likelihood, for example ``LinearGaussian(data)``.
        visible: visible units.
        weight_std: standard deviation of weights before data; 0 for weights that are all 1.
        max_width: units of a hidden layer at most.
        seed: of the random numbers.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        prior: CascadingBuffet,
        log_likelihood: LogLikelihood,
        visible: int,
        *,
        weight_std: float = 1.0,
        max_width: int = 50,
        seed: int = 0,
    ) -> None:
        if not (weight_std >= 0 and math.isfinite(weight_std)):
            raise ConfigError(f"weight_std={weight_std}; expected a finite number from 0 on")
        if max_width < 1:
            raise ConfigError(f"max_width={max_width}; expected at least 1")
        self._prior, self._log_likelihood = prior, log_likelihood
        self._std, self._max_width = weight_std, max_width
        self._source = np.random.default_rng(derive_seed(seed, "cascade chain"))
        self._moves = (self._toggle, self._unit, *([self._weight] if weight_std else []))
        start = Cascade(visible)
        self.state = CascadeDraw(start, (), log_likelihood(start, ()))
        self._log_prior = prior.log_prob(start)

    def draws(self, count: int, *, every: int = 1) -> Iterator[CascadeDraw]:
        """Yields states, one after each ``every`` moves."""
        for _ in range(count):
            for _ in range(every):
                self.step()
            yield self.state

    def step(self) -> None:
        """Makes one move."""
        self._moves[self._source.integers(len(self._moves))]()

    def _toggle(self) -> None:
        """An edge between existing units appears or goes."""
        cascade = self.state.cascade
        if not cascade.depth:
            return
        level = int(self._source.integers(cascade.depth))
        matrix = cascade.matrices[level]
        j, k = (int(self._source.integers(size)) for size in matrix.shape)
        if matrix[j, k] and matrix[:, k].sum() == 1:
            return
        matrices = [m.copy() for m in cascade.matrices]
        weights = [w.copy() for w in self.state.weights]
        matrices[level][j, k] = not matrix[j, k]
        weights[level][j, k] = 0.0 if matrix[j, k] else self._drawn()
        self._try(Cascade(cascade.visible, tuple(matrices)), tuple(weights), 0.0)

    def _unit(self) -> None:
        if self._source.random() < 0.5:
            self._birth()
        else:
            self._death()

    def _birth(self) -> None:
        """A unit with one child and no parents appears at a random place of its layer."""
        cascade = self.state.cascade
        level = int(self._source.integers(cascade.depth + 1))
        widths = (*cascade.widths, 0)
        if widths[level + 1] >= self._max_width or level >= self._prior.max_depth:
            return
        child = int(self._source.integers(widths[level]))
        place = int(self._source.integers(widths[level + 1] + 1))
        new = _with_unit(cascade, self.state.weights, level, child, place, self._drawn())
        chance = 1 / ((cascade.depth + 1) * widths[level] * (widths[level + 1] + 1))
        self._try(*new, -math.log(len(_loose(new[0]))) - math.log(chance))

    def _death(self) -> None:
        """A unit with one child and no parents goes."""
        cascade = self.state.cascade
        loose = _loose(cascade)
        if not loose:
            return
        level, place = loose[int(self._source.integers(len(loose)))]
        new = _without_unit(cascade, self.state.weights, level, place)
        widths = (*new[0].widths, 0)
        back = 1 / ((new[0].depth + 1) * widths[level] * (widths[level + 1] + 1))
        self._try(*new, math.log(back) + math.log(len(loose)))

    def _weight(self) -> None:
        """A weight moves by a normal step."""
        cascade = self.state.cascade
        if not cascade.n_edges:
            return
        edges = [(m, j, k) for m, z in enumerate(cascade.matrices) for j, k in np.argwhere(z)]
        level, j, k = edges[int(self._source.integers(len(edges)))]
        weights = [w.copy() for w in self.state.weights]
        old = weights[level][j, k]
        new = old + 0.5 * self._std * self._source.standard_normal()
        weights[level][j, k] = new
        self._try(cascade, tuple(weights), 0.5 * (old**2 - new**2) / self._std**2)

    def _drawn(self) -> float:
        return float(self._std * self._source.standard_normal()) if self._std else 1.0

    def _try(
        self, cascade: Cascade, weights: tuple[NDArray[np.float64], ...], log_ratio: float
    ) -> None:
        """Moves there with the probability of Metropolis and Hastings; ``log_ratio`` is what prior and likelihood leave out."""
        log_prior = self._prior.log_prob(cascade)
        log_likelihood = self._log_likelihood(cascade, weights)
        gain = log_prior + log_likelihood - self._log_prior - self.state.log_likelihood
        if math.log(1.0 - self._source.random()) < gain + log_ratio:
            self.state = CascadeDraw(cascade, weights, log_likelihood)
            self._log_prior = log_prior


def _loose(cascade: Cascade) -> list[tuple[int, int]]:
    """Returns (level, place) of the units with one child and no parents; level 0 stands right above the visible units."""
    found = []
    for level, matrix in enumerate(cascade.matrices):
        single = matrix.sum(axis=0) == 1
        if level + 1 < cascade.depth:
            single &= ~cascade.matrices[level + 1].any(axis=1)
        found += [(level, int(place)) for place in np.flatnonzero(single)]
    return found


def _with_unit(
    cascade: Cascade,
    weights: Weights,
    level: int,
    child: int,
    place: int,
    weight: float,
) -> tuple[Cascade, tuple[NDArray[np.float64], ...]]:
    rows = cascade.widths[level]
    matrices, numbers = list(cascade.matrices), list(weights)
    if level == cascade.depth:
        matrices.append(np.zeros((rows, 0), dtype=bool))
        numbers.append(np.zeros((rows, 0)))
    column = np.zeros(rows, dtype=bool)
    column[child] = True
    matrices[level] = np.insert(matrices[level], place, column, axis=1)
    numbers[level] = np.insert(numbers[level], place, column * weight, axis=1)
    if level + 1 < len(matrices):
        matrices[level + 1] = np.insert(matrices[level + 1], place, False, axis=0)
        numbers[level + 1] = np.insert(numbers[level + 1], place, 0.0, axis=0)
    return Cascade(cascade.visible, tuple(matrices)), tuple(numbers)


def _without_unit(
    cascade: Cascade, weights: Weights, level: int, place: int
) -> tuple[Cascade, tuple[NDArray[np.float64], ...]]:
    matrices, numbers = list(cascade.matrices), list(weights)
    matrices[level] = np.delete(matrices[level], place, axis=1)
    numbers[level] = np.delete(numbers[level], place, axis=1)
    if level + 1 < len(matrices):
        matrices[level + 1] = np.delete(matrices[level + 1], place, axis=0)
        numbers[level + 1] = np.delete(numbers[level + 1], place, axis=0)
    elif not matrices[level].shape[1]:
        del matrices[level], numbers[level]
    return Cascade(cascade.visible, tuple(matrices)), tuple(numbers)
