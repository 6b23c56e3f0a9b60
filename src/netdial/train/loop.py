"""Training loop: runs any method for a number of epochs, with validation, early stopping, checkpoints and clean interruption.

It reads top to bottom: for each epoch take batches, step, measure, record, save, perhaps stop. An interruption (Ctrl-C, a
terminated process) is taken between two steps: the state is saved, then the run ends.

A *method* says what one step does; it is a value and remembers nothing. What training changes is a *state*. Counting steps,
the best epoch and its weights, and what was measured in the epoch under way are the loop's own (``Progress``).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from netdial.core.errors import CheckpointError, NonFiniteError
from netdial.core.layout import put_back
from netdial.core.outputs import keep_freed_memory
from netdial.core.storage.container import load_tree, save_tree
from netdial.train.feed import Feed
from netdial.train.session import Interrupted, interruptions

_SAVE_EVERY_S = 60.0

Measured = Mapping[str, Tensor]
"""Name -> what a step measured ``[K]``, with the same K for all names, 1 or more."""


class Session(TypedDict, total=False):
    """How a run is watched, saved and resumed: arguments that every function which trains passes on to the loop.

    Attributes:
        advance: told (step, steps in all) after every step, for a progress bar.
        checkpoint: file that the state is saved to, after every epoch and at least once a minute.
        saved: told of every state that was saved; gives the file for the next one.
        identity: what the run is; stored in the checkpoint, compared on resume.
        resuming: whether training goes on from the checkpoint, where it exists.
    """

    advance: Callable[[int, int], None] | None
    checkpoint: Path | None
    saved: Callable[[], Path] | None
    identity: dict[str, Any] | None
    resuming: bool


class State(Protocol):
    """What the loop needs of what training changes."""

    @property
    def module(self) -> nn.Module:
        """What is trained; the loop puts it into training and evaluation mode, and back to its best epoch."""

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far."""

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values."""

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""


S = TypeVar("S", bound=State)
Moved = TypeVar("Moved", bound=State, contravariant=True)
B = TypeVar("B")
Taken = TypeVar("Taken", contravariant=True)


class Method(Protocol[Moved, Taken]):
    """What the loop needs of a way of training: a value that remembers nothing of the states that it moves."""

    def step(self, state: Moved, batch: Taken) -> Measured:
        """Makes one step and returns what it measured before it moved anything."""


@dataclass
class Progress:
    """What the loop itself remembers.

    Attributes:
        step: steps so far.
        best: best validation objective so far.
        waited: epochs since then.
        kept: the module's state then, if it is to be gone back to; empty otherwise.
        seen: what the steps of the epoch under way measured, in pieces.
        buffers: buffers that the module's state does not hold, as they were then.
    """

    step: int = 0
    best: float = float("inf")
    waited: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)
    seen: list[Measured] = field(default_factory=list)
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def measured(self) -> dict[str, Tensor]:
        """Returns what the epoch under way measured: name -> ``[M]``."""
        last = self.seen[-1] if self.seen else {}
        return {
            name: torch.cat([one[name].to(part.device) for one in self.seen])
            for name, part in last.items()
        }

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {**vars(self), "seen": self.measured()}

    @classmethod
    def of_tree(cls, tree: dict[str, Any]) -> Progress:
        """Returns what ``tree`` gave."""
        seen = [tree["seen"]] if tree["seen"] else []
        held = tree.get("buffers", {})
        return cls(tree["step"], tree["best"], tree["waited"], tree["kept"], seen, held)

    @classmethod
    def of_older_state(cls, state: dict[str, Any]) -> Progress:
        """Returns what an earlier netdial kept in the state of the method."""
        seen = dict(zip(("unit", "fit", "complexity"), state["seen"], strict=False))
        return cls(
            state["step"],
            state["best"],
            state["waited"],
            state.get("kept", {}),
            [seen] if seen else [],
        )


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured.

    Attributes:
        number: epochs finished, from 1.
        step: optimiser steps so far.
        measured: name -> what all steps measured, one after the other ``[M]``. A family gives ``unit`` (coordinates of the
            complexity values), ``fit`` and ``complexity`` (nats per example); shrinking gives ``fit`` and ``complexity``.
        valid: validation objective (nats per example, weighted over λ), or None.
        lr: learning rate at the end.
        seconds: wall time of the epoch.
        n_updates: updates of single numbers so far.
    """

    number: int
    step: int
    measured: dict[str, Tensor]
    valid: float | None
    lr: float
    seconds: float
    n_updates: int

    @property
    def terms(self) -> SimpleNamespace:
        """``measured`` as attributes: ``epoch.terms.complexity``."""
        return SimpleNamespace(**self.measured)


