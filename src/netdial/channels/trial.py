"""A cut tried on a copy before anything is cut in earnest: groups without which the network is another one stay whole.

A rule may miss a tie between two places. Then a network that was cut does not run, and a training would be lost at its first
removal. So when a graph is made, half of the channels of each group are removed from a copy, which has to run; and it has to
give what the network gives with zeros in these places, unless an operation normalises over them. Groups that fail stay whole.
That is tried on the example and on one input more, where the network takes that: a size may have been read off the example's.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr

import torch
from torch import Tensor, fx, nn

from netdial.channels.layers.mode import ByMode
from netdial.channels.surgery import apply
from netdial.core.cutting import leaves
from netdial.core.errors import first_line
from netdial.core.noise import seed_everywhere
from netdial.core.outputs import (
    contents_kept,
    evaluated,
    evaluating,
    repeated,
    same_outputs,
    tensors,
)
from netdial.core.plan import Group, Plan

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Difference allowed between a network that was cut and one with zeros, relative to the largest output."""
_COARSE = 0.1
"""The same for less exact numbers."""

Shapes = Mapping[str, tuple[int, ...]]


class Batches:
    """Inputs of two sizes of the batch, and what a network gave for them at first; of one, where it does not take the other."""

    def __init__(self, traced: nn.Module, example: Tensor) -> None:
        self.inputs, self.wanted = [example], [evaluated(traced, example)]
        more = repeated(example, len(example) + 1)
        try:
            with _silent():
                self.wanted.append(evaluated(traced, more))
        except Exception:  # the network itself takes no such batch, for whatever reason
            return
        self.inputs.append(more)

    def same(self, traced: nn.Module) -> bool:
        """Returns whether a network still gives what it gave; it was changed so that it should."""
        try:
            with _silent():
                got = [evaluated(traced, x) for x in self.inputs]
        except Exception:  # whatever its own code raises on sizes that are wrong
            return False
        return all(
            same_outputs(one, other, tolerance=_tolerance(one), equal_nan=True)
            for one, other in zip(self.wanted, got, strict=True)
        )


def broken(
    traced: fx.GraphModule, batches: Batches, groups: Sequence[Group], shapes: Shapes
) -> dict[str, str]:
    """Returns the groups without half of which a network fails or is another one, and why.

    Args:
        traced: the network; it is not changed.
        batches: inputs that it takes.
        groups: its groups.
        shapes: shape of everything that a plan can name.
    """
    with _silent():
        return _Trial(traced, batches, shapes).broken([g for g in groups if g.size > 1])


class _Trial:
    """Cuts copies of a network."""

    def __init__(self, traced: fx.GraphModule, batches: Batches, shapes: Shapes) -> None:
        self._traced, self._batches, self._shapes = traced, batches, shapes

    def broken(self, groups: Sequence[Group]) -> dict[str, str]:
        """Returns the groups, of those given, without half of which the network fails or is another one, and why."""
        if not groups or not self.failing(groups):
            return {}
        found: dict[str, str] = {}
        sound: list[Group] = []
        for group in groups:
            why = self.failing([group])
            if not why and sound and (why := self.failing([*sound, group])):
                why = f"{why}, together with others"
            if why:
                found[group.name] = f"is kept whole: {why}"
            else:
                sound.append(group)
        return found

    def failing(self, groups: Sequence[Group]) -> str:
        """Returns what goes wrong without half of the channels of groups, in words; empty if nothing does."""
        exact = self._plan([group for group in groups if not group.mixed])
        inputs = self._batches.inputs
        small = copy.deepcopy(self._traced)
        number = len(inputs[0])
        try:
            apply(exact, small)
            masked = zeroed(self._traced, exact, inputs[0]) if exact else small
            made = []
            for x, whole in zip(inputs, self._batches.wanted, strict=True):
                number = len(x)
                made.append(evaluated(small, x))
                if exact and (why := _differs(masked, small, x, whole, made[-1])):
                    return why
            if any(group.mixed for group in groups):
                small = copy.deepcopy(self._traced)
                apply(self._plan(groups), small)
                made = []
            for index, (x, whole) in enumerate(zip(inputs, self._batches.wanted, strict=True)):
                number = len(x)
                got = made[index] if made else evaluated(small, x)
                _in_training(small, x)
                shapes = [list(part.shape) for part in got]
                if shapes != [list(part.shape) for part in whole]:
                    return f"without some of its channels outputs would be of shape {shapes}"
        except Exception as error:  # whatever the network's own code raises
            on = "" if number == len(inputs[0]) else f" on {number} inputs"
            return (
                f"the network does not run{on} without some of its channels ({first_line(error)})"
            )
        return ""

    def _plan(self, groups: Sequence[Group]) -> Plan:
        return Plan.remove(groups, {g.name: range(0, g.size - 1, 2) for g in groups}, self._shapes)


