"""Rivals of a network that was made small: the same network left whole, one of equal size, and one pruned by magnitude.

Each is a function ``(Match, parameters) -> Guess`` in ``SMALLER``: it trains within the time of the match, and all but the
whole network have about as many parameters as are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from netdial.contest.contenders.plain import trained
from netdial.contest.match import Guess, Match
from netdial.core.noise import seeded
from netdial.core.registry import Registry
from netdial.pruning.channels import slim
from netdial.pruning.channels.choosing import Scope
from netdial.runs.curves import WHOLE

SMALLER: Registry[Callable[[Match, int], Guess]] = Registry("rival of a small network")
"""Rivals of a small network by name."""


@SMALLER.add(WHOLE)
def whole(match: Match, params: int) -> Guess:
    """Trains the network as it was given."""
    return trained(match, match.seconds)


@SMALLER.add("narrow network")
def narrow(match: Match, params: int) -> Guess:
    """Takes the same share of every layer away, and trains what is left from fresh weights."""
    net = _cut(match, match.net(match.seed), params, "random", "layer")
    with seeded(match.seed, "narrow network"):
        for part in net.modules():
            if callable(fresh := getattr(part, "reset_parameters", None)):
                fresh()
    return trained(replace(match, net=lambda seed: net), match.seconds)


@SMALLER.add("pruned by magnitude")
def pruned(match: Match, params: int) -> Guess:
    """Trains the whole network, removes the channels of least norm, and trains on, each for half of the time."""
    net, half = match.net(match.seed), match.seconds / 2
    trained(replace(match, net=lambda seed: net), half)
    small = _cut(match, net, params, "magnitude", "global")
    return trained(replace(match, net=lambda seed: small), half)


def _cut(match: Match, net: nn.Module, params: int, criterion: str, scope: Scope) -> nn.Module:
    """Returns a network without so many channels that about so many parameters are left, itself if it is no larger."""
    if sum(p.numel() for p in net.parameters()) <= params:
        return net
    rows = torch.arange(min(256, len(match.train)))
    found = slim(
        net.eval(),
        size=f"{params} params",
        criterion=criterion,
        scope=scope,
        example=match.train.inputs(rows),
        seed=match.seed,
    )
    return found.net
