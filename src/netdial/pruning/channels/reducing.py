"""A member without some of its channels: scored, chosen, folded, cut, and written as a family of one; in steps where asked.

Scores are those of a network that has all its channels. Where many go, they say little of what is left in the end: with
``steps`` a part goes first, and scores are taken anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, fx

from netdial.channels.graph import Graph
from netdial.channels.layers.pick import Pick, inputs_read
from netdial.channels.sizes import size
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.plan import Plan
from netdial.core.size import Target
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.measure.noise import forget_noise
from netdial.pruning.channels.choosing import (
    ChannelBlock,
    Chosen,
    blocks,
    by_share,
    by_target,
    check_size,
)
from netdial.pruning.channels.latency import LatencyTable, rounded
from netdial.pruning.channels.member import graph_of, written
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.removal import ASSUMED, Assumed, How, remove
from netdial.pruning.channels.scores import Scores, channel_scores, free_first
from netdial.pruning.weights.criteria import default_criterion, importance
from netdial.shrinking.control import course


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
        refitted: layers with other weights, which make up for what went.
    """

    graph: Graph
    family: Family
    plan: Plan
    rows: tuple[GroupRow, ...]
    criterion: str
    tables: tuple[LatencyTable, ...] = ()
    n_measured: int = 0
    refitted: tuple[str, ...] = ()

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
    def inputs(self) -> tuple[int, ...] | None:
        """Numbers of the inputs that are still read, of the flattened ones; None if inputs were not to go.

        These are all where something besides linear layers reads them.
        """
        if not any(isinstance(part, Pick) for part in self.net.modules()):
            return None
        found = inputs_read(self.net)
        return tuple(range(self.graph.example[0].numel())) if found is None else found

    @property
    def n_params(self) -> int:
        """Numbers in all parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())


def reduce(
    member: Family,
    goal: float | Target,
    options: Options,
    *,
    data: Dataset | None,
    example: Tensor,
    origin: Mapping[str, int] | None = None,
    check: Sequence[Target] = (),
) -> Pruned:
    """Returns a member without some of its channels; ``slim`` and rounds of retraining end here.

    Args:
        member: family of one.
        goal: share of the channels, or size.
        options: how, and in how many steps.
        data: training data, for criteria that need them and for the means of channels.
        example: inputs to trace on.
        origin: widths that the share is counted of; those now by default.
        check: targets to refuse if they cannot be reached.
    """
    start = graph_of(member, example, lenient=options.lenient, heads=options.heads)
    if options.steps == 1:
        return _reduced(member, start, goal, options, data, origin, check)
    origin, plan, n_measured = origin or start.widths, start.plan({}), 0
    done: Pruned | None = None
    for number, step in enumerate(goals(goal, options.steps, start, origin)):
        if done is not None and spent(done.graph, options):
            break
        rounding = options.rounding if number == options.steps - 1 else None
        found = _reduced(
            member if done is None else done.family,
            start if done is None else done.graph,
            step,
            replace(options, rounding=rounding),
            data,
            origin,
            check if done is None else (),
        )
        plan, n_measured = plan.then(found.plan), max(n_measured, found.n_measured)
        refitted = tuple(dict.fromkeys([*(done.refitted if done else ()), *found.refitted]))
        done = replace(
            found,
            plan=plan,
            rows=rows_since(found, done),
            n_measured=n_measured,
            refitted=refitted,
        )
    assert done is not None
    return done


def spent(graph: Graph, options: Options) -> bool:
    """Returns whether no channel is left that could go."""
    return all(graph.widths[g.name] == 1 for g in graph.groups if not (g.mixed and options.exact))


def _reduced(
    member: Family,
    graph: Graph,
    goal: float | Target,
    options: Options,
    data: Dataset | None,
    origin: Mapping[str, int] | None,
    check: Sequence[Target],
) -> Pruned:
    """Returns a member without some of its channels, chosen by their scores now."""
    criterion = options.criterion or _default(member, options, data)
    emission = options.emission or "refit"
    scores = _scores(member, graph, criterion, options, data)
    if emission != "drop":
        scores = free_first(graph, scores)
    order = blocks(scores, options.limits, origin)
    for target in check:
        check_size(graph, order, target, options.more(graph, scores))
    chosen = _choose(graph, order, goal, scores, options, origin)
    tables: tuple[LatencyTable, ...] = ()
    if options.rounding is not None:
        chosen, tables = rounded(
            graph, scores, chosen, options.rounding, minimum=options.limits.minimum
        )
    before = graph.widths
    done = remove(graph, chosen, emission=emission, data=data, seed=options.seed)
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
    forget_noise(small)
    return Pruned(
        done.graph, small, done.plan, rows, criterion, tables, done.n_measured, done.refitted
    )


def _default(member: Family, options: Options, data: Dataset | None) -> str:
    """Returns the criterion where none is named.

    Inputs are scored by the columns that read them, channels by the rows that make them: the lengths of these cannot be
    compared, what they do to the loss can.
    """
    if options.inputs and data is not None and member.log_std is None:
        return "taylor"
    return default_criterion(member)


@checked
def shares(share: float, rounds: int) -> list[float]:
    """Returns the share that is gone after each round; what is left falls by the same factor each time.

    >>> [round(gone, 3) for gone in shares(0.875, 3)]
    [0.5, 0.75, 0.875]

    Raises:
        ConfigError: fewer than one round.
    """
    if rounds < 1:
        raise ConfigError(f"rounds={rounds}; expected at least 1")
    return [1 - (1 - share) ** (number / rounds) for number in range(1, rounds + 1)]


def goals(
    goal: float | Target, steps: int, start: Graph, origin: Mapping[str, int]
) -> list[float | Target]:
    """Returns the share or size of each step; what is left falls by the same factor each time.

    Args:
        goal: share of the channels at the start that is gone in the end, or size to arrive at.
        steps: how many.
        start: the network before the first step.
        origin: widths that shares are counted of.
    """
    if not isinstance(goal, Target):
        left = sum(start.widths.values()) / sum(origin[name] for name in start.widths)
        return [1 - left * (1 - gone) for gone in shares(1 - (1 - goal) / left, steps)]
    begin = size(start, goal.kind).value
    return [
        Target(goal.kind, course(goal, (number + 1) / steps, start=begin, deadline=1.0))
        for number in range(len(shares(0.5, steps)))
    ]


def rows_since(pruned: Pruned, earlier: Pruned | None) -> tuple[GroupRow, ...]:
    """Returns the rows of a step in terms of the network at the start; what was dropped once counts as dropped."""
    if earlier is None:
        return pruned.rows
    now = {row.group: row for row in pruned.rows}
    rows = []
    for was in earlier.rows:
        row = now.get(was.group)
        if row is None:  # a single channel, which makes no group any more
            rows.append(was)
            continue
        kept = was if row.how in ("whole", "fixed") or was.how == "dropped" else row
        assumed = {
            one: row.assumed.get(one, 0) + was.assumed.get(one, 0)
            for one in ASSUMED
            if one in row.assumed or one in was.assumed
        }
        rows.append(replace(row, before=was.before, how=kept.how, why=kept.why, assumed=assumed))
    return tuple(rows)


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
        whole = [group.name for group in graph.groups if group.name not in scores]
        reasons += [
            f"what makes {n} is frozen or shared, so nothing ranks its channels" for n in whole
        ]
        reasons += ["exact=False (--no-exact) lets those go, and outputs change"] if mixed else []
        raise ConfigError(
            f"{type(member.net).__name__}: no channel can go ({'; '.join(reasons) or 'all layers have one'}); "
            + (
                "export the member and unfreeze it, net = family.export(lam).requires_grad_(True); "
                if whole
                else ""
            )
            + "prune single weights instead (netdial.pruning.weights), or give a network with hidden layers"
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
