"""Check that folding kept the outputs, in double precision and in the network's own type."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from netdial.channels.nodes import place
from netdial.channels.trace.running import execute
from netdial.core.errors import TraceError
from netdial.core.outputs import same_outputs, tensors

TOLERANCE_FLOAT64 = 1e-10
"""Relative to the largest output: what the algebra may cost."""

TOLERANCE = 1e-5
"""The same in the network's own number type, at least; if that is less exact than float32, eight roundings."""

Net = TypeVar("Net", bound=nn.Module)

_AS_LOST = 8.0
"""Folding may cost as many times what the network itself loses by rounding: a deep network amplifies it."""


def as_double(x: Tensor) -> Tensor:
    """Returns floating numbers in double precision, and anything else as it is."""
    return x.double() if x.is_floating_point() else x


def in_double(net: Net) -> Net:
    """Returns a network with its floating and complex numbers in double precision, changed in place."""
    net.double()
    for _, leaf in leaves(net):
        if leaf.is_complex():
            leaf.data = leaf.data.to(torch.complex128)
    return net


def leaves(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the floating and complex parameters and buffers of a network."""
    for name, leaf in (*net.named_parameters(), *net.named_buffers()):
        if leaf.is_floating_point() or leaf.is_complex():
            yield name, leaf


def restore(net: nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    """Gives leaves their number types back; new ones are of the type of those beside them."""
    beside = {name.rpartition(".")[0]: dtype for name, dtype in dtypes.items()}
    for name, leaf in leaves(net):
        like = beside.get(name.rpartition(".")[0], next(iter(dtypes.values())))
        leaf.data = leaf.data.to(dtypes.get(name, like))


def flush(leaf: Tensor) -> int:
    """Makes numbers too small for a normal float 0, and returns how many there were; sparse ones stay."""
    if leaf.layout is not torch.strided:
        return 0
    tiny = (leaf.data.abs() < torch.finfo(leaf.dtype).tiny) & (leaf.data != 0)
    leaf.data[tiny] = 0
    return int(tiny.sum())


def lost(exact: Mapping[fx.Node, Any], rounded: Mapping[fx.Node, Any]) -> float:
    """Returns how far a network's outputs are from those in double precision, relative to the largest.

    Args:
        exact: node -> its result in double precision, of the same graph or a copy.
        rounded: node -> its result in the network's own number type.
    """
    wanted = next(value for node, value in exact.items() if node.op == "output")
    got = next(value for node, value in rounded.items() if node.op == "output")
    return same_outputs(wanted, got).difference


def double_tolerance(
    before: fx.GraphModule, x: Tensor, wanted: Mapping[fx.Node, Any], got: Mapping[fx.Node, Any]
) -> float:
    """Returns the relative difference that the algebra may make in double precision.

    Where a network jumps, as by the sign of what is 0 but for rounding, its outputs jump by as much if every value is off by
    one rounding. So that is tried where they differ by more than the algebra may cost.

    Args:
        before: the network that was folded, in evaluation mode.
        x: inputs in double precision.
        wanted: node -> its result in double precision.
        got: the same of the network once folded.
    """
    if lost(wanted, got) <= TOLERANCE_FLOAT64:
        return TOLERANCE_FLOAT64
    shaken, source = in_double(copy.deepcopy(before)), torch.Generator().manual_seed(0)
    if lost(wanted, execute(shaken, x, double=True)):  # it is not deterministic
        return TOLERANCE_FLOAT64
    for _, leaf in leaves(shaken):
        noise = torch.rand(leaf.shape, generator=source, dtype=leaf.dtype).to(leaf.device)
        leaf.data *= 1 + torch.finfo(leaf.dtype).eps * (2 * noise - 1)
    loss = lost(wanted, execute(shaken, x, double=True))
    return max(TOLERANCE_FLOAT64, _AS_LOST * loss if math.isfinite(loss) else 0.0)


def default_tolerance(dtypes: Iterable[torch.dtype], loss: float) -> float:
    """Returns the relative difference that rounding may make.

    Args:
        dtypes: number types of the network's leaves.
        loss: what the network itself loses in its own number type (``lost``).
    """
    roundings = [8 * torch.finfo(dtype).eps for dtype in dtypes]
    return max([TOLERANCE, *roundings, _AS_LOST * loss if math.isfinite(loss) else 0.0])


def compare(
    wanted: dict[fx.Node, Any], got: dict[fx.Node, Any], changed: set[str], tolerance: float
) -> float:
    """Returns the relative difference of the outputs.

    Raises:
        TraceError: it is larger than allowed; the message names the node at which results come apart most.
    """
    before = {node.name: value for node, value in wanted.items() if node.name not in changed}
    apart = {
        node: same_outputs(before[node.name], value, tolerance=tolerance)
        for node, value in got.items()
        if node.name in before
    }
    output = next(node for node in got if node.op == "output")
    if not apart[output]:
        worst = max(
            (node for node in apart if node is not output),
            key=lambda node: apart[node].difference,
            default=output,
        )
        dtype = next((part.dtype for part in tensors(got[output])), None)
        raise TraceError(
            f"fold: outputs differ by {apart[output].difference:.3g} of the largest in {dtype}, allowed is {tolerance:g}; "
            f"worst at {place(worst)} by {apart[worst].difference:.3g}; check that the network is deterministic in evaluation "
            "and its numbers finite, or allow more by tolerance="
        )
    return apart[output].difference
