"""Cutting a family by a plan: every member of the new one is what survives of that member of the old one.

The law, for every map, posterior and λ: ``cut_family(f, plan).at(lam)[leaf] == plan.cut(leaf, f.at(lam)[leaf])``. The template
network, the maps of means and of log standard deviations, parameters that are shared, what is pruned (``restrict``) and the
statistics along λ are cut alike, so that divergences are sums over what survives, and a family saved after the cut is loaded
into a template that was cut (``core.cutting.cut_module``).

Shapes: M cells of the statistics, P numbers of the leaves.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.cutting import cut_module, note_cut
from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.core.plan import Plan
from netdial.family.family import Family
from netdial.nets.foreign import copy_network


def cut_family(family: Family, plan: Plan, net: nn.Module | None = None) -> Family:
    """Returns a family of smaller networks; the one given stays as it is.

    Args:
        family: the family, trained or not.
        plan: what survives; leaves are named as in ``family.net``.
        net: the network after the cut, with the same leaves; by default that of the family, cut.

    Raises:
        ConfigError: a leaf is unknown or cannot be cut (``core.cutting.prepare``).
        ShapeError: the plan does not fit the network.
    """
    if net is None:
        net = copy_network(family.net)
        cut_module(plan, net)
        note_cut(plan, net)
    made = Family(net, family.config)
    made.columns = family.columns
    for path, whole in family.maps.items():
        if made.maps[path].layout.names != whole.layout.names:
            raise ConfigError(
                "cut: the network after the cut has its leaves in another order; give one of the same class"
            )
    for path, whole in family.maps.items():
        made.set_submodule(path, _cut_map(plan, whole))
    for name, mine, theirs in zip(family._shared_names, made.shared, family.shared, strict=True):
        mine.data = plan.cut(name, theirs.detach()).clone()
        mine.requires_grad_(theirs.requires_grad)
    if family.kept is not None:
        made.restrict(_cut_flat(plan, family.layout, family.kept))
    if family.anchor is not None:
        rows = [_cut_flat(plan, family.layout, row) for row in family.anchor]
        made.anchor = torch.stack(rows)
    for index, name in enumerate(family.statistics.names):
        bank = family.statistics.get_buffer(f"bank{index}")
        made.statistics.get_buffer(f"bank{index}").copy_(
            torch.stack([plan.cut(name, row) for row in bank])
        )
    return made.train(family.training)


def _cut_map(plan: Plan, whole: Any) -> Any:
    """Returns a map cut along every dimension that the plan names, with the same parameters frozen."""
    cut = copy.deepcopy(whole)
    for leaf, dims in plan.cuts.items():
        if leaf in whole.layout.names:
            for dim, kept in dims.items():
                cut = cut.cut(leaf, dim, torch.tensor(kept))
    for mine, theirs in zip(cut.parameters(), whole.parameters(), strict=True):
        mine.requires_grad_(theirs.requires_grad)
    return cut


def _cut_flat(plan: Plan, layout: Layout, flat: Tensor) -> Tensor:
    """Returns what survives of numbers ``[P]`` in the order of the layout, in the order of the layout after the cut."""
    survived = {name: plan.cut(name, leaf) for name, leaf in layout.split(flat).items()}
    return Layout.of(survived).join(survived)
