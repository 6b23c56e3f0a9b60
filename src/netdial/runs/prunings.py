"""What ``netdial slim`` left behind, in the form that reports want it. Loads no torch.

Records of one pruning have the method ``slim``, one λ, and say how it was done (`HOW`). Those of the member as it was have
the sparsity 0, those of the small network the fraction of parameters that is gone; both hold what it is worth (``accuracy``
with its part of the data), what it costs (``params``, ``macs``, ``bytes``, ``ms`` with its batch) and how wide its layers
are (``width`` with its layer). What was measured in between has a ``round``: 0 when it was pruned and not trained yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from netdial.core.records import Place, Record
from netdial.runs.curves import finite

METHOD = "slim"
WIDTH = "width"
"""Name of the records of channels in a layer."""
HOW = (
    *("criterion", "share", "size", "scope", "per", "minimum", "fold", "by_time"),
    *("exact", "lenient", "inputs", "heads", "steps", "rounds", "epochs", "lr"),
)
"""Axes that say how a member was pruned; those that have their default are left out."""


@dataclass(frozen=True)
class NetworkReading:
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
        return finite(self.values.get(name))


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
    readings: tuple[NetworkReading, ...]

    @property
    def before(self) -> NetworkReading:
        """The member as it was."""
        return self.readings[0]

    @property
    def after(self) -> NetworkReading:
        """The network that is left."""
        return self.readings[-1]

    @cached_property
    def widths(self) -> dict[str, tuple[float, float]]:
        """Group -> channels before and after, where both are known."""
        left = self.after.widths
        return {n: (width, left[n]) for n, width in self.before.widths.items() if n in left}


def prunings(records: Iterable[Record]) -> list[Pruning]:
    """Returns the prunings of the last step that was recorded, in the order in which they were made."""
    rows = [r for r in records if r.method == METHOD]
    last = max((row.step for row in rows), default=0)
    cells: dict[tuple[tuple[str, ...], float, float], dict[Place | None, _Stage]] = {}
    for row in rows:
        if row.step == last and row.lam is not None and row.sparsity is not None:
            stages = cells.setdefault((how_words(row.where), row.lam, row.sparsity), {})
            stages.setdefault(row.where.get("round"), _Stage()).add(row)
    found = []
    for (how, lam, sparsity), stages in cells.items():
        before = cells.get((how, lam, 0.0))
        if sparsity > 0 and before is not None and None in before:
            readings = (before[None].reading("before"), *_readings(stages))
            found.append(Pruning(how, lam, readings))
    return found


def how_words(where: Mapping[str, Place]) -> tuple[str, ...]:
    """Returns how a member was pruned, in words; empty if the record does not say.

    >>> how_words({"criterion": "density", "share": 0.5})
    ('density', '50% of the channels', 'global')
    >>> how_words({"criterion": "taylor", "size": "0.4 ms", "per": "macs", "rounds": 2, "epochs": 1})
    ('taylor', '0.4 ms', 'global', 'per macs', '2 rounds of 1 epoch')
    >>> how_words({"criterion": "taylor", "share": 0.5, "inputs": True, "steps": 4})
    ('taylor', '50% of the channels', 'global', 'inputs, too', 'in 4 steps')
    """
    get = where.get
    if get("criterion") is None:
        return ()
    share = get("share")
    goal = f"{100 * share:.6g}% of the channels" if isinstance(share, float) else str(get("size"))
    words = {
        str(get("criterion")): True,
        goal: True,
        "per layer" if get("scope") == "layer" else "global": True,
        f"per {get('per')}": "per" in where,
        f"at least {get('minimum')} channels": "minimum" in where,
        "nothing folded": not get("fold", True),
        "rounded by time": get("by_time", False),
        "normalised channels, too": not get("exact", True),
        "whole around unknown operations": get("lenient", False),
        "inputs, too": get("inputs", False),
        f"{get('heads')} of heads": "heads" in where,
        f"in {get('steps')} steps": "steps" in where,
        f"{_counted(get('rounds'), 'round')} of {_counted(get('epochs'), 'epoch')}": "rounds"
        in where,
        f"lr {get('lr')}": "lr" in where,
    }
    return tuple(word for word, holds in words.items() if holds)


@dataclass(frozen=True)
class _Stage:
    """What was recorded of one network."""

    values: dict[str, float] = field(default_factory=dict)
    widths: dict[str, float] = field(default_factory=dict)

    def add(self, row: Record) -> None:
        if row.name == WIDTH and row.layer is not None:
            self.widths[row.layer] = row.value
        else:
            self.values[row.column] = row.value

    def reading(self, stage: str) -> NetworkReading:
        return NetworkReading(stage, self.values, self.widths)


def _readings(stages: Mapping[Place | None, _Stage]) -> list[NetworkReading]:
    """Returns what was measured between the member as it was and the network that is left, and at the end."""
    between = [one for number, one in stages.items() if number is not None]
    end = stages.get(None, _Stage())
    names = ["pruned", *(f"round {i}" for i in range(1, len(between) + 1))]
    return [one.reading(name) for name, one in zip(names, [*between, end], strict=False)]


def _counted(number: Place | None, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
