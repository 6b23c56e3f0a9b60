"""What a shrinking run left behind, in the form that tables and reports want it. Loads no torch.

``shrinkage`` reads the records (sizes and scores at the ends of epochs, costs at the start and at the end), ``events`` the log
of removals: which channels went, when and why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial.core.records import Event, Record
from netdial.core.size import parse_target
from netdial.core.storage.boundary import (
    reading,
    regular,
    sealed_lines,
    unseal_line,
)
from netdial.runs.curves import MemberRow, constants, is_worse
from netdial.runs.schemas.done import check_whole

KILLS = "kills.jsonl"
"""The log of collections, in the run folder: one JSON object a line."""

WEIGHTS = "weights"
"""Method of the record that says of which epoch the weights are."""

_NOTED = 0.005
"""Share of a size from which it is said that the network ended above it."""

_WIDTH, _DELETE = "width", "delete that line to go on"


@dataclass(frozen=True)
class Shrinkage:
    """A run of ``netdial shrink``.

    Attributes:
        steps: optimiser steps at which it was measured, the ends of epochs ``[M]``.
        widths: group -> channels at those steps ``[M]``.
        course: what was measured along the way -> values ``[M]``: ``params``, ``macs``, ``lam``, ``train/epoch_seconds``,
            ``valid/accuracy`` …; NaN where it is missing.
        start: what the network cost at the start, ``params``, ``macs``, ``bytes``, ``ms_1`` …
        end: the same for the folded network at the end.
        scores: ``valid/accuracy``, ``test/accuracy`` and the like of the folded network.
        fold_difference: largest change of an output by folding, relative to the largest output; None when not recorded.
        constant: the same of a prediction that looks at no input; empty in runs that did not record it.
        epoch: the epoch whose weights the network has; None when not recorded.
        batches: sizes of the batches at which time was measured, rising; ``ms_B`` of ``start`` and ``end``.
    """

    steps: tuple[int, ...]
    widths: dict[str, tuple[float, ...]]
    course: dict[str, tuple[float, ...]]
    start: dict[str, float]
    end: dict[str, float]
    scores: dict[str, float]
    fold_difference: float | None = None
    batches: tuple[int, ...] = ()
    constant: dict[str, float] = field(default_factory=dict)
    epoch: int | None = None

    def is_worse_than_constant(self, metric: str) -> bool:
        """Whether the folded network predicts worse than a constant by a metric; False if either is not known."""
        return is_worse(MemberRow(math.nan, self.scores), self.constant, metric)

    @property
    def parameters(self) -> tuple[float, float] | None:
        """Parameters at the start and at the end, or so far; None when they were not recorded."""
        if "params" in self.start and "params" in self.end:
            return self.start["params"], self.end["params"]
        along = self.course.get("params")
        return (along[0], along[-1]) if along else None

    def exhausted(self, config: Mapping[str, Any]) -> str:
        """Returns that all channels died but those that every layer keeps, and how to mend it; else nothing.

        Args:
            config: settings of the run.
        """
        minimum, lines = config.get("minimum", 1), self.widths.values()
        shrank = any(line[-1] < line[0] for line in lines)
        if config.get("size") or not shrank or any(line[-1] > minimum for line in lines):
            return ""
        return (
            f"All channels died but the last {minimum} of every layer: lam={config.get('lam')} is too large for this network. "
            "Lower lam, raise minimum, or ask for a size."
        )

    def above(self, config: Mapping[str, Any]) -> str:
        """Returns that a counted size ended above the one that was asked for, and how to stay below; else nothing.

        Args:
            config: settings of the run.
        """
        if not config.get("size"):
            return ""
        asked = parse_target(config["size"])
        found = self.end.get(asked.kind, 0.0)
        if asked.kind == "ms" or found <= (1 + _NOTED) * asked.value:
            return ""
        return (
            f"{found:,.0f} {asked.kind} where {asked.value:,.10g} were asked for: a size is met to half a channel. Ask for a "
            "little less where it is a limit."
        )


def restored(epoch: int | None, config: Mapping[str, Any]) -> str:
    """Returns that the weights are not those of the last epoch; else nothing.

    Args:
        epoch: the epoch whose weights the network has.
        config: settings of the run.
    """
    if epoch is None or epoch >= config["epochs"]:
        return ""
    return f"The weights are those of epoch {epoch} of {config['epochs']}, where the validation loss is lowest."


def shrinkage(records: Iterable[Record]) -> Shrinkage:
    """Returns what the records of a shrinking run say."""
    rows = list(records)
    trained = [row for row in rows if row.method == "train"]
    steps = tuple(sorted({row.step for row in trained}))
    course: dict[str, dict[int, float]] = {}
    widths: dict[str, dict[int, float]] = {}
    for row in trained:
        lines, name = (widths, row.layer) if row.name == _WIDTH else (course, row.column)
        lines.setdefault(name or "", {})[row.step] = row.value
    costs = [row for row in rows if row.method == "cost"]
    start, end = (
        {row.column: row.value for row in costs if row.where.get("stage") == stage}
        for stage in ("start", "end")
    )
    epochs = [round(row.value) for row in rows if row.method == WEIGHTS and row.name == "epoch"]
    folding = [row.value for row in costs if row.name == "fold_difference"]
    return Shrinkage(
        steps,
        _lines(widths, steps),
        _lines(course, steps),
        start,
        end,
        {row.column: row.value for row in rows if row.method == "evaluate"},
        folding[-1] if folding else None,
        tuple(sorted({b for row in costs if isinstance(b := row.where.get("batch"), int)})),
        constants(rows),
        epochs[-1] if epochs else None,
    )


def _lines(
    found: Mapping[str, Mapping[int, float]], steps: Sequence[int]
) -> dict[str, tuple[float, ...]]:
    """Returns values at all steps, NaN where there is none."""
    return {name: tuple(line.get(s, float("nan")) for s in steps) for name, line in found.items()}


def events(run_path: Path) -> list[Event]:
    """Returns the removals of channels that a run folder logs in the order of writing, none without a log.

    A last line without a newline was cut off by an interruption and is passed over; so are keys that are not known.

    Raises:
        CheckpointError: any other line is damaged; or, once training has ended, some are gone.
    """
    path = run_path / KILLS
    if not path.exists():
        check_whole(path, 0)
        return []
    with reading(path, "cannot be read"):
        text = regular(path).read_bytes().decode(errors="replace")
    lines = sealed_lines(text, path, _DELETE)
    check_whole(path, len(lines))
    return [_event(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]


def _event(line: str, where: str) -> Event:
    where = f"{where} is not a removal"
    return Event.from_json(unseal_line(line, where, _DELETE), where, _DELETE)
