"""Sockets: the places in a network where parameters and buffers stand, found once.

``torch.func.functional_call`` looks for them at every call, which takes a small network longer than running it. What
happens in between is the same: tensors are put in place, the network runs, and what stood there before comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class Sockets:
    """The places of a network by name; a tensor that several names share (tied weights) has several places.

    Args:
        net: the network; its modules stay the same from now on.
    """

    def __init__(self, net: nn.Module) -> None:
        first: dict[int, str] = {}
        self._places: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {}
        for path, module in net.named_modules(remove_duplicate=False):
            held: list[dict[str, Tensor | None]] = [module._parameters, module._buffers]
            for tensors in held:
                for key, tensor in tensors.items():
                    if tensor is not None:
                        name = first.setdefault(id(tensor), f"{path}.{key}" if path else key)
                        self._places.setdefault(name, []).append((tensors, key))

    @contextmanager
    def holding(self, tree: Mapping[str, Tensor]) -> Iterator[None]:
        """Puts the tensors of a tree into the network for a while."""
        before = []
        try:
            for name, tensor in tree.items():
                for tensors, key in self._places[name]:
                    before.append((tensors, key, tensors[key]))
                    tensors[key] = tensor
            yield
        finally:
            for tensors, key, old in reversed(before):
                tensors[key] = old
