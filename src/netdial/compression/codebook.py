"""Codebook: a tensor whose numbers are few different values, as codes and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netdial.core.errors import ConfigError, ShapeError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Codebook:
    """A tensor of few different values.

    Attributes:
        codes: int32 of the tensor's shape, each a place in ``values``.
        values: float32 ``[k]``; where the first is 0, code 0 stands for exactly 0.

    Raises:
        ShapeError: ``values`` is not a vector.
        ConfigError: a value is NaN or infinite, or a code has no value.
    """

    codes: Array
    values: Array

    def __post_init__(self) -> None:
        codes, values = np.asarray(self.codes), np.asarray(self.values, np.float32)
        if values.ndim != 1:
            raise ShapeError(f"values have the shape {values.shape}; give a vector")
        if codes.dtype.kind not in "iu":
            raise ConfigError(f"codes are {codes.dtype}; give whole numbers")
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ConfigError(f"{bad} of {values.size} values are NaN or infinite")
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < values.size:
            raise ConfigError(
                f"codes run from {codes.min()} to {codes.max()}, and there are {values.size} values"
            )
        object.__setattr__(self, "codes", codes.astype(np.int32, copy=False))
        object.__setattr__(self, "values", values)

    def dense(self) -> Array:
        """Returns the tensor, float32."""
        found: Array = self.values[self.codes]
        return found

    def canonical(self) -> Codebook:
        """Returns the same tensor with each value once, all of them in use: 0 first if it occurs, the others ascending."""
        flat = self.codes.reshape(-1)
        some = flat[np.flatnonzero(flat != 0)]  # most are 0 in a sparse tensor
        used = np.zeros(self.values.size, bool)
        used[some] = True
        used[:1] = some.size < flat.size
        plain = self.values + np.float32(0)  # -0 becomes 0
        rest = plain[1:] if plain.size and plain[0] == 0 else plain
        if used.all() and (rest != 0).all() and (np.diff(rest) > 0).all():
            return (
                self
                if not np.signbit(self.values[:1]).any() or plain[0]
                else Codebook(self.codes, plain)
            )
        kept = np.unique(plain[used])
        zero = kept[kept == 0]
        values = np.concatenate([zero, kept[kept != 0]])
        rank = np.argsort(values, kind="stable")
        place = rank[np.searchsorted(values[rank], plain[used])] if values.size else rank
        to = np.zeros(self.values.size, np.int32)
        to[used] = place
        return Codebook(to[self.codes], values)


Tensors = Mapping[str, "Codebook | Array"]
"""Tensors of a network by name: shared values, or arrays that are kept exactly."""
