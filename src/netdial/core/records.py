"""Records: the rows that a run writes and a report reads.

A record is one measured number with everything needed to place it. Records are the only thing that passes from training
and evaluation to reports, so a report needs neither the model nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from netdial.core.storage.boundary import parse_json, reading, regular, validated
from netdial.core.storage.files import writing

_DELETE = "delete that line to go on"


@dataclass(frozen=True)
class Record:
    """One measured number.

    Attributes:
        run: name of the run folder.
        method: what produced it, for example ``train`` or ``evaluate``.
        lam: complexity value, or None when it concerns the family as a whole.
        seed: seed of the run.
        step: optimiser step at which it was taken.
        name: what it is, for example ``valid/accuracy``.
        value: the number.
        unit: its unit, for example ``nats/example``; empty for a plain ratio.
        share: share of the numbers that was pruned, or None when it is not about pruning.
    """

    run: str
    method: str
    lam: float | None
    seed: int
    step: int
    name: str
    value: float
    unit: str = ""
    share: float | None = None

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    def to_json(self) -> str:
        """Returns the record as one line of JSON."""
        return json.dumps(asdict(self))


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Appends records to a JSON-lines file.

    Raises:
        WriteError: the disk refused it.
    """
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.writelines(record.to_json() + "\n" for record in records)


def read_records(path: Path) -> Iterator[Record]:
    """Yields the records of a JSON-lines file.

    A last line without a newline was cut off by an interruption and is passed over; any other damaged line is an error.

    Raises:
        CheckpointError: a line is not a record, or the file cannot be read.
    """
    cure = "restore it from a copy, or delete it to start without records"
    with reading(path, "is not text that can be read", cure):
        lines = regular(path).read_bytes().decode().split("\n")
    for number, line in enumerate(lines[:-1], 1):
        where = f"{path}: line {number} is not a record"
        record: Record = validated(Record, parse_json(line, where, _DELETE), where, _DELETE)
        yield record
