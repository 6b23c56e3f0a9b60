"""Rows of a table in an order that depends on what is in them, whole-number weights as repetitions.

So training that is seeded does not depend on the order in which rows come, and a row of weight 2 is the same as two rows.
What holds rows out of training holds out all that are equal (``alike``): a copy of a row that was trained on tells nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netdial.core.errors import DataError
from netdial.core.noise import derive_seed

_MOST = 1 << 28
"""Numbers that a table may grow to by repetition."""


def arranged(
    x: NDArray[np.float64], y: NDArray[Any], weight: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Returns the rows to use, in their order, and the weights of these rows if they are no counts.

    Args:
        x: inputs ``[N, F]``.
        y: class indices ``[N]`` or targets ``[N, T]``.
        weight: weights ``[N]``, 0 or more; rows of weight 0 are left out. Whole numbers are counts.

    Raises:
        DataError: all weights are zero, or repeating rows takes too much memory.
    """
    rows = _by_content(x, y.reshape(len(x), -1).astype(np.float64))
    if weight is None:
        return rows, None
    rows = rows[weight[rows] > 0]
    if not len(rows):
        raise DataError("sample_weight: all weights are zero; give at least one row a weight")
    kept = weight[rows]
    if not bool((kept == np.round(kept)).all()):
        return rows, kept
    if kept.sum() * x.shape[1] > _MOST:
        raise DataError(
            f"sample_weight: whole numbers are counts of rows, and these add up to {kept.sum():.0f}; to weigh rows relative "
            "to one another give sample_weight / sample_weight.mean()"
        )
    return rows.repeat(kept.astype(np.int64)), None


def alike(*parts: Tensor) -> Tensor:
    """Returns a number for each of N rows ``[N]``, the same for rows that are equal in all parts ``[N, ...]``.

    Numbers go up from 0 in the order in which rows come first.

    >>> alike(torch.tensor([[0.5], [0.0], [0.5], [-0.0], [0.5]]), torch.tensor([1, 0, 1, 0, 0])).tolist()
    [0, 1, 0, 1, 2]
    """
    plain = [(part.detach().cpu() + 0).reshape(len(part), -1).contiguous() for part in parts]
    raw = [part.view(torch.uint8).numpy() for part in plain]  # -0.0 + 0 is 0.0
    seen: dict[bytes, int] = {}
    found = []
    for rows in zip(*raw, strict=True):
        digest = hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        found.append(seen.setdefault(digest, len(seen)))
    return torch.tensor(found, dtype=torch.int64)


def _by_content(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns row numbers sorted by a hash of the numbers in each row; rows of equal hash (equal rows) stay as they come."""
    numbers = np.concatenate([x, y], axis=1) + 0.0  # -0.0 becomes 0.0
    factors = np.random.default_rng(derive_seed("rows")).integers(
        1, 2**63, numbers.shape[1], dtype=np.uint64
    )
    bits = np.ascontiguousarray(numbers).view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = ((bits ^ (bits >> np.uint64(32))) * (factors | np.uint64(1))).sum(axis=1)
    return np.argsort(keys, kind="stable").astype(np.int64)
