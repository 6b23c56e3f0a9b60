"""Layers as opaque operations, for the time of an export: one node each, whatever they do inside.

Every layer's forward pass is replaced by one custom operator, whose result has the shapes that the layer's own pass gives. What
was given and how it was packed is noted, so that the node can become a call of the layer again (``exported.py``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import stateless
from torch.utils._pytree import (
    tree_flatten,
    tree_flatten_with_path,
    tree_leaves,
    tree_unflatten,
)

from netdial.channels.trace.answers.weights import weights_copied
from netdial.channels.trace.answers.whole import is_layer
from netdial.channels.trace.ready import tell_hooks
from netdial.channels.trace.state import StateChanged, parameters_kept, settled, state_kept
from netdial.core.outputs import numbers

INSIDE = "net"
"""Where the network lies in what is exported; the names of its parts begin with it."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class OneInput(nn.Module):
    """A network that is called with its inputs and nothing else, whatever its signature.

    It returns what the network does, and besides what the forward pass sets the network's own tensors to, by their names:
    an exported graph would lose that.

    Args:
        net: the network.
        weights: names of parameters that its forward pass sets.
        others: gets the ids of the modules that hold these.

    Attributes:
        counted: names of numbers that a forward pass changes.
    """

    def __init__(self, net: nn.Module, weights: Collection[str], others: set[int]) -> None:
        super().__init__()
        self.add_module(INSIDE, net)
        self._weights, self._others = tuple(weights), others
        self.counted: set[str] = set()

    def forward(self, x: Tensor) -> Any:
        """Returns what the network does, and what its own tensors are set to, by name."""
        net = self.get_submodule(INSIDE)
        before = numbers(net)
        with (
            weights_copied(net, self._weights, self._others) as copied,
            state_kept(net, Tensor) as replaced,
        ):
            copies = copied(lambda _, weight: weight.clone())
            made = net(x)
        self.counted |= {name for name, value in numbers(net).items() if value != before.get(name)}
        return made, replaced | copies


def weights_set(net: nn.Module, example: Tensor) -> set[str]:
    """Returns the names of parameters that a forward pass sets each time; the network is left in evaluation.

    Raises:
        StateChanged: only the first pass sets one, evaluation goes on changing one, or a recurrent layer holds one, which
            reads it by itself.
    """
    found, bad = set[str](), set[str]()
    for training in (True, False):
        with (
            settled(net.train(training), example) as first,
            settled(net, example) as second,
        ):
            found.update(second)
            bad.update({*first} - {*second})
    seen: list[dict[str, Tensor]] = []
    with parameters_kept(net), torch.no_grad(), suppress(Exception):
        for _ in range(2 if found else 0):
            net(example.clone())
            seen.append({name: net.get_parameter(name).detach().clone() for name in found})
        bad.update(name for name in found if not torch.allclose(seen[0][name], seen[1][name]))
    for name in found:
        if isinstance(net.get_submodule(name.rpartition(".")[0]), nn.RNNBase):
            bad.add(name)
    if bad:
        raise StateChanged.filled(net, min(bad))
    return found


@dataclass
class Call:
    """One call of a layer, as it was seen.

    Attributes:
        layer: the layer.
        name: that of the layer in the network.
        run: its forward pass.
        given: arguments, flat; tensors are those of the export.
        spec: how arguments are packed.
        made: what it returned, flat, and the way to each part.
        packed: how that is packed.
    """

    layer: nn.Module
    name: str
    run: Callable[..., Any]
    given: list[Any]
    spec: Any
    made: list[tuple[Any, Any]] = field(default_factory=list)
    packed: Any = None

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Runs the layer on other tensors; returns the tensors that it makes, none of them one that was given."""
        args, kwargs = filled(self.given, tensors, self.spec)
        made = self.run(*args, **kwargs)
        self.made, self.packed = tree_flatten_with_path(made)
        return [part.clone() for _, part in self.made if isinstance(part, Tensor)]

    def on_numbers(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns what the layer makes of numbers, with those of its own leaves; nothing is noted, and nothing learns."""
        args, kwargs = filled(self.given, tensors, self.spec)
        held = [*self.layer.named_parameters(), *self.layer.named_buffers()]
        numbers = {name: getattr(leaf, "real_tensor", leaf).detach().clone() for name, leaf in held}
        with torch.no_grad(), stateless._reparametrize_module(self.layer, numbers):
            made = self.run(*args, **kwargs)
        return [part.clone() for part in tree_leaves(made) if isinstance(part, Tensor)]


