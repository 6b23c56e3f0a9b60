"""Small helpers on nodes and modules of a traced network, shared by tracing, rules and removal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves


def place(node: fx.Node) -> str:
    """Returns where a node comes from, for messages: its name, what it calls and the line of code, if known."""
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    found = re.search(r'File "(.+)", line (\d+)', node.stack_trace or "")
    line = [f"{Path(found[1]).name}:{found[2]}"] if found else []
    return f"node {node.name!r} ({', '.join([what, *line])})"


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Gives every module back the mode, training or evaluation, that it had."""
    was = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in was:
            module.training = training


def outputs(net: nn.Module, example: Tensor) -> list[Tensor]:
    """Returns all tensors that a network gives, whatever they are packed in."""
    found = tree_leaves(net(example.clone()))
    return [part for part in found if isinstance(part, Tensor)]
