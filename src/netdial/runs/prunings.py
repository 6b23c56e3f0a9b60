"""What ``netdial slim`` left behind, in the form that reports want it. Loads no torch.

Records of one pruning stand under one method, ``slim: CRITERION, GOAL, SCOPE, …`` (``method_name`` in
``jobs.slim``), and one λ. Those of the member as it was have the share 0, those of the small network the share of
parameters that is gone; both hold what it is worth (``valid/accuracy``), what it costs (``params``, ``macs``, ``bytes``,
``ms_1`` …) and how wide its layers are (``width/fc1``). What was measured in between is named after its stage:
``round 1/valid/accuracy``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from netdial.core.records import Record

METHOD = "slim"
_METHODS = (METHOD, "structured")
"""Names of the method in records, with that of an earlier format."""
WIDTH = "width/"
_SPLITS = ("valid/", "test/")


@dataclass(frozen=True)
class Reading:
    """What a network was worth and what it cost.

    Attributes:
        stage: ``before``, ``pruned``, ``round 1`` and so on.
        values: ``valid/accuracy`` and the like, ``params``, ``macs``, ``bytes``, ``ms_1`` …
        widths: group -> channels; empty in between.
    """

    stage: str
    values: dict[str, float]
    widths: dict[str, float]

    def get(self, name: str) -> float | None:
        """Returns a value, or None when it was not recorded or is not finite."""
        value = self.values.get(name)
        return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Pruning:
    """One pruning of one member.

    Attributes:
        how: criterion, what was asked for, ``global`` or ``per layer``, and what else differs from the default; empty in
            records of before they said so.
        lam: complexity value of the member.
        readings: from the member as it was to the network that is left.
    """

    how: tuple[str, ...]
    lam: float
    readings: tuple[Reading, ...]

    @property
    def before(self) -> Reading:
        """The member as it was."""
        return self.readings[0]

    @property
    def after(self) -> Reading:
        """The network that is left."""
        return self.readings[-1]

    @cached_property
    def widths(self) -> dict[str, tuple[float, float]]:
        """Group -> channels before and after, where both are known."""
        left = self.after.widths
        return {n: (width, left[n]) for n, width in self.before.widths.items() if n in left}


def prunings(records: Iterable[Record]) -> list[Pruning]:
    """Returns the prunings of the last step that was recorded, in the order in which they were made."""
    rows = [r for r in records if r.method.split(":")[0] in _METHODS]
    last = max((row.step for row in rows), default=0)
    cells: dict[tuple[str, float, float], dict[str, float]] = {}
    for row in rows:
        if row.step == last and row.lam is not None and row.share is not None:
            cells.setdefault((row.method, row.lam, row.share), {})[row.name] = row.value
    found = []
    for (method, lam, share), values in cells.items():
        before = cells.get((method, lam, 0.0))
        if share > 0 and before is not None:
            words = method.partition(": ")[2]
            readings = (_reading("before", before), *_stages(values))
            found.append(Pruning(tuple(words.split(", ")) if words else (), lam, readings))
    return found


def _stages(values: dict[str, float]) -> list[Reading]:
    """Returns what was measured between the member as it was and the network that is left, and at the end."""
    between: dict[str, dict[str, float]] = {}
    end: dict[str, float] = {}
    for name, value in values.items():
        stage, _, rest = name.partition("/")
        if not rest or name.startswith((WIDTH, *_SPLITS)):
            end[name] = value
        else:
            between.setdefault(stage, {})[rest] = value
    last = f"round {len(between)}" if between else "pruned"
    return [_reading(stage, one) for stage, one in [*between.items(), (last, end)]]


def _reading(stage: str, values: dict[str, float]) -> Reading:
    return Reading(
        stage,
        {name: value for name, value in values.items() if not name.startswith(WIDTH)},
        {name.removeprefix(WIDTH): v for name, v in values.items() if name.startswith(WIDTH)},
    )
