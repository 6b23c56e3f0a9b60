"""What a reader needs first: what was chosen, what it costs, what was lost, how sure that is, beside a constant and a rival.

Every way of training says the same six things at the top of its page, and so does every section on a network that was made
smaller. What is not known says how it can be.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from netdial.core.best import proportion
from netdial.report.template import Tile
from netdial.report.text import MEASURES, count, loss_words, number, percent, size_words, value_of
from netdial.runs.curves import strongest

Worth = Mapping[str, float]
"""What a network is worth: name of a record, for example ``valid/nll``, to its value."""

TITLES = {
    "chosen": "Chosen",
    "cost": "What it costs",
    "lost": "What was lost",
    "sure": "How sure",
    "constant": "A constant",
    "rival": "Strongest rival",
}
UNKNOWN, NOTHING = "–", "nothing"
_SURE = 2.0
"""Standard errors that a difference is at least before it is called one."""
_SAME = 1e-4
"""Share of a value below which a difference from it is that of rounding."""
_WHOLE = 1e-3
"""What a number of examples may be off by, for rounding."""


@dataclass(frozen=True)
class Fact:
    """A value as text, and what it is."""

    value: str
    note: str


@dataclass(frozen=True)
class Standing:
    """The six things, in the order in which they are read."""

    chosen: Fact
    cost: Fact
    lost: Fact
    sure: Fact
    constant: Fact
    rival: Fact

    def tiles(self) -> list[Tile]:
        """Returns them as tiles of an answer box."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return [Tile(TITLES[part], one.value, one.note, part) for part, one in told.items()]


def worth_words(values: Worth, metric: str) -> str:
    """Returns what a network is worth by the metric that decides, with accuracy or R² and test data beside it.

    >>> worth_words({"valid/nll": 0.312, "valid/accuracy": 0.9, "test/nll": 0.4}, "valid/nll")
    'validation log loss 0.312, accuracy 90.0%; test log loss 0.4'
    """
    said = []
    for part, words in (("valid", "validation"), ("test", "test")):
        name = f"{part}/{metric.partition('/')[2]}"
        shown = [
            f"{title} {value_of(column, values[column])}"
            for column, title in ((name, measure(metric)), (f"{part}/accuracy", "accuracy"), (f"{part}/r2", "R²"))
            if column in values and math.isfinite(values[column])
        ]  # fmt: skip
        if shown:
            said.append(f"{words} {', '.join(dict.fromkeys(shown))}")
    return "; ".join(said)


def measure(metric: str) -> str:
    """Returns what the metric of a record is called: ``log loss``, ``RMSE``, ``accuracy``."""
    name = metric.rpartition("/")[2]
    return MEASURES.get(f"valid/{name}", ("R²" if name == "r2" else name, ""))[0]


def cost_told(now: Mapping[str, float], before: Mapping[str, float] | None = None) -> Fact:
    """Returns what a network takes up beside what it was: ``params``; ``bytes``, ``macs`` and ``ms_1`` where they are known."""
    if "params" not in now:
        return Fact(UNKNOWN, "not recorded")
    before = before or {}
    words = ["parameters"]
    if before.get("params", 0.0) > now["params"]:
        times = number(before["params"] / max(now["params"], 1e-12))
        words[0] += f" of {count(before['params'])}, {times} times fewer"
    if "bytes" in now:
        words.append(size_words(now["bytes"]))
    if now.get("macs"):
        words.append(f"{count(now['macs'])} MACs an example")
    if "ms_1" in now:
        was = f", was {number(before['ms_1'])}" if "ms_1" in before else ""
        words.append(f"{number(now['ms_1'])} ms one at a time{was}")
    return Fact(count(now["params"]), " · ".join(words))


def gap_words(value: float, error: float | None = None) -> str:
    """Returns a difference of losses with its sign, and its standard error.

    >>> gap_words(0.0123, 0.004), gap_words(-0.5)
    ('+0.012 ± 0.004', '−0.5')
    """
    sign = "" if value == 0 else "+" if value > 0 else "−"
    sure = f" ± {number(error, 2)}" if error is not None and math.isfinite(error) else ""
    return f"{sign}{number(abs(value), 2)}{sure}"


def lost_told(gap: float, of: float, note: str) -> Fact:
    """Returns a loss above another one; nothing where it is no larger but for rounding, and by how much it is smaller."""
    if gap > _SAME * abs(of):
        return Fact(gap_words(gap), note)
    better = f"{note}: better by {number(-gap, 2)}" if gap < -_SAME * abs(of) else note
    return Fact(NOTHING, better)


def sure_told(values: Worth, metric: str, rows: object) -> Fact:
    """Returns the standard error of what a network is worth, on how many rows, and how sure its accuracy is.

    Args:
        values: what it is worth; the record ``METRIC_error`` is read.
        metric: the record that decides.
        rows: rows of that part of the data, if they are known.
    """
    part = metric.partition("/")[0]
    words = {"valid": "validation", "test": "test"}.get(part, part)
    error, accuracy = values.get(f"{metric}_error"), values.get(f"{part}/accuracy")
    known = isinstance(rows, int) and rows > 0
    where = f" on {count(rows)} {words} rows" if isinstance(rows, int) and known else ""
    share = ""
    if isinstance(rows, int) and known and accuracy is not None and _counts(accuracy, rows):
        share = proportion(accuracy, rows)
    if error is not None:
        beside = f"; accuracy {percent(accuracy)} {share}" if share else ""
        return Fact(
            f"± {number(error, 2)}", f"standard error of the {measure(metric)}{where}{beside}"
        )
    if share.startswith("±"):
        return Fact(share, f"standard error of the accuracy{where}")
    return Fact(UNKNOWN, share or "no standard error was recorded")


