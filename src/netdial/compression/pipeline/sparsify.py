"""Sparsify: which weights go while the others are trained, so that the code of what is left has the length asked for.

What goes first is what does the least damage *per bit*: a weight in a full row and column is cheap to tell, a lonely one is
dear, so rows and columns empty themselves, which is what a code likes (its length is the objective, not the count of weights).
The length falls by a schedule from that of the whole network to the goal. Criteria: those of ``netdial.pruning.weights``, and

    gradient    w² √E[g²], from the mean squared gradients of the training under way; costs nothing

Sources: Zhu & Gupta 2017 (schedules); LeCun, Denker & Solla 1989 (damage ½ h w²).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from netdial.compression.pipeline.rate import as_matrix, cost_of_presence, presence
from netdial.compression.pipeline.training import Masks, Squeezing
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, unknown
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.pruning.channels.member import NO_PENALTY
from netdial.pruning.weights import CRITERIA, importance
from netdial.pruning.weights.criteria import OF_A_NORMAL
from netdial.pruning.weights.rounds import RISES
from netdial.task import Task

GRADIENT = "gradient"
"""The criterion of training itself, and the default."""

Damage = Callable[[Squeezing], dict[str, Tensor]]
"""State -> leaf -> what removing each weight does, 0 or more."""

_EVENTS, _FINE = 40, 2000
_SMALLEST = 1e-30


def criteria() -> list[str]:
    """Returns the names of all criteria."""
    return [GRADIENT, *CRITERIA]


@dataclass(frozen=True)
class Sparsify:
    """Removes weights of a network in training, before some of its steps.

    Attributes:
        damage: the criterion.
        leaves: names of the leaves that may become sparse.
        goal: bits that their code is to have at the end.
        begin: bits that it has at the beginning.
        steps: optimiser steps after which the goal is reached.
        schedule: how the part that is done rises: ``cubic``, ``linear`` or ``one-shot``.
        value_bits: bits that tell which value a weight has.
    """

    damage: Damage
    leaves: tuple[str, ...]
    goal: float
    begin: float
    steps: int
    schedule: str = "cubic"
    value_bits: float = 3.0

    def __call__(self, state: Squeezing) -> None:
        """Removes what is due at this step."""
        every = max(1, self.steps // _EVENTS)
        if state.step == 0 or state.step % every or state.step > self.steps + every - 1:
            return
        done = RISES[self.schedule](min(1.0, state.step / (self.steps // every * every or 1)))
        budget = self.begin + (self.goal - self.begin) * done
        state.masks = thinned(self.damage(state), state.masks, budget, self.value_bits)


def bits_of(masks: Mapping[str, Tensor], value_bits: float) -> float:
    """Returns the bits of weights of which these are there, by the law of rows and columns."""
    total = 0.0
    for mask in masks.values():
        whole = mask.reshape(as_matrix(tuple(mask.shape)))
        there = presence(whole).double()
        told = torch.where(whole, -there.log2() + value_bits, -(1 - there).log2())
        total += float(told.sum())
    return total


def thinned(
    damage: Mapping[str, Tensor], masks: Mapping[str, Tensor], budget: float, value_bits: float
) -> Masks:
    """Returns masks whose code has no more than so many bits, least damage per bit gone first; nothing comes back.

    Args:
        damage: leaf -> importance of each weight, 0 or more.
        masks: leaf -> which are there now.
        budget: bits.
        value_bits: bits that tell which value a weight has.
    """
    if bits_of(masks, value_bits) <= budget:
        return dict(masks)
    worth = {
        name: damage[name] / cost_of_presence(mask, value_bits) for name, mask in masks.items()
    }
    order = torch.cat([worth[n][mask] for n, mask in masks.items()]).argsort(
        descending=True, stable=True
    )
    low, high = 1, len(order)
    while high - low > max(1, len(order) // _FINE):
        middle = (low + high) // 2
        fits = bits_of(_first(order, middle, masks), value_bits) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return _first(order, low, masks)


def _first(order: Tensor, count: int, masks: Mapping[str, Tensor]) -> Masks:
    """Returns masks of the first weights of an order of those that are there."""
    keep = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    keep[order[:count]] = True
    found: Masks = {}
    for (name, mask), part in zip(
        masks.items(), keep.split([int(m.sum()) for m in masks.values()]), strict=True
    ):
        found[name] = mask.clone()
        found[name][mask] = part
    return found


@checked
@in_usual_modes
def damage_of(
    criterion: str,
    leaves: tuple[str, ...],
    data: Dataset | None = None,
    task: Task | None = None,
    spread: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Damage:
    """Returns a criterion as a function of the state of training.

    Args:
        criterion: ``gradient``, or a name in ``CRITERIA``.
        leaves: names of the leaves that it is for.
        data: training data, for the criteria that need them.
        task: what is predicted.
        spread: log standard deviations of the posterior by leaf, for the criteria that compare with them.
        seed: seed of criteria that draw.

    Raises:
        ConfigError: the criterion is unknown, or needs a posterior and there is none.
    """
    if criterion == GRADIENT:
        return lambda state: {n: _by_gradient(state, n) for n in leaves}
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, criteria())
    if criterion in OF_A_NORMAL and not spread:
        raise ConfigError(
            f"criterion {criterion!r} divides by the posterior's standard deviations, and a network has none; give lam and "
            f"a family with a normal posterior (objective ard has one), or choose another ({GRADIENT}, magnitude, obd-ggn)"
        )

    def damage(state: Squeezing) -> dict[str, Tensor]:
        family = one_member(state.net, spread)
        (found,) = importance(
            family, family.config.lams, criterion, data=data, kind=task if data is not None else None, seed=seed
        )  # fmt: skip
        by_leaf = family.layout.split(found.to(torch.float32))
        lowest = min(float(by_leaf[name].min()) for name in leaves)
        return {name: by_leaf[name] - min(lowest, 0.0) for name in leaves}

    return damage


def one_member(net: nn.Module, spread: Mapping[str, Tensor] | None = None) -> Family:
    """Returns a network as a family of one, with a normal posterior of the given spread if there is one."""
    posterior = "normal" if spread else "point"
    config = FamilyConfig(
        lo=NO_PENALTY, hi=1.0, map="table", lams=(NO_PENALTY,), posterior=posterior,
        objective="scaled-kl" if spread else "l2",
    )  # fmt: skip
    family = Family(net, config)
    if spread:
        layout = family.layout
        flat = layout.join(
            {
                n: spread.get(n, torch.full(s, -40.0))
                for n, s in zip(layout.names, layout.shapes, strict=True)
            }
        )
        with torch.no_grad():
            cast(TableMap, family.log_std).pivots.copy_(flat)
    return family.eval()


def _by_gradient(state: Squeezing, name: str) -> Tensor:
    weight = state.net.get_parameter(name).detach()
    seen = state.moments.get(name)
    if seen is None:
        return weight.square()
    return weight.square() * seen.sqrt().clamp_min(_SMALLEST)
