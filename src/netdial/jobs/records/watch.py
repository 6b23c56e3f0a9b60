"""Progress of a job, and who is told of it. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FinishedEpoch:
    """One finished epoch, as people are told of it.

    Attributes:
        epoch: epochs finished.
        epochs: epochs asked for.
        numbers: what it measured, each with its name.
        valid: validation objective, nats per example; None where it is not measured.
    """

    epoch: int
    epochs: int
    numbers: tuple[str, ...] = ()
    valid: float | None = None

    def line(self) -> str:
        """Returns everything as one line."""
        return "  ".join([f"epoch {self.epoch}/{self.epochs}", *self.numbers])


class Watch:
    """Receives the progress of a job; this one ignores it."""

    def say(self, text: str) -> None:
        """Receives one line of status."""

    def advance(self, step: int, steps: int) -> None:
        """Receives that an optimiser step was made."""

    def epoch(self, progress: FinishedEpoch) -> None:
        """Receives a finished epoch."""
