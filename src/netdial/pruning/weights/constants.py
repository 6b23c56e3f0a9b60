"""Constant inputs: weights that multiply the same number for every example do the work of a bias.

A pixel that is dead in the training data has the same value c_j in every example, so ``W[:, j]`` adds ``c_j W[:, j]`` to
every pre-activation. Removing such a weight moves its share to the bias of its layer, and nothing is lost on data of that
kind; so these weights are removed before all others. What moves is the mean: the variance of a weight goes with it.

Only inputs of linear layers that come from the data alone are looked at (no leaf of the family lies before them), so they
are constant for every member at once. Layers without a bias of their own are left alone, and so are convolutions (zero
padding makes their constant inputs vary along the border) and hidden units that happen to be constant for one member.
A trial run compares outputs before and after; where they differ, because a network uses a weight in a second place,
nothing is folded.

Shapes: P numbers of the leaves, F folded weights, ``...`` members and levels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.layout import Params, holders
from netdial.core.outputs import same_outputs
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.nets.foreign import copy_network

_BATCH, _TRIAL, _TOLERANCE = 2048, 64, 1e-4


@dataclass(frozen=True, eq=False)
class Constants:
    """Weights of constant inputs.

    Attributes:
        size: P.
        values: what each multiplies, c_j ``[F]``.
        positions: flat positions of the weights ``[F]``.
        biases: flat positions of the biases that take over ``[F]``.
    """

    size: int
    values: Tensor
    positions: Tensor
    biases: Tensor

    def folded(self) -> Tensor:
        """Returns which numbers are such weights, bool ``[P]``."""
        found = torch.zeros(self.size, dtype=torch.bool, device=self.positions.device)
        return found.index_fill(0, self.positions, True)

    def fold(self, mean: Tensor, kept: Tensor) -> Tensor:
        """Returns means ``[..., P]`` in which biases stand in for constant weights that are not kept.

        Args:
            mean: means ``[..., P]``.
            kept: bool ``[..., P]``; what is not kept is 0 in the result.
        """
        leaving = ~kept.index_select(-1, self.positions)
        moved = mean.index_select(-1, self.positions) * self.values.to(mean) * leaving
        whole = mean.expand(torch.broadcast_shapes(mean.shape, kept.shape))
        return whole.index_add(-1, self.biases, moved.expand(*whole.shape[:-1], -1)) * kept


def find_constants(family: Family, data: Dataset) -> Constants:
    """Returns the weights of linear layers whose input is the same in every example of some data."""
    lams = family.config.lams or (family.config.lo, family.config.hi)
    net, other = family.export(lams[0]), family.export(lams[-1])
    like = next(net.parameters())
    layers = _fed_by_data(net, other, family, data)
    with torch.no_grad():
        ranges = _ranges(net, layers, data)
        places = family.layout.split(torch.arange(family.layout.size, device=like.device))
        kept = family.layout.split(_kept(family))
        rows = [
            _places(places, kept, name, low == high, low) for name, (low, high) in ranges.items()
        ]
        nothing = like.new_zeros(0), like.new_zeros(0).long(), like.new_zeros(0).long()
        found = Constants(
            family.layout.size,
            *(torch.cat([*(row[i] for row in rows), nothing[i]]) for i in range(3)),
        )
        if _is_harmless(family, net, found, data):
            return found
    return Constants(family.layout.size, *nothing)


def _candidates(net: nn.Module, family: Family) -> list[str]:
    """Returns the linear layers whose weight and bias both belong to the family and to no other layer."""
    held = holders(net)
    return [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
        and {f"{name}.weight", f"{name}.bias"} <= set(family.layout.names)
        and held[id(module.weight)] == held[id(module.bias)] == 1
    ]


def _fed_by_data(net: nn.Module, other: nn.Module, family: Family, data: Dataset) -> list[str]:
    """Returns the layers whose inputs no leaf and no λ has a part in, told by gradients and by comparing two members."""
    few = data.select(torch.arange(min(_TRIAL, len(data)), device=data.x.device))
    names = _candidates(net, family)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in family.layout.names)
    with torch.enable_grad():
        one = _inputs(net, names, few)
    with torch.no_grad():
        two = _inputs(other, names, few)
    return [
        name
        for name, calls in one.items()
        if not any(call.requires_grad for call in calls)
        and len(calls) == len(two.get(name, ()))
        and all(torch.equal(a, b) for a, b in zip(calls, two[name], strict=True))
    ]


def _ranges(
    net: nn.Module, names: Sequence[str], data: Dataset
) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns for each layer the least and the largest value of its inputs over the data, ``[inputs]`` each."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    if not names:
        return found
    for index in torch.arange(len(data), device=data.x.device).split(_BATCH):
        for name, calls in _inputs(net, names, data.select(index)).items():
            x = torch.cat([call.flatten(0, -2) for call in calls])
            low, high = x.amin(dim=0), x.amax(dim=0)
            if name in found:
                low, high = torch.minimum(low, found[name][0]), torch.maximum(high, found[name][1])
            found[name] = low, high
    return found


def _inputs(net: nn.Module, names: Sequence[str], data: Dataset) -> dict[str, list[Tensor]]:
    """Returns what reaches the named layers ``[..., inputs]``, call by call, when the network sees the data."""
    seen: dict[str, list[Tensor]] = {}
    modules = dict(net.named_modules())
    with ExitStack() as hooks:
        for name in names:
            keep = functools.partial(_keep, seen.setdefault(name, []))
            hooks.callback(modules[name].register_forward_pre_hook(keep).remove)
        net(data.inputs(like=next(net.parameters())))
    return {name: calls for name, calls in seen.items() if calls}


def _keep(calls: list[Tensor], module: nn.Module, args: tuple[Tensor, ...]) -> None:
    calls.extend(args[:1])


def _places(
    places: Params, kept: Params, name: str, constant: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (values, positions of the weights, positions of their biases) of a layer's constant inputs, flat.

    Rows whose bias was pruned are left out.
    """
    rows, columns = kept[f"{name}.bias"].nonzero(), constant.nonzero().flatten()
    positions = places[f"{name}.weight"][rows, columns]
    biases = places[f"{name}.bias"][rows].expand_as(positions)
    return value[columns].expand_as(positions).flatten(), positions.flatten(), biases.flatten()


def _is_harmless(family: Family, net: nn.Module, found: Constants, data: Dataset) -> bool:
    """Returns whether a network gives the same outputs on some of the data once its constants are folded."""
    folded = copy_network(net)
    leaves = {name: folded.get_parameter(name) for name in family.layout.names}
    flat = found.fold(family.layout.join(leaves), ~found.folded())
    for name, value in family.layout.split(flat).items():
        leaves[name].copy_(value)
    few = data.select(torch.arange(min(_TRIAL, len(data)), device=data.x.device))
    x = few.inputs(like=next(net.parameters()))
    return bool(same_outputs(net(x.clone()), folded(x.clone()), tolerance=_TOLERANCE))


def _kept(family: Family) -> Tensor:
    """Returns which numbers of a family were not pruned ``[P]``."""
    if family.kept is not None:
        return family.kept
    device = family.device
    return torch.ones(family.layout.size, dtype=torch.bool, device=device)
