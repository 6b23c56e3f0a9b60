"""Draws: which complexity values a step trains, made many steps at a time.

Values depend on the seed and the step alone. They are drawn for a block of steps at once: drawing them one step at a
time would cost as much as a small network's forward pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.family.family import Family
from netdial.family.maps import PiecewiseMap, StackedMap, TableMap
from netdial.objective import WEIGHTINGS
from netdial.train.config import FitConfig

JOINT = 0.7
"""Fraction of the steps in which a family is one network, where nobody says."""

_BLOCK = 256
_FEWEST_WITH_ENDS = 4

_Values = tuple[Tensor, Tensor, Tensor]


class Draw(NamedTuple):
    """Complexity values of one step.

    Attributes:
        unit: unit coordinates ``[K]``, float64.
        lam: the values ``[K]``, in the family's number type.
        share: w(λ) / K ``[K]``, the weight of each in the step's objective.
        blocks: n, blocks of examples in the batch that they are trained on.
        place: coordinates ``[K]`` in the family's maps; ``unit``, unless several families stand in a row.
    """

    unit: Tensor
    lam: Tensor
    share: Tensor
    blocks: int
    place: Tensor

    def examples(self, n_data: int | Tensor, here: slice) -> int | Tensor:
        """Returns N, training examples, of some of the groups: the same for all, or ``[S]`` of S families in a row."""
        if isinstance(n_data, int):
            return n_data
        return n_data.repeat_interleave(len(self.unit) // len(n_data))[here].to(self.share)


class Draws:
    """Source of draws for a family under a configuration.

    Args:
        family: the family.
        config: settings.
        steps: of the whole training.

    Attributes:
        joint: steps at first in which one network is trained for all complexity values, at their mean.
    """

    def __init__(self, family: Family, config: FitConfig, steps: int = 0) -> None:
        self._family = family
        self._config = config
        self.joint = round(_joint(family, config) * steps)
        self._kept: dict[tuple[int, int], list[_Values]] = {}
        self._rows: _Values | None = None

    def at(self, step: int, size: int, processes: int = 1) -> Draw | None:
        """Returns the draw of a step for a batch of ``size`` examples, or None if it cannot be divided.

        A divided batch leaves every group an example, two if the network has batch statistics to compute, and
        every process equally many groups.
        """
        mean, config = self._family.mean, self._config
        if isinstance(mean, TableMap):
            blocks = max(len(mean.rows) // max(len(config.lams), 1), 1)
            return Draw(*self._table(mean), blocks, mean.rows)
        count = mean.count if isinstance(mean, StackedMap) else 1
        one = self._one(step, size // count, processes)
        return self._stacked(mean, one) if isinstance(mean, StackedMap) else one

    def _one(self, step: int, size: int, processes: int) -> Draw | None:
        """Returns the draw of one family."""
        if step < self.joint:
            return self._mean_value(size, processes)
        return self._divided(step, size, processes)

    def _mean_value(self, size: int, processes: int) -> Draw | None:
        """Returns the draw of one network, at the mean complexity value, in the place of the first pivot.

        Each process runs its part of the batch as a group, so statistics of the batch and dropout differ with their number.
        """
        if size < processes * (2 if self._family.statistics.names else 1):
            return None
        unit = torch.full((processes,), self._family.domain.mean, dtype=torch.float64)
        lam, share = self._weighted(unit)
        return Draw(unit, lam, share, processes, torch.zeros_like(unit))

    def _divided(self, step: int, size: int, processes: int) -> Draw | None:
        config = self._config
        count = config.groups
        if config.sampling == "stratified":
            fewest = 2 if self._family.statistics.names else 1
            count = min(count, size // fewest) // processes * processes
        if count == 0:
            return None
        unit, lam, share = self._block(step // _BLOCK, count)[step % _BLOCK]
        blocks = count if config.sampling == "stratified" else 1
        return Draw(unit, lam, share, blocks, unit)

    def _table(self, mean: TableMap) -> _Values:
        if self._rows is None:
            lam = self._family.domain.lam(mean.rows).to(self._family.like)
            self._rows = (mean.rows, lam, torch.ones_like(lam))  # each row for itself
        return self._rows

    def _stacked(self, mean: StackedMap, one: Draw | None) -> Draw | None:
        """Returns the draw of one family for each of several."""
        if one is None:
            return None
        unit, lam, share = (part.repeat(mean.count) for part in (one.unit, one.lam, one.share))
        return Draw(unit, lam, share, mean.count * one.blocks, mean.everywhere(one.place))

    def _block(self, number: int, count: int) -> list[_Values]:
        if (number, count) not in self._kept:
            self._kept = {key: kept for key, kept in self._kept.items() if key[0] == number}
            source = generator(self._config.seed, "lam", number)
            domain, stratified = self._family.domain, self._config.sampling != "independent"
            draw = domain.stratified if stratified else domain.sample
            unit = torch.stack([draw(count, source) for _ in range(_BLOCK)])
            if stratified and self._config.ends and count >= _FEWEST_WITH_ENDS:
                inner = torch.stack([draw(count - 2, source) for _ in range(_BLOCK)])
                edge = torch.ones(_BLOCK, 1, dtype=unit.dtype)
                unit = torch.cat([0 * edge, inner, edge], dim=1)
            if isinstance(self._family.mean, PiecewiseMap) and self._config.knots:
                unit = self._family.mean.towards_knots(unit, self._config.knots, source)
            lam, share = self._weighted(unit)
            self._kept[number, count] = list(zip(unit, lam, share, strict=True))
        return self._kept[number, count]

    def _weighted(self, unit: Tensor) -> tuple[Tensor, Tensor]:
        lam = self._family.domain.lam(unit)
        share = WEIGHTINGS[self._config.weighting](lam) / unit.shape[-1]
        like = self._family.like
        return lam.to(like), share.to(like)


def _joint(family: Family, config: FitConfig) -> float:
    """Returns the fraction of the steps in which a family is one network.

    It is 0 where nothing is saved, or something is lost by it: a step of a family of perceptrons costs little more than one of
    theirs, members of an anchored family share their start, which is a trained network, and a posterior that has closed over
    at the mean λ opens hardly again.

    Raises:
        ConfigError: it is given for a map that cannot begin so.
    """
    if not isinstance(family.mean, PiecewiseMap):
        if config.joint:
            raise ConfigError(
                f"joint={config.joint:g}: a piecewise or linear map can begin as one network, map {config.map} cannot; leave "
                "joint out, or choose another map"
            )
        return 0.0
    if config.joint is not None:
        return config.joint
    alone = family.chain is not None or family.anchor is not None or family.is_random
    return 0.0 if alone else JOINT