def _differs(
    masked: nn.Module, small: nn.Module, x: Tensor, whole: list[Tensor], got: list[Tensor]
) -> str:
    """Returns how a network that was cut differs from one with zeros, in words.

    Args:
        masked: the network with zeros.
        small: the network that was cut.
        x: inputs.
        whole: what the network itself gives for them.
        got: what the one that was cut gives.
    """
    wanted = evaluated(masked, x)
    one, other = (_in_training(masked, x, seed) for seed in (1, 2))
    if same_outputs(one, other):  # what draws numbers cannot be compared
        wanted, got = wanted + one, got + _in_training(small, x)
    if not all(part.isfinite().all() for part in wanted):
        return ""  # there are no zeros that this network can do with: nothing to compare
    largest = max((float(part.abs().max()) for part in whole if part.numel()), default=0.0)
    found = same_outputs(
        wanted,
        got,
        tolerance=_tolerance(wanted),
        least=largest if math.isfinite(largest) else 0.0,
    )
    apart = f"differ by {found.difference:.1e} of the largest from those with zeros"
    return "" if found else f"without some of its channels outputs {apart}"


def _silent() -> redirect_stderr[io.StringIO]:
    """Silences graphs, which print where they fail."""
    return redirect_stderr(io.StringIO())


def _tolerance(wanted: Sequence[Tensor]) -> float:
    kinds = {part.dtype for part in wanted if part.is_floating_point()}
    return max((_TOLERANCE.get(kind, _COARSE) for kind in kinds), default=_COARSE)


def _in_training(net: nn.Module, example: Tensor, seed: int = 1) -> list[Tensor]:
    """Returns what a network gives where its code goes the way of training, all of its layers in evaluation mode."""
    ways = [module for module in net.modules() if isinstance(module, ByMode)]
    if not ways:
        return []
    with contents_kept(net), evaluating(net), torch.random.fork_rng(devices=[]):
        seed_everywhere(seed)
        for module in ways:
            module.training = True
        return tensors(net(example.clone()))


def zeroed(net: nn.Module, plan: Plan, x: Tensor) -> nn.Module:
    """Returns a copy with zeros in place of what a plan removes, as far as its outputs are numbers with them.

    A row by whose length its numbers are divided cannot be 0. What reads the channel that it makes is enough.

    Args:
        net: the network.
        plan: what is removed.
        x: inputs.
    """
    net = copy.deepcopy(net)
    held = leaves(net)  # a layer without leaves has sizes alone
    places = [(name, dim) for name, cuts in plan.cuts.items() if name in held for dim in cuts]
    for name, _ in places:  # pieces of one tensor may lie in the same memory
        held[name].data = held[name].detach().clone()
    _put_zeros(net, plan, x, places[::-1])
    return net


def _put_zeros(net: nn.Module, plan: Plan, x: Tensor, places: Sequence[tuple[str, int]]) -> None:
    """Puts zeros into dimensions of leaves, in place; where they leave no numbers, into some of them alone."""
    held = leaves(net)
    before = {name: held[name].detach().clone() for name, _ in places}
    with torch.no_grad():
        for name, dim in places:
            mask = torch.zeros(held[name].shape[dim])
            mask[list(plan.cuts[name][dim])] = 1
            lines = [-1 if d == dim else 1 for d in range(held[name].ndim)]
            held[name].mul_(mask.view(lines).to(held[name].device, held[name].dtype))
        if all(part.isfinite().all() for part in evaluated(net, x)):
            return
        for name, leaf in before.items():
            held[name].copy_(leaf)
    half = len(places) // 2
    for some in (places[:half], places[half:]) if half else ():
        _put_zeros(net, plan, x, some)


__all__ = ["Batches", "broken", "zeroed"]
