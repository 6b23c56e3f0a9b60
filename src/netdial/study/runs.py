"""Many runs at a glance: the rows of ``netdial list``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netdial.core.errors import CheckpointError
from netdial.study.curves import headline, members
from netdial.study.run import Run


@dataclass(frozen=True)
class RunRow:
    """One run in a list; fields that are not known are None.

    Attributes:
        name: name of the folder.
        status: ``done``, ``unfinished`` or ``damaged``.
        data: data set.
        model: network.
        objective: objective trained with.
        map: map from complexity to parameters.
        step: last optimiser step that was recorded.
        metric: record that ``best`` is a value of.
        best: best validation accuracy, or error for regression.
        best_lam: complexity value where it is reached.
        started: time of the start, ISO 8601, UTC.
        problem: what is wrong with a damaged run.
    """

    name: str
    status: str
    data: str | None = None
    model: str | None = None
    objective: str | None = None
    map: str | None = None
    step: int | None = None
    metric: str | None = None
    best: float | None = None
    best_lam: float | None = None
    started: str | None = None
    problem: str | None = None


def list_runs(root: Path) -> list[RunRow]:
    """Returns a row for each run folder directly under ``root``, by time of start; other folders are passed over.

    A run that cannot be read does not spoil the list: its row says what is wrong. No ``root`` gives an empty list.
    """
    rows = [_row(path.parent) for path in sorted(root.glob("*/config.json"))]
    return sorted(rows, key=lambda row: row.started or "")


def _row(path: Path) -> RunRow:
    try:
        run = Run.open(path)
        records = run.records()
    except CheckpointError as error:
        return RunRow(path.name, "damaged", problem=str(error))
    answer = headline(members(records), run.config)
    return RunRow(
        name=run.name,
        status="done" if run.is_done else "unfinished",
        data=run.config.get("data"),
        model=run.config.get("model"),
        objective=run.config.get("objective"),
        map=run.config.get("map"),
        step=max((record.step for record in records), default=None),
        metric=answer.metric if answer else None,
        best=answer.value if answer else None,
        best_lam=answer.best.lam if answer else None,
        started=run.environment().get("started"),
    )
