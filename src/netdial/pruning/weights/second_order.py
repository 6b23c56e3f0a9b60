"""Optimal Brain Damage: what removing a weight does to the loss, to second order.

Around a minimum the loss changes by ½ Δᵀ H Δ. Removing weight i alone (Δ = -θ_i e_i) costs ½ H_ii θ_i² (LeCun, Denker, Solla
1989, eq. 4). If the other weights may move to make up for it, the cost is θ_i² / (2 [H⁻¹]_ii) (the lecture's form; Hassibi,
Stork 1993, eq. 5). Here the loss is summed over the training data, in nats, and H is taken at the mean weights:

    obd-ggn          diagonal of the generalised Gauss-Newton matrix, exact
    obd-hessian      diagonal of the Hessian, exact; where it is negative, so is the importance
    obd-fisher       squared gradients of single examples, summed (Theis et al. 2018, §2)
    obd-hutchinson   a random estimate of the Hessian's diagonal (Bekas et al. 2007)
    obd-inverse      the second form, with the whole Gauss-Newton matrix: small networks only

Shapes: K members, P numbers of the leaves, F of them free to move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netdial.core.errors import NonFiniteError
from netdial.core.layout import Layout
from netdial.curvature import diagonal, full
from netdial.pruning.weights.criteria import CRITERIA, Subject

_DAMPING = (1e-10, 1e-8, 1e-6)
"""Added to the diagonal of H, in units of its mean: the first one that makes H invertible."""


@CRITERIA.add("obd-inverse")
def obd_inverse(subject: Subject) -> Tensor:
    """Returns θ²/(2[H⁻¹]ᵢᵢ), H the whole Gauss-Newton matrix (Hassibi, Stork 1993, eq. 5), in nats.

    Directions without curvature cost nothing: a weight that others can stand in for entirely has importance 0.
    """
    data, family = subject.training_data("obd-inverse"), subject.family
    found = torch.zeros_like(subject.fields.mean, dtype=torch.float64)
    kept = subject.fields.kept
    for row, lam, flat in zip(found, subject.lams, subject.fields.mean, strict=True):
        net = family.export(lam).double()
        free = _places(Layout.of(dict(net.named_parameters())), family.layout)
        inner = torch.arange(len(free)) if kept is None else kept.nonzero().flatten().cpu()
        free = free[inner]
        matrix = full(net, data, kind=subject.task, how="ggn")[free][:, free]
        spread = _inverse_diagonal(matrix, lam).to(row.device)
        inner = inner.to(row.device)
        row[inner] = flat[inner].double().square() / (2 * spread)
    return found


def obd_diagonal(subject: Subject, how: str) -> Tensor:
    """Returns ½hθ² ``[K, P]``, h a diagonal of ``netdial.curvature`` (LeCun et al. 1989, eq. 4), in nats."""
    data, family = subject.training_data(f"obd-{how}"), subject.family
    rows = []
    for lam, flat in zip(subject.lams, subject.fields.mean, strict=True):
        net = family.export(lam)
        found = diagonal(net, data, kind=subject.task, how=how, seed=subject.seed)
        rows.append(0.5 * family.layout.join(found) * flat.square())
    return torch.stack(rows)


def _places(whole: Layout, part: Layout) -> Tensor:
    """Returns where the numbers of some leaves lie in the flat vector of all of a network's parameters ``[P]``."""
    return part.join(whole.split(torch.arange(whole.size)))


def _inverse_diagonal(matrix: Tensor, lam: float) -> Tensor:
    """Returns the diagonal of the inverse ``[F]`` of a positive semidefinite matrix, damped as little as it takes."""
    scale = float(matrix.diagonal().mean()) or 1.0
    for damping in _DAMPING:
        damped = matrix + damping * scale * torch.eye(len(matrix)).to(matrix)
        factor, info = torch.linalg.cholesky_ex(damped)
        if not int(info):
            return torch.cholesky_inverse(factor).diagonal()
    raise NonFiniteError(
        f"criterion 'obd-inverse': the curvature matrix at lam={lam:g} cannot be inverted; choose obd-ggn"
    )


def _register(how: str, diagonal: str) -> None:
    """Registers a criterion for one of the diagonals."""

    @CRITERIA.add(f"obd-{how}")
    def criterion(subject: Subject) -> Tensor:
        return obd_diagonal(subject, how)

    criterion.__doc__ = f"Returns ½hθ² with h {diagonal}, in nats (LeCun et al. 1989, eq. 4)."


_register("ggn", "the Gauss-Newton diagonal")
_register("hessian", "the exact Hessian diagonal")
_register("fisher", "the empirical Fisher diagonal (Theis et al. 2018, §2)")
_register("hutchinson", "Hutchinson's estimate of the Hessian diagonal (Bekas et al. 2007)")
