"""Rank correlations: whether two measurements put the same things in the same order; ties count as ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.floating]


def ranks(values: Values) -> npt.NDArray[np.float64]:
    """Returns ranks from 1 on, the same for equal values (their mean).

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)


def spearman(first: Values, second: Values) -> float:
    """Returns Spearman's rank correlation, -1 … 1; NaN where one of them is constant.

    >>> spearman([1, 2, 3], [1, 4, 9])
    1.0
    """
    a, b = ranks(first) - (len(first) + 1) / 2, ranks(second) - (len(second) + 1) / 2
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else float("nan")


def kendall(first: Values, second: Values) -> float:
    """Returns Kendall's τ_b, -1 … 1: pairs in the same order less pairs in the other one; NaN where one of them is constant.

    >>> round(kendall([1, 2, 3, 4], [1, 2, 4, 3]), 4)
    0.6667
    """
    signs = [np.sign(np.subtract.outer(v, v)) for v in (np.asarray(first), np.asarray(second))]
    scale = float(np.sqrt(np.square(signs[0]).sum() * np.square(signs[1]).sum()))
    return float((signs[0] * signs[1]).sum()) / scale if scale else float("nan")
