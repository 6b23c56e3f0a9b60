"""What a network does, layer by layer, if its code does nothing but call linear layers and pointwise functions in a row.

The same network may be an ``nn.Sequential``, a class that calls ``F.relu``, or one that holds its weights itself. Which it is
must not matter, so code is run once with an object in place of the inputs that notes what is done to it. Only code that can
do nothing else is run, on a copy without hooks: its names are those of layers, of weights and of a few functions of torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

FUNCTIONS: dict[Any, type[nn.Module]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, F.relu_), nn.ReLU),
    **dict.fromkeys((F.tanh, torch.tanh), nn.Tanh),
    **dict.fromkeys((F.sigmoid, torch.sigmoid), nn.Sigmoid),
}
"""Pointwise functions, as the layers that they are."""
_LAYERS = (nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Flatten)
_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NAMES = frozenset(
    {"nn", "functional", "linear", "relu", "relu_", "tanh", "sigmoid"}
    | {"flatten", "view", "reshape", "size", "shape", "values", "range", "len", "enumerate"}
    | {"index_select"}
)
"""Names in code that may be run, besides those of layers and tensors of its own, of torch and of functions that are known."""


class Step(NamedTuple):
    """A linear layer, or a pointwise function.

    Attributes:
        weight, bias: names of its leaves; None if there is none.
        after: the function, as a layer.
    """

    weight: str | None = None
    bias: str | None = None
    after: type[nn.Module] | None = None


class Steps(NamedTuple):
    """What a network does, and with what it begins.

    Attributes:
        steps: what it does.
        flattens: whether it makes a line of every example first.
        picked: name of the buffer that holds the numbers of the inputs it reads; None if it reads all.
    """

    steps: tuple[Step, ...]
    flattens: bool
    picked: str | None = None


def steps_of(net: nn.Module) -> Steps | None:
    """Returns what a network does; None if it does anything else, or might."""
    if not all(_is_plain(module) for module in net.modules()):
        return None
    held = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    notes = _Notes({id(tensor): name for name, tensor in held.items()})
    try:
        alone = copy.deepcopy(net, {id(tensor): tensor for tensor in held.values()})
        for module in alone.modules():
            for hooks in hooks_of(module):
                hooks.clear()
        given = alone.forward(notes.values)  # a graph's own call tells of what it refuses
    except Exception:  # whatever else it does with what it is given
        return None
    if given is not notes.values:
        return None
    return Steps(tuple(notes.steps), notes.flattens, notes.picked)


def hooks_of(module: nn.Module) -> list[dict[int, Any]]:
    """Returns the tables of a module's hooks, which it keeps for life."""
    forward: list[dict[int, Any]] = [module._forward_pre_hooks, module._forward_hooks]
    return [*forward, module._backward_pre_hooks, module._backward_hooks]


def _is_plain(module: nn.Module) -> bool:
    """Returns whether running a module with an object of ours can have no other effect than what it returns."""
    kind = type(module)
    if kind in _LAYERS or kind in _HOLDERS:
        return True
    own = {"forward", "__call__", "__getattr__"} & set(vars(module))
    is_usual = kind.__getattr__ is nn.Module.__getattr__ and (
        kind.__call__ is nn.Module.__call__ or kind.__base__ is fx.GraphModule
    )
    code = getattr(kind.forward, "__code__", None)
    if own or not is_usual or type(kind.forward) is not FunctionType or code is None:
        return False
    inside = any(hasattr(constant, "co_code") for constant in code.co_consts)
    if inside or code.co_freevars or code.co_exceptiontable:
        return False
    around = kind.forward.__globals__
    known = _NAMES | {"getattr"} if isinstance(module, fx.GraphModule) else _NAMES  # layer "0"
    return all(
        n in known or _is_ours(around.get(n)) or _is_part(getattr(module, n, None))
        for n in code.co_names
    )


