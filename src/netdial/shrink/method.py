"""Shrinking as a method of training: what one step does, and when dead channels are collected.

A step: gradient of the loss, the user's optimiser for the weights, the weight penalty, then the switches: gradient and penalty,
the killing rule, zeros. Every so many steps the dead are removed physically (``collect``). With a target, every channel that is
to go next has a λ of its own (``fading.py``).

Source: ShrinkNets (draft), eqs. 2 and 9, section 3.5. Deviations: the penalty acts by a proximal step by default, so that λ
means the same under every optimiser (``penalty.py``); the weight penalty is decoupled.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from netdial.core.cutting import cut_module
from netdial.core.errors import NonFiniteError
from netdial.core.noise import seeded
from netdial.core.plan import Plan
from netdial.objective import LIKELIHOODS, Terms
from netdial.shrink.collect import Collection, collect
from netdial.shrink.config import ShrinkConfig
from netdial.shrink.control import LAM_SCHEDULES, Target, check_target, course, parse_target
from netdial.shrink.fading import Channels, choose, pulls, score, silence
from netdial.shrink.graph import Graph
from netdial.shrink.killing import Rule, make_rule
from netdial.shrink.penalty import decay, step_switches, subgradient
from netdial.shrink.sizes import size, strip, switches_of, thetas
from netdial.shrink.surgery import apply
from netdial.train.feed import Batch
from netdial.train.method import Workers
from netdial.train.optimiser import build_optimizer, make_scheduler


@dataclass(frozen=True)
class Event:
    """One collection, with when and why.

    Attributes:
        step: optimiser step.
        lam: λ at that moment.
        rule: what killed: the name of the killing rule, or ``target``.
        gone: group -> channels, as they were numbered in the network at the start.
        collection: what was done.
    """

    step: int
    lam: float
    rule: str
    gone: Mapping[str, tuple[int, ...]]
    collection: Collection


@dataclass
class State:
    """What training changes.

    Attributes:
        graph: the network.
        optimizer: moves the weights.
        scheduler: sets its rates.
        rules: switch -> its killing rule.
        alive: group -> the channels that are left, as they were numbered at the start.
        plan: all that was cut so far, in terms of the network at the start.
        lam: λ now; with a target the mean over the channels that fade.
        begin: size at the start, in the unit of the target; 0 without one.
        scores: switch -> what its channels are worth ``[C]``.
        fading: channels on their way out.
        step: optimiser steps so far.
        events: collections that removed something, since the last ``drain``.
        seen: terms of the epoch under way.
    """

    graph: Graph
    optimizer: torch.optim.Optimizer
    scheduler: Any
    rules: dict[str, Rule]
    alive: dict[str, tuple[int, ...]]
    plan: Plan = field(default_factory=Plan)
    lam: float = 0.0
    begin: float = 0.0
    scores: dict[str, Tensor] = field(default_factory=dict)
    fading: Channels = field(default_factory=dict)
    step: int = 0
    best: float = float("inf")
    waited: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    seen: list[tuple[Tensor, Terms]] = field(default_factory=list)
    n_updates: int = 0
    pulls: dict[str, Tensor] = field(default_factory=dict)

    @property
    def module(self) -> fx.GraphModule:
        """What is trained."""
        return self.graph.traced

    def epoch_so_far(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns unit coordinates (none has a meaning here), fits and complexities ``[M]`` of the epoch under way."""
        units, terms = zip(*self.seen, strict=True)
        fits, complexities = zip(*terms, strict=True)
        return torch.cat(units), torch.cat(fits), torch.cat(complexities)

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "plan": self.plan.to_json(),
            "alive": {name: list(channels) for name, channels in self.alive.items()},
            "module": dict(self.module.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {
                "last_epoch": self.scheduler.last_epoch,
                "lr": self.scheduler.get_last_lr(),
            },
            "rules": {name: rule.state() for name, rule in self.rules.items()},
            "lam": self.lam,
            "begin": self.begin,
            "scores": self.scores,
            "fading": {name: list(channels) for name, channels in self.fading.items()},
            "pulls": self.pulls,
            "step": self.step,
            "n_updates": self.n_updates,
            "seen": list(self.epoch_so_far()) if self.seen else [],
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave, into the network as it was at the start."""
        self.plan = Plan.from_json(tree["plan"])
        apply(self.plan, self.module, optimizers=[self.optimizer])
        self.module.load_state_dict(tree["module"])
        self.graph = Graph.of(self.module, self.graph.example)
        self.alive = {name: tuple(channels) for name, channels in tree["alive"].items()}
        self.optimizer.load_state_dict(tree["optimizer"])
        self.scheduler.last_epoch = tree["scheduler"]["last_epoch"]
        self.scheduler._last_lr = tree["scheduler"]["lr"]
        for name, rule in self.rules.items():
            rule.restore(tree["rules"][name])
        self.scores, self.pulls = tree["scores"], tree["pulls"]
        self.fading = {name: tuple(channels) for name, channels in tree["fading"].items()}
        self.lam, self.begin = tree["lam"], tree["begin"]
        self.step, self.n_updates = tree["step"], tree["n_updates"]
        self.seen = [(tree["seen"][0], Terms(*tree["seen"][1:]))] if tree["seen"] else []


class ShrinkMethod:
    """Steps that train a network and let it shrink.

    Args:
        config: settings.
        kind: ``classification`` or ``regression``.
        steps: batches in an epoch.
        workers: the processes that train together.
    """

    def __init__(
        self, config: ShrinkConfig, *, kind: str, steps: int, workers: Workers | None = None
    ) -> None:
        self.config = config
        self.workers = workers or Workers()
        self._likelihood = LIKELIHOODS[kind]
        self._steps = steps
        self._total = config.epochs * steps
        self._every = config.collect_every or steps
        self._schedule = LAM_SCHEDULES[config.lam_schedule](self._total)
        self._target = parse_target(config.target) if config.target else None
        self._weights: dict[str, float] = {}

    def init(self, graph: Graph) -> State:
        """Returns the state before the first step.

        Args:
            graph: the network with its switches.

        Raises:
            ConfigError: the target is not below the size at the start, or below what is left when every group has its
                minimum.
        """
        weights = list(strip(graph.traced).values())
        moved = list(thetas(graph).values()) if self.config.penalty == "subgradient" else []
        groups = [{"params": [*weights, *moved], "lr": self.config.lr}]
        optimizer = build_optimizer(groups, self.config)
        state = State(
            graph,
            optimizer,
            make_scheduler(optimizer, self.config, self._total),
            {name: make_rule(self.config.rule) for name in thetas(graph)},
            {group.name: tuple(range(group.size)) for group in graph.groups},
            lam=self.config.lam,
        )
        if self._target is not None:
            state.lam, state.begin = 0.0, self._begin(graph, self._target)
        for name, theta in thetas(graph).items():
            state.rules[name].update(theta)
        self._weigh(graph)
        return state

    def _begin(self, graph: Graph, target: Target) -> float:
        """Returns the size at the start, having checked that the target can be reached from there."""
        least = copy.deepcopy(graph.traced)
        spare = {
            group: range(len(held[0][1]) - self.config.minimum)
            for group, held in switches_of(graph).items()
        }
        cut_module(graph.plan(spare), least)
        start = size(graph, target.kind).value
        check_target(
            target, start=start, least=size(replace(graph, traced=least), target.kind).value
        )
        return start

    def step(self, state: State, batch: Batch) -> tuple[Tensor, Terms]:
        """Makes one optimiser step; returns a coordinate without meaning and the terms before it, ``[1]`` each.

        Raises:
            NonFiniteError: the loss or a switch is not a finite number.
        """
        switches = thetas(state.graph)
        state.optimizer.zero_grad(set_to_none=True)
        for theta in switches.values():
            theta.grad = None
        terms = self._backward(state, batch, switches)
        if self.config.penalty == "subgradient":
            subgradient(switches, state.lam, weights=self._weights)
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(state.module.parameters(), self.config.clip)
        state.optimizer.step()
        rate = float(state.scheduler.get_last_lr()[0])
        state.scheduler.step()
        if self.config.lam2:
            decay(strip(state.module).values(), self.config.lam2, rate=rate, p=self.config.power)
        self._switch(state, switches)
        state.step += 1
        state.n_updates += sum(p.numel() for p in state.module.parameters())
        if state.step % self._every == 0 or state.step == self._total:
            self._collect(state)
        return torch.zeros(1), terms

    def _backward(self, state: State, batch: Batch, switches: Mapping[str, Tensor]) -> Terms:
        """Adds gradients of the mean loss over the whole batch; returns the terms of this process's share."""
        workers, size_ = self.workers, len(batch[1])
        mine = slice(
            size_ * workers.rank // workers.count, size_ * (workers.rank + 1) // workers.count
        )
        x, y = batch[0][mine], batch[1][mine]
        with workers.autocast(), seeded(self.config.seed, state.step, workers.rank):
            outputs = state.module(x)
        nll = self._likelihood(outputs.float() if outputs.dtype == torch.bfloat16 else outputs, y)
        fit = nll.detach().mean()
        if not bool(torch.isfinite(fit)):
            bad = [n for n, p in state.module.named_parameters() if not bool(p.isfinite().all())]
            raise NonFiniteError(
                f"step {state.step}: the loss is {float(fit)}; not finite: {', '.join(bad) or 'no parameter'}; "
                "lower lr, set clip=1, or check the data for huge values"
            )
        (nll.sum() / size_).backward()
        if workers.count > 1:
            workers.sum_([p.grad for p in state.module.parameters() if p.grad is not None])
            buffers = [b for b in state.module.buffers() if b.is_floating_point()]
            workers.sum_(buffers)
            for buffer in buffers:
                buffer /= workers.count
        weights = self._weights
        with torch.no_grad():
            norm = sum(weights.get(n, 1.0) * theta.abs().sum() for n, theta in switches.items())
        return Terms(fit.view(1), torch.as_tensor(state.lam * norm, dtype=fit.dtype).view(1))

    def _switch(self, state: State, switches: Mapping[str, Tensor]) -> None:
        """Moves the switches; sets those that the rule calls dead to 0."""
        rate = self.config.switch_rate
        if self._target is not None:
            score(state.scores, switches)
            step_switches(
                switches, 1.0, rate=rate, weights=state.pulls or dict.fromkeys(switches, 0.0)
            )
            return
        if self.config.penalty == "proximal":
            step_switches(switches, state.lam, rate=rate, weights=self._weights)
        with torch.no_grad():
            for name, theta in switches.items():
                theta[state.rules[name].update(theta)] = 0.0

    def _collect(self, state: State) -> None:
        """Removes what is dead, and sets λ for the steps to come."""
        if self._target is None:
            self._remove(state, None, self.config.rule)
            state.lam = self.config.lam * self._schedule(state.step)
            return
        silence(state.graph, state.fading)
        if state.fading:
            self._remove(state, state.fading, "target")
        now = size(state.graph, self._target.kind)
        progress = min((state.step + self._every) / self._total, 1.0)
        goal = course(self._target, progress, start=state.begin, deadline=self.config.deadline)
        state.fading = choose(
            state.graph, state.scores, now=now, goal=goal, minimum=self.config.minimum
        )
        reach = self.config.switch_rate * self._every
        state.pulls = pulls(state.graph, state.fading, reach=reach)
        fade = torch.cat([pull[pull > 0] for pull in state.pulls.values()])
        state.lam = float(fade.mean()) if len(fade) else 0.0

    def _remove(self, state: State, only: Channels | None, rule: str) -> None:
        """Collects, and lets everything that goes by channels follow."""
        state.graph, done = collect(
            state.graph, only=only, minimum=self.config.minimum, optimizers=[state.optimizer]
        )
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
        state.events.append(Event(state.step, state.lam, rule, gone, done))
        self._weigh(state.graph)

    def _weigh(self, graph: Graph) -> None:
        """Sets the factor of λ of each switch: what a channel costs, relative to the mean over all."""
        if self.config.weigh == "channel":
            return
        saved = size(graph, self.config.weigh).saved
        held = switches_of(graph)
        counted = [(saved[group], len(at)) for group, parts in held.items() for _, at in parts]
        mean = sum(cost * n for cost, n in counted) / max(sum(n for _, n in counted), 1)
        self._weights = {
            name: saved[group] / max(mean, 1e-30)
            for group, parts in held.items()
            for name, _ in parts
        }
