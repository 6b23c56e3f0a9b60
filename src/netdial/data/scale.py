"""Standardisation by the training part.

Columns have mean 0 and standard deviation 1 there, and go through the same affine map elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError


@dataclass(frozen=True)
class TargetScale:
    """Units of T regression targets: a standardised z is ``z * std + mean`` in the units of the data.

    Args:
        names: Names of the targets.
        mean: Their means over the training part; sequences, arrays and tensors become tuples.
        std: Their standard deviations there, positive.

    Raises:
        DataError: they are not one of each for every target, or no finite numbers.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Makes tuples; refuses lists of different lengths, and numbers that are no scale."""
        names: Any = self.names
        if isinstance(names, str):
            raise DataError(
                f"target scale: names={names!r}; expected one for each target: ({names!r},)"
            )
        object.__setattr__(self, "names", tuple(names))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if not len(self.names) == len(self.mean) == len(self.std):
            raise DataError(
                f"target scale: {len(self.names)} names, {len(self.mean)} means and {len(self.std)} standard deviations; "
                "give one of each for every target"
            )
        if not all(value > 0 for value in self.std):
            raise DataError(
                f"target scale: standard deviations {list(self.std)}; expected positive ones"
            )

    def restore(self, z: Tensor) -> Tensor:
        """Returns standardised values ``[..., T]`` in the units of the data.

        >>> TargetScale(("t",), (10.0,), (2.0,)).restore(torch.tensor([[0.5]]))
        tensor([[11.]])
        """
        return z * z.new_tensor(self.std) + z.new_tensor(self.mean)

    def standardised(self, values: Tensor) -> Tensor:
        """Returns values ``[..., T]`` in the units of the data as standardised ones, the inverse of ``restore``."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.std)

    def is_same_as(self, other: TargetScale) -> bool:
        """Returns whether a standardised value means the same by both, whatever the targets are called."""
        return (self.mean, self.std) == (other.mean, other.std)


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """Returns one number for each target.

    Raises:
        DataError: they are none, or not finite.
    """
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise DataError(
            f"target scale: {name}={values!r}; expected one number for each target, such as (10.0,)"
        ) from None
    if not all(map(math.isfinite, found)):
        raise DataError(f"target scale: {name}={found}; expected finite numbers")
    return found


def standardise(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns float32 values [N, F], and float64 mean [F] and standard deviation [F].

    z = (x - mean) / std with mean and (population) std over ``rows`` only; a column that is
    constant there keeps std = 1, so it becomes 0 instead of NaN.

    Args:
        values: Columns [N, F] of finite numbers.
        rows: int64 row numbers of the training part.

    >>> z, mean, std = standardise(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 1]))
    >>> z.flatten().tolist(), mean.item(), std.item()
    ([-1.0, 1.0, 3.0], 2.0, 1.0)
    """
    wide = values.to(torch.float64)
    mean, std = moments(wide[rows])
    return ((wide - mean) / std).to(torch.float32), mean, std


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and population standard deviation [F] of float64 columns [N, F], of any unit; a constant one gets 1.

    A column is constant if its numbers are equal, or, where they have fractions, if its standard deviation is below 1e-12 of
    its mean, which is what rounding leaves of equal numbers. Long whole numbers may differ in their last digits alone.
    Small numbers are divided by the largest of them first, so that their squares do not vanish; where squares are too large for
    float64, the standard deviation is infinite.

    >>> mean, std = moments(torch.tensor([[1e-200, 0.1], [3e-200, 0.1]], dtype=torch.float64))
    >>> mean.tolist(), std.tolist()
    ([2e-200, 0.1], [1e-200, 1.0])
    """
    largest = values.abs().amax(0).clamp_max(1)
    unit = torch.where(largest > 0, largest, 1.0)
    share = values / unit
    mean, std = share.mean(0), share.std(0, correction=0)
    equal, whole = values.amax(0) == values.amin(0), (values == values.round()).all(0)
    varies = ~equal & (whole | (std > 1e-12 * mean.abs()))
    return torch.where(equal, values[0], mean * unit), torch.where(varies, std * unit, 1.0)


def standard_targets(
    target: Any, names: Sequence[str], rows: Tensor, source: dict[str, Any]
) -> Tensor:
    """Returns standardised regression targets [N, T], and says so in ``source``.

    Args:
        target: Targets [N] or [N, T], array or tensor of finite numbers.
        names: Names of the T targets.
        rows: int64 row numbers of the training part.
        source: Provenance of the task; receives ``targets``, ``target_mean``, ``target_std`` (lists
            of length T, in the units of the data) and a note. A prediction z is brought back by
            z * target_std + target_mean.

    Raises:
        DataError: a target is too large for a standard deviation.
    """
    columns = torch.as_tensor(target, dtype=torch.float64).reshape(-1, len(names))
    y, mean, std = standardise(columns, rows)
    if not bool(std.isfinite().all()):
        which = int(std.isfinite().int().argmin())
        raise DataError(
            f"target {names[which]!r}: values up to {float(columns[:, which].abs().max()):.4g} are too large for a mean and a "
            "standard deviation; give it in another unit"
        )
    source.update(targets=list(names), target_mean=mean.tolist(), target_std=std.tolist())
    source["notes"].append(
        "targets standardised by mean and standard deviation of the training part"
    )
    return y
