"""Many small networks side by side: the operations of a supernet that read what is ready, layer by layer, in few calls.

Operations that are chains of known layers go in lockstep. At each depth, layers of one kind and geometry are one call, as long
as their values stay in the processor's cache: convolutions become one with as many groups, batch normalisations one over all
channels. What looks at each channel alone (ReLU, pooling) is done once for all that read the same. Values are those of the
operations one by one, but for rounding. What is no such chain, or is hooked, is not taken.

Shapes: B examples, C channels, m operations side by side ``[B, m C, ...]``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELWISE = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_MIXED = 32
"""Channels up to which a weighted sum is a product of matrices."""

_NEAR = {3: 2**20, 4: 2**17}
"""Numbers in a call, by the dimensions of a value. Of images more leave the processor's cache, which costs more than calls."""

_KNOWN = (*_CHANNELWISE, *_CONVOLUTIONS, *_NORMS)


@dataclass(eq=False)
class ChannelBundle:
    """Values of several operations side by side, equally wide.

    Attributes:
        tensor: the values ``[B, m C, ...]``.
        width: channels C of each.
    """

    tensor: Tensor
    width: int

    @cached_property
    def pieces(self) -> tuple[Tensor, ...]:
        """The values one by one; parts of one split, whose gradients are put together once."""
        return self.tensor.split(self.width, dim=1) if self.count > 1 else (self.tensor,)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.tensor.shape[1] // self.width

    def stretch(self, first: int, count: int) -> Tensor:
        """Returns some neighbours."""
        sizes = [first, count, self.count - first - count]
        return (
            self.tensor
            if count == self.count
            else self.tensor.split([size * self.width for size in sizes], dim=1)[1]
        )


@dataclass
class ChainJob:
    """One operation under way.

    Attributes:
        layers: what is still to be done, from ``at`` on.
        bundle: where its value is.
        place: the number of it there.
        weight: what its result is multiplied by, a number ``[]``.
        goal: what its result is added to.
    """

    layers: list[nn.Module]
    bundle: ChannelBundle
    weight: Tensor
    goal: str
    place: int = 0
    at: int = 0

    @property
    def value(self) -> Tensor:
        """Its value alone."""
        return self.bundle.pieces[self.place]

    @property
    def order(self) -> tuple[int, tuple[str, ...], str]:
        """Where it stands among others, so that what is one call stands together, and what takes longest first."""
        about = (
            f"{getattr(layer, 'kernel_size', '')}{getattr(layer, 'dilation', '')}"
            for layer in self.layers
        )
        return -len(self.layers), tuple(about), self.goal


def chain_of(module: nn.Module) -> list[nn.Module] | None:
    """Returns an operation as a chain of known layers; None if it is something else."""
    if type(module) is nn.Identity and not _hooked(module):
        return []
    if type(module) is nn.Sequential and not _hooked(module):
        found: list[nn.Module] = []
        for inside in module:
            chain = chain_of(inside)
            if chain is None:
                return None
            found += chain
        return found
    return [module] if type(module) in _KNOWN and not _hooked(module) and _plain(module) else None


def _hooked(module: nn.Module) -> bool:
    hooks: Any = vars(module)
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(hooks.get(kind) for kind in kinds)


def _plain(module: nn.Module) -> bool:
    """Returns whether a layer is one that can stand beside others."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return module.affine and module.track_running_stats and module.momentum is not None
    if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
        return not module.return_indices
    if isinstance(module, nn.ReLU | nn.SiLU):
        return not module.inplace
    return True


def source_bundle(x: Tensor) -> ChannelBundle | None:
    """Returns a value that operations may read side by side, with channels innermost in memory if it has two lengths.

    Poolings, normalisations and depthwise convolutions take a half to a seventh of the time so. None for other values.
    """
    if x.ndim not in (3, 4):
        return None
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    return ChannelBundle(x, x.shape[1])


def run_jobs(jobs: Sequence[ChainJob]) -> dict[str, Tensor]:
    """Returns for each goal the weighted sum of the results of its jobs.

    Jobs that take longest stand first, so that what is left to do of a bundle is one piece of it.
    """
    ordered = sorted(jobs, key=lambda job: job.order)
    while active := [job for job in ordered if job.at < len(job.layers)]:
        groups: dict[Hashable, list[ChainJob]] = {}
        for job in active:
            groups.setdefault(_kind(job), []).append(job)
        for group in groups.values():
            for part in _pieces(group):
                _advance(part)
    return _summed(ordered)


def _pieces(group: list[ChainJob]) -> Iterator[list[ChainJob]]:
    """Yields jobs in pieces whose values are about as many as the processor's cache holds."""
    tensor, width = group[0].bundle.tensor, group[0].bundle.width
    count = max(1, _NEAR[tensor.ndim] * tensor.shape[1] // (width * tensor.numel()))
    for first in range(0, len(group), count):
        yield group[first : first + count]


def _kind(job: ChainJob) -> Hashable:
    """Returns what jobs have in common whose next layers are one call."""
    layer, tensor = job.layers[job.at], job.bundle.tensor
    shape = (type(layer), tensor.shape[2:], tensor.dtype)
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        about: tuple[Any, ...] = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        widths = (layer.in_channels, layer.out_channels, layer.groups, layer.bias is None)
        return (*shape, *about, *widths)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        return (*shape, layer.num_features, layer.eps, layer.momentum, layer.training)
    settings = (getattr(layer, name, None) for name in _SETTINGS)
    return (*shape, *(str(value) for value in settings))


_SETTINGS = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "ceil_mode",
    "count_include_pad",
    "divisor_override",
    "approximate",
)


