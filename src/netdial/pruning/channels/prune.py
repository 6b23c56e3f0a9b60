"""Structural pruning: removes whole channels of a trained network by any criterion, which leaves a smaller dense network.

importance of each number (``netdial.pruning.weights.criteria``) -> score of each channel -> channels to remove, by fraction or
size -> constants folded -> plan -> cut. A member of a family becomes a family of one that can be trained further;
``prune_family`` cuts all members alike.

Sources: Han et al. 2015 and Molchanov et al. 2017 (criteria); the dependency graph is that of ``netdial.channels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from netdial.channels.rules import Heads
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.core.size import Target, parse_target
from netdial.data.memory import Data
from netdial.family.cutting import cut_family
from netdial.family.family import Family
from netdial.measure.noise import forget_noise
from netdial.nets.foreign import copy_network
from netdial.pruning.channels.choosing import (
    Limits,
    Scope,
)
from netdial.pruning.channels.latency import Rounding
from netdial.pruning.channels.member import (
    admitted,
    example_inputs,
    member_of,
    tried,
    with_picks,
)
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.reducing import Pruned, reduce
from netdial.pruning.channels.removal import Emission
from netdial.pruning.channels.scores import Per
from netdial.task import Task
from netdial.task.loss import LossFunction


@checked
@in_usual_modes
def slim(
    net: nn.Module,
    lam: float | None = None,
    *,
    share: float | None = None,
    size: Target | str | None = None,
    criterion: str | None = None,
    scope: Scope = "global",
    per: Per = "channel",
    minimum: int = 1,
    round_to: int = 1,
    exact: bool = True,
    emission: Emission | None = None,
    rounding: Rounding | None = None,
    steps: int = 1,
    data: Data | None = None,
    example: Any = None,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    seed: int = 0,
    lenient: bool = False,
    inputs: bool = False,
    heads: Heads = "whole",
) -> Pruned:
    """Returns a smaller copy of a network, its least important channels removed from the tensors.

    Args:
        net: a family, or any trained network that can be traced.
        lam: complexity value of the member, for a family.
        share: part of the channels to remove, in (0, 1); counts are exact to half a channel as far as ``minimum`` allows.
        size: or the size to arrive at, ``"20k params"``, ``"1M macs"``, ``"80 KB"``, ``"0.4 ms"``; missed by half of a
            channel at most. Milliseconds are measured and miss it by their noise.
        criterion: a name in ``CRITERIA``; by default ``density``, or ``magnitude`` where there is no posterior (``taylor``
            where inputs go and there is data). Channels that nobody reads, or that send the same for every input, go first.
        scope: ``global`` ranks the channels of all groups together, ``layer`` takes the same share of each.
        per: divide scores by what a channel saves: ``channel`` nothing, ``params``, ``macs``.
        minimum: channels that every group keeps.
        round_to: widths are multiples of this, or what they were.
        exact: leave channels whole that an operation normalises over (LayerNorm).
        emission: ``fold`` into biases what the channels send: exactly what is the same for every input, else its mean over
            ``data`` (or ``example``, without); ``rows`` of the result tell which. ``refit`` does that, and gives the layers
            behind the weights that expect it from the channels that are left, by least squares over ``data`` (the default);
            or ``drop`` it. Where you train on, ``fold`` is the better start.
        steps: take scores anew of what is left, that often; channels go in as many parts. Pays where many go, by a criterion
            that looks at the data: scores of a network that has all its channels say little of one that has a tenth of them.
        rounding: choose widths near the wanted ones by measured time; the share or size is missed by as much.
        data: training data, for criteria that need them and for the means of channels.
        example: inputs ``[b, …]`` to trace on, two or more, or a tuple or a mapping of several; taken from ``data`` by
            default. Without ``data`` give as many as make a fair mean.
        kind: ``classification`` or ``regression``.
        loss: or a loss function of (outputs, targets), see ``fit``.
        seed: seed of criteria that draw.
        lenient: keep channels whole that an unknown operation touches, in place of refusing the network.
        inputs: let inputs of linear layers go, too, such as columns of a table: the network picks those that are left, and is
            called with all of them as before.
        heads: of attention's heads and GroupNorm's groups, ``whole`` ones go, or channels ``inside`` of them, the same of
            each. The scale of attention is 1 / √(channels of a head) unless it is given, so those of queries and keys go with
            ``exact=False``, as do channels inside of groups.

    Raises:
        ConfigError: an option is unknown or out of range, the size cannot be reached, no channel can go, or the
            criterion needs what is not there (data, a posterior).
        TraceError: the network cannot be traced, or an operation has no rule.

    >>> import torch
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> slim(net, share=0.5, example=torch.randn(2, 4)).widths
    {'0': 4}
    """
    limits = Limits(scope, minimum, round_to)
    goal = goal_of(share, size)
    part = None
    if data is not None:
        net, part, kind = admitted(net, data, kind, loss)
    options = Options(
        criterion, limits, per, exact, emission, rounding, kind, seed, lenient, inputs, heads, steps
    )
    net, example = tried(net, example_inputs(part, example))
    return reduce(
        member_of(net, lam, example, inputs=inputs),
        goal,
        options,
        data=part,
        example=example,
        check=(goal,) if isinstance(goal, Target) else (),
    )


@checked
@in_usual_modes
def prune_family(
    family: Family, lam: float, *, rounding: Rounding | None = None, **options: object
) -> tuple[Family, Pruned]:
    """Removes the channels of least importance to the member at λ from all members; returns the family and that member.

    The law: for every λ ``cut.at(lam)[leaf] == plan.cut(leaf, family.at(lam)[leaf])``. So nothing is folded: what dead channels
    send differs from member to member.

    Args:
        family: the family; it is left as it is.
        lam: the member that chooses.
        rounding: as for ``slim``.
        **options: as for ``slim``, all but ``emission``.

    Raises:
        ConfigError, TraceError: as ``slim``.
    """
    if not isinstance(family, Family):
        raise ConfigError(f"prune_family: expected a family, got {type(family).__name__}")
    found = slim(family, lam, emission="drop", rounding=rounding, **options)  # type: ignore[arg-type]
    whole = with_picks(family, found.graph.example) if options.get("inputs") else family
    cut = cut_family(whole, found.plan, copy_network(found.family.net))
    forget_noise(cut)
    return cut, found


def goal_of(share: float | None, size: Target | str | None) -> float | Target:
    """Returns the share or the size, whichever was given.

    Raises:
        ConfigError: neither or both were, or the share is outside (0, 1).
    """
    if (share is None) == (size is None):
        raise ConfigError(
            f"slim(share={share}, size={size}): give either a share of the channels or a size to arrive at"
        )
    if share is None:
        assert size is not None
        return parse_target(size) if isinstance(size, str) else size
    if not 0 < share < 1:
        raise ConfigError(
            f"share={share:g}: outside (0, 1); it is the part of the channels to remove, 0.5 for half of them"
        )
    return share


def goals_of(
    share: float | None, size: Target | str | Sequence[Target | str] | None
) -> tuple[float | Target, ...]:
    """Returns the share, the size, or several sizes, the largest first.

    >>> [str(goal) for goal in goals_of(None, ["1k params", "20k params"])]
    ['20000 params', '1000 params']

    Raises:
        ConfigError: as ``goal_of``, or sizes of different units, or one size twice.
    """
    if size is None or isinstance(size, str | Target):
        return (goal_of(share, size),)
    if not size:
        return (goal_of(share, None),)
    sizes = [parse_target(one) if isinstance(one, str) else one for one in size]
    said = ", ".join(map(str, sizes))
    if share is not None:
        goal_of(share, said)
    if len({one.kind for one in sizes}) > 1:
        raise ConfigError(f"sizes {said}: in different units; give all in one")
    if len({one.value for one in sizes}) < len(sizes):
        raise ConfigError(f"sizes {said}: one of them stands twice")
    return tuple(sorted(sizes, key=lambda one: -one.value))