def _counts(share: float, rows: int) -> bool:
    """Returns whether a share is one of so many examples; the mean over images of the share of their places is none."""
    return 0 <= share <= 1 and math.isclose(share * rows, round(share * rows), abs_tol=_WHOLE)


def constant_told(constant: Worth, metric: str, values: Worth) -> Fact:
    """Returns what a prediction that looks at no input is worth, and whether the network is better."""
    if metric not in constant:
        return Fact(UNKNOWN, "not recorded")
    note = f"{part_words(metric)} {measure(metric)} without looking at inputs"
    if metric in values:
        behind = _loss(metric, values[metric]) - _loss(metric, constant[metric])
        if behind > _SAME * abs(constant[metric]):
            note += "; what was chosen is worse"
        elif behind >= 0:
            note += "; what was chosen is no better"
    return Fact(value_of(metric, constant[metric]), note)


def rival_told(
    found: Mapping[str, Worth], metric: str, values: Worth, how: str, config: Mapping[str, Any]
) -> Fact:
    """Returns the strongest rival by the metric that decides, and how what was chosen stands beside it.

    Args:
        found: rivals by name; ``PART/excess`` of a rival is its loss above that of what was chosen, on the same rows.
        metric: the record that decides.
        values: what the chosen network is worth.
        how: how rivals are run, said where there are none.
        config: settings of the run.
    """
    first = strongest(found, metric)
    if first is None:
        return Fact(UNKNOWN, how)
    name, value = first
    of = f", of {len(found)} that were run" if len(found) > 1 else ""
    note = f"{part_words(metric)} {measure(metric)}, {name}{of}"
    beside = _beside(found[name], metric, values, loss_words(metric, config))
    return Fact(value_of(metric, value), f"{note}; {beside}" if beside else note)


def without_gaps(worth: Worth) -> dict[str, float]:
    """Returns what a network is worth without differences that were recorded beside another one than what was chosen."""
    return {name: value for name, value in worth.items() if "/excess" not in name}


@dataclass(frozen=True)
class RivalRows:
    """The table of rivals: headings, rows of text, best first, and what differences are counted in."""

    headings: list[str]
    rows: list[list[str]]
    unit: str


def rival_rows(
    found: Mapping[str, Worth], metric: str, config: Mapping[str, Any]
) -> RivalRows | None:
    """Returns what rivals are worth and how they stand beside what was chosen, the strongest first; None without any."""
    if not found:
        return None
    title = metric.partition("/")[2]
    columns = [
        (f"{part}/{name}", f"{words} {measure(name) if name == title else shown}")
        for part, words in (("valid", "validation"), ("test", "test"))
        for name, shown in dict.fromkeys([(title, title), ("accuracy", "accuracy"), ("r2", "R²")])
        if any(f"{part}/{name}" in worth for worth in found.values())
    ]
    gaps = [
        (part, f"{words} difference")
        for part, words in (("valid", "validation"), ("test", "test"))
        if any(f"{part}/excess" in worth for worth in found.values())
    ]
    order = sorted(found, key=lambda name: _loss(metric, found[name].get(metric, math.inf)))
    rows = [
        [
            name,
            *(value_of(c, found[name][c]) if c in found[name] else UNKNOWN for c, _ in columns),
            *(_gap_of(found[name], part) for part, _ in gaps),
        ]
        for name in order
    ]
    headings = ["rival", *(words for _, words in columns), *(words for _, words in gaps)]
    return RivalRows(headings, rows, loss_words(metric, config))


def _gap_of(worth: Worth, part: str) -> str:
    gap = worth.get(f"{part}/excess")
    return UNKNOWN if gap is None else gap_words(gap, worth.get(f"{part}/excess_error"))


def rivals_command(run: str) -> str:
    """Returns how rivals of a run are run."""
    return f"none was run: netdial evaluate {shlex.quote(run)} --rivals"


def part_words(metric: str) -> str:
    """Returns the part of the data of a record in words."""
    part = metric.partition("/")[0]
    return {"valid": "validation", "test": "test"}.get(part, part)


def _beside(rival: Worth, metric: str, values: Worth, loss: str) -> str:
    """Returns how what was chosen stands beside a rival, by the paired differences of each part where they were recorded."""
    told = []
    for part in dict.fromkeys((metric.partition("/")[0], "test")):
        gap, error = rival.get(f"{part}/excess"), rival.get(f"{part}/excess_error")
        if gap is None or error is None:
            continue
        where = "" if metric.startswith(part) else f" on {part} data"
        if abs(gap) <= _SURE * error:
            seen = f"{gap_words(gap, error)} {loss}"
            told.append(f"no difference can be seen{where} ({seen})")
            continue
        how = "better" if gap > 0 else "worse"
        sure = f"{number(abs(gap), 2)} ± {number(error, 2)} {loss}"
        told.append(f"what was chosen is {how} by {sure}{where}")
    if told:
        return "; ".join(told)
    if metric not in values:
        return ""
    mine, theirs = _loss(metric, values[metric]), _loss(metric, rival[metric])
    how = "as good" if mine == theirs else "better" if mine < theirs else "worse"
    return f"what was chosen is {how}; how sure that is was not recorded"


def _loss(metric: str, value: float) -> float:
    return -value if metric.endswith("/accuracy") else value
