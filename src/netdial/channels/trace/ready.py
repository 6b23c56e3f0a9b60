"""What is asked of a network before it is recorded, how its code runs meanwhile, and what its graph gets before it runs.

Parts may have names that Python cannot say as attributes: ``nn.ModuleDict`` and ``add_module`` take any without a dot.
``torch.fx`` looks those up that are no identifiers, and writes the others down, words of Python among them: ``self.flows.in``.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from keyword import iskeyword
from types import FunctionType, MethodType, ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, fx, nn
from torch.distributions import Distribution
from torch.fx._symbolic_trace import _assert_is_none
from torch.fx.graph import CodeGen, PythonCode
from torch.nn.utils import stateless
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from netdial.channels.nodes import OWN, reached
from netdial.channels.trace.inplace import changed
from netdial.core.errors import TraceError

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
_LOGS = (
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
    "torch._export",
    "torch.export",
)
_MAKERS = ("zeros", "ones", "full", "empty", "rand", "randn", "arange", "linspace", "eye")
_CHECKS = (torch._assert, _assert_is_none)
_TAKEN = ("code", "graph")  # names that a graph module cannot have for a part


def check_parts(net: nn.Module) -> None:
    """Refuses names that graph modules have for themselves, and programs of TorchScript.

    The layers of these cannot be taken apart, nor given other tensors.
    """
    for name in _TAKEN:
        if name in net._modules or name in net._parameters or name in net._buffers:
            raise TraceError(
                f"network {type(net).__name__}: a part of it is called {name!r}, which graphs of torch.fx have for themselves; "
                "give it another name"
            )
    for name, part in net.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            where = f"its part {name!r} is scripted" if name else "is scripted"
            raise TraceError(
                f"network {type(net).__name__}: {where} (torch.jit), so its layers cannot be cut; give the module as it was "
                "before torch.jit.script or trace, and script what comes back"
            )


@contextmanager
def unchecked() -> Iterator[None]:
    """Lets distributions of torch take their parameters as they are: what is recorded has no numbers to look at."""
    was = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(was)


@contextmanager
def answered(*, compiled: bool) -> Iterator[list[str]]:
    """Tells code of networks that asks whether it is compiled; yields the files that asked. Torch gets its own answer.

    Code may do less while it is compiled, as not to make what it was not given.
    """
    asked: list[str] = []

    def answering(own: Callable[[], bool]) -> Callable[[], bool]:
        def answer() -> bool:
            file = sys._getframe(1).f_code.co_filename
            if file.startswith(OWN):
                return own()
            asked.append(file)
            return compiled and own()

        return answer

    questions = ("is_compiling", "is_exporting")
    others: dict[str, Any] = {name: answering(getattr(torch.compiler, name)) for name in questions}
    with patch.multiple(torch.compiler, **others):
        yield asked


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what torch logs and prints about networks that it cannot export: the message of the error says it."""
    logs = [log for log in map(logging.getLogger, _LOGS) if not log.disabled]
    for log in logs:
        log.disabled = True
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        for log in logs:
            log.disabled = False


class DataDetached(TorchFunctionMode):
    """Lets ``x.data`` be ``x.detach()``, which exports can follow, and what it is set to be written there."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        if func == _DATA:
            return args[0].detach()
        if func == _SET_DATA and args[0].shape == args[1].shape:
            return args[0].detach().copy_(args[1].detach())
        return func(*args, **(kwargs or {}))


@contextmanager
def made_by_size() -> Iterator[None]:
    """Records each call that makes a tensor of sizes which the inputs have: ``torch.zeros(x.size(0), self.n)``."""
    originals = {name: getattr(torch, name) for name in _MAKERS}

    def recorded(original: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, fx.Proxy)]
            if not given:
                return original(*args, **kwargs)
            return given[0].tracer.create_proxy("call_function", original, args, kwargs)

        return make

    for name, original in originals.items():
        setattr(torch, name, recorded(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)


@contextmanager
def other_weights() -> Iterator[set[int]]:
    """Lets ``torch.func.functional_call`` give modules what stands for weights while a network is recorded.

    Yields the ids of those that hold others at the moment: they are no layers of the network then, and run as their code says.
    """
    inside: set[int] = set()
    original = stateless._functional_call

    def call(
        module: nn.Module,
        given: Mapping[str, Any],
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Any:
        held = _places(module)
        if not given.keys() <= held.keys():  # it says what is wrong
            return original(module, dict(given), args, kwargs, **settings)
        owns = {name: kept[key] for name, (_, kept, key) in held.items()}
        stands = {id(owns[name]): part for name, part in given.items()}
        tied = settings.get("tie_weights", True)
        others = {n: stands[id(own)] for n, own in owns.items() if tied and id(own) in stands}
        before = set(inside)
        for name, part in {**others, **given}.items():
            owner, kept, key = held[name]
            if part is not owns[name]:
                inside.add(id(owner))
                kept[key] = part
        try:
            return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
        finally:
            for name, (_, kept, key) in held.items():
                kept[key] = owns[name]
            inside.intersection_update(before)

    with patch.object(stateless, "_functional_call", call):
        yield inside


def _places(module: nn.Module) -> dict[str, tuple[nn.Module, dict[str, Any], str]]:
    """Returns where the tensors of a module lie, by their names."""
    return {
        f"{path}.{key}".lstrip("."): (part, kept, key)
        for path, part in module.named_modules(remove_duplicate=False)
        for kept in (part._parameters, part._buffers)
        for key, tensor in kept.items()
        if tensor is not None
    }


@contextmanager
def hooks_kept(net: nn.Module) -> Iterator[None]:
    """Gives what hooks of a network's layers write to back as it was: objects, dicts and lists that they hold."""
    held: dict[int, Any] = {}
    for module in net.modules():
        for hook in module._forward_hooks.values():
            _gather(hook, held, 3)
    dicts = [vars(part) if hasattr(part, "__dict__") else part for part in held.values()]
    was = [(part, part.copy()) for part in dicts]
    try:
        yield
    finally:
        for part, before in was:
            if isinstance(part, list):
                part[:] = before
            else:
                part.clear()
                part.update(before)


