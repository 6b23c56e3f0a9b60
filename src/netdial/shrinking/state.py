"""State of a shrinking run: the network, everything that is kept by channel, and the collections so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from netdial.channels.clock import Clock
from netdial.channels.fold.bypass import Bypassed, bypassed, redo
from netdial.channels.graph import Graph
from netdial.channels.sizes import strip, thetas
from netdial.channels.surgery import apply
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Plan
from netdial.core.records import Event
from netdial.family.leaves import frozen_norms
from netdial.shrinking.fading import Channels
from netdial.shrinking.killing import KillingRule
from netdial.train.optimiser import Rates

_AGAIN = "delete the checkpoint to train from the start"
"""The cure of a damaged checkpoint."""


class Moved(NamedTuple):
    """Tensors and layers that one optimiser step updates.

    Attributes:
        graph: the network, as it was when these were looked up.
        switches: name -> θ.
        decayed: weights under the penalty on the weights, those of two dimensions or more; not biases and scales.
        n_params: numbers in all parameters.
        norms: normalisation layers that are frozen with their statistics.
    """

    graph: Graph
    switches: dict[str, Tensor]
    decayed: list[Tensor]
    n_params: int
    norms: list[nn.Module]

    @classmethod
    def of(cls, graph: Graph) -> Moved:
        """Returns what a step updates in a network."""
        traced = graph.traced
        n_params = sum(parameter.numel() for parameter in traced.parameters())
        decayed = [weight for weight in trainable(graph) if weight.ndim > 1]
        return cls(graph, thetas(graph), decayed, n_params, frozen_norms(traced))


def trainable(graph: Graph) -> list[Tensor]:
    """Returns the parameters that are trained, without those of switches."""
    return [weight for weight in strip(graph.traced).values() if weight.requires_grad]


@dataclass
class ShrinkState:
    """What training changes.

    Attributes:
        graph: the network.
        optimizer: moves the weights.
        rates: the schedule that sets its rates.
        rules: switch -> its killing rule.
        alive: group -> the channels that are left, as they were numbered at the start.
        shapes: leaf -> its shape at the start.
        program: the operations at the start, as text.
        lenient: as the graph was made.
        plan: all that was cut so far, in terms of the network at the start.
        lam: λ now; with a target the mean over the channels that fade.
        weights: switch -> factor of λ; 1 where none is given.
        begin: size at the start, in the unit of the target; 0 without one.
        scores: switch -> what its channels are worth ``[C]``.
        dead: switch -> which of its channels the killing rule called dead in the last step ``[C]``.
        fading: channels on their way out.
        pulls: switch -> λ of each channel ``[C]``, with a target.
        step: optimiser steps so far.
        events: collections of the epoch under way that removed something.
        past: those of the epochs before.
        refused: group -> why channels that were dead stayed, at the last collection.
        n_updates: updates of single numbers so far.
        able: groups whose channels can fade, with a target.
        vital: switches of which one has to stay, without a target.
        clock: measures milliseconds, with a target in them.
        moved: what a step moves, as it was last looked up.
    """

    graph: Graph
    optimizer: torch.optim.Optimizer
    rates: Rates
    rules: dict[str, KillingRule]
    alive: Channels
    shapes: dict[str, tuple[int, ...]]
    program: tuple[str, ...]
    lenient: bool = False
    plan: Plan = field(default_factory=Plan)
    lam: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    begin: float = 0.0
    scores: dict[str, Tensor] = field(default_factory=dict)
    dead: dict[str, Tensor] = field(default_factory=dict)
    fading: Channels = field(default_factory=dict)
    pulls: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    events: list[Event] = field(default_factory=list)
    past: list[Event] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    n_updates: int = 0
    able: tuple[str, ...] = ()
    vital: frozenset[str] = frozenset()
    clock: Clock | None = None
    moved: Moved | None = None

    @property
    def module(self) -> fx.GraphModule:
        """What is trained."""
        return self.graph.traced

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.rates.now[0]

    def moving(self) -> Moved:
        """Returns what a step updates; it is looked up again only when the graph has changed."""
        if self.moved is None or self.moved.graph is not self.graph:
            self.moved = Moved.of(self.graph)
        return self.moved

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "shapes": {leaf: list(shape) for leaf, shape in self.shapes.items()},
            "program": list(self.program),
            "plan": self.plan.to_json(),
            "bypassed": [vars(step) for step in bypassed(self.module)],
            "alive": {name: list(channels) for name, channels in self.alive.items()},
            "module": dict(self.module.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.rates.steps, "lr": self.rates.now},
            "rules": {name: rule.state() for name, rule in self.rules.items()},
            "lam": self.lam,
            "weights": self.weights,
            "begin": self.begin,
            "scores": self.scores,
            "fading": {name: list(channels) for name, channels in self.fading.items()},
            "pulls": self.pulls,
            "step": self.step,
            "n_updates": self.n_updates,
            "events": [event.to_json() for event in self.events],
            "past": [event.to_json() for event in self.past],
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Restores what ``tree`` returned, into the network as it was at the start.

        Raises:
            ShapeError: the network began with other shapes.
            ConfigError: it began with other operations.
        """
        _check_shapes(self.shapes, _tuples(tree["shapes"]))
        _check_program(self.program, tree.get("program", self.program))
        self.plan, alive = Plan.from_json(tree["plan"]), _tuples(tree["alive"])
        self._cut([Bypassed(**step) for step in tree["bypassed"]], alive, tree["module"])
        self.module.load_state_dict(tree["module"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.rates.steps = tree["scheduler"]["last_epoch"]
        self.forget(set(tree["rules"]))
        for name, rule in self.rules.items():
            rule.restore(tree["rules"][name])
        device = self.graph.example.device
        self.scores = {name: held.to(device) for name, held in tree["scores"].items()}
        self.pulls = {name: held.to(device) for name, held in tree["pulls"].items()}
        self.fading, self.weights = _tuples(tree["fading"]), tree["weights"]
        self.lam, self.begin = tree["lam"], tree["begin"]
        self.step, self.n_updates = tree["step"], tree["n_updates"]
        self.events, self.past = (
            [
                Event.from_json(plain, f"checkpoint: event {n}", _AGAIN)
                for n, plain in enumerate(tree[part])
            ]
            for part in ("events", "past")
        )

    def forget(self, switches: set[str]) -> None:
        """Drops rules, scores, weights and dead channels of all other switches."""
        self.rules = {name: rule for name, rule in self.rules.items() if name in switches}
        self.scores = {name: held for name, held in self.scores.items() if name in switches}
        self.weights = {name: held for name, held in self.weights.items() if name in switches}
        self.dead = {name: held for name, held in self.dead.items() if name in switches}

    def _cut(self, steps: list[Bypassed], alive: Channels, tensors: Mapping[str, Tensor]) -> None:
        """Repeats on the network of the start the cuts and bypasses that were made."""
        here = Plan({leaf: cuts for leaf, cuts in self.plan.cuts.items() if leaf in self.shapes})
        apply(here, self.module, optimizers=[self.optimizer])
        if steps:
            redo(self.module, steps, tensors, optimizers=[self.optimizer])
            self.graph = Graph.of(self.module, self.graph.example, lenient=self.lenient)
        else:
            self.graph = self.graph.after(here)
        self.alive = alive


def _check_shapes(here: Channels, saved: Channels) -> None:
    for leaf in sorted({*here, *saved}):
        if here.get(leaf) != saved.get(leaf):
            found, wanted = (
                f"{list(shapes[leaf])}" if leaf in shapes else "missing" for shapes in (here, saved)
            )
            raise ShapeError(f"leaf {leaf} is {found}, the saved run began with {wanted}")


def _check_program(here: Sequence[str], saved: Sequence[str]) -> None:
    """Refuses a network with other operations but leaves of the same shapes; states of an older netdial hold no operations."""
    for found, wanted in zip_longest(here, saved, fillvalue="none"):
        if found != wanted:
            raise ConfigError(
                f"the code has the operation {found}, the saved run began with {wanted}; go on with the code it had"
            )


def _tuples(lists: Mapping[str, Iterable[int]]) -> Channels:
    return {name: tuple(numbers) for name, numbers in lists.items()}
