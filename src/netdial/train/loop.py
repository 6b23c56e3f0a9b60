"""THE loop: every way of training goes through it, and it knows none of them.

It reads top to bottom: restore, then for each epoch take batches, step, measure, record, checkpoint, perhaps stop.
An interruption (Ctrl-C, a terminated process) is taken between two steps: the state is saved, then the run ends.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from netdial.core.container import load_tree, save_tree
from netdial.core.errors import CheckpointError, NonFiniteError
from netdial.objective import Terms
from netdial.train.feed import Batch, Feed
from netdial.train.optimiser import Rates

_SAVE_EVERY_S = 60.0


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has saved its state."""


class State(Protocol):
    """What the loop needs of what training changes; ``FamilyMethod``'s says what the attributes are."""

    step: int
    best: float
    waited: int
    kept: dict[str, Tensor]
    seen: list[tuple[Tensor, Terms]]

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    def rates(self) -> Rates:
        """The schedule that sets the optimiser's rates."""

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far."""

    def epoch_so_far(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns unit coordinates, fits and complexities ``[M]`` seen in the epoch under way."""

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values."""

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""


S = TypeVar("S", bound=State)
Moved = TypeVar("Moved", bound=State, contravariant=True)


class Method(Protocol[Moved]):
    """What the loop needs of a way of training."""

    def step(self, state: Moved, batch: Batch) -> tuple[Tensor, Terms]:
        """Makes one optimiser step."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        number: epochs finished, from 1.
        step: optimiser steps so far.
        unit: unit coordinates of all values seen ``[M]``.
        terms: their terms ``[M]``.
        valid: validation objective (nats per example, weighted over λ), or None.
        lr: learning rate at the end.
        seconds: wall time of the epoch.
        n_updates: updates of single numbers so far.
    """

    number: int
    step: int
    unit: Tensor
    terms: Terms
    valid: float | None
    lr: float
    seconds: float
    n_updates: int


def train(
    method: Method[S],
    state: S,
    feed: Feed,
    *,
    epochs: int,
    report: Callable[[Epoch], None],
    advance: Callable[[int, int], None] | None = None,
    validate: Callable[[S], float] | None = None,
    patience: int = 0,
    checkpoint: Path | None = None,
    saved: Callable[[], Path] | None = None,
    identity: dict[str, Any] | None = None,
    agree: Callable[[bool], bool] = bool,
) -> S:
    """Runs a method to its end, from wherever ``state`` is.

    Args:
        method: makes the steps.
        state: moved in place.
        feed: batches.
        epochs: passes over the data, counted from the very beginning.
        report: told of every finished epoch.
        advance: told (step, steps in all) after every step, for a progress bar.
        validate: gives the validation objective; needed for ``patience``.
        patience: epochs without a better validation objective before stopping, and going back to the best epoch;
            0 never stops and keeps the last.
        checkpoint: file that the state is saved to, after every epoch and at least once a minute.
        saved: told of every state that was saved; gives the file for the next one.
        identity: what the run is; stored in the checkpoint, compared on resume.
        agree: whether any of the processes that train together says yes, so that all stop at the same step.

    Raises:
        Interrupted: a signal asked for it; the state is saved.
        NonFiniteError: a term became infinite or not a number.
    """

    def save() -> None:
        nonlocal checkpoint
        if checkpoint is not None:
            save_tree(checkpoint, {"state": state.tree(), "identity": identity or {}}, "checkpoint")
            checkpoint = saved() if saved is not None else checkpoint

    state.module.train()
    since = time.monotonic()
    with _signals() as interrupted:
        for number in range(state.step // feed.steps, epochs):
            if patience and state.waited >= patience:
                break
            started = time.monotonic()
            for batch in feed.epoch(number, skip=state.step - number * feed.steps):
                state.seen.append(method.step(state, batch))
                if advance is not None:
                    advance(state.step, epochs * feed.steps)
                if state.step % feed.steps == 0:
                    continue  # an epoch that is done is measured and saved below, whoever interrupts
                if agree(interrupted()):
                    save()
                    raise Interrupted(f"stopped at step {state.step}")
                if time.monotonic() - since > _SAVE_EVERY_S:
                    save()
                    since = time.monotonic()
            valid = _validate(state, validate, keep=patience > 0)
            report(_summary(number + 1, state, valid, time.monotonic() - started))
            state.seen.clear()
            save()
            since = time.monotonic()
            if number + 1 < epochs and agree(interrupted()):
                raise Interrupted(f"stopped at step {state.step}")
    if state.kept:
        state.module.load_state_dict(state.kept)
    return state


def resume(state: State, checkpoint: Path, identity: dict[str, Any]) -> None:
    """Restores ``state`` from a checkpoint of the same run.

    Raises:
        CheckpointError: the file is damaged, or belongs to a run with other settings.
    """
    saved = load_tree(checkpoint, "checkpoint")
    identity = json.loads(json.dumps(identity))  # as it comes back from a file: tuples are lists
    different = [key for key in identity if saved["identity"].get(key) != identity[key]]
    if different:
        lines = ", ".join(
            f"{k}: {saved['identity'].get(k)!r} -> {identity[k]!r}" for k in different
        )
        raise CheckpointError(
            f"{checkpoint}: belongs to a run with other settings ({lines}); resume with the settings it had, or start a new run"
        )
    try:
        state.restore(saved["state"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: does not fit this network ({error})") from None


def _validate(state: S, validate: Callable[[S], float] | None, *, keep: bool) -> float | None:
    if validate is None:
        return None
    state.module.eval()
    with torch.no_grad():
        value = validate(state)
    state.module.train()
    if not math.isfinite(value):
        raise NonFiniteError(
            f"step {state.step}: the validation objective is {value}, so no epoch can be called the best; "
            "the network's outputs overflow on the validation part: lower lr, set clip=1, or check it for huge values"
        )
    better = value < state.best
    state.best = value if better else state.best
    state.waited = 0 if better else state.waited + 1
    if better and keep:
        state.kept = {name: part.clone() for name, part in state.module.state_dict().items()}
    return value


def _summary(number: int, state: State, valid: float | None, seconds: float) -> Epoch:
    unit, fit, complexity = state.epoch_so_far()
    lr = state.rates.now[0]
    return Epoch(
        number, state.step, unit, Terms(fit, complexity), valid, lr, seconds, state.n_updates
    )


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Yields a question: has an interrupt or a termination been asked for? A second one acts at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
