"""What ``netdial benchmark`` shows: the leaderboard as a table, and what it says in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from netdial.contest.board import Leaderboard, Place


def board_table(board: Leaderboard) -> Table:
    """Returns a row for each contender, best first."""
    table = Table(header_style="bold")
    further = list(board.first.metrics)
    for heading in ("", "contender"):
        table.add_column(heading, no_wrap=True)
    for heading in (f"test {board.measure}", "behind the first", *further, "parameters", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, place in enumerate(board.places, 1):
        if place.failed:
            table.add_row("–", place.name, "failed")
            continue
        numbers = [_number(place.metrics[name]) for name in further]
        params = "" if math.isnan(place.params) else f"{place.params:,.0f}"
        behind = "" if number == 1 else _with_error(place.behind, place.behind_error)
        loss = _with_error(place.loss, place.error)
        table.add_row(
            str(number), place.name, loss, behind, *numbers, params, f"{place.seconds:.1f}"
        )
    return table


def board_lines(board: Leaderboard) -> Iterator[str]:
    """Yields who won and how surely, how it was measured, and who failed."""
    first, level = board.first, [p for p in board.places[1:] if p.level and not p.failed]
    said = (
        f"first: {first.name}, with a {_measure(board)} of {_with_error(first.loss, first.error)}"
    )
    if len(board.seeds) == 1:
        yield f"{said}; one seed says nothing of chance: give --seeds 3 or more"
    elif level:
        yield f"{said}; level with it within one standard error: {_listed(level)}"
    else:
        yield f"{said}; every other is behind by more than one standard error"
    rows = ", ".join(f"{count:,} {part}" for part, count in board.rows.items())
    how = "starts on one split" if board.one_split else "splits and starts"
    yield (
        f"{len(board.seeds)} {how} ({rows} rows), {board.seconds:g} s of processor time each; every choice on "
        "validation rows, the test rows measured once; ± is one standard error over seeds, of differences between pairs"
    )
    for place in board.places:
        if place.failed:
            yield f"{place.name} failed: {place.failed}"
    yield from board.notes


def _measure(board: Leaderboard) -> str:
    return f"{board.measure} ({board.unit})" if board.unit else board.measure


def _listed(places: list[Place]) -> str:
    return ", ".join(place.name for place in places)


def _number(value: float) -> str:
    return _digits(value, 4)


def _with_error(value: float, error: float) -> str:
    shown = _digits(value, 4)
    return shown if math.isnan(error) else f"{shown} ± {_digits(error, 2)}"


def _digits(value: float, digits: int) -> str:
    """Returns a number with so many digits, or all those before the point; in thousands of a unit no power of ten."""
    whole = 10**digits <= abs(value) < 1e12
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"
