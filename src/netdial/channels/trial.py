"""A cut tried on a copy before anything is cut in earnest: groups without which the network is another one stay whole.

A rule may miss a tie between two places. Then a network that was cut does not run, and a training would be lost at its first
removal. So when a graph is made, half of the channels of each group are removed from a copy, which has to run; and it has to
give what the network gives with zeros in these places, unless an operation normalises over them. Groups that fail stay whole.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from netdial.channels.layers.mode import ByMode
from netdial.channels.surgery import apply
from netdial.core.cutting import leaves
from netdial.core.errors import first_line
from netdial.core.outputs import evaluated, evaluating, same_outputs, tensors
from netdial.core.plan import Group, Plan

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Difference allowed between a network that was cut and one with zeros, relative to the largest output."""
_COARSE = 0.1
"""The same for less exact numbers."""

Shapes = Mapping[str, tuple[int, ...]]


def broken(
    traced: fx.GraphModule, example: Tensor, groups: Sequence[Group], shapes: Shapes
) -> dict[str, str]:
    """Returns the groups without half of which a network fails or is another one, and why.

    Args:
        traced: the network; it is not changed.
        example: inputs that it takes.
        groups: its groups.
        shapes: shape of everything that a plan can name.
    """
    trial = _Trial(traced, example, shapes)
    wide = [group for group in groups if group.size > 1]
    if not wide or not trial.failing(wide):
        return {}
    found: dict[str, str] = {}
    sound: list[Group] = []
    for group in wide:
        why = trial.failing([group])
        if not why and sound and (why := trial.failing([*sound, group])):
            why = f"{why}, together with others"
        if why:
            found[group.name] = f"is kept whole: {why}"
        else:
            sound.append(group)
    return found


class _Trial:
    """Cuts copies of a network."""

    def __init__(self, traced: fx.GraphModule, example: Tensor, shapes: Shapes) -> None:
        self._traced, self._example, self._shapes = traced, example, shapes
        self._wanted = evaluated(traced, example)

    def failing(self, groups: Sequence[Group]) -> str:
        """Returns what goes wrong without half of the channels of groups, in words; empty if nothing does."""
        exact = self._plan([group for group in groups if not group.mixed])
        small = copy.deepcopy(self._traced)
        try:
            apply(exact, small)
            got = evaluated(small, self._example)
            if exact and (why := self._differs(exact, got, small)):
                return why
            apply(self._plan([group for group in groups if group.mixed]), small)
            got = evaluated(small, self._example)
            _in_training(small, self._example)
        except Exception as error:  # whatever the network's own code raises
            return f"the network does not run without some of its channels ({first_line(error)})"
        shapes = [list(part.shape) for part in got]
        if shapes != [list(part.shape) for part in self._wanted]:
            return f"without some of its channels outputs would be of shape {shapes}"
        return ""

    def _plan(self, groups: Sequence[Group]) -> Plan:
        return Plan.remove(groups, {g.name: range(0, g.size - 1, 2) for g in groups}, self._shapes)

    def _differs(self, plan: Plan, got: list[Tensor], small: nn.Module) -> str:
        """Returns how a network that was cut differs from one with zeros, in words."""
        masked = copy.deepcopy(self._traced)
        _mask(masked, plan)
        wanted = evaluated(masked, self._example)
        one, other = (_in_training(masked, self._example, seed) for seed in (1, 2))
        if same_outputs(one, other):  # what draws numbers cannot be compared
            wanted, got = wanted + one, got + _in_training(small, self._example)
        if not all(part.isfinite().all() for part in wanted):
            return ""  # zeros are no numbers that this network can do with: nothing to compare
        kinds = {part.dtype for part in wanted if part.is_floating_point()}
        tolerance = max((_TOLERANCE.get(kind, _COARSE) for kind in kinds), default=_COARSE)
        largest = max(
            (float(part.abs().max()) for part in self._wanted if part.numel()), default=0.0
        )
        found = same_outputs(
            wanted, got, tolerance=tolerance, least=largest if math.isfinite(largest) else 0.0
        )
        apart = f"differ by {found.difference:.1e} of the largest from those with zeros"
        return "" if found else f"without some of its channels outputs {apart}"


def _in_training(net: nn.Module, example: Tensor, seed: int = 1) -> list[Tensor]:
    """Returns what a network gives where its code goes the way of training, all of its layers in evaluation mode."""
    ways = [module for module in net.modules() if isinstance(module, ByMode)]
    if not ways:
        return []
    with evaluating(net), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in ways:
            module.training = True
        return tensors(net(example.clone()))


def _mask(net: nn.Module, plan: Plan) -> None:
    """Sets to 0 what a plan removes, in place."""
    with torch.no_grad():
        for name, leaf in leaves(net).items():
            if name in plan.cuts:
                leaf.mul_(plan.mask(name, leaf.shape).to(leaf.device, leaf.dtype))


__all__ = ["broken"]
