"""The method: what one optimiser step does to a family (Grebenkova et al. 2022, Algorithm 1).

A step draws complexity values, runs each on its group of examples, adds up weighted objectives and moves the maps. Which
values a group gets is the only difference between the ways of training:

- stratified: the batch is split into K groups, one value from each of K strata of the log range. The cost is that of one
  network, and every step sees the whole range. Without ``ends`` and ``knots`` the estimate of the expectation over λ
  is unbiased; with them it is that of a law which gives the ends and knots more weight.
- whole: the same values, each sees the whole batch. K times the examples for each value, in far less than K times the
  time on a small network.
- independent: k values drawn independently, each sees the whole batch (the 2021 paper, k = 5; Algorithm 1 of 2022 draws one).
- stacked: a stacked map; each of its families sees such values, on blocks of its own.
- rows: a table map; each row sees the whole batch of its seed. This trains networks directly, many at once.

A family with a piecewise map may begin as one network, at the mean complexity value (``joint`` in the settings): its pivots
start equal, and stay so as long as each gets the gradient of the first. That is a plain step, which may cost a third of one of
the family, and members share what it taught when each goes its own way. Own deviation from the papers.

Shapes: K values, n blocks of b examples in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError, NonFiniteError
from netdial.core.layout import Params, take_buffers
from netdial.core.noise import Noise, seeded
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.family.maps import TableMap
from netdial.family.running.apart import Apart
from netdial.family.running.compiled.step import CompiledStep, Weights, compiled_step, say_other
from netdial.family.running.pieces import pieces
from netdial.objective import OBJECTIVES, Terms
from netdial.task import Task
from netdial.train.config import FitConfig
from netdial.train.draws import Draw, Draws
from netdial.train.feed import Batch, for_each, for_examples
from netdial.train.optimiser import (
    Rates,
    clip_gradients,
    drop_gradients,
    make_optimizer,
    make_rates,
)
from netdial.train.schedules import Schedule, linear_warmup
from netdial.train.session import Workers


@dataclass
class FamilyState:
    """What training changes.

    Attributes:
        family: what is trained.
        optimizer: moves it.
        rates: the schedule that sets the optimiser's rates.
        draws: source of the complexity values of each step.
        step: optimiser steps so far; draws, noise and warm-up go by it.
        compiled: the compiled step, or None for torch's own operations.
    """

    family: Family
    optimizer: torch.optim.Optimizer
    rates: Rates
    draws: Draws
    step: int = 0
    compiled: CompiledStep | None = None

    @property
    def module(self) -> Family:
        """What is trained."""
        return self.family

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.rates.now[0]

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far: steps × trainable numbers (2021 paper, Table 1)."""
        return self.step * sum(p.numel() for p in self.family.parameters() if p.requires_grad)

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "family": dict(self.family.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.rates.steps, "lr": self.rates.now},
            "buffers": self.buffers(),
            "step": self.step,
            "joint": self.draws.joint,
            "compiled": self.compiled is not None,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""
        self.family.load_state_dict(tree["family"])
        names = {**self.buffers(), **tree["buffers"]}
        take_buffers(self.family.net, {name: tree["buffers"][name] for name in names})
        self.optimizer.load_state_dict(tree["optimizer"])
        self.rates.steps = tree["scheduler"]["last_epoch"]
        self.step = tree["step"]
        self.draws.joint = tree.get("joint", 0)  # a run goes on as it began, whatever is usual now
        if tree.get("compiled", False) != (self.compiled is not None):
            say_other(was_compiled=self.compiled is None)

    def buffers(self) -> Params:
        """Returns the network's buffers that all members share; training may change them."""
        held = set(self.family.statistics.names)
        return {n: b for n, b in self.family.net.named_buffers() if n not in held}


