"""The ends of a network of several inputs: from one tensor to its inputs, from what it gives to the tensor that is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netdial.core.errors import TraceError
from netdial.core.inputs.outputs import together
from netdial.core.inputs.packing import Packing

_NAMES = (
    "logits",
    "out",
    "output",
    "outputs",
    "prediction_logits",
    "pred",
    "predictions",
    "last_hidden_state",
)
"""Names of the output that is scored, the first that there is."""

_direct: ContextVar[Sequence[Any] | None] = ContextVar(
    "inputs of a call by the network's own arguments", default=None
)


@contextmanager
def direct(parts: Sequence[Any]) -> Iterator[None]:
    """Makes ``PartedInputs`` give these inputs as they are, and ``ScoredOutput`` all outputs: the call is the network's own."""
    token = _direct.set(parts)
    try:
        yield
    finally:
        _direct.reset(token)


class PartedInputs(nn.Module):
    """Takes the inputs of a network out of one tensor.

    Attributes:
        packing: how they lie in it; None if the tensor is the one input, given by position.
    """

    def __init__(self, packing: Packing | None) -> None:
        super().__init__()
        self.packing = packing

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        """Returns the inputs ``[B, ...]``, of one tensor ``[B, F]``."""
        given = _direct.get()
        if given is not None:
            return tuple(given)
        if self.packing is None or not self.packing.is_several:
            return (x,)
        found, start = [], 0
        for shape, dtype, size in zip(
            self.packing.shapes, self.packing.dtypes, self.packing.sizes, strict=True
        ):
            part = x[:, start : start + size].reshape(x.shape[0], *shape)
            kind: torch.dtype = getattr(torch, dtype)
            found.append(part if kind.is_floating_point else part.to(kind))
            start += size
        return tuple(found)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows of it."""
        return str(self.packing or "")


class ScoredOutput(nn.Module):
    """Picks what is scored from what a network gives.

    Attributes:
        every: whether that is all of it, in one tensor, and not one output.
    """

    def __init__(self, *, every: bool = False) -> None:
        super().__init__()
        self.every = every

    def forward(self, found: Any) -> Any:
        """Returns a tensor ``[B, ...]``: the one called logits, out, …, else the first; all of it in a direct call."""
        if _direct.get() is not None:
            return found
        return together(found) if self.every else scored(found)


def scored(found: Any) -> Tensor:
    """Returns the output that is scored.

    Raises:
        TraceError: there is none.
    """
    if isinstance(found, Mapping):
        for name in (*(n for n in _NAMES if n in found), *found):
            part = found[name]
            if isinstance(part, Tensor):
                return part
        found = list(found.values())  # each of them packs tensors itself
    if isinstance(found, tuple | list):
        for part in found:
            if any(isinstance(leaf, Tensor) for leaf in tree_leaves(part)):
                return scored(part)
    if not isinstance(found, Tensor):
        raise TraceError(
            f"network: returned a {type(found).__name__} in which no tensor can be scored; wrap it in a module that "
            "returns the tensor"
        )
    return found