def _advance(group: list[ChainJob]) -> None:
    """Takes some jobs of one kind through their next layers."""
    layers = [job.layers[job.at] for job in group]
    first = layers[0]
    if isinstance(first, _CHANNELWISE):
        _channelwise(first, group)
    elif isinstance(first, _CONVOLUTIONS):
        _split(_convolved(layers, group), group)
    else:
        _split(_normalised(layers, _joined(group)), group)
    for job in group:
        job.at += 1


def _channelwise(layer: nn.Module, group: list[ChainJob]) -> None:
    """Runs a layer that looks at each channel alone once for each stretch of values that somebody reads."""
    readers: dict[ChannelBundle, list[ChainJob]] = {}
    for job in group:
        readers.setdefault(job.bundle, []).append(job)
    for bundle, jobs in readers.items():
        first, last = min(job.place for job in jobs), max(job.place for job in jobs)
        out = ChannelBundle(layer(bundle.stretch(first, last - first + 1)), bundle.width)
        for job in jobs:
            job.bundle, job.place = out, job.place - first


def _convolved(layers: Sequence[Any], group: list[ChainJob]) -> Tensor:
    """Returns convolutions as one with as many groups; of one and the same input, as one with more outputs."""
    first, same = layers[0], len({(id(job.bundle), job.place) for job in group}) == 1
    weight = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else first.weight
    bias = None if first.bias is None else torch.cat([layer.bias for layer in layers])
    one_input = same and first.groups == 1
    x = group[0].value if one_input else _joined(group)
    groups = 1 if one_input else len(layers) * first.groups
    about = (weight, bias, first.stride, first.padding, first.dilation, groups)
    if isinstance(first, nn.Conv1d):
        return F.conv1d(x, *about)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), *about)


def _normalised(layers: Sequence[Any], x: Tensor) -> Tensor:
    """Returns batch normalisations as one over all channels; running statistics move as they would one by one."""
    first = layers[0]
    weight, bias, mean, var = (
        torch.cat([getattr(layer, name) for layer in layers])
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    out = F.batch_norm(x, mean, var, weight, bias, first.training, first.momentum, first.eps)
    if (
        out.ndim == 4 and out.requires_grad
    ):  # of gradients laid out otherwise it takes five times as long
        out.register_hook(lambda slope: slope.contiguous(memory_format=torch.channels_last))
    if first.training:
        with torch.no_grad():
            for name, moved in (("running_mean", mean), ("running_var", var)):
                kept = [getattr(layer, name) for layer in layers]
                torch._foreach_copy_(kept, list(moved.split(first.num_features)))
            torch._foreach_add_([layer.num_batches_tracked for layer in layers], 1)
    return out


def _joined(group: list[ChainJob]) -> Tensor:
    """Returns the values of jobs side by side; without a copy where they stand so already."""
    bundle, first = group[0].bundle, group[0].place
    if all(job.bundle is bundle and job.place == first + i for i, job in enumerate(group)):
        return bundle.stretch(first, len(group))
    return torch.cat([job.value for job in group], dim=1)


def _split(out: Tensor, group: list[ChainJob]) -> None:
    """Gives each job its part of what was computed side by side."""
    bundle = ChannelBundle(out, out.shape[1] // len(group))
    for place, job in enumerate(group):
        job.bundle, job.place = bundle, place


def _summed(jobs: Sequence[ChainJob]) -> dict[str, Tensor]:
    """Returns the weighted sums of results, those that lie side by side in one tensor together."""
    found: dict[str, Tensor] = {}
    finished: dict[ChannelBundle, list[ChainJob]] = {}
    for job in jobs:
        finished.setdefault(job.bundle, []).append(job)
    for bundle, here in finished.items():
        for goal, total in _weighted(bundle, here):
            found[goal] = found[goal] + total if goal in found else total
    return found


def _weighted(bundle: ChannelBundle, jobs: list[ChainJob]) -> Iterator[tuple[str, Tensor]]:
    """Yields weighted sums of results that lie side by side, with what they are added to."""
    if [job.place for job in jobs] != list(range(bundle.count)):
        for job in jobs:
            yield job.goal, job.weight * job.value
        return
    scale = torch.stack([job.weight for job in jobs]).to(bundle.tensor)
    runs = [(goal, len(list(run))) for goal, run in groupby(job.goal for job in jobs)]
    counts = [count for _, count in runs]
    parts = bundle.tensor.split([count * bundle.width for count in counts], dim=1)
    for (goal, _), part, weights in zip(runs, parts, scale.split(counts), strict=True):
        yield goal, _mixed(part, weights, bundle.width)


def _mixed(values: Tensor, weights: Tensor, width: int) -> Tensor:
    """Returns Σ_i w_i x_i ``[B, C, ...]`` of values side by side ``[B, m C, ...]``.

    Of few channels, as a product of matrices: it reads the values once, where products and a sum go through memory three times.
    """
    mixed: Tensor
    if len(weights) == 1:
        return weights * values
    if width > _MIXED:
        scaled = values * weights.repeat_interleave(width).reshape(-1, *[1] * (values.ndim - 2))
        mixed = scaled.movedim(1, -1).unflatten(-1, (-1, width)).sum(dim=-2)
        return mixed.movedim(-1, 1)
    matrix = (weights[:, None, None] * torch.eye(width).to(weights)).flatten(0, 1)
    if values.ndim == 3:
        return matrix.mT @ values
    rows = values.movedim(1, -1)
    mixed = rows.flatten(0, 2) @ matrix
    return mixed.view(*rows.shape[:3], width).movedim(-1, 1)
