"""Structural pruning: removes whole channels of a trained network by any criterion, which leaves a smaller dense network.

importance of each number (``netdial.pruning.weights.criteria``) -> score of each channel -> channels to remove, by fraction or
size -> constants folded -> plan -> cut. A member of a family becomes a family of one that can be trained further;
``prune_family`` cuts all members alike.

Sources: Han et al. 2015 and Molchanov et al. 2017 (criteria); the dependency graph is that of ``netdial.channels``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from netdial.channels.graph import Graph
from netdial.channels.rules import Heads
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.plan import Plan
from netdial.core.size import Target, parse_target
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.family.cutting import cut_family
from netdial.family.family import Family
from netdial.nets.foreign import copy_network
from netdial.pruning.channels.choosing import (
    ChannelBlock,
    Chosen,
    Limits,
    Scope,
    blocks,
    by_share,
    by_target,
    check_size,
)
from netdial.pruning.channels.latency import LatencyTable, Rounding, rounded
from netdial.pruning.channels.member import (
    graph_of,
    inputs,
    member_of,
    task_of,
    template,
    tried,
    written,
)
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.removal import Assumed, Emission, How, remove
from netdial.pruning.channels.scores import Per, Scores, channel_scores
from netdial.pruning.weights.criteria import default_criterion, importance
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.own_loss import asked
from netdial.task.rehearsal import admit, suited


@dataclass(frozen=True)
class GroupRow:
    """Result for one group of channels.

    Attributes:
        group: its name.
        before: channels at the start.
        after: channels that are left.
        how: ``whole``, ``folded``, ``dropped`` or ``mixed`` (see ``removal.Removed``); ``fixed`` if it could not be chosen.
        why: why something was not folded, or the group not chosen.
        assumed: what was assumed of what its channels sent (``exact``, ``measured mean``, ``dropped``) -> of how many.
    """

    group: str
    before: int
    after: int
    how: How | str
    why: str = ""
    assumed: Mapping[Assumed, int] = field(default_factory=dict)

    @property
    def sent(self) -> str:
        """What was assumed of what the channels sent, in words; empty where none went.

        >>> GroupRow("fc", 8, 5, "folded", assumed={"exact": 1, "measured mean": 2}).sent
        '1 exact, 2 measured mean'
        """
        if self.assumed:
            return ", ".join(f"{count} {one}" for one, count in self.assumed.items())
        return "" if self.how == "whole" else self.how


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network without some of its channels.

    Attributes:
        graph: the small network, and its groups.
        family: the same as a family of one, for training further, saving and export.
        plan: what was cut, in terms of the network before.
        rows: what became of each group.
        criterion: name of the criterion that ranked the channels.
        tables: what was measured to choose widths; empty without.
        n_measured: inputs over which the means of channels were measured; 0 if none was needed.
    """

    graph: Graph
    family: Family
    plan: Plan
    rows: tuple[GroupRow, ...]
    criterion: str
    tables: tuple[LatencyTable, ...] = ()
    n_measured: int = 0

    def _repr_html_(self) -> str:
        """Returns what became of each group as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table([vars(row) for row in self.rows], f"{self.n_params} parameters are left")

    def __repr__(self) -> str:
        """Returns what is left."""
        return f"Pruned(n_params={self.n_params}, widths={self.widths})"

    @property
    def net(self) -> fx.GraphModule:
        """The small network, in evaluation mode."""
        return self.graph.traced

    @property
    def widths(self) -> dict[str, int]:
        """Channels in each group."""
        return self.graph.widths

    @property
    def n_params(self) -> int:
        """Numbers in all parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())


