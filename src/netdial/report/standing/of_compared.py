"""The runs of a comparison, and the best of them beside the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netdial.report.standing.told import (
    Fact,
    Standing,
    constant_told,
    cost_told,
    rival_told,
    sure_told,
    without_gaps,
    worth_words,
)
from netdial.report.template import Tile
from netdial.report.text import at_lam
from netdial.runs.curves import Headline, MemberRow, constants, headline, members
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
        sizes: of each of ``rows``, the weights that carry 99 % of the squared norm of their layer; all parameters where the
            run did not record that.
        done: whether training has ended.
    """

    name: str
    config: Mapping[str, Any]
    rows: list[MemberRow]
    answer: Headline | None
    constant: dict[str, float]
    sizes: list[float | None]
    done: bool

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
    sizes = [kept.get(row.lam) or row.get("n_params") or whole for row in rows]
    if not rows:
        shrunk = shrinkage(records)
        if shrunk.scores:
            rows = [MemberRow(math.nan, shrunk.scores)]
            sizes = [shrunk.end.get("params") or searched(records).cost.get("params")]
            constant = constant or shrunk.constant
    return Compared(run.name, run.config, rows, answer, constant, sizes, run.is_done)


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
    """Returns what stands first: the best run beside the next one; nothing where runs do not compare."""
    known = ranked(runs, alike) if alike is not None else []
    if alike is None or not known:
        return []
    _, first, row = known[0]
    size = size_of(first, row)
    others = {
        f"{one.name}{at_member(member)}": without_gaps(member.values)
        for _, one, member in known[1:]
    }
    values = dict(row.values)
    return Standing(
        chosen=Fact(
            first.name,
            f"{at_member(row).removeprefix(' at ')} {worth_words(values, alike)}".strip(),
        ),
        cost=cost_told({} if size is None else {"params": size}),
        lost=Fact("nothing", f"it predicts best of {len(known)} runs on validation data"),
        sure=sure_told(values, alike, first.config.get("n_valid")),
        constant=constant_told(first.constant, alike, values),
        rival=rival_told(others, alike, values, "no other run was measured"),
    ).tiles()


def size_of(one: Compared, row: MemberRow) -> float | None:
    """Returns the size of a network of a run."""
    return next((s for r, s in zip(one.rows, one.sizes, strict=True) if r is row), None)


def at_member(row: MemberRow) -> str:
    """Returns where a network stands along λ, to follow its name; nothing for one that has no λ."""
    return "" if math.isnan(row.lam) else f" at {at_lam(row.lam)}"
