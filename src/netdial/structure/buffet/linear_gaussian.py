"""Linear-Gaussian belief network on a cascade: its likelihood with all hidden units integrated out.

u_m = (Z_m ∘ W_m) u_(m+1) + ε,  ε ~ N(0, 1) for hidden units and N(0, σ²) for visible ones; visible units are normal with

C_0 = σ² I + A_0 C_1 A_0ᵀ,   C_m = I + A_m C_(m+1) A_mᵀ,   A = Z ∘ W,   C = I for a layer that nothing stands above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from netdial.core.errors import ConfigError, DataError, warn
from netdial.structure.buffet.cascade import Cascade

Weights = Sequence[NDArray[np.float64]]
"""Weights of the edges, a matrix for each incidence matrix."""


_FAR = 30.0
"""Standard deviation over that of the noise from which on, or its inverse below which, a column is far from its scale."""


class LinearGaussian:
    """The log likelihood of data under a cascade with weights.

    Args:
        data: ``[N, visible]``, centred and of a standard deviation near √``noise_var``, which weights of unit scale add to;
            what is far from it is warned of.
        noise_var: σ² of the visible units, above 0.

    Raises:
        DataError: the data are not a matrix of finite numbers.
        ConfigError: the variance is not above 0.
    """

    def __init__(self, data: ArrayLike, noise_var: float = 1.0) -> None:
        rows = np.asarray(data, dtype=float)
        if rows.ndim != 2 or len(rows) < 1 or not np.isfinite(rows).all():
            raise DataError(f"data of shape {list(rows.shape)}; expected finite [N, visible]")
        if not (noise_var > 0 and math.isfinite(noise_var)):
            raise ConfigError(f"noise_var={noise_var}; expected a finite number above 0")
        if said := _far(rows, noise_var):
            warn(said)
        self._n, self._noise_var = len(rows), noise_var
        self._scatter = rows.T @ rows

    def covariance(self, cascade: Cascade, weights: Weights) -> NDArray[np.float64]:
        """Returns the covariance of the visible units, ``[visible, visible]``."""
        cover = np.eye(cascade.widths[-1])
        for level in range(cascade.depth - 1, -1, -1):
            along = cascade.matrices[level] * weights[level]
            cover = np.eye(len(along)) + along @ cover @ along.T
        own = self._noise_var - 1.0
        return cover + own * np.eye(cascade.visible)

    def __call__(self, cascade: Cascade, weights: Weights) -> float:
        """Returns log p(data | structure, weights) in nats."""
        cover = self.covariance(cascade, weights)
        _, log_det = np.linalg.slogdet(2 * math.pi * cover)
        quadratic = np.trace(np.linalg.solve(cover, self._scatter))
        return float(-0.5 * (self._n * log_det + quadratic))


def _far(rows: NDArray[np.float64], noise_var: float) -> str:
    """Returns what to mend about columns that are not centred, or far from the scale of the noise; nothing if none is."""
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    ratio = std / math.sqrt(noise_var)
    far = (std > 0) & ((np.abs(mean) > std) | (ratio > _FAR) | (ratio < 1 / _FAR))
    if len(rows) < 2 or not far.any():
        return ""
    which = int(far.argmax())
    return (
        f"column {which} has mean {mean[which]:.3g} and standard deviation {std[which]:.3g}; the model is of centred data "
        f"with a noise of variance {noise_var:g}, so standardise columns ((x - mean) / std)"
    )
