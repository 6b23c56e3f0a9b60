"""How a program is called: its inputs by position or by name, and what inputs and outputs are called in its graph."""

from __future__ import annotations

from collections.abc import Collection
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten_with_path

from netdial.channels.trace.ready import worded
from netdial.core.inputs import Packing, packing_of, structured


class ByPosition(nn.Module):
    """A network called with all of its inputs by position, and what it gives in plain dicts and tuples."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, *parts: Tensor) -> Any:
        """Returns all outputs."""
        packing = packing_of(self.net)
        args, kwargs = (parts, {}) if packing is None else packing.call(parts)
        return structured(self.net.whole(*args, **kwargs))


def by_name(program: nn.Module, packing: Packing) -> nn.Module:
    """Returns a module that takes inputs as its network was given them: those with names by their names."""

    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = program

        def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
            return self.own(*args, *(kwargs[name] for name in packing.names if name))

    names = ["self", *(name or f"input_{at}" for at, name in enumerate(packing.names))]
    taken = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    ByName.forward.__signature__ = Signature(taken)  # type: ignore[attr-defined]
    return ByName()


class PlainNames(nn.Module):
    """A network whose parameters and buffers have names that code can be written with: ``flow.in.weight`` cannot."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._net = (net,)  # in a tuple, so that it is no part of this one
        self._names = dict[str, str]()
        for number, (name, leaf) in enumerate((*net.named_parameters(), *net.named_buffers())):
            plain = f"{name.replace('.', '_')}_{number}"
            self._names[name] = plain
            if isinstance(leaf, nn.Parameter):
                self.register_parameter(plain, leaf)
            else:
                self.register_buffer(plain, leaf)

    def forward(self, *args: Any) -> Any:
        """Returns what the network gives."""
        leaves = {name: getattr(self, plain) for name, plain in self._names.items()}
        return functional_call(self._net[0], leaves, args)


def plainly_named(program: nn.Module) -> nn.Module:
    """Returns a program, under other names where some are Python's own words."""
    return PlainNames(program) if worded(name for name, _ in program.named_modules()) else program


def input_names(net: nn.Module) -> list[str]:
    """Returns the names of the inputs of a graph."""
    packing = packing_of(net)
    if packing is None:
        return ["input"]
    return [name or f"input_{number}" for number, name in enumerate(packing.names)]


def output_names(program: nn.Module, x: tuple[Tensor, ...], taken: Collection[str]) -> list[str]:
    """Returns the names of the outputs of a graph, other than those taken: keys of a dict, and places in tuples."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        found = program(*(part.clone() for part in x))
    paths = [
        path for path, leaf in tree_flatten_with_path(structured(found))[0] if leaf is not None
    ]
    names = ["_".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path) for path in paths]
    return [
        f"output_{name}".strip("_") if name[:1].isdigit() or name in ("", *taken) else name
        for name in names
    ]
