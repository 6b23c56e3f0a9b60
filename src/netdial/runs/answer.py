"""What came out of a run, as people, programs and lists of runs are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Answer:
    """The answer of a run.

    Attributes:
        json: for programs, plain values by name.
        tables: for people, in order.
        lines: sentences below the tables.
        row: for lists of runs, fields of `netdial.runs.listing.RunRow`.
    """

    json: Mapping[str, Any]
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