class FamilyMethod:
    """Steps for a family under a configuration.

    Args:
        config: settings.
        task: what is predicted; its likelihood is the fit.
        n_data: N, training examples; ``[S]`` of S families in one run.
        steps: batches in an epoch.
        workers: the processes that train together.
    """

    def __init__(
        self,
        config: FitConfig,
        *,
        task: Task,
        n_data: int | Tensor,
        steps: int,
        workers: Workers | None = None,
    ) -> None:
        self.config = config
        self.workers = workers or Workers()
        self._task = task
        self._penalty = OBJECTIVES[config.objective]
        self._n_data = n_data
        self._steps = steps
        self._warmup: Schedule = linear_warmup(config.warmup * steps)

    def init(self, family: Family) -> FamilyState:
        """Returns the state before the first step."""
        steps = self.config.known_epochs * self._steps
        n_rows = int(torch.as_tensor(self._n_data).max())
        optimizer = make_optimizer(family, self.config, n_rows)
        draws = Draws(family, self.config, steps)
        rates = make_rates(optimizer, self.config, steps)
        compiled = None
        if self.config.compiled:
            alpha, mixed = self.config.prior_var, self.config.precision == "bf16-mixed"
            compiled = compiled_step(family, self._penalty, self._task, alpha, mixed=mixed)
        return FamilyState(family, optimizer, rates, draws, compiled=compiled)

    def step(self, state: FamilyState, batch: Batch) -> dict[str, Tensor]:
        """Makes one optimiser step.

        Returns:
            ``unit`` coordinates ``[K]`` of the values seen, and their terms before the step, ``fit`` and ``complexity``
            ``[K]`` in nats per example; on several processes those of this process's groups.

        Raises:
            NonFiniteError: a term is not a finite number; the maps have not been moved by it.
        """
        if state.step == state.draws.joint > 0:
            self._part(state)
        draw = self._draw(state, len(batch[1]))
        batch = Batch(*batch).divisible(draw.blocks)
        drop_gradients(state.optimizer)
        found = [self._backward(state, draw, *piece) for piece in self._pieces(state, draw, batch)]
        terms = Terms(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        mine = self.workers.share(len(draw.unit))
        here = slice(mine.start, mine.stop)
        self._check(state, draw, here, terms)
        self._move(state, draw)
        return {"unit": draw.unit[here], "fit": terms.fit, "complexity": terms.complexity}

    def _part(self, state: FamilyState) -> None:
        """Lets the pivots go, each its own way: with statistics of its own, and without what is known of their common steps."""
        state.family.statistics.spread(state.family.domain.mean)
        state.optimizer.state.clear()

    def _draw(self, state: FamilyState, size: int) -> Draw:
        draw = state.draws.at(state.step, size, self.workers.count)
        if draw is None:
            raise DataError(
                f"a batch of {size} examples cannot be divided among {self.workers.count} processes; use a larger batch"
            )
        return draw

    def _pieces(
        self, state: FamilyState, draw: Draw, batch: Batch
    ) -> Iterator[tuple[range, Batch, int]]:
        """Yields (groups, their batch, blocks in it): this process's groups, as many at once as memory should hold."""
        members, blocks = len(draw.unit), draw.blocks
        size = len(batch.y) // blocks
        mine = self.workers.share(members)
        owners = [group * blocks // members for group in mine]
        for piece in pieces(owners, state.family.at_once(batch.x, blocks, members)):
            first, last = owners[piece.start], owners[piece.stop - 1]
            part = batch.part(slice(first * size, (last + 1) * size))
            yield mine[piece.start : piece.stop], part, last - first + 1

    def _backward(
        self, state: FamilyState, draw: Draw, groups: range, batch: Batch, blocks: int
    ) -> Terms:
        """Runs some groups and adds their gradients; returns their terms."""
        family, members = state.family, len(groups)
        here = slice(groups.start, groups.stop)
        lam, share = draw.lam[here], draw.share[here] * batch.share
        n_data = draw.examples(self._n_data, here)
        pull = share * (self._warmup(state.step) / n_data)
        source = partial(Noise, self.config.seed, state.step, groups, device=lam.device)
        if state.compiled is not None and state.compiled.takes(batch.x, batch.y, batch.weight):
            places = (draw.place[here], lam, Weights(share, pull))
            fit, nats = state.compiled.run(*batch[:3], blocks, *places, source)
            return Terms(fit, nats / n_data)
        fields, noise = _fields(family, draw, here), source()
        penalty = self._penalty(fields, lam, self.config.prior_var, noise)
        if members == 1 or family.side_by_side(batch.x, blocks, members):
            with self._around(state, groups.start):
                outputs = family.run(batch.x, fields, draw.unit[here], noise, blocks)
            nll = self._nll(outputs, batch, blocks, members, share.dtype)
            torch.autograd.backward([nll, penalty], [for_examples(share, nll), pull])
        else:
            runs = family.one_by_one(batch.x, fields, draw.unit[here], noise, blocks)
            nll = self._one_by_one(state, runs, groups, batch, blocks, share)
            torch.autograd.backward([penalty, *runs.tensors], [pull, *runs.gradients])
        return Terms(nll.detach().view(members, -1).mean(dim=1), penalty.detach() / n_data)

    def _one_by_one(
        self,
        state: FamilyState,
        runs: Apart,
        groups: range,
        batch: Batch,
        blocks: int,
        share: Tensor,
    ) -> Tensor:
        """Runs groups one after another, each forward and backward; returns the losses of all examples."""
        size, found = len(batch.y) // blocks, []
        for row, group in enumerate(groups):
            block = row * blocks // len(groups)
            with self._around(state, group):
                outputs = runs.outputs(row)
            part = batch.part(slice(block * size, (block + 1) * size))
            nll = self._nll(outputs, part, 1, 1, share.dtype)
            runs.backward(nll, for_examples(share[row : row + 1], nll))
            found.append(nll.detach())
        return torch.cat(found)

    @contextmanager
    def _around(self, state: FamilyState, group: int) -> Iterator[None]:
        """The context in which the network of a group, or of some from it on, runs."""
        with (
            self.workers.autocast(),
            _network_seed(state.family, self.config.seed, state.step, group),
        ):
            yield

    def _nll(
        self, outputs: Tensor, batch: Batch, blocks: int, members: int, dtype: torch.dtype
    ) -> Tensor:
        """Returns the weighted negative log-likelihoods of all examples, member after member."""
        targets = for_each(batch.y, blocks, members)
        kind = dtype.to_complex() if outputs.is_complex() else dtype
        nll = self._task.nll_by_groups(outputs.to(kind), targets, members)
        if batch.weight is not None:
            nll = nll * for_each(batch.weight.to(nll), blocks, members)
        return nll

    def _move(self, state: FamilyState, draw: Draw) -> None:
        """Moves the maps along the gradients of all processes."""
        family, workers = state.family, self.workers
        if workers.count > 1:
            workers.sum_([p.grad for p in family.parameters() if p.grad is not None])
            if family.statistics.names:
                owners = workers.owners(len(draw.unit))
                family.statistics.exchange(draw.unit, owners, workers.rank, workers.sum_)
        if self.config.clip:
            clip_gradients(family, self.config.clip)
        if state.step < state.draws.joint:  # after clipping: it is the gradient of one network
            for one in family.maps.values():
                one.join()
        state.optimizer.step()
        state.rates.step()
        state.step += 1

    def _check(self, state: FamilyState, draw: Draw, here: slice, terms: Terms) -> None:
        """Looks at the terms of a step once, which is the only time that it waits for an accelerator."""
        if math.isfinite(float(terms.total.sum())):
            return
        name = "fit" if not bool(torch.isfinite(terms.fit).all()) else "complexity"
        values, lam = getattr(terms, name), draw.lam[here]
        worst = int((~torch.isfinite(values)).int().argmax())
        with torch.no_grad():
            blame = _blame(_fields(state.family, draw, here))
        raise NonFiniteError(
            f"step {state.step}: {name} is {float(values[worst])} at lam={float(lam[worst]):g}; "
            f"{blame}; lower lr, set clip to 1, or check the data for huge values"
        )


def _fields(family: Family, draw: Draw, here: slice) -> Fields:
    """Returns the fields of some groups of a step."""
    if isinstance(family.mean, TableMap):
        return family.rows(here)
    return family.fields(draw.place[here].to(draw.lam.device))


def _blame(fields: Fields) -> str:
    """Says which leaves are not finite."""
    flats = [(fields.layout, flat) for flat in (fields.mean, fields.log_std) if flat is not None]
    flats += [(group.layout, flat) for group in fields.groups for flat in group.values.values()]
    trees = [layout.split(flat.detach()) for layout, flat in flats]
    bad = {name for tree in trees for name, leaf in tree.items() if not bool(leaf.isfinite().all())}
    if not bad:
        return "all parameters are finite, so the network's output overflowed, or a loss of your own has no value there"
    return f"not finite: {', '.join(sorted(bad))}"


@contextmanager
def _network_seed(family: Family, *words: int) -> Iterator[None]:
    """Seeds the global generator for code that draws from it, and puts it back; that of a chain cannot."""
    if family.chain is not None:
        yield
        return
    with seeded(*words):
        yield
