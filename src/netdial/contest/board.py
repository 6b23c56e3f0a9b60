"""Leaderboard: what contenders reached on test data, best first, with their standard errors over seeds. Loads no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """One contender.

    Attributes:
        name: which.
        loss: mean test loss over seeds: the one that choices are made by.
        error: its standard error over seeds; nan for one seed.
        behind: mean difference to the first, paired by seed.
        behind_error: its standard error; nan for one seed, 0 for the first.
        valid: mean validation loss, by which it made its choices.
        metrics: further test metrics, means over seeds.
        seconds: mean processor time of a seed.
        params: mean number of parameters; nan for anything but a network.
        chosen: settings that it chose, for each seed.
        failed: why it has no result, or an empty string.
    """

    name: str
    loss: float = math.nan
    error: float = math.nan
    behind: float = math.nan
    behind_error: float = math.nan
    valid: float = math.nan
    metrics: Mapping[str, float] = ()  # type: ignore[assignment]
    seconds: float = math.nan
    params: float = math.nan
    chosen: Sequence[Mapping[str, Any]] = ()
    failed: str = ""

    @property
    def level(self) -> bool:
        """Whether it is within one standard error of the pairs of the first."""
        return self.behind <= self.behind_error


@dataclass(frozen=True)
class Leaderboard:
    """Contenders on one data set, best first.

    Attributes:
        data: what was predicted from.
        measure: name of the loss.
        unit: its unit.
        seconds: processor time that each contender was given for each seed.
        seeds: which.
        rows: sizes of the parts, by name.
        places: contenders; those that failed come last.
        notes: what to know before comparing.
        columns: what became of each column of a table (first seed): ``column``, ``read as``, ``how``.
        remarks: what was found out while it was read.
        one_split: whether the parts are the same for every seed, so that errors over seeds are those of starts alone.
    """

    data: str
    measure: str
    unit: str
    seconds: float
    seeds: Sequence[int]
    rows: Mapping[str, int]
    places: Sequence[Place]
    notes: Sequence[str] = ()
    columns: Sequence[Mapping[str, str]] = ()
    remarks: Sequence[str] = ()
    one_split: bool = False

    @property
    def first(self) -> Place:
        """The contender of least test loss."""
        return self.places[0]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values; numbers that are not known are None."""
        places = [_plain({**vars(place), "metrics": dict(place.metrics)}) for place in self.places]
        return {**vars(self), "seeds": list(self.seeds), "rows": dict(self.rows), "places": places}

    def _repr_html_(self) -> str:
        """Returns the contenders as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(
            [
                {"contender": p.name, self.measure: p.loss, "± s.e.": p.error, "behind": p.behind}
                for p in self.places
            ],
            f"{self.data}, test data, {len(self.seeds)} seeds",
        )

    def __repr__(self) -> str:
        """Returns how many there are, and the first."""
        return f"Leaderboard({len(self.places)} contenders, {self.first.name} first; print it for the table)"

    def __str__(self) -> str:
        """Returns a table for people."""
        lines = [f"{'contender':<18} {self.measure:>9} {'± s.e.':>8} {'behind':>9} {'± s.e.':>8}"]
        for place in self.places:
            if place.failed:
                lines.append(f"{place.name:<18} {place.failed}")
                continue
            numbers = (place.loss, place.error, place.behind, place.behind_error)
            lines.append(
                f"{place.name:<18} "
                + " ".join(f"{n:{w}.4g}" for n, w in zip(numbers, (9, 8, 9, 8), strict=True))
            )
        return "\n".join(lines)


def ranked(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Place]:
    """Returns places from what each contender reached for each seed; a contender that failed for one seed has no place.

    Args:
        found: contender -> for each seed either ``failed``, or ``loss``, ``valid``, ``metrics``, ``seconds``, ``params``
            and ``chosen``.
    """
    whole = {n: ones for n, ones in found.items() if not any("failed" in one for one in ones)}
    order = sorted(whole, key=lambda name: _mean(whole[name], "loss"))
    places = [_place(name, whole[name], whole[order[0]]) for name in order]
    for name, ones in found.items():
        if name not in whole:
            why = next(one["failed"] for one in ones if "failed" in one)
            places.append(Place(name, failed=why, metrics={}))
    return places


def _place(
    name: str, ones: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]]
) -> Place:
    gaps = [one["loss"] - other["loss"] for one, other in zip(ones, first, strict=True)]
    return Place(
        name,
        _mean(ones, "loss"),
        _error([one["loss"] for one in ones]),
        statistics.fmean(gaps),
        0.0 if ones is first else _error(gaps),
        _mean(ones, "valid"),
        {key: statistics.fmean(one["metrics"][key] for one in ones) for key in ones[0]["metrics"]},
        _mean(ones, "seconds"),
        math.nan if ones[0]["params"] is None else _mean(ones, "params"),
        tuple(one["chosen"] for one in ones),
    )


def _mean(ones: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.fmean(one[key] for one in ones)


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _plain(place: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in place.items()
    }
