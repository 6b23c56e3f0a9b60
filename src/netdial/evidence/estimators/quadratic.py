"""The evidence of a log posterior that is quadratic around a point, and the variances that maximise it.

With curvature H under unit noise, noise variance σ² = 1/c, prior variances S and g = c ∇energy + S⁻¹ μ, the gradient at μ,

    -log evidence = c energy + (n/2) log 2πσ² + ½ μᵀ S⁻¹ μ + ½ log det(1 + c S^½ H S^½) - ½ gᵀ (c H + S⁻¹)⁻¹ g

the last term only if asked for. Then m = μ - (c H + S⁻¹)⁻¹ g, the mode of the quadratic, takes the place of μ in the
derivatives (MacKay 1992; Bishop 2006, eqs. 3.92 and 3.95 where they vanish)

    ∂/∂ log s_l = ½ (γ_l - ‖m_l‖²/s_l)
    ∂/∂ log σ² = n/2 - ½ Σ γ_l - c energy(m)

Without it the function is convex in the log variances, so Newton's method finds the one minimum.

Shapes: L leaves, V = L + 1 log variances with that of the noise last, F directions in which they may move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.layout import Params
from netdial.curvature.precision import Block

RANGE = (math.log(1e-8), math.log(1e8))
"""Range of log variances: a leaf of zeros would have a prior variance of 0, one that no output depends on, infinity."""
_STEPS, _LONGEST, _HALVINGS = 200, 4.0, 40
_STATIONARY, _NEARLY = 1e-10, 1e-6


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A quadratic around μ; everything in double precision.

    Attributes:
        blocks: curvature of the energy under unit noise.
        weights: μ of every leaf of the blocks, flat.
        slope: gradient of the energy at μ, likewise.
        energy: what is divided by σ², in nats.
        count: n, numbers observed under noise; 0 if there is none.
        first_order: whether the term of the gradient counts.
    """

    blocks: list[Block]
    weights: Params
    slope: Params
    energy: float
    count: int
    first_order: bool

    @property
    def names(self) -> list[str]:
        """The leaves, in the order of their variances."""
        return [name for block in self.blocks for name in block.names]

    def at(self, log_var: Tensor) -> QuadraticEvidence:
        """Returns everything at log variances ``[V]``."""
        *priors, last = log_var.exp().split([len(block.names) for block in self.blocks] + [1])
        noise = float(last)
        parts = [
            self._part(block, prior, noise)
            for block, prior in zip(self.blocks, priors, strict=True)
        ]
        effective = torch.cat([part.effective for part in parts])
        norms = torch.cat([part.norms for part in parts])
        energy = self.energy / noise + sum(part.energy for part in parts)
        fit = self.energy / noise + 0.5 * self.count * math.log(2 * math.pi * noise)
        complexity = 0.5 * sum(part.square + part.log_det for part in parts)
        correction = sum(part.correction for part in parts)
        of_noise = 0.5 * (self.count - effective.sum()) - energy
        moved = 0.5 * torch.block_diag(*(part.second for part in parts))
        across = -moved.sum(dim=1)
        second = torch.cat([moved + 0.5 * torch.diag(norms), across[None]])
        corner = torch.cat([across, (moved.sum() + energy)[None]])
        return QuadraticEvidence(
            value=fit + complexity - (correction if self.first_order else 0.0),
            gradient=torch.cat([0.5 * (effective - norms), of_noise[None]]),
            second=torch.cat([second, corner[:, None]], dim=1),
            fit=fit,
            complexity=complexity,
            correction=correction,
            effective=float(effective.sum()),
        )

    def _part(self, block: Block, prior: Tensor, noise: float) -> _Part:
        """Returns what one block adds."""
        weights = [self.weights[name] for name in block.names]
        slope = torch.cat([self.slope[name] for name in block.names])
        prior = prior.to(slope.device)
        counts = [len(leaf) for leaf in weights]
        precision = torch.cat([(1 / s).expand(n) for s, n in zip(prior, counts, strict=True)])
        mean = torch.cat(weights)
        joined = block.join(prior, prior.new_tensor(1 / noise))
        g = slope / noise + precision * mean
        step = -joined.solve(g)
        decrement = -float(g @ step)
        energy = 0.0
        mode, second = mean, joined.second
        if self.first_order:
            mode = mean + step
            energy = float(slope @ step) / noise
            energy += 0.5 * (decrement - float(precision @ step.square()))
            pulls = torch.block_diag(*(precision * mode).split(counts))
            moves = torch.stack([joined.solve(pull) for pull in pulls])
            second = second - 2 * pulls @ moves.T
        norms = torch.stack([t.sum() for t in (precision * mode.square()).split(counts)])
        return _Part(
            effective=joined.effective.cpu(),
            second=second.cpu(),
            norms=norms.cpu(),
            square=float(precision @ mean.square()),
            log_det=float(joined.log_det),
            correction=0.5 * decrement,
            energy=energy,
        )


