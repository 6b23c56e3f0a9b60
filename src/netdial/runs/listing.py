"""Many runs at a glance: the rows of ``netdial list``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, NetdialError
from netdial.runs import FIRST_WAY
from netdial.runs.curves import MemberRow, deciding
from netdial.runs.folder import recover
from netdial.runs.run import Run
from netdial.runs.store import content_hash

_ASIDE = ("name", "data_dir")


@dataclass(frozen=True)
class RunRow:
    """One run in a list; fields that are not known are None.

    Attributes:
        name: name of the folder.
        status: ``done``, ``unfinished`` or ``damaged``.
        data: data set.
        model: network, or the space that one was searched for in.
        objective: objective trained with.
        map: map from complexity to parameters.
        step: last optimiser step that was recorded.
        metric: record that ``best`` is a value of.
        best: validation log loss, or RMSE for regression: of the best member of a family, or of the network that was
            trained alone.
        accuracy: its validation accuracy, for classification.
        best_lam: complexity value where it is reached, for a family.
        started: time of the start, ISO 8601, UTC.
        problem: what is wrong with a damaged run.
        way: way of training: ``fit`` for a family over λ, ``shrink``.
        params: parameters at the start and at the end, or so far, of a network that shrinks.
        key: hash of the resolved settings; runs that can only come out alike have the same.
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
    accuracy: float | None = None
    best_lam: float | None = None
    started: str | None = None
    problem: str | None = None
    way: str | None = "fit"
    params: tuple[int, int] | None = None
    key: str | None = None


def list_runs(root: Path, found: Callable[[Run], dict[str, Any]]) -> list[RunRow]:
    """Returns a row for each run folder directly under ``root``, by time of start; other folders are passed over.

    A run that cannot be read does not spoil the list: its row says what is wrong. No ``root`` gives an empty list.

    Args:
        root: folder that holds the runs.
        found: returns what came out of a run, as fields of its row.
    """
    for old in root.glob(".*.old"):
        with suppress(NetdialError):
            recover(root / old.name[1:-4])  # a replacement that was stopped halfway
    rows = [_row(path.parent, found) for path in sorted(root.glob("[!.]*/config.json"))]
    return sorted(rows, key=lambda row: row.started or "")


def _row(path: Path, found: Callable[[Run], dict[str, Any]]) -> RunRow:
    try:
        run = Run.open(path)
        records = run.records()
    except CheckpointError as error:
        return RunRow(path.name, "damaged", problem=str(error), way=None)
    return RunRow(
        name=run.name,
        status="done" if run.is_done else "unfinished",
        data=run.config.get("data"),
        model=run.config.get("space") or run.config.get("model"),
        objective=run.config.get("objective"),
        map=run.config.get("map"),
        step=max((record.step for record in records), default=None),
        started=run.environment().get("started"),
        way=run.config.get("way", FIRST_WAY),
        key=content_hash({k: v for k, v in run.config.items() if k not in _ASIDE}),
        **found(run),
    )


def worth(network: MemberRow, config: dict[str, Any]) -> dict[str, Any]:
    """Returns what a network is worth on validation data, as fields of a row."""
    metric = deciding([network], config)
    if metric is None:
        return {}
    beside = None if metric == "valid/accuracy" else network.get("valid/accuracy")
    return {"metric": metric, "best": network.get(metric), "accuracy": beside}