def train(
    method: Method[S, B],
    state: S,
    feed: Feed[B],
    *,
    epochs: int,
    progress: Progress | None = None,
    report: Callable[[Epoch], None],
    advance: Callable[[int, int], None] | None = None,
    validate: Callable[[Any], float] | None = None,
    patience: int = 0,
    best: bool = False,
    buffers: Callable[[], Mapping[str, Tensor]] = dict,
    checkpoint: Path | None = None,
    saved: Callable[[], Path] | None = None,
    identity: dict[str, Any] | None = None,
    agree: Callable[[bool], bool] = bool,
) -> Progress:
    """Runs a method to its end, from wherever ``state`` is.

    Args:
        method: makes the steps.
        state: moved in place.
        feed: batches; several feeds as one are ``train.feed.Feeds``.
        epochs: passes over the data, counted from the very beginning.
        progress: how far ``state`` is, as ``resume`` gave it; by default at the very beginning.
        report: told of every finished epoch.
        advance: told (step, steps in all) after every step, for a progress bar.
        validate: gives the validation objective of the module; needed for ``patience`` and ``best``.
        patience: epochs without a better validation objective before stopping, and going back to the best epoch;
            0 never stops.
        best: whether to go back to the best epoch of those since the shapes in the module last changed; else the last counts.
        buffers: gives buffers that a step may change and the module's state does not hold; they go back with it.
        checkpoint: file that the state is saved to, after every epoch and at least once a minute.
        saved: told of every state that was saved; gives the file for the next one.
        identity: what the run is; stored in the checkpoint, compared on resume.
        agree: whether any of the processes that train together says yes, so that all stop at the same step.

    Returns:
        How far training came; with ``patience`` or ``best`` the module is that of the best epoch.

    Raises:
        Interrupted: a signal asked for it; the state is saved.
        NonFiniteError: what was measured became infinite or not a number.
    """
    keep_freed_memory()
    progress = progress or Progress()

    def save() -> None:
        nonlocal checkpoint
        if checkpoint is not None:
            tree = {"state": state.tree(), "loop": progress.tree(), "identity": identity or {}}
            save_tree(checkpoint, tree, "checkpoint")
            checkpoint = saved() if saved is not None else checkpoint

    state.module.train()
    since = time.monotonic()
    with interruptions() as interrupted:
        for number in range(progress.step // feed.steps, epochs):
            if patience and progress.waited >= patience:
                break
            started = time.monotonic()
            for batch in feed.epoch(number, skip=progress.step - number * feed.steps):
                progress.seen.append(method.step(state, batch))
                progress.step += 1
                if advance is not None:
                    advance(progress.step, epochs * feed.steps)
                if progress.step % feed.steps == 0:
                    continue  # an epoch that is done is measured and saved below, whoever interrupts
                if agree(interrupted()):
                    save()
                    raise Interrupted(f"stopped at step {progress.step}")
                if time.monotonic() - since > _SAVE_EVERY_S:
                    save()
                    since = time.monotonic()
            valid = _validate(state.module, progress, validate, keep=best or patience > 0)
            if (best or patience) and not progress.waited:
                progress.buffers = {name: part.clone() for name, part in buffers().items()}
            seconds = time.monotonic() - started
            measured = progress.measured()
            report(
                Epoch(
                    number + 1, progress.step, measured, valid, state.lr, seconds, state.n_updates
                )
            )
            progress.seen.clear()
            save()
            since = time.monotonic()
            if number + 1 < epochs and agree(interrupted()):
                raise Interrupted(f"stopped at step {progress.step}")
    if progress.kept:
        state.module.load_state_dict(progress.kept)
        put_back(progress.buffers, buffers())
    return progress


def going_on(state: State, session: Session) -> Progress | None:
    """Returns how far a run came that is resumed, with its state restored; None for one that begins.

    Raises:
        CheckpointError: the file is damaged, or belongs to a run with other settings.
    """
    checkpoint = session.get("checkpoint")
    if not session.get("resuming") or checkpoint is None or not checkpoint.exists():
        return None
    return resume(state, checkpoint, session.get("identity") or {})


def resume(state: State, checkpoint: Path, identity: dict[str, Any]) -> Progress:
    """Restores ``state`` from a checkpoint of the same run; returns how far it came, for ``train``.

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
        if "loop" in saved:
            return Progress.of_tree(saved["loop"])
        return Progress.of_older_state(saved["state"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: does not fit this network ({error})") from None


def _validate(
    module: nn.Module, progress: Progress, validate: Callable[[Any], float] | None, *, keep: bool
) -> float | None:
    """Returns the validation objective, and takes note of the best."""
    if validate is None:
        return None
    module.eval()
    with torch.no_grad():
        value = validate(module)
    module.train()
    if not math.isfinite(value):
        raise NonFiniteError(
            f"step {progress.step}: the validation objective is {value}, so no epoch can be called the best; "
            "the network's outputs overflow on the validation part: lower lr, set clip to 1, or check it for huge values"
        )
    parts = module.state_dict() if keep else {}
    if _shapes(parts) != _shapes(progress.kept):
        progress.best = math.inf  # what was best is of another network
    better = value < progress.best
    progress.best = value if better else progress.best
    progress.waited = 0 if better else progress.waited + 1
    if better:
        progress.kept = {name: part.clone() for name, part in parts.items()}
    return value


def _shapes(parts: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Returns the shape of each tensor."""
    return {name: part.shape for name, part in parts.items()}
