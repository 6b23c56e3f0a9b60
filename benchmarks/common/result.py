"""What a benchmark returns, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass
class Result:
    """A measured figure.

    Attributes:
        name: name of the figure.
        value: the figure, or label -> figure.
        unit: its unit; ``ratio`` for a quotient of two times or sizes.
        better: which way is better.
        seeds: seeds behind it.
        quick: whether it is the smaller version.
        baseline: what it is compared with.
        floor: what could not be beaten, in words and numbers.
        spread: standard deviation over seeds, or (lowest, highest) over repeats, by label.
        rows: details for people, one dict for each line.
        seconds: wall time of the measurement.
    """

    name: str
    value: float | dict[str, float]
    unit: str
    better: Literal["lower", "higher"]
    seeds: Sequence[int] = ()
    quick: bool = False
    baseline: str = ""
    floor: str = ""
    spread: Mapping[str, object] = field(default_factory=dict)
    rows: Sequence[Mapping[str, object]] = ()
    seconds: float = 0.0

    def to_json(self) -> str:
        """Returns the result as one JSON object."""
        return json.dumps(asdict(self), allow_nan=False)

    def show(self) -> None:
        """Prints the result for people."""
        console = Console(width=160)
        if self.rows:
            table = Table(title=self.name)
            for column in self.rows[0]:
                table.add_column(column, justify="right")
            for row in self.rows:
                table.add_row(*(_text(row.get(column)) for column in self.rows[0]))
            console.print(table)
        values = self.value if isinstance(self.value, dict) else {self.name: self.value}
        for label, value in values.items():
            spread = f"  spread {_text(self.spread[label])}" if label in self.spread else ""
            console.print(f"{label}: {_text(value)} {self.unit} ({self.better} is better){spread}")
        for title, text in (("baseline", self.baseline), ("floor", self.floor)):
            if text:
                console.print(f"{title}: {text}")
        size = "quick" if self.quick else "full"
        console.print(f"seeds {list(self.seeds)}, {size}, {self.seconds:.1f} s")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " … ".join(_text(item) for item in value)
    return "" if value is None else str(value)
