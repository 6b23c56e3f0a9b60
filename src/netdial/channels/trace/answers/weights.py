"""Parameters that code reads otherwise than by their names, or sets, while it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils._pytree import tree_leaves, tree_map

from netdial.channels.nodes import IN_PLACE

_GETTER, _SETTER = "__get__", "__set__"
_ANEW = ("new_", "zeros_like", "ones_like", "full_like", "empty_like", "rand", "requires_grad_")
"""How operations begin that make tensors of which no number depends on what they are given."""


_WRITING = {f"__{name}__" for name in IN_PLACE} | {"__setitem__"}


class WeightsRecorded(TorchFunctionMode):
    """Records what is computed of a network's parameters alone: ``sum(p.norm() for p in self.parameters())``.

    ``torch.fx`` knows those that are read by name, ``self.weight``; others would be computed once, while it records.

    Args:
        net: the network.
        tracer: records it.
        held: gives the nodes that stand for some of them already, by name.

    Attributes:
        set: names of those that code gives other numbers.
    """

    def __init__(
        self, net: nn.Module, tracer: fx.Tracer, held: Callable[[], dict[str, fx.Node]]
    ) -> None:
        super().__init__()
        self._names = {id(p): name for name, p in net.named_parameters()}
        self._tracer, self._held = tracer, held
        self.set: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives; a proxy, if it is a tensor made of parameters."""
        given = tree_leaves((args, kwargs or {}))
        kind, name = _named(func)
        if kind == _SETTER and name == "data" and id(args[0]) in self._names:
            self.set.add(self._names[id(args[0])])
            return None
        own = any(id(part) in self._names for part in given if isinstance(part, Tensor))
        if not own or name.startswith(_ANEW) or any(isinstance(p, fx.Proxy) for p in given):
            return func(*args, **(kwargs or {}))
        if not _in_place(name):
            found = func(*args, **(kwargs or {}))
            if not any(isinstance(part, Tensor) for part in tree_leaves(found)):
                return found  # a shape, a type or a number
        args, kwargs = tree_map(self._stands, (args, kwargs or {}))
        if kind == _GETTER:
            return getattr(args[0], name)
        if is_tensor_method_or_property(func):
            return getattr(self._proxy(args[0]), name)(*args[1:], **kwargs)
        return func(*args, **kwargs)

    def _stands(self, part: Any) -> Any:
        return self._proxy(part) if id(part) in self._names else part

    def _proxy(self, part: Any) -> Any:
        """Returns the proxy of a tensor."""
        if isinstance(part, fx.Proxy):
            return part
        held = self._held().get(self._names.get(id(part), ""))
        node: Any = held or self._tracer.create_arg(part)
        return self._tracer.proxy(node)


def _in_place(name: str) -> bool:
    """Returns whether a function of such a name changes the tensor that it is called of."""
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))


def _named(func: Any) -> tuple[str, str]:
    """Returns whether a function gets or sets an attribute of a tensor, empty for others, and the name of what it is about."""
    name = getattr(func, "__name__", "")
    if name in (_GETTER, _SETTER):
        return name, getattr(func.__self__, "__name__", "")
    return "", name


class WritesSeen(TorchFunctionMode):
    """Sees which parameters of a network code writes to while it runs, though it may write what they hold.

    Attributes:
        names: of them.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._net = net

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        kind, name = _named(func)
        if (_in_place(name) and name != "requires_grad_") or (kind, name) == (_SETTER, "data"):
            given = [part for part in tree_leaves(args[:1]) if isinstance(part, Tensor)]
            written = {memory(part) for part in given if part.numel()}
            held = self._net.named_parameters()
            self.names |= {name for name, p in held if not is_lazy(p) and memory(p) in written}
        return func(*args, **(kwargs or {}))


@contextmanager
def weights_copied(
    net: nn.Module, names: Collection[str], others: set[int]
) -> Iterator[Callable[[Callable[[str, Tensor], Any]], dict[str, Any]]]:
    """Lets code change copies of parameters while it is recorded, in their places.

    Yields what puts them there, given what makes one of a name and a parameter, and returns them by name.

    Args:
        net: the network.
        names: of the parameters.
        others: gets the ids of the modules that hold them, which run as their code says.
    """
    held = dict(net.named_parameters())
    own = {name: held[name] for name in names}
    ids = {id(weight) for weight in own.values()}
    places = [(module, dict(module._parameters)) for module in net.modules()]

    def copied(make: Callable[[str, Tensor], Any]) -> dict[str, Any]:
        made = {name: make(name, weight) for name, weight in own.items()}
        stands = {id(weight): made[name] for name, weight in own.items()}
        for module, kept in places:
            new = {key: stands[id(p)] for key, p in kept.items() if id(p) in ids}
            module._parameters.update(new)
            others.update([id(module)] if new else [])
        return made

    plainly = nn.Module.__setattr__

    def set_attribute(module: nn.Module, key: str, value: Any) -> None:
        own = vars(module).get("_parameters", {})
        if value is None or value is not own.get(key):  # else it is self.x += 1
            plainly(module, key, value)

    try:
        with patch.object(nn.Module, "__setattr__", set_attribute):
            yield copied
    finally:
        for module, kept in places:
            module._parameters.update(kept)


def memory(tensor: Tensor) -> int:
    """Returns where the numbers of a tensor lie, which its views share; of a sparse one, what no other has."""
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)