_calls: ContextVar[list[Call]] = ContextVar("calls of layers in the export that is under way")


@torch.library.custom_op("netdial::layer", mutates_args=())
def _layer(tensors: Sequence[Tensor], number: int) -> list[Tensor]:
    """Stands for the call of a layer while it is exported; runs it where code goes by the numbers of the example."""
    return _calls.get()[number].on_numbers(tensors)


@_layer.register_fake
def _(tensors: Sequence[Tensor], number: int) -> list[Tensor]:
    return _calls.get()[number](tensors)


@contextmanager
def opaque(
    net: nn.Module, whole: Collection[type[nn.Module]] = (), others: Collection[int] = ()
) -> Iterator[list[Call]]:
    """Makes every layer run as one operation, without its hooks: they belong to the call that takes its place.

    They are shown what it makes, so that code which reads what hooks have kept can be followed.

    Yields the calls, filled as they happen.

    Args:
        net: the network.
        whole: classes of the user's own modules that are one operation, too.
        others: ids of layers that have other weights than their own at the moment: they run as their code says.
    """
    calls: list[Call] = []
    before = {}
    for name, layer in _layers(net, "", {}, tuple(whole)).items():
        before[name] = layer, dict(vars(layer))
    token = _calls.set(calls)
    try:
        for name, (layer, _) in before.items():
            hooks: dict[str, Any] = {key: OrderedDict() for key in _HOOKS}
            vars(layer).update(
                hooks, forward=_stand_in(name, layer, dict(layer._forward_hooks), others)
            )
        yield calls
    finally:
        _calls.reset(token)
        for layer, held in before.values():
            vars(layer).pop("forward")
            vars(layer).update(held)


def _layers(
    module: nn.Module,
    name: str,
    found: dict[str, nn.Module],
    whole: tuple[type[nn.Module], ...],
) -> dict[str, nn.Module]:
    """Returns the outermost layers by the first of their names."""
    if not (is_layer(module) or type(module) in whole):
        for key, child in module.named_children():
            _layers(child, f"{name}.{key}".lstrip("."), found, whole)
    elif not any(module is other for other in found.values()):
        found[name] = module
    return found


def _keeping(layer: nn.Module) -> Callable[..., Any]:
    """Returns a layer's forward pass, after which its buffers are the same objects: the call in the graph sets them."""
    run = layer.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        with state_kept(layer, Tensor):
            return run(*args, **kwargs)

    return forward


def _stand_in(
    name: str, layer: nn.Module, hooks: Mapping[int, Any], others: Collection[int]
) -> Callable[..., Any]:
    """Returns a forward pass that is one operation."""
    run = _keeping(layer)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if id(layer) in others:
            return run(*args, **kwargs)
        given, spec = tree_flatten((args, kwargs))
        call, calls = Call(layer, name, run, given, spec), _calls.get()
        calls.append(call)
        tensors = [part for part in given if isinstance(part, Tensor)]
        made = torch.ops.netdial.layer(tensors, len(calls) - 1)
        found = filled([part for _, part in call.made], made, call.packed)
        tell_hooks(layer, hooks, args, kwargs, found)
        return found

    return forward


def filled(parts: Sequence[Any], tensors: Sequence[Any], spec: Any) -> Any:
    """Returns parts as they are packed, with others in the places of tensors."""
    new = iter(tensors)
    return tree_unflatten([next(new) if isinstance(p, Tensor) else p for p in parts], spec)
