"""Sizes of batches at which exported code takes another way: its graph is compared with the network at one of each.

Code such as ``if x.shape[0] >= 64: x = x.contiguous()`` goes another way for large batches, and computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils._sympy.symbol import SymT, symbol_is_type

from netdial.core.errors import TraceError
from netdial.core.outputs import repeated

_RANGE = "sizes of the batch"
_ANY = (2, 2**31)
_LARGEST, _WAYS = 1024, 4
"""Largest batch that a graph is compared on, and number of ways that are looked for. Code that goes by even larger batches goes
by how many numbers they hold, and is taken to compute the same.
"""


def note_sizes(program: ExportedProgram, graph: fx.Graph) -> None:
    """Notes in a graph for which sizes of the batch the code that was exported goes the same way."""
    given = program.range_constraints.items()
    sizes = [held for symbol, held in given if symbol_is_type(symbol, SymT.SIZE)]
    lower = max((int(held.lower) for held in sizes if held.lower > 2), default=_ANY[0])
    upper = min((int(held.upper) for held in sizes if held.upper < 2**31), default=_ANY[1])
    graph.output_node().meta[_RANGE] = lower, upper


def other_sizes(
    export: Callable[[Tensor], Sequence[fx.Graph]], example: Tensor, graphs: Sequence[fx.Graph]
) -> list[int]:
    """Returns the smallest size of the batch on each way that code takes besides the example's.

    Args:
        export: gives the graphs for other inputs.
        example: inputs.
        graphs: those for them.

    Raises:
        TraceError: the ways are many.
    """
    known, found = [_range(graphs)], list[int]()
    while (size := _left(known)) <= _LARGEST:
        if len(known) > _WAYS or size in found:
            lower, upper = known[0]
            raise TraceError(
                f"the code asks for the size of the batch, and its answer holds for {lower} to {upper} inputs"
            )
        found.append(size)
        known.append(_range(export(repeated(example, size))))
    return found


def _range(graphs: Sequence[fx.Graph]) -> tuple[int, int]:
    """Returns the sizes of the batch for which all graphs hold."""
    held = [graph.output_node().meta[_RANGE] for graph in graphs]
    return max(lower for lower, _ in held), min(upper for _, upper in held)


def _left(ranges: Sequence[tuple[int, int]]) -> int:
    """Returns the smallest size that is in none of some ranges."""
    size = _ANY[0]
    for lower, upper in sorted(ranges):
        if size < lower:
            return size
        size = max(size, upper + 1)
    return size
