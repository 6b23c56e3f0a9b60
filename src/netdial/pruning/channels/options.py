"""How channels are chosen and removed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from netdial.channels.graph import Graph
from netdial.channels.rules import Heads
from netdial.core.arguments import checked_fields
from netdial.core.errors import some_of
from netdial.pruning.channels.choosing import Limits
from netdial.pruning.channels.latency import Rounding
from netdial.pruning.channels.removal import Emission
from netdial.pruning.channels.scores import Per
from netdial.task import Task


@checked_fields
@dataclass(frozen=True)
class Options:
    """Settings of how channels are chosen and removed.

    Attributes:
        criterion: a name in ``CRITERIA``; None for ``density``, or ``magnitude`` where there is no posterior, or ``taylor``
            there if inputs go and there is data.
        limits: what may go, and where shares are counted.
        per: what scores are divided by: ``channel`` nothing, ``params`` or ``macs`` that a channel saves.
        exact: leave channels whole that an operation normalises over (LayerNorm): without them the others change.
        emission: ``fold`` what the channels send into biases (exactly where it is the same for every input, else its mean
            over the data), ``refit`` the layers behind them as well, where there are data, or ``drop`` it. By default
            ``refit``, and ``fold`` where training follows, which did better from weights that were not refit.
        rounding: choose widths by measured time; None does not.
        kind: the task: a name, or a ``Task``; by default that of the family.
        seed: seed of criteria that draw.
        lenient: keep channels whole that an unknown operation touches, in place of refusing the network.
        inputs: let inputs of linear layers go, too: the network then picks those that are left.
        heads: of attention's heads and GroupNorm's groups, ``whole`` ones go, or channels ``inside`` of them, as many of each.
        steps: in how many parts channels go; scores are taken anew before each.
    """

    criterion: Annotated[
        str | None,
        Field(
            description="what goes first, by default density, or magnitude for points, or taylor for points with inputs",
            json_schema_extra={"names": "netdial.pruning.weights:CRITERIA"},
        ),
    ] = None
    limits: Limits = field(default_factory=Limits)
    per: Annotated[Per, Field(description="divide importance by what a channel saves")] = "channel"
    exact: Annotated[
        bool,
        Field(description="leave channels whole that an operation normalises over (LayerNorm)"),
    ] = True
    emission: Annotated[
        Emission | None,
        Field(
            description="what channels sent: refit the layers behind them to expect it from those that are left, "
            "fold its mean into biases, or drop it; by default refit, and fold where training follows"
        ),
    ] = None
    rounding: Rounding | None = None
    kind: str | Task | None = None
    seed: int = 0
    lenient: Annotated[
        bool, Field(description="keep channels whole around operations that have no rule")
    ] = False
    inputs: Annotated[
        bool, Field(description="let inputs of linear layers go, too: the network picks its inputs")
    ] = False
    heads: Annotated[
        Heads,
        Field(
            description="what attention and GroupNorm lose: whole heads and groups, or channels inside"
        ),
    ] = "whole"
    steps: Annotated[
        int, Field(ge=1, description="parts in which channels go, scored anew before each")
    ] = 1

    def more(self, graph: Graph, ranked: Collection[str]) -> list[str]:
        """Returns what would let a network become smaller than it can by these settings, in words.

        Args:
            graph: the network.
            ranked: groups whose channels have scores.
        """
        names = [name for name in ("minimum", "round_to") if getattr(self.limits, name) > 1]
        more = [f"lower {' or '.join(names)}"] if names else []
        frozen = [g.name for g in graph.groups if g.name not in ranked and not g.mixed]
        if frozen:
            more.append(f"unfreeze what makes {some_of(frozen)}: requires_grad_(True)")
        mixing = next((group.mixed[0] for group in graph.groups if group.mixed), "")
        if mixing and self.exact:
            more.append(
                f"let channels go that are normalised together, by {mixing}: exact=False (--no-exact), and outputs change"
            )
        return more
