"""How a network is run while it is traced for a program: without sparse tensors, and by other functions where it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_MOST = 1 << 26
"""Largest number of entries that a sparse tensor is made dense of: 256 MiB in single precision."""


class ByOthers(TorchFunctionMode):
    """Runs functions by others that give the same.

    Args:
        tables: a function or its name -> what is run in its place, unless it returns NotImplemented.
    """

    def __init__(self, *tables: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.tables = tables

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").partition(".")[0]  # "view.default" in graphs of aten
        for table in self.tables:
            way = table.get(func, table.get(name))
            found = NotImplemented if way is None else way(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return func(*args, **kwargs)


@contextmanager
def dense(net: nn.Module) -> Iterator[None]:
    """Makes sparse parameters and buffers of a network dense, as no program holds others, until the block ends."""
    held: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in net.modules():
        parts: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for leaves in parts:
            for name, leaf in leaves.items():
                if leaf is not None and leaf.layout is not torch.strided and leaf.numel() <= _MOST:
                    held.append((leaves, name, leaf))
    try:
        for leaves, name, leaf in held:
            found = leaf.detach().to_dense()
            leaves[name] = nn.Parameter(found) if isinstance(leaf, nn.Parameter) else found
        yield
    finally:
        for leaves, name, leaf in held:
            leaves[name] = leaf
