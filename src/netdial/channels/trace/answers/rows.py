"""The examples of a batch as a list, ``list(x)``, that code puts together again, and a batch of one: whatever its size.

While code is exported, a list of examples has one part, which stands for all of them. ``torch.cat`` and ``torch.stack`` of the
list are operations on the whole; whatever else is done with the part is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest.mock import patch

import torch
from torch import Tensor, fx

from netdial.channels.nodes import squeezed

_JOINS = (torch.cat, torch.concat, torch.concatenate, torch.stack)
_REFUSED = (
    "the code goes through the examples of the batch one by one, and a graph would go through as many ever after; do it for "
    "all of them at once"
)
_SPECIAL = ("__getitem__", "__iter__", "__len__", "__bool__", "__float__", "__int__", "__neg__")
_TWO_SIDED = ("add", "sub", "mul", "truediv", "matmul", "pow")


class _Each:
    """Each example of a batch."""

    def __init__(self, batch: Tensor) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(name) if name.startswith("__") else ValueError(_REFUSED)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Tensor:
        """Returns what a function of torch gives of a list of all examples."""
        given = dict(zip(("tensors", "dim"), args, strict=False)) | (kwargs or {})
        parts, dim = given.get("tensors", ()), given.get("dim", 0)
        whole = isinstance(parts, tuple | list) and len(parts) == 1 and len(given) <= 2
        if not (whole and func in _JOINS and dim == 0 and isinstance(parts[0], cls)):
            raise ValueError(_REFUSED)
        batch: Tensor = parts[0]._batch
        return batch if func is torch.stack else batch.flatten(0, 1)


def _refused(*_: Any) -> NoReturn:
    raise ValueError(_REFUSED)


for _name in (*_SPECIAL, *(f"__{side}{name}__" for name in _TWO_SIDED for side in ("", "r"))):
    setattr(_Each, _name, _refused)


@contextmanager
def rows_as_one() -> Iterator[None]:
    """Lets code that is exported make a list of the examples of a batch."""
    kind: Any = Tensor
    go_through, count = kind.__iter__, kind.__len__

    def parts(batch: Tensor) -> Any:
        return iter((_Each(batch),)) if _is_batch(batch) else go_through(batch)

    def size(batch: Tensor) -> Any:
        if _is_batch(batch):  # list() asks, and does without
            raise TypeError("the code asks for the size of the batch as a number")
        return count(batch)

    with patch.multiple(Tensor, __iter__=parts, __len__=size):
        yield


def _is_batch(x: Tensor) -> bool:
    """Whether the first dimension of a tensor is that of examples, of which there can be any number."""
    size: Any = x.shape[0] if x.ndim > 1 else 0
    return isinstance(size, torch.SymInt) and size.node.hint is not None


def rows_kept(traced: fx.GraphModule, results: Mapping[fx.Node, Any]) -> bool:
    """Lets ``squeeze()`` leave the dimension of a batch of one where it is, as code does that puts it back then.

    Args:
        traced: the network; its graph is changed.
        results: what each node gives on an example of several rows.

    Returns:
        Whether there is any.
    """
    bare = [
        n for n in traced.graph.nodes if n.target in ("squeeze", torch.squeeze) and not n.args[1:]
    ]
    for node in bare:
        sizes = results[node.args[0]].shape
        wide = tuple(dim for dim, size in enumerate(sizes) if size > 1)
        node.op, node.target, node.args = "call_function", squeezed, (node.args[0], wide)
    traced.recompile()
    return bool(bare)
