"""Sizes as numbers in code of a network while it is followed: ``int(x.shape[0])``, ``len(x)``, ``map(int, x.shape)``.

The interpreter makes a number of a size there, of which a graph holds for one size of the batch alone, or fails. Calls of such
functions by name run others meanwhile, which give a size back as it is; the names themselves, as in ``dtype=int``, mean what
they did.
"""

from __future__ import annotations

import dis
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._sympy.functions import FloatTrueDiv, FloorDiv, IntTrueDiv, ToFloat

from netdial.channels.nodes import OWN, reached


def as_whole(x: Any) -> Any:
    """Returns a whole number of one computed of sizes, an operation of traced graphs.

    torch does not know by itself that ``9 * b / 9.0`` is b.
    """
    if not isinstance(x, torch.SymFloat):
        return int(x)
    quotient = x.node.expr
    if quotient.func not in (FloatTrueDiv, IntTrueDiv) or not quotient.args[1].is_number:
        return torch.sym_int(x)
    above, below = quotient.args
    if not float(below).is_integer():
        return torch.sym_int(x)
    above = above.args[0] if above.func is ToFloat else above
    found = FloorDiv(above, int(float(below)))
    return x.node.shape_env.create_symintnode(found, hint=int(x.node.hint))


_WHOLE = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, as_whole)
"""What makes whole numbers of such."""
_BROKEN = (operator.truediv, operator.pow, *(f for f in vars(math).values() if callable(f)))
_COUNTS = ("numel", "dim", "ndimension", "nelement")
_PREFIX = "_netdial_"
_LARGEST = 127
"""Largest index of a name that an instruction can hold by itself."""


def _int(x: Any = 0, /, *args: Any, **kwargs: Any) -> Any:
    if isinstance(x, torch.SymInt) or _is_size(x):
        return x
    if isinstance(x, fx.Proxy) and _is_number(x.node):
        return x.tracer.create_proxy("call_function", as_whole, (x,), {})
    return as_whole(x) if isinstance(x, torch.SymFloat) else int(x, *args, **kwargs)


def _float(x: Any = 0.0, /) -> Any:
    if isinstance(x, torch.SymInt | torch.SymFloat):
        return torch.sym_float(x)
    return x if isinstance(x, fx.Proxy) and _is_number(x.node) else float(x)


def _len(x: Any, /) -> Any:
    return x.shape[0] if isinstance(x, Tensor) and x.dim() else len(x)


def _map(function: Any, /, *parts: Any) -> Any:
    if function is int and len(parts) == 1 and isinstance(parts[0], fx.Proxy):
        return parts[0] if _is_shape(parts[0].node) else map(_int, *parts)
    return map(_int if function is int else _float if function is float else function, *parts)


def _isinstance(x: Any, kinds: Any, /) -> bool:
    if isinstance(x, torch.SymInt) or _is_size(x):
        return isinstance(x, kinds) or isinstance(0, kinds)
    return isinstance(x, kinds)


_OTHERS: dict[str, Callable[..., Any]] = {
    "int": _int,
    "float": _float,
    "len": _len,
    "map": _map,
    "isinstance": _isinstance,
}


def _is_size(part: Any) -> bool:
    """Whether something stands for a whole number that is computed of sizes."""
    if isinstance(part, fx.Proxy):
        part = part.node
    if not isinstance(part, fx.Node):
        return False
    if part.op == "call_method":
        return part.target in _COUNTS or (part.target == "size" and not _is_shape(part))
    if part.target is operator.getitem:
        return _is_shape(part.args[0]) and not isinstance(part.args[1], slice)
    if part.target is as_whole:
        return True
    return part.target in _WHOLE and all(isinstance(o, int) or _is_size(o) for o in part.args)


def _is_number(part: Any) -> bool:
    """Whether something stands for a number that is computed of sizes."""
    if isinstance(part, int | float) or _is_size(part):
        return True
    computes = isinstance(part, fx.Node) and part.target in (*_WHOLE, *_BROKEN)
    return computes and all(map(_is_number, part.args))