def _gather(part: Any, held: dict[int, Any], depth: int) -> None:
    """Adds what a hook, or what it holds, can write to; modules are kept elsewhere."""
    if isinstance(part, partial | MethodType | FunctionType):
        inside = reached(part)
    elif isinstance(part, nn.Module | Tensor | type | ModuleType) or id(part) in held:
        return
    elif isinstance(part, dict | list | set) or hasattr(part, "__dict__"):
        held[id(part)] = part
        inside = list(vars(part).values()) if hasattr(part, "__dict__") else []
    else:
        return
    for other in inside if depth else ():
        _gather(other, held, depth - 1)


def tell_hooks(
    layer: nn.Module, hooks: Mapping[int, Any], args: Any, kwargs: Any, made: Any
) -> None:
    """Shows hooks what a layer makes, so that they can keep it; those that cannot look at it, or change it, do so later."""
    for key, hook in hooks.items():
        with suppress(Exception):  # it asks for numbers, and there are none yet
            named = (kwargs,) if key in layer._forward_hooks_with_kwargs else ()
            hook(layer, args, *named, made)


def name_any(graph: fx.Graph) -> None:
    """Lets the code of a graph name all of its parts, in place."""
    if worded(node.target for node in graph.nodes if isinstance(node.target, str)):
        graph.set_codegen(_AnyName())


def worded(paths: Iterable[str]) -> bool:
    """Returns whether a part of a network is called by a word of Python: ``flows.0.in``."""
    return any(iskeyword(name) for path in paths for name in path.split("."))


def copy_made(traced: fx.GraphModule, made: Collection[str]) -> None:
    """Lets a graph change copies of tensors that its forward pass makes anew each time, which it holds as constants.

    Args:
        traced: the network; its graph is changed.
        made: names of these tensors.
    """
    graph = traced.graph
    for name in {name for name, _ in changed(traced, graph)} & set(made):
        readers = [node for node in graph.nodes if node.op == "get_attr" and node.target == name]
        with graph.inserting_after(readers[0]):
            copied = graph.call_method("clone", (readers[0],))
        for node in readers:
            node.replace_all_uses_with(copied, delete_user_cb=lambda user: user is not copied)  # noqa: B023


class _AnyName(CodeGen):
    """Writes code that looks up parts which are called by a word of Python."""

    def _gen_python_code(self, *args: Any, **kwargs: Any) -> PythonCode:
        with patch("torch.fx.graph._format_target", _format_target):
            return super()._gen_python_code(*args, **kwargs)


def _format_target(base: str, target: str) -> str:
    """Returns the code that reads a part of something.

    >>> _format_target("self", "flows.0.in")
    'getattr(getattr(self.flows, "0"), "in")'
    """
    for name in target.split("."):
        plain = name.isidentifier() and not iskeyword(name)
        base = f"{base}.{name}" if plain else f'getattr({base}, "{name}")'
    return base


def drop_checks(graph: fx.Graph) -> None:
    """Removes assertions, among them those that optional arguments have their defaults, and those arguments."""
    for check in [node for node in graph.nodes if node.target in _CHECKS]:
        asked = check.all_input_nodes
        graph.erase_node(check)
        for node in asked:
            if node.op == "call_function" and not node.users:
                graph.erase_node(node)
    for node in [node for node in graph.nodes if node.op == "placeholder" and node.args]:
        graph.erase_node(node)


def drop_wishes(graph: fx.Graph) -> None:
    """Removes ``requires_grad_``, but of tensors that the network holds: no number depends on it."""
    for node in [node for node in graph.nodes if node.target == "requires_grad_"]:
        if isinstance(node.args[0], fx.Node) and node.args[0].op != "get_attr":
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
