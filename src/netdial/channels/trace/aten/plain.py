"""Exported programs said by operations that the rules know, where one operation alone does not tell what is done."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, fx
from torch._functorch import predispatch
from torch.export import ExportedProgram

from netdial.channels.trace.answers.example import size_on_example

_ATEN = torch.ops.aten


def plainly(program: ExportedProgram) -> ExportedProgram:
    """Returns an exported program whose operations are on whole tensors, and whose windows are named as such.

    Operations under ``torch.vmap`` know one example each.
    """
    by_example = any(
        getattr(node.target, "__module__", "") == predispatch.__name__
        for node in program.graph.nodes
    )
    program = program.run_decompositions({}) if by_example else program
    for node in program.graph.nodes:
        if node.target is _ATEN.as_strided.default and (found := _windows(*node.args)) is not None:
            _name_windows(node, *found)
    return program


def _windows(
    x: fx.Node, size: Any, stride: Any, offset: Any = None
) -> tuple[int, int, int, int] | None:
    """Returns what steps through memory do, if they make windows along a dimension.

    Returns:
        Where that dimension is, how many are merged before, how long windows are, and how far apart; None for other steps.
    """
    value: Tensor = x.meta["val"]
    held, made = _pairs(value.shape, value.stride()), _pairs(size, stride)
    if offset or held is None or made is None:
        return None
    most, lead, trail = min(len(made) - 2, len(held) - 1), 0, 0
    while lead < most and made[lead] == held[lead]:
        lead += 1
    while trail < most - lead and made[~trail] == held[~trail]:
        trail += 1
    if most < 0 or len(made) != lead + trail + 2:
        return None
    merged = held[lead : len(held) - trail]
    (count, far), (window, step) = made[lead], made[lead + 1]
    if step < 1 or far % step or step != merged[-1][1]:
        return None
    if any(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(merged)):
        return None
    way, length = far // step, prod(n for n, _ in merged)
    return (
        (lead, len(merged), window, way) if way and count == (length - window) // way + 1 else None
    )


def _name_windows(node: fx.Node, dim: int, merged: int, window: int, way: int) -> None:
    """Puts operations that make windows in the place of steps through memory."""
    x: Any = node.args[0]
    given: list[tuple[Any, ...]] = [(_ATEN.unfold.default, dim, window, way)]
    given.append((_ATEN.movedim.int, -1, dim + 1))
    if merged > 1:
        given.insert(0, (_ATEN.flatten.using_ints, dim, dim + merged - 1))
    with node.graph.inserting_before(node):
        for function, *rest in given:
            value = function(x.meta["val"], *rest)
            x = node.graph.call_function(function, (x, *rest))
            x.meta = {**node.meta, "val": value}
    node.replace_all_uses_with(x)
    node.graph.erase_node(node)


def _pairs(sizes: Any, steps: Any) -> list[tuple[int, int]] | None:
    """Returns size and step of each dimension on the example; None if one is not known."""
    parts = [one.meta["val"] if isinstance(one, fx.Node) else one for one in (*sizes, *steps)]
    known = [found for one in parts if (found := size_on_example(one)) is not None]
    return (
        None
        if len(known) < len(parts)
        else list(zip(known[: len(sizes)], known[len(sizes) :], strict=True))
    )
