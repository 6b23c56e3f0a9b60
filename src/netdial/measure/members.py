"""Runs K members of a family on one batch: side by side where the network allows it, else one after another.

Side by side, all members share the products of a layer (``Family.side_by_side``); one after another, each runs as the ordinary
network that would be exported. What a member's weights are is the caller's: means, draws, or what pruning left.

Shapes: K members, P numbers of the layout, b examples of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.family.family import Family
from netdial.family.fields import Fields

_NUMBERS, _MEMBERS = 4_000_000, 64
"""Most numbers of all members that run side by side, and most members."""


class Members:
    """Runs networks of a family with given weights.

    Args:
        family: the family, in evaluation mode while it runs.

    Attributes:
        at_once: members that run side by side at most.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.at_once = max(1, min(_MEMBERS, _NUMBERS // family.layout.size))
        self._exported: dict[float, nn.Module] = {}

    def together(self, x: Tensor, members: int) -> bool:
        """Returns whether so many members run side by side on a batch that they share."""
        return members <= self.at_once and self.family.side_by_side(x, 1, members)

    def run(self, x: Tensor, weights: Tensor, lams: Sequence[float]) -> Tensor:
        """Returns the outputs ``[K, b, ...]`` of members on a batch that they share.

        Args:
            x: inputs ``[b, ...]``.
            weights: of each member ``[K, P]``.
            lams: complexity value of each, for what else differs along λ (running statistics).
        """
        members = weights.shape[0]
        if self.together(x, members):
            groups = self.family.fields_at(lams).groups if self.family.groups else ()
            fields = Fields(self.family.layout, weights, groups=groups)
            return apart(self.family.run(x, fields, weights.new_zeros(members), shared=1), members)
        return torch.stack([self.alone(x, *one) for one in zip(weights, lams, strict=True)])

    def alone(self, x: Tensor, weights: Tensor, lam: float) -> Tensor:
        """Returns the outputs ``[b, ...]`` of one member with weights ``[P]``, as it would be exported."""
        if lam not in self._exported:
            self._exported[lam] = self.family.export(lam)
        tree = self.family.layout.split(weights)
        out: Tensor = functional_call(self._exported[lam], tree, (x.clone(),))
        return out


def apart(out: Tensor, members: int) -> Tensor:
    """Returns outputs ``[K b, ...]`` as ``[K, b, ...]``."""
    return out.view(members, -1, *out.shape[1:])
