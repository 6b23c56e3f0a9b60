"""Normalisations that go by their running statistics in training, too, as where these came with the weights."""

from __future__ import annotations

from typing import Self

from torch import nn


class Frozen(nn.Module):
    """Stays in evaluation when its network is trained."""

    def train(self, mode: bool = True) -> Self:
        """Returns the layer, which is in evaluation whatever the mode of others."""
        return super().train(False)


class FrozenBatchNorm1d(Frozen, nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` in evaluation; made by ``lower``."""


class FrozenBatchNorm2d(Frozen, nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` in evaluation; made by ``lower``."""


class FrozenBatchNorm3d(Frozen, nn.BatchNorm3d):
    """``torch.nn.BatchNorm3d`` in evaluation; made by ``lower``."""


FROZEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FrozenBatchNorm1d,
    nn.BatchNorm2d: FrozenBatchNorm2d,
    nn.BatchNorm3d: FrozenBatchNorm3d,
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), nn.Identity),
}
"""What stands for a layer that stays in evaluation."""
