"""Switches and batch normalisation, merged into the layers beside them for inference.

In evaluation both are a scale a and a shift b for each channel, y = a x + b. Into the layer that makes the channels they
go exactly, if nobody else reads it; else into all the layers that read them, if each of those is linear and next in line: a
scale always, a shift unless zero padding or a transposed convolution would put it down unevenly. Nothing moves across a
non-linearity. Who reads whom is taken from the graph of operations, never from the order of attributes.

Shapes: B batch, C channels, G groups of a convolution, * positions.
"""

from __future__ import annotations

import copy

from torch import Tensor, fx

from netdial.channels.fold.exactness import (
    as_double,
    compare,
    default_tolerance,
    double_tolerance,
    flush,
    in_double,
    leaves,
    lost,
    restore,
)
from netdial.channels.fold.merging import Folder
from netdial.channels.fold.outcome import FoldReport
from netdial.channels.trace.running import execute


def fold(
    traced: fx.GraphModule,
    example: Tensor,
    *,
    norms: bool = True,
    tolerance: float | None = None,
) -> tuple[fx.GraphModule, FoldReport]:
    """Returns a copy for inference without the switches and batch normalisations that can be merged, and a report.

    The copy is in evaluation mode and keeps all other names; layers without bias get one where needed. The network given
    is not changed. The outputs on the example are compared, in double precision and in the network's own type.

    Args:
        traced: network as a graph module, in any mode.
        example: inputs ``[B, *]``.
        norms: whether batch normalisations are merged, too. Without, only switches are, in such a way that the network does
            the same in training as well, and no layer gets leaves that it did not have.
        tolerance: largest relative difference allowed in the network's own number type; by default what rounding may cost a
            network of its depth (``exactness.default_tolerance``). In double precision the outputs have to be the same anyway,
            unless they jump at what is 0 but for rounding (``exactness.double_tolerance``).

    Raises:
        TraceError: outputs differ by more, or the network fails on the example; the message names the worst node.
    """
    before = copy.deepcopy(traced).eval()
    dtypes = {name: leaf.dtype for name, leaf in leaves(before)}
    folded = in_double(copy.deepcopy(before))
    wanted = execute(folded, as_double(example), double=True)
    folder = Folder(folded, wanted, norms=norms)
    folder.run()
    got = execute(folded, as_double(example), double=True)
    allowed = double_tolerance(before, as_double(example), wanted, got)
    exact = compare(wanted, got, folder.changed, allowed)
    restore(folded, dtypes)
    n_flushed = sum(flush(leaf) for _, leaf in leaves(folded))
    rounded, got = execute(before, example), execute(folded, example)
    if tolerance is None:
        tolerance = max(allowed, default_tolerance(dtypes.values(), lost(wanted, rounded)))
    difference = compare(rounded, got, folder.changed, tolerance)
    report = FoldReport(
        tuple(folder.merged), tuple(folder.left.values()), n_flushed, difference, exact
    )
    return folded, report