@checked
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
    emission: Emission = "fold",
    rounding: Rounding | None = None,
    data: Data | None = None,
    example: Any = None,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    seed: int = 0,
    lenient: bool = False,
    heads: Heads = "whole",
) -> Pruned:
    """Returns a smaller copy of a network, its least important channels removed from the tensors.

    Args:
        net: a family, or any trained network that can be traced.
        lam: complexity value of the member, for a family.
        share: part of the channels to remove, in (0, 1); counts are exact to half a channel as far as ``minimum`` allows.
        size: or the size to arrive at, ``"20k params"``, ``"1M macs"``, ``"80 KB"``, ``"0.4 ms"``; missed by half of a
            channel at most. Milliseconds are measured and miss it by their noise.
        criterion: a name in ``CRITERIA``; by default ``density``, or ``magnitude`` where there is no posterior.
        scope: ``global`` ranks the channels of all groups together, ``layer`` takes the same share of each.
        per: divide scores by what a channel saves: ``channel`` nothing, ``params``, ``macs``.
        minimum: channels that every group keeps.
        round_to: widths are multiples of this, or what they were.
        exact: leave channels whole that an operation normalises over (LayerNorm).
        emission: ``fold`` into biases what the channels send, or ``drop`` it. What is the same for every input is folded
            exactly, else its mean over ``data`` (or ``example``, without); ``rows`` of the result tell which.
        rounding: choose widths near the wanted ones by measured time; the share or size is missed by as much.
        data: training data, for criteria that need them and for the means of channels.
        example: inputs ``[b, …]`` to trace on, two or more, or a tuple or a mapping of several; taken from ``data`` by
            default. Without ``data`` give as many as make a fair mean.
        kind: ``classification`` or ``regression``.
        loss: or a loss function of (outputs, targets), see ``fit``.
        seed: seed of criteria that draw.
        lenient: keep channels whole that an unknown operation touches, in place of refusing the network.
        heads: of attention's heads, ``whole`` ones go, or channels ``inside`` of them, the same of each head. The scale of
            attention is 1 / √(channels of a head) unless it is given, so those of queries and keys go with ``exact=False``.

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
        held = as_dataset(data, part="training part")
        kind = asked(template(net), held, kind, loss, task_of(net))
        net = net if isinstance(net, Family) else suited(net, held)
        part, kind = admit(template(net), held, kind, task_of(net), "training part")
    options = Options(criterion, limits, per, exact, emission, rounding, kind, seed, lenient, heads)
    net, example = tried(net, inputs(part, example))
    return reduce(
        member_of(net, lam, example),
        goal,
        options,
        data=part,
        example=example,
        check=goal if isinstance(goal, Target) else None,
    )


@checked
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
    return cut_family(family, found.plan, copy_network(found.family.net)), found


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


def reduce(
    member: Family,
    goal: float | Target,
    options: Options,
    *,
    data: Dataset | None,
    example: Tensor,
    origin: Mapping[str, int] | None = None,
    check: Target | None = None,
) -> Pruned:
    """Returns a member without some of its channels; ``slim`` and rounds of retraining end here.

    Args:
        member: family of one.
        goal: share of the channels, or size.
        options: how.
        data: training data, for criteria that need them and for the means of channels.
        example: inputs to trace on.
        origin: widths that the share is counted of; those now by default.
        check: a target to refuse if it cannot be reached.
    """
    graph = graph_of(member, example, lenient=options.lenient, heads=options.heads)
    criterion = options.criterion or default_criterion(member)
    scores = _scores(member, graph, criterion, options, data)
    order = blocks(scores, options.limits, origin)
    if check is not None:
        check_size(graph, order, check)
    chosen = _choose(graph, order, goal, scores, options, origin)
    tables: tuple[LatencyTable, ...] = ()
    if options.rounding is not None:
        chosen, tables = rounded(
            graph, scores, chosen, options.rounding, minimum=options.limits.minimum
        )
    before = graph.widths
    done = remove(graph, chosen, emission=options.emission, data=data)
    whys = {g.name: f"{g.mixed[0]} normalises over it" for g in graph.groups if g.mixed}
    rows = tuple(
        GroupRow(
            name,
            before[name],
            done.graph.widths[name],
            done.how[name] if name in scores else "fixed",
            done.why.get(name, whys.get(name, "")),
            done.assumed.get(name, {}),
        )
        for name in before
    )
    small = written(member, done.plan, done.graph)
    return Pruned(done.graph, small, done.plan, rows, criterion, tables, done.n_measured)


def _scores(
    member: Family, graph: Graph, criterion: str, options: Options, data: Dataset | None
) -> Scores:
    """Returns the scores of the channels that may be removed.

    Raises:
        ConfigError: there are none.
    """
    (lam,) = member.config.lams
    found = importance(member, [lam], criterion, data=data, kind=options.kind, seed=options.seed)[0]
    scores = channel_scores(graph, member.layout.split(found), criterion, per=options.per)
    mixed = {group.name: group.mixed[0] for group in graph.groups if group.mixed and options.exact}
    free = {name: score for name, score in scores.items() if name not in mixed}
    if all(len(score) == 1 for score in free.values()):
        reasons = [f"{leaf} {why}" for leaf, why in graph.kept.items()]
        reasons += [f"{m} depends on all channels of {n}" for n, m in mixed.items()]
        reasons += ["exact=False (--no-exact) lets those go, and outputs change"] if mixed else []
        raise ConfigError(
            f"{type(member.net).__name__}: no channel can go ({'; '.join(reasons) or 'all layers have one'}); "
            "prune single weights instead (netdial.pruning.weights), or give a network with hidden layers"
        )
    return free


def _choose(
    graph: Graph,
    order: list[ChannelBlock],
    goal: float | Target,
    scores: Scores,
    options: Options,
    origin: Mapping[str, int] | None,
) -> Chosen:
    if isinstance(goal, Target):
        return by_target(graph, order, goal)
    now = {name: len(score) for name, score in scores.items()}
    start = None if origin is None else {name: origin.get(name, size) for name, size in now.items()}
    return by_share(order, goal, scope=options.limits.scope, now=now, origin=start)
