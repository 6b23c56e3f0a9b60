"""Blocks of a Gauss-Newton matrix H joined with a diagonal prior: determinants, inverses, and how they move with the prior.

With prior variances S, one for each leaf, everything is said of M = 1 + c S^½ H S^½, c a scale of the likelihood (1 / noise
variance). Its eigenvalues are at least 1, so nothing is lost when prior or curvature is extreme. For leaf l, with
W = M⁻¹ and u_l = log s_l:

    γ_l = Σ_{i∈l} (1 - W_ii)             effective parameters (Bishop 2006, eq. 3.91): ∂ log det M / ∂u_l
    ∂²log det M / ∂u_l ∂u_m = δ_lm Σ_{i∈l} W_ii - Σ_{i∈l, j∈m} W_ij²

log det M is convex in u: it is the logarithm of a sum of exponentials of u weighted by the principal minors of H.

Shapes: L leaves of a block, n numbers in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from netdial.core.errors import NonFiniteError
from netdial.curvature.factors import Factors


class Joined(NamedTuple):
    """A block joined with a prior.

    Attributes:
        log_det: log det(1 + c S^½ H S^½).
        effective: γ of each leaf ``[L]``.
        second: second derivatives of ``log_det`` in the log prior variances ``[L, L]``.
        solve: v ``[n]`` -> (c H + S⁻¹)⁻¹ v.
    """

    log_det: Tensor
    effective: Tensor
    second: Tensor
    solve: Callable[[Tensor], Tensor]


class Block(Protocol):
    """Curvature of some leaves, which does not mix with that of others."""

    @property
    def names(self) -> tuple[str, ...]:
        """The leaves, in the order of the numbers."""

    def join(self, prior_var: Tensor, scale: Tensor) -> Joined:
        """Returns the block joined with prior variances ``[L]`` of its leaves and a scale ``[]`` of the likelihood."""


@dataclass(frozen=True, eq=False)
class DiagonalBlock:
    """Curvature of one leaf without correlations: non-negative numbers ``[n]`` in double precision."""

    name: str
    values: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """The one leaf."""
        return (self.name,)

    def join(self, prior_var: Tensor, scale: Tensor) -> Joined:
        """Returns the block joined with a prior."""
        strength = self.values * (scale * prior_var[0])
        inverse = 1 / (1 + strength)
        return Joined(
            torch.log1p(strength).sum(),
            (strength * inverse).sum()[None],
            (strength * inverse.square()).sum()[None, None],
            lambda v: prior_var[0] * inverse * v,
        )


@dataclass(frozen=True, eq=False)
class DenseBlock:
    """Curvature of several leaves with all correlations: a positive semidefinite matrix ``[n, n]`` in double precision."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    matrix: Tensor

    def join(self, prior_var: Tensor, scale: Tensor) -> Joined:
        """Returns the block joined with a prior.

        Raises:
            NonFiniteError: the matrix is not positive semidefinite within rounding.
        """
        counts = torch.tensor(self.sizes, device=prior_var.device)
        deviation = prior_var.sqrt().repeat_interleave(counts)
        matrix = scale * deviation[:, None] * self.matrix * deviation
        matrix.diagonal().add_(1)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if failed:
            raise NonFiniteError(
                "curvature: 1 + S^½ H S^½ is not positive definite, so H has a negative eigenvalue or the prior variances "
                f"(up to {float(prior_var.max()):.3g}) are too large for its rounding"
            )
        inverse = torch.cholesky_inverse(factor)
        squares = torch.stack([p.sum(0) for p in inverse.square().split(self.sizes)], dim=1)
        within = torch.stack([p.sum(0) for p in squares.split(self.sizes)])
        left = torch.stack([p.sum() for p in inverse.diagonal().split(self.sizes)])
        return Joined(
            2 * factor.diagonal().log().sum(),
            counts - left,
            torch.diag(left) - within,
            lambda v: deviation * (inverse @ (deviation * v)),
        )


class KroneckerBlock:
    """Curvature G ⊗ A of one layer's weight and bias, by the eigenvalues of its factors.

    The prior may differ between weight and bias; it is the same for all outputs, so G keeps its eigenvectors and only the
    scaled A is decomposed anew.

    Args:
        factors: of a layer; taken to double precision.
    """

    def __init__(self, factors: Factors) -> None:
        self.names = (factors.weight,) if factors.bias is None else (factors.weight, factors.bias)
        self._inputs = factors.inputs.double()
        strength, self._turn = torch.linalg.eigh(factors.outputs.double())
        self._strength = strength.clamp_min(0)
        own, self._own_turn = torch.linalg.eigh(self._inputs)
        self._own = own.clamp_min(0)

    def join(self, prior_var: Tensor, scale: Tensor) -> Joined:
        """Returns the block joined with a prior."""
        deviation = self._deviations(prior_var)
        if bool((prior_var == prior_var[0]).all()):
            values, turn = self._own * prior_var[0], self._own_turn
        else:
            values, turn = torch.linalg.eigh(deviation[:, None] * self._inputs * deviation)
            values = values.clamp_min(0)
        strength = scale * self._strength[:, None] * values
        inverse = 1 / (1 + strength)

        def solve(v: Tensor) -> Tensor:
            scaled = self._matrix(v) * deviation
            turned = self._turn.T @ scaled @ turn * inverse
            return self._flat(self._turn @ turned @ turn.T * deviation)

        return Joined(torch.log1p(strength).sum(), *self._movement(strength, inverse, turn), solve)

    def _movement(self, strength: Tensor, inverse: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Returns γ ``[L]`` and the second derivatives ``[L, L]``.

        In the eigenvectors of G, W falls apart into matrices Σ_i w_ji v_i v_iᵀ, one for each output j; the bias is their last
        row, and rows of orthogonal matrices make the sums of squares short.
        """
        shares, squares = strength * inverse, inverse.square()
        if len(self.names) == 1:
            return shares.sum()[None], (inverse - squares).sum()[None, None]
        last = turn[-1].square()
        of_bias = (inverse @ last).sum()
        gamma_bias = (shares @ last).sum()
        both = (inverse @ last).square().sum()
        cross = (squares @ last).sum() - both
        of_weight = inverse.sum() - of_bias
        within = squares.sum() - 2 * cross - both
        second = torch.stack([of_weight - within, -cross, -cross, of_bias - both])
        return torch.stack([shares.sum() - gamma_bias, gamma_bias]), second.view(2, 2)

    def _deviations(self, prior_var: Tensor) -> Tensor:
        """Returns the prior's standard deviations of what goes in, ``[I]``."""
        size = len(self._inputs)
        if len(self.names) == 1:
            return prior_var.sqrt().expand(size)
        return torch.cat([prior_var[:1].expand(size - 1), prior_var[1:]]).sqrt()

    def _matrix(self, v: Tensor) -> Tensor:
        """Returns a vector over weight and bias as ``[U, I]``."""
        out, size = len(self._strength), len(self._inputs)
        if len(self.names) == 1:
            return v.view(out, size)
        return torch.cat([v[:-out].view(out, size - 1), v[-out:, None]], dim=1)

    def _flat(self, matrix: Tensor) -> Tensor:
        """Returns a matrix ``[U, I]`` as a vector over weight and bias."""
        if len(self.names) == 1:
            return matrix.flatten()
        return torch.cat([matrix[:, :-1].flatten(), matrix[:, -1]])
