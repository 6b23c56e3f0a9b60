"""Removal of channels from the state of a shrinking: the network is cut, and all that is kept by channel follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from netdial.channels.collect import Collection, collect
from netdial.channels.fold.bypass import bypass, origins
from netdial.channels.fold.norms import settle
from netdial.channels.sizes import size, strip, switches_of, thetas, total
from netdial.core.plan import Plan
from netdial.core.records import Event
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.fading import Channels
from netdial.shrinking.state import ShrinkState


def dead_channels(state: ShrinkState) -> Channels:
    """Returns the channels of which all switches are dead."""
    found: Channels = {}
    for group, held in switches_of(state.graph).items():
        off = [state.dead[name][at.to(state.dead[name].device)].all(1) for name, at in held]
        dead = torch.stack(off).all(0)
        found[group] = tuple(dead.nonzero().flatten().tolist())
    return found


def remove_branches(state: ShrinkState, *, continues: bool) -> None:
    """Removes the branches all of whose channels are dead; ``continues`` says whether training goes on."""
    before, dead = state.graph, dead_channels(state)
    if not any(len(channels) == before.widths[group] for group, channels in dead.items()):
        return
    state.graph, taken = bypass(
        before,
        continues=continues,
        lenient=state.lenient,
        optimizers=[state.optimizer],
    )
    if not taken:
        return
    came, was = origins(before, state.graph), state.alive
    state.alive = {new: tuple(was[g][c] for g, c in parts) for new, parts in came.items()}
    state.plan = _renamed(state.plan, was, came, state.alive)
    kept = {part for parts in came.values() for part in parts}
    gone = {
        group: tuple(was[group][c] for c in range(width) if (group, c) not in kept)
        for group, width in before.widths.items()
    }
    state.forget(set(thetas(state.graph)))
    done = Collection(Plan(), state.graph.widths, total(strip(state.module)))
    lost = {group: channels for group, channels in gone.items() if channels}
    _note(state, "bypass", lost, done)


def remove_channels(
    state: ShrinkState, config: ShrinkConfig, only: Channels | None, rule: str
) -> None:
    """Removes channels from the network, and from everything in the state that is kept by channel."""
    if only is None or any(only.values()):
        settle(state.graph)
    state.graph, done = collect(
        state.graph, only=only, minimum=config.minimum, optimizers=[state.optimizer]
    )
    state.refused, state.dead = dict(done.refused), {}
    if not done.plan:
        return
    gone = {g: tuple(state.alive[g][c] for c in cs) for g, cs in done.plan.removed.items()}
    state.alive = {
        g: tuple(c for c in channels if c not in set(gone.get(g, ())))
        for g, channels in state.alive.items()
    }
    state.plan = state.plan.then(done.plan)
    for name, rule_ in state.rules.items():
        survivors = done.plan.cuts.get(f"{name}.theta", {}).get(0)
        if survivors is not None:
            rule_.cut(torch.tensor(survivors))
            if name in state.scores:
                state.scores[name] = state.scores[name][list(survivors)]
    _note(state, rule, gone, done)
    weigh(state, config)


def _note(state: ShrinkState, rule: str, gone: Channels, done: Collection) -> None:
    """Adds to the events what a collection removed."""
    event = Event(
        state.step,
        state.lam,
        rule,
        dict(gone),
        dict(done.widths),
        done.n_params,
        dict(done.folded),
        dict(done.refused),
        done.difference,
        done.seconds,
    )
    state.events.append(event)


def weigh(state: ShrinkState, config: ShrinkConfig) -> None:
    """Sets the factor of λ of each switch: what a channel costs, relative to the mean over all."""
    if config.weigh == "channel":
        return
    saved = size(state.graph, config.weigh).saved
    held = switches_of(state.graph)
    counted = [(saved[group], len(at)) for group, parts in held.items() for _, at in parts]
    mean = sum(cost * n for cost, n in counted) / max(sum(n for _, n in counted), 1)
    state.weights = {
        name: saved[group] / max(mean, 1e-30) / at.shape[1]
        for group, parts in held.items()
        for name, at in parts
    }


def _renamed(
    plan: Plan,
    was: Channels,
    came: Mapping[str, tuple[tuple[str, int], ...]],
    alive: Channels,
) -> Plan:
    """Returns a plan whose ``removed`` is in terms of the groups after a bypass.

    Args:
        plan: what was cut so far.
        was: group -> channels that were left before the bypass.
        came: group -> group and channel that each of its channels was before.
        alive: group -> channels that are left, as they were numbered at the start.
    """
    removed = {}
    for name, parts in came.items():
        before = {old for group, _ in parts for old in (*was[group], *plan.removed.get(group, ()))}
        if gone := before - set(alive[name]):
            removed[name] = tuple(sorted(gone))
    return replace(plan, removed=removed)
