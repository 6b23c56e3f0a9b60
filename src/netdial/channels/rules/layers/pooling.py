"""Pooling and resizing, as layers and as functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import Value, fixed
from netdial.channels.nodes import module_of
from netdial.channels.rules.table import Scene, on

_POOLS = [
    getattr(nn, f"{kind}Pool{n}d")
    for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg")
    for n in (1, 2, 3)
]
_POOL_FUNCTIONS = [
    getattr(F, f"{kind}_pool{n}d")
    for kind in ("max", "avg", "adaptive_max", "adaptive_avg")
    for n in (1, 2, 3)
]
_POOL_FUNCTIONS += [
    getattr(F, f"{kind}_pool{n}d_with_indices")
    for kind in ("max", "adaptive_max")
    for n in (1, 2, 3)
]


@on(
    modules=[*_POOLS, nn.LPPool1d, nn.LPPool2d, nn.LPPool3d, nn.Upsample],
    functions=[*_POOL_FUNCTIONS, F.lp_pool1d, F.lp_pool2d, F.lp_pool3d, F.interpolate],
)
def over_positions(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Pooling and resizing: channels pass, positions change; places of maxima are of each channel by itself."""
    result = scene.results[node]
    after = fixed(tuple((result[0] if isinstance(result, tuple) else result).shape)).labels
    kind = node.target if node.op != "call_module" else type(module_of(scene.traced, node))
    sides = re.search(r"(\d)d", getattr(kind, "__name__", ""))
    positions = int(sides[1]) if sides else len(after) - 2
    lead = len(after) - positions
    scene.keep(node, x.labels[lead:])
    found = Value((*x.labels[:lead], *after[lead:]))
    return (found, found) if isinstance(result, tuple) else found


@on(
    modules=[nn.MaxUnpool1d, nn.MaxUnpool2d, nn.MaxUnpool3d],
    functions=[F.max_unpool1d, F.max_unpool2d, F.max_unpool3d],
)
def unpooled(
    scene: Scene, node: fx.Node, x: Value, indices: Value, *args: Any, **kwargs: Any
) -> Value:
    """What was pooled put back at the places of its maxima, channel by channel."""
    kind = node.target if node.op != "call_module" else type(module_of(scene.traced, node))
    positions = int(re.findall(r"\d", getattr(kind, "__name__", ""))[0])
    lead = len(x.labels) - positions
    for axis, other in zip(x.labels, indices.labels, strict=True):
        scene.join(axis, other)
    scene.keep(node, x.labels[lead:])
    size = kwargs.get("output_size", args[-1] if args and isinstance(args[-1], Sequence) else ())
    for part in size if isinstance(size, Sequence) else ():  # its first numbers are not looked at
        scene.handled.add(id(part))
    return Value((*x.labels[:lead], *scene.result(node).labels[lead:]))
