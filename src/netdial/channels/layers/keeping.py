"""Keeping: a tensor of the network that its forward pass changes, as a counter or a running mean, in a graph of operations."""

from __future__ import annotations

from torch import Tensor, nn


class Keeping(nn.Module):
    """Writes a value into a tensor of the network, in the modes in which its code does.

    Attributes:
        modes: whether in training, and whether in evaluation.
    """

    _is_impure = True  # torch.fx removes it with dead code otherwise, for nobody reads its result

    def __init__(self, *modes: bool) -> None:
        super().__init__()
        self.modes = frozenset(modes)

    def forward(self, kept: Tensor, value: Tensor) -> Tensor:
        """Returns the tensor ``kept``, which holds ``value`` now if it is the mode for that."""
        if self.training in self.modes:
            (kept.data if isinstance(kept, nn.Parameter) else kept).copy_(value.detach())
        return kept

    def also(self, other: Keeping) -> None:
        """Writes in the modes of another one, too."""
        self.modes |= other.modes
