"""Standardisation by the training part.

Columns have mean 0 and standard deviation 1 there, and go through the same affine map elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
    train = wide[rows]
    mean = train.mean(0)
    std = train.std(0, correction=0)
    std = torch.where(std > 1e-12 * (1 + mean.abs()), std, torch.ones_like(std))
    return ((wide - mean) / std).to(torch.float32), mean, std


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
    """
    columns = torch.as_tensor(target, dtype=torch.float64).reshape(-1, len(names))
    y, mean, std = standardise(columns, rows)
    source.update(targets=list(names), target_mean=mean.tolist(), target_std=std.tolist())
    source["notes"].append(
        "targets standardised by mean and standard deviation of the training part"
    )
    return y
