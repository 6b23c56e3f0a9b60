"""What an experiment found: tables and figures for people, values for programs."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any

from netdial import __version__
from netdial.core.storage.files import finite
from netdial.runs.store import ENGINE

_NUMBER = re.compile(r"[-+−±×]?\s*\.?\d")
FORMAT = 2
"""Format of what `Outcome.to_json` returns; in format 1 implementations were known by the papers' letters, not in words."""


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: what it shows.
        columns: headings.
        rows: cells, as many in each row as there are columns.
        note: how to read it, in a sentence or two.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def of_words(self) -> list[int]:
        """Places of the columns that hold words: no cell of them begins as a number does."""
        return [
            place
            for place in range(len(self.columns))
            if any(row[place] for row in self.rows)
            and not any(_NUMBER.match(row[place]) for row in self.rows)
        ]


def lost_words(share: float) -> str:
    """Returns a share of accuracy that was lost; nothing where there is no loss.

    >>> lost_words(0.0123), lost_words(-0.01)
    ('1.23%', 'nothing')
    """
    return f"{share:.2%}" if share > 0 else "nothing"


@dataclass(frozen=True)
class Figure:
    """A plotly figure with its heading."""

    title: str
    plot: Any
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment.

    Attributes:
        name: the experiment.
        title: what was asked.
        lead: the answer in one or two sentences.
        tables, figures: what is shown, in order.
        values: the numbers behind them, plain JSON; a number that is not finite becomes null in the file.
        settings: the protocol, by name.
        notes: what a reader should know before comparing.
        facts: part of the answer box (`report.standing.told.TITLES`) -> its value and what it is; the other parts are said
            from the protocol, or not to be asked by this experiment.
    """

    name: str
    title: str
    lead: str
    tables: tuple[TextTable, ...]
    figures: tuple[Figure, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the figures as plain JSON values."""
        parts = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "figures"
        }
        parts["tables"] = [dataclasses.asdict(table) for table in self.tables]
        whole = {"format": FORMAT, "netdial": __version__, "engine": ENGINE, **parts}
        plain: dict[str, Any] = json.loads(json.dumps(finite(whole)))
        return plain
