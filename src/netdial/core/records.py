"""Records: the rows that a run writes and a report reads.

A record is one measured number with everything needed to place it: what was measured is its name, and all that the number
belongs to (complexity value, part of the data, layer, batch …) is a value on a named axis, so that nobody has to take a
name apart. Records are the only thing that passes from training and evaluation to reports, so a report needs neither the
model nor torch. Beside them stands the log of a network that shrinks, an ``Event`` a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial.core.storage.boundary import (
    reading,
    regular,
    seal_line,
    sealed_lines,
    unseal_line,
    validated,
)

Place = bool | int | float | str
"""A value on an axis."""

TRAINED_ON = "trained on"
"""Stage of a compression: the network given, dense, trained on for as long as a compressed one, where that is better."""

_IN_COLUMN = ("using", "batch")
_DELETE = "delete that line to go on"


@dataclass(frozen=True)
class Record:
    """One measured number.

    Attributes:
        run: name of the run folder.
        seed: seed of the run.
        step: optimiser step at which it was taken.
        name: what was measured, for example ``accuracy``.
        value: the number.
        unit: its unit, for example ``nats/example``; empty for a plain ratio.
        where: axis -> value, what the number belongs to. ``method`` is what produced it (``train``, ``evaluate``,
            ``prune`` …), ``part`` the part of the data, ``using`` is ``predictive`` for the average over the posterior,
            ``lam`` the complexity value, ``sparsity`` the fraction of numbers that was removed; ``layer``, ``batch``,
            ``round``, ``stage``, ``estimator``, ``criterion`` and whatever else a method needs. An axis that does not
            apply is left out.
    """

    run: str
    seed: int
    step: int
    name: str
    value: float
    unit: str = ""
    where: dict[str, Place] = field(default_factory=dict)

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    @property
    def method(self) -> str:
        """What produced it; empty if the record does not say."""
        return str(self.where.get("method", ""))

    @property
    def part(self) -> str | None:
        """Part of the data that it was measured on: ``train``, ``valid`` or ``test``."""
        return _text(self.where.get("part"))

    @property
    def layer(self) -> str | None:
        """Layer, or group of layers, that it is about."""
        return _text(self.where.get("layer"))

    @property
    def lam(self) -> float | None:
        """Complexity value; None when it concerns all of them."""
        return _number(self.where.get("lam"))

    @property
    def sparsity(self) -> float | None:
        """Fraction of the numbers that was removed; None when it is not about pruning."""
        return _number(self.where.get("sparsity"))

    @property
    def column(self) -> str:
        """Heading of the number in a table of networks: name with part of the data, averaging and batch.

        >>> Record("wine", 0, 9, "nll", 0.3, where={"part": "valid", "using": "predictive"}).column
        'valid/nll_predictive'
        >>> Record("wine", 0, 9, "ms", 0.3, where={"batch": 64}).column
        'ms_64'
        """
        words = [self.name, *(str(self.where[axis]) for axis in _IN_COLUMN if axis in self.where)]
        return "/".join([*([] if self.part is None else [self.part]), "_".join(words)])

    @property
    def quantity(self) -> tuple[object, ...]:
        """What was measured, without the number: records of the same quantity replace each other."""
        return self.seed, self.step, self.name, frozenset(self.where.items())

    def to_json(self) -> str:
        """Returns the record as one line of JSON, sealed with a CRC-32."""
        return seal_line(json.dumps(vars(self)))


@dataclass(frozen=True)
class Event:
    """One removal of channels while a network shrinks.

    Attributes:
        step: optimiser step.
        lam: λ at that moment; with a target the mean over the channels on their way out.
        rule: what killed: the name of the killing rule, ``size``, or ``bypass`` for a branch that died as a whole.
        gone: group -> channels, as they were numbered in the network at the start.
        widths: group -> channels left.
        n_params: numbers left in all parameters, without those of switches.
        folded: bias -> how many channels' constants it took up.
        refused: group -> why channels that should have gone stayed.
        difference: largest change of an output, relative to the largest output.
        seconds: time that it took.
    """

    step: int
    lam: float
    rule: str
    gone: dict[str, tuple[int, ...]]
    widths: dict[str, int]
    n_params: int
    folded: dict[str, int]
    refused: dict[str, str]
    difference: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values: one line of the log, and an entry of a checkpoint."""
        return {**vars(self), "gone": {group: list(lost) for group, lost in self.gone.items()}}

    @classmethod
    def from_json(cls, plain: Any, where: object, cure: str) -> Event:
        """Returns the event that ``to_json`` gave, or an earlier netdial wrote.

        Args:
            plain: plain values; keys that are not known are passed over.
            where: the file, for the message.
            cure: what to do about a damaged one.

        Raises:
            CheckpointError: something is missing or of another type.
        """
        if isinstance(plain, Mapping):
            plain = {**plain, **plain.get("collection", {})}
            plain.setdefault("n_params", plain.get("params"))
        event: Event = validated(cls, plain, where, cure)
        return event


def read_records(path: Path, convert: Callable[[Any], Any] = lambda line: line) -> Iterator[Record]:
    """Yields the records of a JSON-lines file.

    A last line without a newline was cut off by an interruption and is passed over; any other damaged line is an error.

    Args:
        path: the file.
        convert: turns a line of an earlier format, as JSON values, into one of this format; returns others as they are.

    Raises:
        CheckpointError: a line is not a record, or the file cannot be read.
    """
    cure = "restore it from a copy, or run again with --overwrite"
    with reading(path, "is not text that can be read", cure):
        lines = sealed_lines(regular(path).read_bytes().decode(), path, _DELETE)
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number} is not a record"
        found = convert(unseal_line(line, where, _DELETE))
        record: Record = validated(Record, found, where, _DELETE)
        yield record


def _number(value: Place | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(value: Place | None) -> str | None:
    return None if value is None else str(value)
