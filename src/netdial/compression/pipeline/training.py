"""Training of what is left: weights that are gone stay 0, weights that share a value move together.

The gradient of a shared value is the sum over the weights that have it (Han et al. 2016, §3.2): a value v of a codebook is
in the network at every place i with code c_i, so dL/dv_j = Σ_{i: c_i = j} dL/dw_i. What is shared is moved by the optimiser of
its values; the network holds what they decode to, so it runs as it is.

While weights go (``Sparsify``) their number follows a schedule; which ones go is decided by damage, the criterion, per bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import NonFiniteError
from netdial.core.noise import seeded
from netdial.family.leaves import frozen_norms
from netdial.task import DenseClassification, DenseRegression, Task
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch
from netdial.train.optimiser import Rates, build_optimizer, drop_gradients, make_rates

Masks = dict[str, Tensor]

_WARMTH = 2.0
"""Temperature at which the outputs of a teacher are compared."""


@dataclass(frozen=True, eq=False)
class Book:
    """A leaf of shared values in training.

    Attributes:
        codes: int64, of the leaf's shape; 0 stands for 0.
        values: ``[k]``, the first is 0 and stays so.
    """

    codes: Tensor
    values: nn.Parameter

    def dense(self) -> Tensor:
        """Returns the leaf."""
        return self.values.detach()[self.codes]

    def gradient(self, gradient: Tensor) -> Tensor:
        """Returns the gradient of the values ``[k]`` from that of the leaf; that of 0 is 0."""
        flat = gradient.reshape(-1)
        there = self.codes.reshape(-1).nonzero().flatten()
        sums = torch.zeros_like(self.values)
        return sums.index_add_(0, self.codes.reshape(-1)[there], flat[there])


@dataclass
class Squeezing:
    """What training changes.

    Attributes:
        net: the network.
        masks: leaf -> which of its weights are there; leaves that are whole are left out.
        books: leaf -> its shared values.
        optimizer: moves the leaves that are not shared, and the values of those that are.
        rates: its schedule.
        step: optimiser steps so far.
        moments: leaf -> running mean of the squared gradient, what the criterion ``gradient`` goes by.
        held: normalisation layers that are frozen with their statistics.
    """

    net: nn.Module
    masks: Masks
    books: Mapping[str, Book]
    optimizer: torch.optim.Optimizer
    rates: Rates
    step: int = 0
    moments: dict[str, Tensor] = field(default_factory=dict)
    held: Sequence[nn.Module] = ()

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        return self.net

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.rates.now[0]

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far."""
        moved = sum(p.numel() for group in self.optimizer.param_groups for p in group["params"])
        return int(self.step * moved)

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values."""
        return {
            "net": dict(self.net.state_dict()),
            "masks": self.masks,
            "values": {name: book.values.detach() for name, book in self.books.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "moments": self.moments,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""
        self.net.load_state_dict(tree["net"])
        self.masks = tree["masks"]
        with torch.no_grad():
            for name, values in tree["values"].items():
                self.books[name].values.copy_(values)
        self.optimizer.load_state_dict(tree["optimizer"])
        self.step, self.moments = tree["step"], tree["moments"]
        self.rates.steps = self.step


@dataclass(frozen=True)
class SqueezeMethod:
    """Steps of a network whose weights are gone or shared.

    Attributes:
        config: settings.
        task: what is predicted; its likelihood is minimised.
        steps: batches in an epoch.
        prune: called before a step with the state; removes weights where it is time to. None removes none.
        remembers: decay of the mean squared gradient; 0 does not keep it.
        teacher: network whose outputs are asked for in part, in evaluation mode.
        distil: which part of the loss that is.
        decay: strength of the penalty ½ decay ‖w‖², per example.
    """

    config: TrainConfig
    task: Task
    steps: int
    prune: Callable[[Squeezing], None] | None = None
    remembers: float = 0.0
    teacher: nn.Module | None = None
    distil: float = 0.0
    decay: float = 0.0

    def init(
        self,
        net: nn.Module,
        masks: Mapping[str, Tensor] | None = None,
        books: Mapping[str, Book] | None = None,
    ) -> Squeezing:
        """Returns the state before the first step; the network changes in place."""
        books = dict(books or {})
        own = [p for n, p in net.named_parameters() if n not in books and p.requires_grad]
        shared = [
            book.values for name, book in books.items() if net.get_parameter(name).requires_grad
        ]
        groups = [{"params": own + shared, "lr": self.config.known_lr}]
        optimizer = build_optimizer(groups, self.config)
        rates = make_rates(optimizer, self.config, self.config.known_epochs * self.steps)
        state = Squeezing(net, dict(masks or {}), books, optimizer, rates, held=frozen_norms(net))
        project(state)
        return state

    def step(self, state: Squeezing, batch: Batch) -> dict[str, Tensor]:
        """Makes one optimiser step and returns ``fit`` in nats per example.

        Raises:
            NonFiniteError: the loss is not a finite number; nothing was moved by it.
        """
        if self.prune is not None:
            self.prune(state)
        for layer in state.held:
            layer.eval()
        drop_gradients(state.optimizer)
        state.net.zero_grad(set_to_none=True)
        with seeded(self.config.seed, "squeeze", state.step):
            outputs = state.net(batch.x)
        nll = self.task.nll(outputs, batch.y)
        each = nll if batch.weight is None else nll * batch.weight.to(nll)
        loss = each.mean() * batch.share
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher(batch.x)
            loss = (1 - self.distil) * loss + self.distil * apart(self.task, outputs, wanted)
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(
                f"step {state.step}: the loss is {float(loss.detach())}; lower lr, or check the data for huge values"
            )
        loss.backward()
        self._gradients(state)
        if self.config.clip:
            moved = [p for group in state.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(moved, self.config.clip)
        state.optimizer.step()
        state.rates.step()
        state.step += 1
        project(state)
        return {"fit": nll.detach().mean().view(1)}

    def _gradients(self, state: Squeezing) -> None:
        """Turns the gradients of leaves into those of what is left of them."""
        for name, leaf in state.net.named_parameters():
            if leaf.grad is None:
                continue
            if self.decay:
                leaf.grad.add_(leaf.detach(), alpha=self.decay)
            if self.remembers:
                seen = state.moments.setdefault(name, torch.zeros_like(leaf.grad))
                seen.mul_(self.remembers).addcmul_(leaf.grad, leaf.grad, value=1 - self.remembers)
            if name in state.books:
                book = state.books[name]
                book.values.grad = book.gradient(leaf.grad)
            elif name in state.masks:
                leaf.grad.mul_(state.masks[name])


def apart(task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
    """Returns how far outputs are from those of a teacher, per example (Hinton, Vinyals & Dean 2015; squares for numbers).

    Where there are places, it is the mean over them, as the loss is.
    """
    axis = task.axis if isinstance(task, DenseClassification) else -1
    if task.targets not in ("classes", "class maps") or outputs.shape[axis] < 2:
        squares = (outputs - wanted).square()
        return (squares if isinstance(task, DenseRegression) else squares.sum(dim=-1)).mean() / 2
    soft = (wanted / _WARMTH).softmax(dim=axis)
    told = (outputs / _WARMTH).log_softmax(dim=axis)
    return _WARMTH**2 * nn.functional.kl_div(told, soft, reduction="none").sum(dim=axis).mean()


@torch.no_grad()
def project(state: Squeezing) -> None:
    """Writes into the network what is left: 0 where weights are gone, shared values where they are shared."""
    for name, book in state.books.items():
        book.values[0] = 0.0
        state.net.get_parameter(name).copy_(book.dense())
    for name, mask in state.masks.items():
        if name not in state.books:
            state.net.get_parameter(name).mul_(mask)
