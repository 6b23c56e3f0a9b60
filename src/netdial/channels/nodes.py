"""Small helpers on nodes and modules of a traced network, shared by tracing, rules and removal."""

from __future__ import annotations

import json
import operator
import re
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph_module import _copy_attr
from torch.utils._pytree import tree_map_only

WITHOUT_GRADIENTS = "without gradients"
"""What is noted at nodes of a ``no_grad`` block."""
OWN = (str(Path(__file__).parent), str(Path(torch.__file__).parent), traceback.__file__)
"""Where code lies that is not the user's: netdial's, torch's and what prints tracebacks."""
_FREE = ("training", "inplace", "p", "dropout", "momentum", "sparse")
"""Attributes of layers that may differ: they do not change what the network computes once it is trained."""
_OPERATIONS = ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "and", "or", "xor")
IN_PLACE = {f"i{name}" for name in _OPERATIONS}
SETS = (operator.setitem.__name__, "__setitem__")
_PLAIN = (bool, int, float, str, tuple)
_ASKS = ("size", "dim", "numel", "new_zeros", "new_ones", "new_full", "new_empty")
_ABOUT = ("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_cuda")


def user_line() -> tuple[str, int] | None:
    """Returns the file and line of the innermost code under way that is neither torch's nor netdial's; None if none is."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def place(node: fx.Node) -> str:
    """Returns where a node comes from, for messages: its name, what it calls and the line of code, if known."""
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    found = re.search(r'File "(.+)", line (\d+)', node.stack_trace or "")
    line = [f"{Path(found[1]).name}:{found[2]}"] if found else []
    return f"node {node.name!r} ({', '.join([what, *line])})"


def module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Returns the module that a node calls, None if it calls none."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def name_of(node: fx.Node) -> str:
    """Returns the name of the function or method that a node calls."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target.overloadpacket.__name__)
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def name_first(traced: fx.GraphModule, net: nn.Module) -> None:
    """Gives tied leaves that a graph reads by later names alone the names that a network has for them, in place."""
    held = {id(leaf) for _, leaf in _leaves(traced)}
    names = {name for name, _ in _leaves(traced, every=True)}
    lacking = [name for name, leaf in _leaves(net) if id(leaf) in held and name not in names]
    for name in lacking:
        _copy_attr(net, traced, name)
    if lacking:
        order_as(traced, net)


def order_as(traced: nn.Module, net: nn.Module) -> None:
    """Puts the parts of a graph in the order of those of a network, in place; what that does not have goes behind."""
    modules = dict(net.named_modules(remove_duplicate=False))
    for path, part in traced.named_modules():
        like = modules.get(path)
        if like is not None:
            part._modules = _ordered(part._modules, like._modules)
            part._parameters = _ordered(part._parameters, like._parameters)
            part._buffers = _ordered(part._buffers, like._buffers)


def _leaves(net: nn.Module, *, every: bool = False) -> list[tuple[str, Tensor]]:
    """Returns parameters and buffers by their first names; ``every`` gives all the names of tied ones."""
    once = not every
    return [
        *net.named_parameters(remove_duplicate=once),
        *net.named_buffers(remove_duplicate=once),
    ]


def _ordered(held: dict[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is held in the order of another dict, what that does not have behind."""
    names = [*(name for name in like if name in held), *(name for name in held if name not in like)]
    return {name: held[name] for name in names}


def changes_in_place(traced: nn.Module, node: fx.Node) -> bool:
    """Returns whether a node changes its first input."""
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_method", "call_function"):
        return False
    name = name_of(node)
    if name in IN_PLACE or name in SETS or (name.endswith("_") and not name.endswith("__")):
        return True
    return bool(node.kwargs.get("inplace", False)) or node.kwargs.get("out") is not None


def only_asks(node: fx.Node) -> bool:
    """Returns whether a node asks for a shape or a type and reads no channel."""
    if node.target is getattr:
        return node.args[1] in _ABOUT
    return node.op == "call_method" and node.target in _ASKS


def reached(part: Any) -> list[Any]:
    """Returns what a function, a method or a partial call holds and calls by name; nothing for other things."""
    if isinstance(part, partial):
        return [part.func, *part.args, *part.keywords.values()]
    if isinstance(part, MethodType):
        return [part.__self__, part.__func__]
    if not isinstance(part, FunctionType):
        return []
    names = part.__globals__
    inside = [cell.cell_contents for cell in part.__closure__ or () if _is_filled(cell)]
    inside += [names[name] for name in part.__code__.co_names if name in names]
    return inside + list(part.__defaults__ or ())


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def line_of(stack: str | None) -> str | None:
    """Returns the innermost line of a stack that belongs neither to torch nor to netdial."""
    found = re.findall(r'File "([^"\n]+)", line (\d+)', stack or "")
    theirs = [place for place in found if not place[0].startswith(OWN)]
    return 'File "{}", line {}'.format(*theirs[-1]) if theirs else None


def is_even(lines: Tensor) -> bool:
    """Returns whether every row of ``[C, *]`` holds one number, up to rounding."""
    limit = 1e-12 if lines.dtype == torch.float64 else 1e-6
    spread = float((lines - lines[:, :1]).abs().max())
    return spread <= limit * max(float(lines.abs().max()), 1e-30)


def detached(found: Any) -> Any:
    """Returns what a ``no_grad`` block computed, without its gradients: an operation of traced graphs."""
    return tree_map_only(Tensor, Tensor.detach, found)


def squeezed(x: Tensor, kept: tuple[int, ...]) -> Tensor:
    """Returns what ``x.squeeze()`` gives, with some dimensions as they are: an operation of graphs whose channels can go."""
    gone = [dim for dim, size in enumerate(x.shape) if size == 1 and dim not in kept]
    return x.squeeze(gone)


def like_kept(kept: Tensor, value: Any) -> Tensor:
    """Returns what a tensor holds once a value was copied into it, without doing so: an operation of traced graphs."""
    given = torch.as_tensor(value, dtype=kept.dtype, device=kept.device)
    return given.expand_as(kept).clone()


def written(x: Tensor, at: Any, value: Any) -> Tensor:
    """Returns what a tensor holds once ``x[at] = value`` was done, without doing so: an operation of traced graphs."""
    found = x.clone()
    found[at] = value
    return found


def with_numbers(x: Tensor, numbers: Tensor) -> Tensor:
    """Returns numbers that were put into ``x.data``, with the gradients of x: an operation of traced graphs."""
    if not x.is_floating_point():
        return numbers
    finite = torch.where(x.isfinite(), x, torch.zeros_like(x))  # a difference of infinities is none
    return numbers.detach() + (finite - finite.detach())


def operations(net: fx.GraphModule) -> list[str]:
    """Returns the operations of a network as text, one in a line."""
    lines = []
    for node in net.graph.nodes:
        what = getattr(node.target, "__name__", str(node.target))
        if node.op == "call_module":
            what += f":{type(net.get_submodule(what)).__name__}"
        given = [*map(str, node.args), *(f"{k}={v}" for k, v in node.kwargs.items())]
        lines.append(f"{node.name} = {what}({', '.join(given)})")
    return lines


def constants_of(net: fx.GraphModule) -> dict[str, dict[str, Any]]:
    """Returns strides, numbers of heads and the like: plain attributes of all modules that are called."""
    called = dict.fromkeys(str(n.target) for n in net.graph.nodes if n.op == "call_module")
    found = {
        name: {
            key: value
            for key, value in vars(net.get_submodule(name)).items()
            if not (key.startswith("_") or key in _FREE) and isinstance(value, _PLAIN)
        }
        for name in called
    }
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return plain
