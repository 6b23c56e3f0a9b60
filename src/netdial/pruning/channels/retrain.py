"""Remove a few channels, train what is left, repeat.

Shares and sizes fall geometrically: every round takes the same part of what the round before left, so that early rounds, where
there is much to spare, take more channels than late ones. A member of a family is trained under its own objective; a network
that belongs to none is trained on its loss alone. Several sizes are a ladder of networks, each cut from the one before: what
one has learned the next, smaller one keeps, and all together take little more training than the largest alone.

Source: Molchanov et al. 2017 (iterative pruning of feature maps with fine-tuning). Deviation: rounds are few and trained long,
in place of one feature map at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx, nn

from netdial.channels.trace.trace import is_exported, trace
from netdial.core.arguments import checked
from netdial.core.outputs import in_usual_modes
from netdial.core.size import Target
from netdial.data.memory import Data
from netdial.pruning.channels.member import (
    admitted,
    example_inputs,
    graph_of,
    member_of,
    tried,
)
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.prune import goals_of
from netdial.pruning.channels.reducing import Pruned, goals, reduce, rows_since, spent
from netdial.shrinking.shrink import check_batch
from netdial.train.config import FitConfig
from netdial.train.finetune import finetune
from netdial.train.fit import settings_of
from netdial.train.session import batch_of, with_lengths

RATE = 1e-2
"""Peak learning rate after pruning that goes without saying; benchmark ``slim-rate``."""


@dataclass(frozen=True, eq=False)
class StructuredRound:
    """One round.

    Attributes:
        goal: share of the channels at the start that is to be gone, or size to be reached.
        pruned: the network after removal and before training.
        trained: the same after training.
    """

    goal: float | Target
    pruned: Pruned
    trained: Pruned


@checked
@in_usual_modes
def retrain_structured(
    net: nn.Module,
    lam: float | None,
    data: Data,
    *,
    share: float | None = None,
    size: Target | str | Sequence[Target | str] | None = None,
    rounds: int | None = None,
    options: Options | None = None,
    **settings: Any,
) -> list[StructuredRound]:
    """Removes channels in rounds and trains after each.

    Args:
        net: a family, or any trained network; it is left as it is.
        lam: complexity value of the member, for a family.
        data: training part.
        share: part of the channels to remove in the end, in (0, 1).
        size: or the size to arrive at; several, in one unit, are arrived at one after another, the largest first.
        rounds: how many times to remove and train: by default 3, or once for each of several sizes.
        options: how channels are chosen and taken out; widths are rounded by time in the last round of a size only.
        **settings: of the training after each round (``epochs``, ``lr``, …), as for ``finetune``; ``lr`` is 1e-2 by default.

    Returns:
        The rounds, up to the one after which no channel can go; ``trained`` of the last is the result, and of those whose
        ``goal`` is one of several sizes. Plans and rows are in terms of the network at the start.

    Raises:
        ConfigError, TraceError: as ``slim``; or fewer than one round, or sizes in different units; or what is left is a graph
            that trains otherwise than the network on batches of this size.
    """
    options = options or Options()
    net, part, task = admitted(net, data, options.kind)
    options = replace(options, emission=options.emission or "fold", kind=task)
    ladder, (net, example) = goals_of(share, size), tried(net, example_inputs(part, None))
    rounds = rounds if rounds is not None else 3 if len(ladder) == 1 else 1
    member = member_of(net, lam, example, inputs=options.inputs)
    start = graph_of(member, example, lenient=options.lenient, heads=options.heads)
    plan, done, now = start.plan({}), list[StructuredRound](), start
    whole, batch = (
        member.export(*member.config.lams),
        batch_of(part, with_lengths(_config(settings), part)),
    )
    check = tuple(goal for goal in ladder if isinstance(goal, Target))
    for goal in ladder:
        for number, step in enumerate(goals(goal, rounds, now, start.widths), 1):
            if done and spent(now, options):
                return done
            how = options if number == rounds else replace(options, rounding=None)
            pruned = reduce(
                member, step, how, data=part, example=example, origin=start.widths, check=check
            )
            plan, check = plan.then(pruned.plan), ()
            (at,) = pruned.family.config.lams
            if is_exported(pruned.graph.traced) and isinstance(pruned.family.net, fx.GraphModule):
                check_batch(whole, trace(whole, start.example), start.example, batch)
            member = finetune(
                pruned.family,
                at,
                part,
                **{"kind": options.kind, "seed": options.seed, **_rated(settings)},
            ).eval()
            now = graph_of(member, example, lenient=options.lenient, heads=options.heads)
            rows = rows_since(pruned, done[-1].trained if done else None)
            trained = replace(pruned, graph=now, family=member, plan=plan, rows=rows)
            done.append(StructuredRound(step, pruned, trained))
    return done


def _config(settings: dict[str, Any]) -> FitConfig:
    """Returns the settings of training as one value."""
    found: FitConfig = settings.get("config") or settings_of(None, _rated(settings))
    return found


def _rated(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings of training with a rate, unless all are given at once."""
    return settings if "config" in settings else {"lr": RATE, **settings}