def _is_ours(held: Any) -> bool:
    """Returns whether something is a function that is known, or where such functions come from."""
    return any(held is one for one in (torch, nn, F, *FUNCTIONS))


def _is_part(held: Any) -> bool:
    return isinstance(held, nn.Module | Tensor) or _is_ours(held)


class _Refused(Exception):
    """Code asks for what is no chain."""


def _refuse(*_: Any) -> Any:
    raise _Refused


class _Size:
    """The number of examples, of which nothing is known."""

    __eq__ = __bool__ = __index__ = _refuse
    __hash__ = None  # type: ignore[assignment]


_EXAMPLES = _Size()


class _Notes:
    """What was done so far.

    Attributes:
        values: stands for the outputs of the last step; those of others may not be used any more.
        steps: the steps.
        flattens: whether inputs were made lines.
        picked: name of what holds the numbers of the inputs that are read, None for all.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self.values = _Values(self)
        self.steps: list[Step] = []
        self.flattens = False
        self.picked: str | None = None

    def add(self, values: Any, step: Step | None = None) -> _Values:
        """Notes a step on values, or that they are made lines; returns what comes of it."""
        if values is not self.values or (step is None and (self.steps or self.picked)):
            raise _Refused
        self.flattens = self.flattens or step is None
        self.steps += [] if step is None else [step]
        self.values = _Values(self)
        return self.values

    def pick(self, values: Any, dim: int, index: Any) -> _Values:
        """Notes that some inputs are picked, by numbers that the network holds."""
        if values is not self.values or dim != -1 or self.steps or self.picked:
            raise _Refused
        self.picked = self._names[id(index)]
        self.values = _Values(self)
        return self.values

    def linear(self, values: Any, weight: Any, bias: Any = None) -> _Values:
        """Notes a linear layer."""
        held = None if bias is None else self._names[id(bias)]
        return self.add(values, Step(self._names[id(weight)], held))


class _Values:
    """Stands for the inputs of a network, or for what it made of them.

    Args:
        notes: where what is done to it is noted.
    """

    __eq__ = __bool__ = __len__ = __iter__ = _refuse
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> _Values:
        """Notes a function of torch."""
        named = dict(kwargs or {})
        values = args[0] if args else named.pop("input", None)
        if not isinstance(values, cls):
            raise _Refused
        if function is F.linear:
            return values._notes.linear(values, *args[1:], **named)
        if function is torch.flatten:
            return values.flatten(*args[1:], **named)
        if function in FUNCTIONS and not args[1:] and named.keys() <= {"inplace"}:
            return values._notes.add(values, Step(after=FUNCTIONS[function]))
        raise _Refused

    def relu(self) -> _Values:
        """Notes ``relu``."""
        return torch.relu(self)  # type: ignore[arg-type, return-value]

    relu_ = relu

    def tanh(self) -> _Values:
        """Notes ``tanh``."""
        return torch.tanh(self)  # type: ignore[arg-type, return-value]

    def sigmoid(self) -> _Values:
        """Notes ``sigmoid``."""
        return torch.sigmoid(self)  # type: ignore[arg-type, return-value]

    def index_select(self, dim: int, index: Any) -> _Values:
        """Notes that some inputs are picked."""
        return self._notes.pick(self, dim, index)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> _Values:
        """Notes that examples are made lines."""
        if (start_dim, end_dim) != (1, -1):
            raise _Refused
        return self._notes.add(self)

    def view(self, *shape: Any) -> _Values:
        """Notes that examples are made lines."""
        first, last = shape[0] if len(shape) == 1 else shape
        is_line = type(last) is int and (
            first is _EXAMPLES or (type(first) is int and first < last)
        )
        if not is_line:
            raise _Refused
        return self._notes.add(self)

    reshape = view

    def size(self, dim: int) -> _Size:
        """Returns the number of examples."""
        if dim:
            raise _Refused
        return _EXAMPLES

    @property
    def shape(self) -> dict[int, _Size]:
        """The number of examples, and no more."""
        return {0: _EXAMPLES}
