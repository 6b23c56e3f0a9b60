"""Tree of elementary functions: a search space of formulas, and the formula of a network derived from it.

Vertices of a binary tree are numbered from the root, 1, so that 2k and 2k + 1 stand below k. A leaf is one of the inputs, and
on the edge below a vertex stands an elementary function; a vertex joins two by an operator. The structure is what is chosen
on each edge.

Source: A. Varfolomeeva, Structure learning for superpositions (thesis), as in the lecture of O. Bakhteev, 2022; there an edge
(j, k) with the function l has the parameter γ^{jk}_l.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from netdial.core.errors import ConfigError
from netdial.structure.derived import DerivedNetwork
from netdial.structure.formulas.operations import (
    FUNCTIONS,
    InputNumber,
    Operator,
    Unary,
    plus,
    times,
)
from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.spaces.registry import counted, names_checked, ready

OUTPUT = "y"


@ready("formula")
def formula_space(
    input_shape: Sequence[int],
    n_outputs: int = 1,
    *,
    depth: int = 2,
    functions: Sequence[str] = ("id", "square", "sqrt", "log", "exp", "sin"),
) -> SearchSpace:
    """Returns the space of formulas of a depth.

    Args:
        input_shape: shape of one input; flattened inputs are x0, x1, ….
        n_outputs: outputs, each a constant times the formula plus a constant.
        depth: operators on the way from an input to the output, at least 1.
        functions: of ``FUNCTIONS``.

    Raises:
        ConfigError: a depth below 1, no functions or unknown ones.
    """
    counted("depth", depth)
    functions = names_checked("functions", functions, FUNCTIONS)
    space = SearchSpace("formula")
    x, inputs = space.input("x", tuple(input_shape)), math.prod(input_shape)
    leaves: dict[str, Any] = {f"x{i}": lambda i=i: InputNumber(i) for i in range(inputs)}
    unary: dict[str, Any] = {name: lambda name=name: Unary(name) for name in functions}
    signs: dict[str, Any] = {"+": lambda: Operator("+"), "*": lambda: Operator("*")}
    for vertex in range(2 ** (depth + 1) - 1, 0, -1):
        node = space.node(str(vertex))
        if vertex >= 2**depth:
            space.edge(x, node, leaves)
            continue
        pair = space.node(f"{vertex}/pair", "concat")
        space.edge(str(2 * vertex), pair, unary)
        space.edge(str(2 * vertex + 1), pair, {**unary, "none": ZeroOperation})
        space.edge(pair, node, signs)
    y = space.node(OUTPUT)
    space.edge("1", y, {"linear": lambda: nn.Linear(1, n_outputs)})
    space.output(y)
    return space


def formula_of(net: DerivedNetwork, names: Sequence[str] | None = None, *, digits: int = 4) -> str:
    """Returns the formula that a network derived from ``formula_space`` computes, one for each output.

    Args:
        net: the network.
        names: names of the inputs; by default x0, x1, ….
        digits: significant digits of constants.

    Raises:
        ConfigError: the network is of another space.
    """
    if net.space.name != "formula":
        raise ConfigError(f"a network of the space {net.space.name!r}; formulas are of 'formula'")

    def number(value: float) -> str:
        return f"{value:.{digits}g}"

    if OUTPUT not in net._nodes:
        return "0"
    inner = _written(net, "1", names, number)
    head: Any = net.edges[f"1->{OUTPUT}"]["linear"]  # type: ignore[index]
    pairs = zip(head.weight[:, 0].tolist(), head.bias.tolist(), strict=True)
    return "\n".join(plus(times(a, inner, number), b, number) for a, b in pairs)


def _written(
    net: DerivedNetwork,
    vertex: str,
    names: Sequence[str] | None,
    number: Callable[[float], str],
) -> str:
    """Returns the text of the part of a formula at a vertex."""
    leaf = f"x->{vertex}"
    if leaf in net.edges:
        (module,) = net.edges[leaf].values()  # type: ignore[operator]
        return f"x{module.index}" if names is None else names[module.index]
    pair = f"{vertex}/pair"
    (operator,) = net.edges[f"{pair}->{vertex}"].values()  # type: ignore[operator]
    parts = []
    for below in (str(2 * int(vertex)), str(2 * int(vertex) + 1)):
        edge = f"{below}->{pair}"
        if edge in net.edges:
            (unary,) = net.edges[edge].values()  # type: ignore[operator]
            parts.append(unary.written(_written(net, below, names, number), number))
    return str(operator.written(parts))