@dataclass(frozen=True, eq=False)
class QuadraticEvidence:
    """Negative log evidence in nats at some variances.

    Attributes:
        value: the negative log evidence.
        gradient: its derivatives in the log variances ``[V]``.
        second: second derivatives ``[V, V]``; positive semidefinite unless the term of the gradient counts.
        fit, complexity, correction: what ``value`` is made of.
        effective: γ.
    """

    value: float
    gradient: Tensor
    second: Tensor
    fit: float
    complexity: float
    correction: float
    effective: float


def minimise(
    function: Callable[[Tensor], QuadraticEvidence], start: Tensor, directions: Tensor
) -> tuple[Tensor, QuadraticEvidence, list[float], bool]:
    """Returns log variances ``[V]`` that minimise a function, and the function there.

    Newton's method within ``RANGE``; a step is halved until the value falls, so the values never rise.

    Args:
        function: negative log evidence at log variances.
        start: where to start ``[V]``.
        directions: how the log variances may move ``[V, F]``: columns of zeros and ones, no two of them for one variance.

    Returns:
        The log variances, the function there, its values on the way, and whether no direction leads further down.
    """
    moving = directions.any(dim=1)
    at = torch.where(moving, start.clamp(*RANGE), start)
    point = function(at)
    values = [point.value]
    if not directions.numel():
        return at, point, values, True
    for _ in range(_STEPS):
        slope, free = _free_slope(point, at, directions)
        if _flat(point, slope, directions, _STATIONARY):
            break
        step = directions @ _newton(point, slope, free, directions)
        for halving in range(_HALVINGS):
            tried = at + step * 0.5**halving
            tried = torch.where(moving, tried.clamp(*RANGE), tried)
            found = function(tried)
            if found.value < point.value:
                break
        else:
            break
        at, point = tried, found
        values.append(point.value)
    slope, _ = _free_slope(point, at, directions)
    return at, point, values, _flat(point, slope, directions, _NEARLY)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one block adds to a point: by leaf ``[l]``, ``[l, l]``, or in all."""

    effective: Tensor
    second: Tensor
    norms: Tensor
    square: float
    log_det: float
    correction: float
    energy: float


def _free_slope(point: QuadraticEvidence, at: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the slope along each direction ``[F]``, 0 where the range ends, and which directions are free ``[F]``."""
    slope = directions.T @ point.gradient
    place = (directions.T @ at) / directions.sum(dim=0)
    stuck = ((place <= RANGE[0]) & (slope > 0)) | ((place >= RANGE[1]) & (slope < 0))
    return slope * ~stuck, ~stuck


def _newton(point: QuadraticEvidence, slope: Tensor, free: Tensor, directions: Tensor) -> Tensor:
    """Returns the step along each direction ``[F]``: downhill where the curvature is negative, and of limited length."""
    second = directions.T @ point.second @ directions
    second = second * free[:, None] * free + torch.diag((~free).to(second))
    values, turn = torch.linalg.eigh(second)
    values = values.abs().clamp_min(1e-12 * (1 + values.abs().max()))
    step: Tensor = -turn @ (turn.T @ slope / values)
    return step * (_LONGEST / step.abs().max().clamp_min(_LONGEST))


def _flat(point: QuadraticEvidence, slope: Tensor, directions: Tensor, tolerance: float) -> bool:
    """Returns whether every slope is small beside the curvature along its direction."""
    curvature = (directions * (point.second @ directions)).sum(dim=0).abs()
    return bool((slope.abs() <= tolerance * (1 + curvature)).all())
