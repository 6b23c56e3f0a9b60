"""Training method of shrinking: one optimiser step, and the removal of dead channels every so many steps.

One step computes the gradient of the loss, updates the weights by the user's optimiser, applies the weight penalty, updates
the switches (gradient and penalty) and sets those to 0 that the killing rule calls dead. Every so many steps dead channels are
removed from the tensors (``collect``). With a target size, each channel to be removed next has its own λ (``fading.py``).

Source: ShrinkNets (draft), eqs. 2 and 9, section 3.5. Deviations: the penalty acts by a proximal step by default, so that λ
means the same under every optimiser (``penalty.py``); the weight penalty is decoupled, and biases and scales have none.

Processes that train together split each batch and sum their gradients, so they take the same steps and lose the same channels.
BatchNorm normalises by each process's share of the batch; its running statistics are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from netdial.channels.clock import NOISE, Clock
from netdial.channels.fold.norms import depends_on_all
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import ADDED
from netdial.channels.nodes import operations
from netdial.channels.sizes import size, thetas
from netdial.channels.surgery import prepare_optimizer
from netdial.core.cutting import cut_module
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.core.noise import seeded
from netdial.core.plan import Plan
from netdial.core.size import Target, parse_target
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.control import LAM_SCHEDULES, check_target, course
from netdial.shrinking.fading import can_fade, cannot_fade, choose, pulls, score, silence, vital
from netdial.shrinking.killing import make_rule
from netdial.shrinking.penalty import decay, step_switches, subgradient
from netdial.shrinking.removal import dead_channels, remove_branches, remove_channels, weigh
from netdial.shrinking.state import ShrinkState, trainable
from netdial.task import Task
from netdial.train.feed import Batch
from netdial.train.optimiser import build_optimizer, drop_gradients, make_rates
from netdial.train.session import Workers

_RATE = 0.1
"""Rate of the switches; a larger one is not stable where the loss is steep in a switch."""

_LEAST = 10
"""Collections of a training with a size: with fewer, too much goes at once."""

_REACH = 70.0
"""Rate × steps of a long training with a λ: a switch that nothing holds falls by 35 λ under the cosine schedule."""


class ShrinkMethod:
    """Training steps of a network that shrinks.

    Args:
        config: settings.
        task: what is predicted; its likelihood is the loss.
        steps: batches in an epoch.
        workers: the processes that train together.
    """

    def __init__(
        self, config: ShrinkConfig, *, task: Task, steps: int, workers: Workers | None = None
    ) -> None:
        self.config = config
        self.workers = workers or Workers()
        self._task = task
        self._steps = steps
        self._total = config.known_epochs * steps
        self._every = config.collect_every or steps
        longest = _RATE if config.size else _REACH / self._total
        self._rate = config.switch_rate or min(_RATE, longest)
        self._schedule = LAM_SCHEDULES[config.lam_schedule](self._total)
        self._target = parse_target(config.size) if config.size else None
        if self._target is not None:  # what fades after one collection goes with the next
            least = 2 if config.collect_every else _LEAST
            self._every = min(self._every, max(self._total // least, 1))

    def init(self, graph: Graph) -> ShrinkState:
        """Returns the state before the first step.

        Args:
            graph: the network with its switches.

        Raises:
            ConfigError: the target is not below the size at the start, or below what is left when every group has its
                minimum; or the optimiser is unknown to the surgery.
        """
        weights = trainable(graph)
        moved = list(thetas(graph).values()) if self.config.penalty == "subgradient" else []
        groups = [{"params": [*weights, *moved], "lr": self.config.known_lr}]
        optimizer = build_optimizer(groups, self.config)
        _check_optimizer(optimizer, graph)
        state = ShrinkState(
            graph,
            optimizer,
            make_rates(optimizer, self.config, self._total),
            {name: make_rule(self.config.rule) for name in thetas(graph)},
            {group.name: tuple(range(group.size)) for group in graph.groups},
            dict(graph.shapes),
            tuple(operations(graph.traced)),
            lenient=self.config.lenient,
            lam=self.config.lam * self._schedule(0),
        )
        if self._target is not None:
            state.able = can_fade(graph)
            state.lam, state.begin = 0.0, self._begin(state, self._target)
        else:
            state.vital = vital(graph)
        for name, theta in thetas(graph).items():
            state.rules[name].update(theta)
        weigh(state, self.config)
        return state

    def _begin(self, state: ShrinkState, target: Target) -> float:
        """Returns the size at the start, having checked that the target can be reached from there."""
        graph = state.graph
        cut = copy.deepcopy(graph.traced)
        spare = {group: range(graph.widths[group] - self.config.minimum) for group in state.able}
        cut_module(graph.plan(spare), cut)
        least = replace(graph, traced=cut)
        if target.kind == "ms":
            clock = Clock(graph, least, agree=partial(self._mean, graph.example.device))
            state.clock, start, smallest = clock, clock.start, (1 + NOISE) * clock.floor
        else:
            start, smallest = (size(each, target.kind).value for each in (graph, least))
        whole = cannot_fade(graph, state.able) if target.value < smallest else {}
        more = ["lower minimum"] * (self.config.minimum > 1)
        together = {group.name: depends_on_all(graph, group) for group in graph.groups}
        streams = [g.name for g in graph.groups if graph.kept.get(g.slots[0].leaf) == ADDED]
        if not all(map(together.get, streams)):
            more.append("let residual streams shrink, too (streams)")
        if normalised := next(filter(None, together.values()), ""):
            more.append(
                f"take out channels first that are normalised together, by {normalised}: "
                "nd.slim(net, size=…, scope='layer', exact=False), and shrink what that leaves (its net)"
            )
        check_target(target, start=start, least=smallest, whole=whole, more=more)
        if self._total < 2:
            raise ConfigError(
                f"target of {target}: one step of training leaves no time to fade; raise epochs, or lower batch_size"
            )
        return start

    def _mean(self, device: torch.device, value: float) -> float:
        """Returns the mean over processes, each of which measures milliseconds of its own."""
        if self.workers.count == 1:
            return value
        mean = torch.tensor([value / self.workers.count], device=device)
        self.workers.sum_([mean])
        return float(mean)

    def step(self, state: ShrinkState, batch: Batch) -> dict[str, Tensor]:
        """Makes one optimiser step.

        Returns:
            The loss before it (``fit``) and the penalty on the switches (``complexity``), ``[1]`` each, in nats per example.

        Raises:
            NonFiniteError: the loss or a switch is not a finite number.
        """
        moving = state.moving()
        switches = moving.switches
        for layer in moving.norms:
            layer.eval()
        drop_gradients(state.optimizer)
        for theta in switches.values():
            theta.grad = None
        terms = self._backward(state, batch, switches)
        if self.config.penalty == "subgradient":
            with _named(state.step):
                subgradient(switches, state.lam, weights=state.weights)
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(state.module.parameters(), self.config.clip)
        state.optimizer.step()
        rate = state.rates.now[0]
        state.rates.step()
        if lam2 := self.config.known_lam2:
            decay(moving.decayed, lam2, rate=rate, p=self.config.power)
        with _named(state.step):
            self._switch(state, switches)
        state.step += 1
        state.n_updates += moving.n_params
        if state.step % self._every == 0 or state.step == self._total:
            self._collect(state)
        if self._target is None:
            state.lam = self.config.lam * self._schedule(state.step)
        return terms

    def _backward(
        self, state: ShrinkState, batch: Batch, switches: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Adds gradients of the mean loss over the whole batch; returns the terms of this process's share."""
        x, y, weight, share = Batch(*batch)
        workers, size_ = self.workers, len(y)
        mine = slice(
            size_ * workers.rank // workers.count, size_ * (workers.rank + 1) // workers.count
        )
        x, y = x[mine], y[mine]
        with workers.autocast(), seeded(self.config.seed, state.step, workers.rank):
            outputs = state.module(x)
        nll = self._task.nll(outputs.float() if outputs.dtype == torch.bfloat16 else outputs, y)
        if weight is not None:
            nll = nll * weight[mine].to(nll)
        fit = nll.detach().mean()
        if not bool(torch.isfinite(fit)):
            bad = [n for n, p in state.module.named_parameters() if not bool(p.isfinite().all())]
            raise NonFiniteError(
                f"step {state.step}: the loss is {float(fit)}; not finite: {', '.join(bad) or 'no parameter'}; "
                "lower lr or switch_rate, set clip to 1, or check the data for huge values"
            )
        (share * nll.sum() / size_).backward()
        if workers.count > 1:
            workers.sum_([p.grad for p in state.module.parameters() if p.grad is not None])
            buffers = [b for b in state.module.buffers() if b.is_floating_point()]
            workers.sum_(buffers)
            for buffer in buffers:
                buffer /= workers.count
        with torch.no_grad():
            norm = sum(state.weights.get(n, 1.0) * t.abs().sum() for n, t in switches.items())
        complexity = torch.as_tensor(state.lam * norm, dtype=fit.dtype)
        return {"fit": fit.view(1), "complexity": complexity.view(1)}

    def _switch(self, state: ShrinkState, switches: Mapping[str, Tensor]) -> None:
        """Updates the switches; sets those of dead channels to 0."""
        rate = self._rate
        if self._target is not None:
            score(state.scores, switches)
            step_switches(
                switches, 1.0, rate=rate, weights=state.pulls or dict.fromkeys(switches, 0.0)
            )
            return
        before = {name: theta.detach().clone() for name, theta in switches.items()}
        if self.config.penalty == "proximal":
            step_switches(switches, state.lam, rate=rate, weights=state.weights)
        with torch.no_grad():
            for name, theta in switches.items():
                dead = state.dead[name] = state.rules[name].update(theta)
                theta[dead] = 0.0
                least = min(self.config.minimum, len(theta))
                if name in state.vital and int(theta.count_nonzero()) < least:
                    last = before[name].abs().topk(least).indices
                    theta[last], dead[last] = before[name][last], False

    def _collect(self, state: ShrinkState) -> None:
        """Removes dead channels; with a target, also chooses which channels fade next."""
        if self._target is None:
            remove_branches(state, continues=state.step < self._total)
            remove_channels(state, self.config, dead_channels(state), self.config.rule)
            return
        silence(state.graph, state.fading)
        if state.fading:
            remove_channels(state, self.config, state.fading, "size")
        now = size(state.graph, self._target.kind, state.clock)
        goal = course(
            self._target,
            min((state.step + self._every) / self._total, 1.0),
            start=state.begin,
            deadline=self.config.deadline,
            wait=self.config.wait,
        )
        last = goal == self._target.value
        if state.clock is not None and last and self._is_there(state, now.value):
            goal = now.value
        state.fading = choose(
            state.graph,
            state.scores,
            able=state.able,
            now=now,
            goal=goal,
            exactly=last,
            minimum=self.config.minimum,
        )
        reach = self._rate * self._every
        state.pulls = pulls(state.graph, state.fading, reach=reach)
        fade = torch.cat([pull[pull > 0] for pull in state.pulls.values()])
        state.lam = float(fade.mean()) if len(fade) else 0.0

    def _is_there(self, state: ShrinkState, ms: float) -> bool:
        """Returns whether the measured time has reached the target, within the error of the clock.

        A clock that errs would take a channel now and then; so after the deadline a network that seems too slow is timed
        again, an epoch later, before it loses any.
        """
        assert state.clock is not None and self._target is not None
        late = state.step >= self.config.deadline * self._total
        return ms <= (1 + NOISE) * self._target.value or (late and state.clock.looks < 2)


def _check_optimizer(optimizer: torch.optim.Optimizer, graph: Graph) -> None:
    """Refuses at the start an optimiser whose states could not be cut later."""
    leaf_of = {parameter: leaf for leaf, parameter in graph.traced.named_parameters()}
    nothing = Plan({leaf: {} for leaf in leaf_of.values()})
    list(prepare_optimizer(nothing, optimizer, leaf_of))


@contextmanager
def _named(step: int) -> Iterator[None]:
    """Adds the step to the message of a ``NonFiniteError``."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"step {step}: {error}") from None
