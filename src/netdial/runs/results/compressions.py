"""What ``netdial compress`` left behind, in the form that reports want it. Loads no torch.

Records of one compression have the method ``compress`` and say how it was done: the goal and what differs from the default.
``bytes`` and ``loss`` have a ``stage`` (one of ``STAGES``), a ``point`` on the front, or ``bytes``
the ``purpose`` that they serve in the file, or the ``bound`` that they are; ``bits``, ``kept``, ``size`` and ``values`` have a
``layer``. What was judged has ``verdict``. Metrics of the network given and of the file have stage and part of the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netdial.core.records import TRAINED_ON, Place, Record

METHOD = "compress"
SIZE = "bytes"
STAGES = ("dense", TRAINED_ON, "pruned", "shared", "coded")
_PLACES = {"stage", "point", "purpose", "layer", "verdict", "part", "method", "bound"}


_STAGE_WORDS = {
    TRAINED_ON: f"dense, {TRAINED_ON}",
    "pruned": "pruned: the weights left",
    "shared": "shared: their codes and values",
    "coded": "coded: the whole file",
}


AT_KNOTS = "members at seven λ"
"""What a whole family is told by in a compressed file, and measured by before."""


def stage_words(stage: str, *, family: bool = False) -> str:
    """Returns what a stage is called in tables, of one network or of a whole family."""
    if family and stage == STAGES[0]:
        return f"{stage}: {AT_KNOTS}"
    return _STAGE_WORDS.get(stage, stage)


def above_words(stage: str, *, family: bool) -> str:
    """Returns the heading of losses above those of a stage; of a family that is the member that loses most.

    >>> above_words("dense", family=True)
    'above dense, λ that loses most'
    """
    return f"above {stage_words(stage)}{', λ that loses most' if family else ''}"


def each_bits(bits: float, kept: float) -> str:
    """Returns the bits for each number that is not 0, for a cell of a table; nothing where all are 0.

    >>> each_bits(96, 8), each_bits(112, 0)
    ('12', '–')
    """
    return f"{bits / kept:.3g}" if kept else "–"


def times_words(before: float, after: float) -> str:
    """Returns how a number of bytes became another one.

    >>> times_words(1100, 506), times_words(772, 1324)
    ('2.17 times smaller', '1.72 times larger')
    """
    more = after > before
    times = after / max(before, 1) if more else before / max(after, 1)
    return f"{times:.3g} times {'larger' if more else 'smaller'}"


def ratio_words(before: float, after: float) -> str:
    """Returns how many times smaller bytes became, for a cell of a table; nothing where none are left.

    >>> ratio_words(1100, 550), ratio_words(1100, 0)
    ('× 2', '')
    """
    return f"× {before / after:.3g}" if after > 0 else ""


def rest_words(split: Mapping[str, float]) -> str:
    """Returns how much of a file is no weights, in a sentence.

    Args:
        split: purpose -> bytes of the file.

    >>> rest_words({"tables": 24, "header": 97, "text": 385})
    '482 of the 506 bytes of the file are no weights: its header, and its text, which says how the network is built and used.'
    """
    rest = sum(split.get(name, 0.0) for name in ("header", "text", "other"))
    return (
        f"{rest:.0f} of the {sum(split.values()):.0f} bytes of the file are no weights: its header, and its text, which "
        "says how the network is built and used."
    )


@dataclass
class Compression:
    """One compression of one model.

    Attributes:
        how: axis -> value: the goal, and what differs from the default.
        lam: complexity value; None for a network that has none.
        stages: stage -> name of a record -> value.
        front: point -> name -> value, by falling size.
        layers: layer -> name -> value.
        split: purpose -> bytes of the file.
        bounds: what a code looks at -> bytes that it needs at least.
        verdict: name -> value; empty if nothing was judged.
    """

    how: dict[str, Place]
    lam: float | None
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    front: dict[int, dict[str, float]] = field(default_factory=dict)
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    split: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)
    verdict: dict[str, float] = field(default_factory=dict)

    @property
    def of_family(self) -> bool:
        """Whether it is of a whole family, and not of one network."""
        return self.how.get("members") == "all"

    @property
    def ratio(self) -> float:
        """Bytes of the network given over those of the file."""
        return self.stages["dense"][SIZE] / self.stages["coded"][SIZE]

    def add(self, row: Record) -> None:
        """Takes in a record."""
        where = row.where
        if where.get("verdict"):
            self.verdict[row.name] = row.value
        elif "stage" in where:
            self.stages.setdefault(str(where["stage"]), {})[row.column] = row.value
        elif "point" in where:
            self.front.setdefault(int(where["point"]), {})[row.name] = row.value
        elif "purpose" in where:
            self.split[str(where["purpose"])] = row.value
        elif "bound" in where:
            self.bounds[str(where["bound"])] = row.value
        elif row.layer is not None:
            self.layers.setdefault(row.layer, {})[row.name] = row.value


def compressions(records: Iterable[Record]) -> list[Compression]:
    """Returns the compressions of the last step that was recorded, in the order in which they were made."""
    rows = [row for row in records if row.method == METHOD]
    last = max((row.step for row in rows), default=0)
    found: dict[frozenset[tuple[str, Place]], Compression] = {}
    for row in rows:
        if row.step != last:
            continue
        said = {axis: place for axis, place in row.where.items() if axis not in _PLACES}
        key = frozenset(said.items())
        how = {axis: place for axis, place in said.items() if axis != "lam"}
        found.setdefault(key, Compression(how, row.lam)).add(row)
    return [one for one in found.values() if {"dense", "coded"} <= one.stages.keys()]
