"""Marginal likelihood of a Bayesian network of discrete variables, in closed form.

log p(D | G) = Σ_i Σ_j [ log Γ(α_ij) - log Γ(α_ij + N_ij) + Σ_k log Γ(α_ijk + N_ijk) - log Γ(α_ijk) ]

over variables i, configurations j of their parents and values k (Heckerman, Geiger & Chickering 1995). With
α_ijk = s / (values of i · configurations), graphs that state the same independences have the same likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netdial.core.errors import ConfigError, DataError
from netdial.data.memory.arrays import column_names
from netdial.structure.dags.graphs import Dags, bits

MOST_NODES = 24


class FamilyScores:
    """Log marginal likelihood of each variable given a set of parents, computed once each.

    Args:
        columns: name of each variable -> its values, as text or whole numbers; a frame; or ``[N, variables]`` whole numbers.
        sample_size: s, the rows that the prior of the tables is worth, above 0.

    Raises:
        DataError: no rows, columns of different lengths, missing values, numbers that are not whole, or values that are
            different in most rows.
        ConfigError: too many variables, or a sample size that is not above 0.
    """

    def __init__(
        self, columns: Mapping[str, Sequence[Any]] | ArrayLike, sample_size: float = 1.0
    ) -> None:
        if not (sample_size > 0 and math.isfinite(sample_size)):
            raise ConfigError(f"sample_size={sample_size}; expected a finite number above 0")
        self.names, self._codes = _coded(columns)
        if not 1 <= len(self.names) <= MOST_NODES:
            raise ConfigError(f"{len(self.names)} variables; expected 1 to {MOST_NODES}")
        self._sizes = [int(column.max()) + 1 for column in self._codes.T]
        self._sample_size = sample_size
        self._known: dict[tuple[int, int], float] = {}

    @property
    def nodes(self) -> int:
        """Number of variables."""
        return len(self.names)

    def family(self, node: int, parents: int) -> float:
        """Returns log p(column of a node | columns of its parents), parents as bits."""
        key = (node, parents)
        if key not in self._known:
            self._known[key] = self._score(node, parents)
        return self._known[key]

    def log_likelihood(self, dag: Sequence[int]) -> float:
        """Returns log p(data | graph) in nats."""
        return sum(self.family(node, parents) for node, parents in enumerate(dag))

    def log_likelihoods(self, dags: Dags) -> NDArray[np.float64]:
        """Returns log p(data | graph) of several graphs ``[D]``."""
        total = np.zeros(len(dags))
        for node in range(self.nodes):
            masks, places = np.unique(dags[:, node], return_inverse=True)
            scores = np.array([self.family(node, int(mask)) for mask in masks])
            total += scores[places]
        return total

    def _score(self, node: int, parents: int) -> float:
        values, configurations = self._sizes[node], 1
        at = np.zeros(len(self._codes), dtype=np.int64)
        for parent in bits(parents):
            at = at * self._sizes[parent] + self._codes[:, parent]
            configurations *= self._sizes[parent]
        _, seen = np.unique(at, return_inverse=True)  # configurations without rows add nothing
        rows = int(seen.max()) + 1
        flat = np.bincount(seen * values + self._codes[:, node], minlength=rows * values)
        table = flat.reshape(rows, values)
        alpha = self._sample_size / (values * configurations)
        each = _log_gamma(alpha + table) - math.lgamma(alpha)
        whole = math.lgamma(alpha * values) - _log_gamma(alpha * values + table.sum(axis=1))
        return float(each.sum() + whole.sum())


_MOST_VALUES = 20
"""Values that a variable may have in few rows."""
_BINS = "sort numbers into bins, such as pandas.qcut(values, 4, labels=False)"

_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def _coded(
    columns: Mapping[str, Sequence[Any]] | ArrayLike,
) -> tuple[list[str], NDArray[np.int64]]:
    """Returns the names of the variables, and their values as numbers from 0 on ``[N, variables]``."""
    if frame := column_names(columns):
        table: Any = columns
        names = list(frame)
        given = [table.iloc[:, place].tolist() for place in range(len(frame))]
    elif isinstance(columns, Mapping):
        names, given = list(columns), [list(values) for values in columns.values()]
    else:
        matrix = np.asarray(columns)
        if matrix.ndim != 2:
            raise DataError(f"data of shape {list(matrix.shape)}; expected [rows, variables]")
        names, given = [f"x{i}" for i in range(matrix.shape[1])], matrix.T.tolist()
    lengths = {len(values) for values in given}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(f"columns have {sorted(lengths)} rows; expected equally many, at least 1")
    return names, np.stack([_codes(*pair) for pair in zip(names, given, strict=True)], axis=1)


def _codes(name: str, cells: list[Any]) -> NDArray[np.int64]:
    """Returns the values of a variable as numbers from 0 on ``[N]``.

    Raises:
        DataError: some are missing, or they are numbers that were not sorted into bins.
    """
    missing = np.asarray([_is_missing(value) for value in cells], dtype=bool)
    if missing.any():
        raise DataError(
            f"column {name!r} has no value in {int(missing.sum())} row(s), first in row {int(missing.argmax())} (counted from "
            "0); leave these rows out, or give them a value of their own"
        )
    values = np.asarray(cells)
    if values.dtype.kind == "f" and not (values == np.round(values)).all():
        raise DataError(f"column {name!r} has values like {values[0]}; {_BINS}")
    kinds, codes = np.unique(
        values.astype(str) if values.dtype.kind == "O" else values, return_inverse=True
    )
    if len(kinds) > max(_MOST_VALUES, len(values) // 5):
        raise DataError(
            f"column {name!r} has {len(kinds)} different values in {len(values)} rows, too many to count how often each occurs "
            f"with others; {_BINS}, or leave an id out"
        )
    return codes.astype(np.int64)


def _is_missing(value: Any) -> bool:
    """Returns whether a cell is None, NaN, or pandas' own missing value."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value
