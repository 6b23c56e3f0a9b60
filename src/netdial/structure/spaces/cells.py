"""``image-cell`` and ``signal-cell``: convolutional networks of repeated cells, whose operations are chosen for all alike.

A stem, then cells in a row, each of which reads the two before it; cells at a third and at two thirds of the depth halve all
lengths and double the channels. The nodes of a cell read its inputs and all nodes before them, and its output is their
concatenation. Normal cells choose alike, and so do those that reduce.

Source: Liu, Simonyan & Yang 2019, section 2.1. Deviation: every edge chooses by itself, "none" included, in place of the two
strongest edges of a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from netdial.core.errors import ShapeError
from netdial.structure.graph.operations import Factory, Shape
from netdial.structure.graph.space import SearchSpace
from netdial.structure.spaces.layers import OPERATIONS, ConvolutionSet, MeanHead
from netdial.structure.spaces.registry import counted, names_checked, ready


@ready("image-cell")
def image_cell(
    input_shape: Shape,
    n_outputs: int,
    *,
    cells: int = 3,
    channels: int = 16,
    nodes: int = 3,
    operations: Sequence[str] = OPERATIONS,
    reduce: bool = True,
) -> SearchSpace:
    """Returns the space for images.

    Args:
        input_shape: ``[C, H, W]``.
        n_outputs: outputs.
        cells: cells in a row.
        channels: channels of the first cells.
        nodes: nodes of a cell.
        operations: of those of DARTS.
        reduce: whether there are cells that halve lengths.
    """
    if len(input_shape) != 3:
        raise ShapeError(
            f"space 'image-cell': inputs of shape {list(input_shape)}; expected images [C, H, W]"
        )
    return _network(
        "image-cell", 2, input_shape, n_outputs, cells, channels, nodes, operations, reduce
    )


@ready("signal-cell")
def signal_cell(
    input_shape: Shape,
    n_outputs: int,
    *,
    cells: int = 3,
    channels: int = 16,
    nodes: int = 3,
    operations: Sequence[str] = OPERATIONS,
    reduce: bool = True,
) -> SearchSpace:
    """Returns the space for signals.

    Args:
        input_shape: ``[C, L]``, or ``[L]`` for one channel.
        n_outputs: outputs.
        cells: cells in a row.
        channels: channels of the first cells.
        nodes: nodes of a cell.
        operations: of those of DARTS.
        reduce: whether there are cells that halve lengths.
    """
    if len(input_shape) not in (1, 2):
        raise ShapeError(
            f"space 'signal-cell': inputs of shape {list(input_shape)}; expected signals [C, L] or [L]"
        )
    return _network(
        "signal-cell", 1, input_shape, n_outputs, cells, channels, nodes, operations, reduce
    )


def convolution_cell(
    dimensions: int,
    channels: int,
    nodes: int,
    operations: Sequence[str],
    *,
    stride: int,
    before: int,
) -> SearchSpace:
    """Returns a cell with two inputs.

    Args:
        dimensions: 1 for signals, 2 for images.
        channels: channels C of its nodes; its output has ``nodes`` times as many.
        nodes: how many there are.
        operations: names of those to choose from.
        stride: 2 halves lengths.
        before: stride that takes the older input to the lengths of the newer one.
    """
    made = ConvolutionSet(dimensions, channels)
    cell = SearchSpace("cell")
    older, newer = cell.input("older"), cell.input("newer")
    known = [cell.node("a"), cell.node("b")]
    cell.edge(older, "a", {"pre": lambda shape: made.plain(shape[0], before)})
    cell.edge(newer, "b", {"pre": lambda shape: made.plain(shape[0])})
    for number in range(nodes):
        node = cell.node(f"n{number}")
        for source in known:
            step = stride if source in ("a", "b") else 1
            cell.edge(source, node, _chosen(made.operations(step), operations))
        known.append(node)
    out = cell.node("out", "concat")
    for node in known[2:]:
        cell.edge(node, out, {"keep": nn.Identity})
    cell.output(out)
    return cell


def _network(
    name: str,
    dimensions: int,
    input_shape: Shape,
    n_outputs: int,
    cells: int,
    channels: int,
    nodes: int,
    operations: Sequence[str],
    reduce: bool,
) -> SearchSpace:
    """Returns a network of cells."""
    for what, value in (("cells", cells), ("channels", channels), ("nodes", nodes)):
        counted(what, value)
    chosen = names_checked("operations", operations, dict.fromkeys(OPERATIONS))
    space = SearchSpace(name)
    x, stem = space.input("x", input_shape), space.node("stem")
    space.edge(x, stem, {"stem": _stem(ConvolutionSet(dimensions, channels))})
    window, halved = [stem, stem], False
    at = {cells // 3, 2 * cells // 3} - {0} if reduce and cells > 2 else set()
    for number in range(cells):
        reducing = number in at
        channels *= 2 if reducing else 1
        cell = convolution_cell(
            dimensions,
            channels,
            nodes,
            chosen,
            stride=2 if reducing else 1,
            before=2 if halved else 1,
        )
        kind = "reduction" if reducing else "normal"
        window = [window[1], space.embed(cell, f"cell{number + 1}", window, tie=kind)]
        halved = reducing
    y = space.node("y")
    space.edge(window[1], y, {"head": lambda shape: MeanHead(shape[0], n_outputs)})
    space.output(y)
    return space


def _stem(made: ConvolutionSet) -> Factory:
    """Returns the factory of the stem; a signal without channels gets one."""
    return lambda shape: (
        nn.Sequential(nn.Unflatten(1, (1, -1)), made.stem(1))
        if len(shape) == made.dimensions
        else made.stem(shape[0])
    )


def _chosen(made: Mapping[str, Factory], names: Sequence[str]) -> dict[str, Factory]:
    return {name: made[name] for name in names}
