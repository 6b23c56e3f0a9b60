"""What a forward pass changes of its network's own state, as running means: a graph does not keep that.

Tracing runs the code on proxies, so a buffer or an attribute that it sets would hold a proxy afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, fx, nn

from netdial.channels.nodes import place
from netdial.channels.trace.inplace import changed
from netdial.core.errors import TraceError


class StateChanged(TraceError):
    """A forward pass changes a buffer of its network.

    Attributes:
        owner: name of the module that holds the buffer.
    """

    def __init__(self, kind: str, leaf: str, node: fx.Node) -> None:
        super().__init__(
            f"network {kind}: {place(node)} changes {leaf!r}, and a graph keeps no changes of a network's own tensors; do it "
            "in the forward pass of a module of its own that holds the tensor and has no parameters: that stays one operation"
        )
        self.owner = leaf.rpartition(".")[0]


@contextmanager
def state_kept(net: nn.Module, kind: type[Any] = fx.Proxy) -> Iterator[dict[str, Any]]:
    """Gives a network back the buffers and attributes that tracing replaces.

    Yields what is filled at the end: buffers and tensors that were replaced, and what they were set to.

    Args:
        net: the network.
        kind: what tensors are while it is traced.
    """
    before = [
        (name, module, dict(module._buffers), dict(vars(module)))
        for name, module in net.named_modules()
    ]
    replaced: dict[str, Any] = {}
    try:
        yield replaced
    finally:
        for name, module, buffers, attributes in before:
            for held, was in ((module._buffers, buffers), (vars(module), attributes)):
                for key, value in list(held.items()):
                    if not isinstance(value, kind) or value is was.get(key):
                        continue
                    if held is module._buffers or isinstance(was.get(key), Tensor):
                        replaced[f"{name}.{key}".lstrip(".")] = value
                    if key in was:
                        held[key] = was[key]
                    else:
                        del held[key]


def refuse_changes(
    net: nn.Module, graph: fx.Graph, constants: dict[str, Tensor], replaced: dict[str, fx.Node]
) -> None:
    """Refuses a graph of a forward pass that sets buffers, or changes them in place.

    Args:
        net: the network.
        graph: its graph.
        constants: tensors that the graph has names for; they can be views of buffers.
        replaced: names of tensors that it sets, and the nodes that make what they are set to.

    Raises:
        StateChanged: it does.
    """
    for leaf, node in replaced.items():
        raise StateChanged(type(net).__name__, leaf, node)
    owners = {buffer.untyped_storage().data_ptr(): name for name, buffer in net.named_buffers()}
    for leaf, node in changed(net, graph):
        if leaf in owners.values():
            raise StateChanged(type(net).__name__, leaf, node)
        if (made := constants.get(leaf)) is not None:
            owner = owners.get(made.untyped_storage().data_ptr())
            if owner is not None:
                raise StateChanged(type(net).__name__, owner, node)


def alone(net: nn.Module, owner: str) -> type[nn.Module] | None:
    """Returns the class of a part of a network if it has no parameters; None for others, and for the network."""
    part = net.get_submodule(owner)
    return None if part is net or any(True for _ in part.parameters()) else type(part)
