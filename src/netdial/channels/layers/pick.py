"""Picks: the inputs of a network as channels that can go, so that shrinking selects features.

A pick stands between the inputs and the first linear layer and takes those inputs that are left, by number. With a switch
behind it, an input dies as any channel does: it leaves the pick, and its column leaves the layer.

Shapes: B batch, F inputs, C those that are left.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from netdial.channels.layers.switch import Start, Switch
from netdial.channels.nodes import module_of
from netdial.core.errors import ConfigError

_PLAIN = (nn.Flatten, nn.Dropout, nn.Identity)
_OUTLINE = ("size", "dim", "shape", "ndim", "dtype", "device")


class Pick(nn.Module):
    """Takes some of its inputs.

    Attributes:
        index: numbers of the inputs that are left ``[C]``, int64.
    """

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Returns the inputs that are left ``[B, C]`` of ``[B, F]``."""
        return x.index_select(-1, self.index)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows of a pick."""
        return f"{len(self.index)} inputs"


def insert_picks(
    traced: fx.GraphModule,
    *,
    start: Start | None = "unit",
    generator: torch.Generator | None = None,
) -> dict[str, str]:
    """Puts a pick and a switch before every linear layer that reads the network's inputs, in place; returns layer -> pick.

    Args:
        traced: the network; its graph is changed and compiled again.
        start: of the switches, see ``Switch``; None for picks alone.
        generator: see ``Switch``.

    Raises:
        ConfigError: no linear layer reads the inputs as they are (or flattened).
    """
    made: dict[str, str] = {}
    for node in list(traced.graph.nodes):
        module = module_of(traced, node)
        if isinstance(module, nn.Linear) and _is_input(traced, node.args[0]):
            layer = str(node.target)
            name = f"pick_{layer.replace('.', '_')}"
            if layer not in made:
                _add(traced, name, module, start, generator)
                made[layer] = name
            put_pick(traced, node, name, *([] if start is None else [f"switch_{name}"]))
    if not made:
        raise ConfigError(
            "inputs: no linear layer reads the network's inputs, so none of them can be left out; leave out inputs"
        )
    traced.recompile()
    return made


def _add(
    traced: fx.GraphModule,
    name: str,
    reader: nn.Linear,
    start: Start | None,
    generator: torch.Generator | None,
) -> None:
    """Adds a pick of all inputs of a layer, and its switch, to a network whose graph does not call them yet."""
    like = reader.weight
    traced.add_submodule(name, Pick(torch.arange(reader.in_features, device=like.device)))
    if start is not None:
        gate = Switch(
            reader.in_features,
            dim=-1,
            start=start,
            generator=generator,
            dtype=like.dtype,
            device=like.device,
        )
        traced.add_submodule(f"switch_{name}", gate)


def put_pick(traced: fx.GraphModule, reader: fx.Node, *names: str) -> None:
    """Puts calls of modules between a node and what it reads."""
    source = reader.args[0]
    assert isinstance(source, fx.Node)
    with traced.graph.inserting_before(reader):
        for name in names:
            source = traced.graph.call_module(name, (source,))
    reader.args = (source, *reader.args[1:])


def inputs_read(net: nn.Module) -> tuple[int, ...] | None:
    """Returns the numbers of the flattened inputs that a network picks; None unless nothing but picks reads its inputs."""
    picks = [part for part in net.modules() if isinstance(part, Pick)]
    if not picks or not isinstance(net, fx.GraphModule):
        return None
    for node in net.graph.nodes:
        own = node.op != "placeholder" and isinstance(module_of(net, node), Pick)
        passes = own or _is_input(net, node) or _is_outline(node)
        if not passes and any(_is_input(net, source) for source in node.all_input_nodes):
            return None
    return tuple(sorted({at for part in picks for at in part.index.tolist()}))


def _is_outline(node: fx.Node) -> bool:
    """Whether a node asks for a shape or a type, not for values."""
    asked = node.args[1] if node.target is getattr else node.target
    return node.op in ("call_method", "call_function") and asked in _OUTLINE


def _is_input(traced: fx.GraphModule, node: object) -> bool:
    """Whether a node is the inputs, flattened at most."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "placeholder":
        return True
    plain = isinstance(module_of(traced, node), _PLAIN) or node.target in ("flatten", torch.flatten)
    return plain and _is_input(traced, node.args[0])
