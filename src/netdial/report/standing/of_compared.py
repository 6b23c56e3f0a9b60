"""The runs of a comparison, and the best of them beside the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netdial.report.standing.told import (
    UNKNOWN,
    Fact,
    Standing,
    constant_told,
    cost_told,
    measure,
    rival_told,
    sure_told,
    without_gaps,
    worth_words,
)
from netdial.report.template import Tile
from netdial.report.text import at_lam, count, number
from netdial.runs.curves import Headline, MemberRow, constants, headline, is_worse, members
from netdial.runs.run import Run
from netdial.runs.schemas.details import read_details
from netdial.runs.searched import searched
from netdial.runs.shrinkage import shrinkage


@dataclass(frozen=True)
class Compared:
    """One run of a comparison.

    Attributes:
        name: its name.
        config: its configuration.
        rows: members by rising λ; the one network of a run without a family, at λ = nan.
        answer: the answer of a family.
        constant: what a constant is worth.
        params: parameters of each of ``rows``.
        kept: of each of ``rows``, the weights that carry 99 % of the squared norm of their layer; None where that was not
            recorded.
        done: whether training has ended.
    """

    name: str
    config: Mapping[str, Any]
    rows: list[MemberRow]
    answer: Headline | None
    constant: dict[str, float]
    params: list[float | None]
    kept: list[float | None]
    done: bool

    @property
    def sizes(self) -> list[float | None]:
        """Size of each of ``rows`` among all networks of all runs: the weights that carry, else all parameters."""
        return [some or whole for some, whole in zip(self.kept, self.params, strict=True)]

    @property
    def metric(self) -> str | None:
        """Record that decides on validation data."""
        names = {name for row in self.rows for name in row.values}
        wanted = ("valid/rmse", "valid/nll", "valid/accuracy")
        return self.answer.metric if self.answer else next((n for n in wanted if n in names), None)

    @property
    def chosen(self) -> MemberRow | None:
        """The best member by that record, or the one network."""
        return self.answer.best if self.answer else (self.rows[0] if self.rows else None)


def compared(run: Run) -> Compared:
    """Returns what a comparison needs of a run, from its records alone."""
    records = run.records()
    rows, constant = members(records), constants(records)
    answer = headline(rows, run.config, constant)
    whole, details = run.config.get("n_params"), read_details(run.details_path)
    kept = {} if details is None else {one.lam: float(sum(one.kept)) for one in details.members}
    params = [row.get("n_params") or whole for row in rows]
    if not rows:
        shrunk = shrinkage(records)
        if shrunk.scores:
            rows = [MemberRow(math.nan, shrunk.scores)]
            params = [shrunk.end.get("params") or searched(records).cost.get("params")]
            constant = constant or shrunk.constant
    some = [kept.get(row.lam) for row in rows]
    return Compared(run.name, run.config, rows, answer, constant, params, some, run.is_done)


def ranked(runs: Sequence[Compared], metric: str) -> list[tuple[float, Compared, MemberRow]]:
    """Returns loss, run and network of all runs that were measured, best first."""
    sign = -1 if metric.endswith("/accuracy") else 1
    known = [
        (sign * value, one, row)
        for one in runs
        if (row := one.chosen) and (value := row.get(metric)) is not None
    ]
    return sorted(known, key=lambda item: item[0])


def compared_tiles(runs: Sequence[Compared], alike: str | None) -> list[Tile]:
    """Returns what stands first: the best run beside the next one; or, where runs do not compare, what can be said of each."""
    known = ranked(runs, alike) if alike is not None else []
    if alike is None or not known:
        return _apart(runs).tiles()
    _, first, row = known[0]
    params = params_of(first, row)
    others = {
        f"{one.name}{at_member(member)}": without_gaps(member.values)
        for _, one, member in known[1:]
    }
    values = dict(row.values)
    return Standing(
        chosen=Fact(
            first.name,
            f"{at_member(row).removeprefix(' at ')}: {worth_words(values, alike)}".removeprefix(
                ": "
            ),
        ),
        cost=cost_told({} if params is None else {"params": params}),
        lost=_lost(known, alike),
        sure=sure_told(values, alike, first.config.get("n_valid")),
        constant=constant_told(first.constant, alike, values),
        rival=rival_told(others, alike, values, "no other run was measured", first.config),
    ).tiles()


def _lost(known: Sequence[tuple[float, Compared, MemberRow]], metric: str) -> Fact:
    """Returns that the best run loses nothing against the others, and what the next one loses against it."""
    note = f"it has the best validation {measure(metric)} of {len(known)} runs"
    if len(known) > 1:
        (best, _, _), (value, second, _) = known[:2]
        behind = number(value - best, 2)
        gap = f"{100 * (value - best):.1f} points" if metric.endswith("/accuracy") else behind
        note += f"; {second.name}, the next, is {gap} behind"
    return Fact("nothing beside the others", note)


def _apart(runs: Sequence[Compared]) -> Standing:
    """Returns what can be said of runs of which none is best: their losses are of different rows, or not there at all."""
    found = [(one, row) for one in runs if (row := one.chosen) is not None and one.metric]
    if not found:
        none = Fact(UNKNOWN, "no run has been measured on validation data")
        whole = _span([one.config.get("n_params") for one in runs])
        return Standing(none, whole, none, none, none, none)
    own = [
        f"{one.name}{at_member(row)}: {worth_words(row.values, one.metric or '')}"
        for one, row in found
    ]
    beside = [(one, row) for one, row in found if (one.metric or "") in one.constant]
    better = [one for one, row in beside if not is_worse(row, one.constant, one.metric or "")]
    apart = "they are on different data, or judged by different metrics"
    rows = [one.config.get("n_valid") for one in runs]
    return Standing(
        chosen=Fact("none is best", f"{apart}; each by itself: {'; '.join(own)}"),
        cost=_span([params_of(one, row) for one, row in found]),
        lost=Fact(UNKNOWN, f"losses of these runs do not compare: {apart}"),
        sure=Fact(
            UNKNOWN,
            "each run's own page says how sure its figures are"
            + (f", on {span} validation rows" if (span := _span_words(rows)) else ""),
        ),
        constant=Fact(
            f"{len(better)} of {len(beside)}",
            "runs predict better than a constant on their own validation data",
        )
        if beside
        else Fact(UNKNOWN, "not recorded"),
        rival=Fact(
            UNKNOWN,
            "runs on different data are no rivals; netdial evaluate RUN --rivals makes some of each run",
        ),
    )


def _span(sizes: Sequence[object]) -> Fact:
    words = _span_words(sizes)
    return Fact(words, "parameters, over these runs") if words else Fact(UNKNOWN, "not recorded")


def _span_words(found: Sequence[object]) -> str:
    """Returns the least and the largest of some numbers; nothing where there are none."""
    known = sorted({float(one) for one in found if isinstance(one, int | float)})
    return " to ".join(count(one) for one in dict.fromkeys([known[0], known[-1]])) if known else ""


def params_of(one: Compared, row: MemberRow) -> float | None:
    """Returns the parameters of a network of a run."""
    return next((s for r, s in zip(one.rows, one.params, strict=True) if r is row), None)


def kept_of(one: Compared, row: MemberRow) -> float | None:
    """Returns how many weights of a network of a run carry 99 % of the squared norm of their layers."""
    return next((s for r, s in zip(one.rows, one.kept, strict=True) if r is row), None)


def at_member(row: MemberRow) -> str:
    """Returns where a network stands along λ, to follow its name; nothing for one that has no λ."""
    return "" if math.isnan(row.lam) else f" at {at_lam(row.lam)}"
