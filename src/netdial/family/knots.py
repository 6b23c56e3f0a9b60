"""A family from what its members are at a few knots: linear between them, without a posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ShapeError
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.nets.foreign import copy_network
from netdial.task import Task


def family_at_knots(
    net: nn.Module,
    lo: float,
    hi: float,
    knots: int,
    tensors: Mapping[str, Tensor],
    task: Task | None = None,
) -> Family:
    """Returns a family in evaluation mode, piecewise linear in log λ.

    Args:
        net: network of the architecture, whose numbers do not matter.
        lo: least complexity value.
        hi: largest one.
        knots: J, how many of them there are, evenly apart on the logarithmic scale, both ends included; 2 or more.
        tensors: parameters of the network by name ``[J, ...]``; statistics of its normalisation layers in every cell
            ``[M, ...]`` (see ``buffers``); other buffers as they are.
        task: what the family predicts.

    Raises:
        ShapeError: a tensor is missing, or has another shape.
    """
    net = copy_network(net)
    for leaf in net.parameters():
        leaf.requires_grad_(leaf.is_floating_point())
    config = FamilyConfig(
        lo=lo, hi=hi, map="piecewise", regions=knots - 1, posterior="point", task=task
    )
    family = Family(net, config)
    layout, held = family.layout, family.statistics
    shapes = {n: (knots, *s) for n, s in zip(layout.names, layout.shapes, strict=True)}
    banks = {name: held.get_buffer(f"bank{i}") for i, name in enumerate(held.names)}
    buffers = {n: b for n, b in family.net.named_buffers() if n not in banks}
    shapes |= {n: tuple(b.shape) for n, b in (banks | buffers).items()}
    for name, shape in shapes.items():
        given = tensors.get(name)
        if given is None or tuple(given.shape) != shape:
            was = "missing" if given is None else f"of shape {list(given.shape)}"
            raise ShapeError(f"{name}: is {was}; a family at {knots} knots needs {list(shape)}")
    with torch.no_grad():
        mean: Any = family.mean
        rows = [layout.join({n: tensors[n][j] for n in layout.names}) for j in range(knots)]
        mean.pivots.copy_(torch.stack(rows))
        for name, bank in (banks | buffers).items():
            bank.copy_(tensors[name])
    return family.eval()
