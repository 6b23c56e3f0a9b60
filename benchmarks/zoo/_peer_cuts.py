"""Torch-Pruning on the networks of the zoo: half of the channels of every group that no layer normalises over.

It is set up by one rule for all networks: a random half of every group, output layers ignored as netdial finds
them, the numbers of heads given to the projections behind a ``num_heads`` (or ``heads``, …), and sizes of heads that a module
remembers set anew after the cut, as the library's examples do for transformers. Someone who knows a network would do better.

What was cut is read off numbered weights, so that no trust is put in what the library says of it: every number of the
network is replaced by its index before the cut and put back after it.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from netdial.core.outputs import evaluated, same_outputs, tensors

Outcome = Literal["equal", "nothing to cut", "lenient", "refused", "raw", "broken", "unequal"]
"""What can become of a network; only we are ``lenient`` or refuse."""
_HEADS = ("num_heads", "heads", "n_heads", "n_head", "num_attention_heads", "nhead", "h")
"""Attributes in which modules hold the number of heads."""
_SIZES = ("head_dim", "attention_head_size", "head_size", "d_head", "dim_head", "hd", "dk")
"""Attributes in which modules hold the size of a head."""
_WHOLE = ("all_head_size", "inner_dim", "embed_dim", "dim")
"""Attributes in which modules hold the size of all heads together."""
_OUT = ("proj", "out", "o_proj", "c_proj", "out_proj", "dense", "o")
"""Names of layers that come behind the heads."""


def peer_cut(
    net: nn.Module, x: Tensor, outputs: Iterable[str], *, tolerance: float
) -> tuple[Outcome, str]:
    """Returns what becomes of a network that Torch-Pruning cuts, in the words of the zoo, and why.

    Args:
        net: network in double precision and evaluation mode; it is left as it is.
        x: inputs.
        outputs: names of layers that make its outputs.
        tolerance: difference that is allowed between outputs, relative to the largest.
    """
    small = copy.deepcopy(net)
    try:
        pruner = _pruner(small, x, set(outputs))
        numbered = {name: _number(leaf) for name, leaf in _leaves(small)}
        for group in pruner.step(interactive=True):
            if not _normalised(group):
                group.prune()
        _resize(small, pruner)
        left = {name: leaf.detach().long() for name, leaf in _leaves(small)}
        kept = _put_back(net, small, left)
    except Exception as error:  # what the benchmark counts
        return "raw", f"{type(error).__name__}: {error}"
    if all(len(kept[name]) == count for name, count in numbered.items()):
        return "nothing to cut", ""
    return _compared(net, small, kept, x, tolerance)


def _compared(
    net: nn.Module, small: nn.Module, kept: dict[str, Tensor], x: Tensor, tolerance: float
) -> tuple[Outcome, str]:
    """Returns whether the small network gives what the whole one gives with zeros in the places that went."""
    masked = copy.deepcopy(net)
    for name, leaf in _leaves(masked):
        mask = torch.zeros(leaf.numel(), dtype=leaf.dtype)
        mask[kept[name]] = 1
        leaf.data = leaf.data * mask.view(leaf.shape)
    wanted = evaluated(masked, x)
    try:
        got = evaluated(small, x)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"
    shapes = [list(part.shape) for part in got]
    if shapes != [list(part.shape) for part in wanted]:
        return "broken", f"outputs are of shape {shapes}"
    found = same_outputs(wanted, got, tolerance=tolerance)
    return ("equal", "") if found else ("unequal", f"{found.difference:.1e}")


def _pruner(net: nn.Module, x: Tensor, outputs: set[str]) -> Any:
    """Returns what takes a random half of the channels of every group."""
    pruning: Any = importlib.import_module("torch_pruning")
    return pruning.pruner.BasePruner(
        net,
        x,
        importance=pruning.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=[part for name, part in net.named_modules() if name in outputs],
        in_channel_groups={},
        out_channel_groups={},
        num_heads=dict(_projections(net)),
        output_transform=tensors,
    )


def _normalised(group: Any) -> bool:
    """Returns whether a layer normalises over the channels of a group."""
    over = (nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
    modules = [dependency.target.module for dependency, _ in group]
    return any(
        isinstance(part, over)
        or (isinstance(part, nn.GroupNorm) and part.num_groups < part.num_channels)
        for part in modules
    )


def _projections(net: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """Yields layers that make heads, and how many."""
    for part in net.modules():
        heads = _first(part, _HEADS)
        if heads is None:
            continue
        if isinstance(part, nn.MultiheadAttention):
            yield part, heads
            continue
        for name, layer in part.named_modules():
            if (
                isinstance(layer, nn.Linear)
                and layer.out_features % heads == 0
                and name.rpartition(".")[2] not in _OUT
            ):
                yield layer, heads


def _resize(net: nn.Module, pruner: Any) -> None:
    """Sets sizes of heads that modules remember to those that are left."""
    for part in net.modules():
        layers = [
            layer
            for layer in part.children()
            if isinstance(layer, nn.Linear) and layer in pruner.num_heads
        ]
        heads, size, whole = (_first(part, names) for names in (_HEADS, _SIZES, _WHOLE))
        if not layers or heads is None or isinstance(part, nn.MultiheadAttention):
            continue
        made = layers[0].out_features // (3 if len(layers) == 1 else 1)
        for names, value, now in ((_SIZES, size, made // heads), (_WHOLE, whole, made)):
            for name in names:
                if value is not None and getattr(part, name, None) == value:
                    setattr(part, name, now)


def _first(part: nn.Module, names: Iterable[str]) -> int | None:
    """Returns the first of some attributes that is a whole number."""
    found = (getattr(part, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _leaves(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields parameters and buffers of real numbers, by name."""
    for name, leaf in [*net.named_parameters(), *net.named_buffers()]:
        if leaf.is_floating_point():
            yield name, leaf


def _number(leaf: Tensor) -> int:
    """Replaces the numbers of a leaf by their indices, and returns how many there are."""
    leaf.data = torch.arange(leaf.numel(), dtype=leaf.dtype).view(leaf.shape)
    return leaf.numel()


def _put_back(net: nn.Module, small: nn.Module, left: dict[str, Tensor]) -> dict[str, Tensor]:
    """Puts the numbers of a network back in place of their indices, and returns the indices that are left."""
    whole = dict(_leaves(net))
    for name, leaf in _leaves(small):
        leaf.data = whole[name].detach().flatten()[left[name]]
    return {name: index.flatten() for name, index in left.items()}