def _is_shape(node: Any) -> bool:
    """Whether a node gives the sizes of a tensor, or some of them."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "call_method":
        return node.target == "size" and len(node.args) == 1 and not node.kwargs
    if node.target is operator.getitem:
        return _is_shape(node.args[0]) and isinstance(node.args[1], slice)
    return node.target is getattr and node.args[1] == "shape"


@contextmanager
def sizes_kept(net: nn.Module) -> Iterator[None]:
    """Lets calls of ``int``, ``float``, ``len``, ``map`` and ``isinstance`` take sizes that are no numbers yet.

    That is so in methods of the network's own classes and in functions that these call by name. Others, those of torch above
    all, keep theirs.
    """
    codes = {function: function.__code__ for function in _functions(net)}
    names = {id(function.__globals__): function.__globals__ for function in codes}
    for held in names.values():
        held.update({_PREFIX + name: other for name, other in _OTHERS.items()})
    for function, code in codes.items():
        function.__code__ = _calling_others(code, function.__globals__)
    try:
        yield
    finally:
        for function, code in codes.items():
            function.__code__ = code
        for held in names.values():
            for name in _OTHERS:
                del held[_PREFIX + name]


def _functions(net: nn.Module) -> list[FunctionType]:
    """Returns the functions that forward passes of a network reach by name and that call one of some names."""
    kinds = dict.fromkeys(kind for module in net.modules() for kind in type(module).__mro__)
    methods = _methods(kinds)
    left = [*methods["forward"], *(part for m in net.modules() for part in vars(m).values())]
    found: dict[FunctionType, bool] = {}
    while left:
        part = left.pop()
        if isinstance(part, staticmethod | classmethod):
            part = part.__func__
        elif isinstance(part, property):
            part = part.fget
        elif isinstance(part, partial | MethodType):
            left += reached(part)
        if not isinstance(part, FunctionType) or part in found:
            continue
        if part.__code__.co_filename.startswith(OWN):
            continue
        codes = list(_codes(part.__code__))
        names = {name for code in codes for name in code.co_names}
        found[part] = not names.isdisjoint(_OTHERS)
        inside = reached(part) + [part.__globals__[n] for n in names if n in part.__globals__]
        left += inside
        for held in (vars(other) for other in inside if isinstance(other, ModuleType)):
            left += [held[name] for name in names if name in held]
        left += [method for name in names for method in methods[name]]
    return [part for part, calls in found.items() if calls]


def _methods(kinds: Iterable[type]) -> Mapping[str, list[Any]]:
    """Returns what classes have under each name, those of torch left out."""
    found = defaultdict[str, list[Any]](list)
    for kind in kinds:
        for name, part in vars(kind).items() if not kind.__module__.startswith("torch.") else ():
            found[name].append(part)
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yields the code of a function and of those inside of it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _calling_others(code: CodeType, names: dict[str, Any]) -> CodeType:
    """Returns code in which calls by name go to the other functions, also those of functions inside of it.

    Args:
        code: of a function.
        names: its globals; what is another function there stays.
    """
    theirs = [name for name in _OTHERS if name in code.co_names and name not in names]
    steps = [step for step in dis.get_instructions(code) if step.opcode in dis.hasname]
    called = [step.opname == "LOAD_GLOBAL" and bool((step.arg or 0) & 1) for step in steps]
    both = {step.argval for step, is_called in zip(steps, called, strict=True) if not is_called}
    found = [_PREFIX + n if n in theirs and n not in both else n for n in code.co_names]
    more = [name for name in theirs if name in both]  # which mean what they did elsewhere
    at = {name: len(found) + number for number, name in enumerate(more)}
    made = bytearray(code.co_code)
    for step, is_called in zip(steps, called, strict=True):
        if is_called and at.get(step.argval, _LARGEST + 1) <= _LARGEST and (step.arg or 0) < 256:
            made[step.offset + 1] = at[step.argval] << 1 | 1
    return code.replace(
        co_code=bytes(made),
        co_names=(*found, *(_PREFIX + name for name in more)),
        co_consts=tuple(
            _calling_others(part, names) if isinstance(part, CodeType) else part
            for part in code.co_consts
        ),
    )
