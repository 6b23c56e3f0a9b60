"""The whole curvature matrix of a small network.

Shapes: B examples, K vectors for each, P parameters in the order of the network, each leaf row by row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, unknown
from netdial.curvature.gradients import rows
from netdial.curvature.hessian import products, vectors_at_once
from netdial.curvature.model import Model, prepare, twice_differentiable
from netdial.data.memory.containers import Data
from netdial.task import Task

LARGEST = 5_000
"""Parameters of the largest network whose matrix is formed: 200 MB in double precision."""


@twice_differentiable()
def full(
    net: nn.Module,
    data: Data,
    *,
    kind: str | Task | None = None,
    how: str = "ggn",
    batch_size: int = 256,
) -> Tensor:
    """Returns the curvature matrix of the loss ``[P, P]``, summed over the examples; symmetric.

    Args:
        net: as for ``diagonal``.
        data: a ``Dataset`` or a pair of tensors.
        kind: the task: a name, or a ``Task``; by default what the targets suggest.
        how: ``ggn`` (positive semidefinite; one product of K rows of P numbers with themselves for each example) or ``hessian``
            (P products with it).
        batch_size: examples run at once.

    Returns:
        The matrix; rows and columns in the order of ``net.named_parameters()``, each leaf flattened row by row.

    Raises:
        ConfigError: an option is unknown, or there are more than 5,000 parameters.
        TraceError: the network does something that ``torch.func`` cannot follow.
    """
    if how not in ("ggn", "hessian"):
        raise unknown("kind of curvature", how, ("ggn", "hessian"))
    model = prepare(net, data, kind, batch_size)
    size = model.layout.size
    if size > LARGEST:
        raise ConfigError(
            f"curvature: the full matrix of {size:,} parameters has {size**2:,} entries; allowed up to {LARGEST:,} "
            "parameters; use the diagonal or Kronecker factors"
        )
    return _ggn(model) if how == "ggn" else _hessian(model)


def _ggn(model: Model) -> Tensor:
    names = model.layout.names
    size = model.layout.size
    total = model.zeros(size, size)
    for x, _ in model.batches():
        with torch.no_grad():
            vectors = model.root(model.outputs({}, x))
        for part in rows(model, x, vectors, names):
            flat = torch.cat([part[n].reshape(-1, model.params[n].numel()) for n in names], dim=1)
            total.addmm_(flat.T, flat)
    return total


def _hessian(model: Model) -> Tensor:
    total = model.zeros(model.layout.size, model.layout.size)
    unit = torch.eye(len(total), dtype=total.dtype, device=total.device)
    most = vectors_at_once(model)
    for multiply in products(model):
        for index in torch.arange(len(unit)).split(most):
            total[index] += multiply(unit[index])
    return 0.5 * (total + total.T)
