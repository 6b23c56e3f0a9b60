"""The report page: one HTML file that opens from disk, asks nothing of the network and carries its data inside.

Which template is filled, and with what, depends on the run's way of training (`sections/`). Everything that comes from the
run is escaped by the template; the page's own policy forbids outside requests. What was not recorded is named on the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netdial.core.records import Record
from netdial.core.storage.files import finite, write_text
from netdial.report.panels import COMPLEXITY_SCALE
from netdial.report.sections.compare import compare_page
from netdial.report.standing.of_compared import compared
from netdial.report.standing.told import rival_rows
from netdial.report.template import fill
from netdial.runs.curves import metrics_of, rivals
from netdial.runs.run import Run


@dataclass(frozen=True)
class Section:
    """What the page of a run tells.

    Attributes:
        template: file name of the template, on ``page.html.j2``.
        tell: run and records -> values of the template; ``figures`` and ``data`` among them.
        package: package that holds the template.
    """

    template: str
    tell: Callable[[Run, Sequence[Record]], dict[str, Any]]
    package: str = "netdial.report"


def write_page(run_path: Path, section: Callable[[Run], Section], out: Path | None = None) -> Path:
    """Writes the page of a run and returns its path.

    Args:
        run_path: the run folder.
        section: returns what the page of a run tells.
        out: file to write in place of ``report.html`` in the run folder; another process may be at work on the run then.

    Raises:
        BusyError: another process is at work on the run, and writes its report.
        CheckpointError: the folder is not a run folder or its records are damaged, or the disk refused the file.
    """
    run = Run.open(run_path)
    if out is not None:
        write_text(out, render(run, section(run)))
        return out
    with run.alone():
        write_text(run.report_path, render(run, section(run)))
    return run.report_path


def render(run: Run, section: Section, live: Mapping[str, Any] | None = None) -> str:
    """Returns the page of a run as HTML.

    Args:
        run: the run.
        section: what its page tells.
        live: for a page that a server gives, what a form asks for: ``columns``, each with ``column``, ``kind``, ``example`` and
            ``values``. The page may then ask that server, and nobody else.
    """
    records = run.records()
    told = section.tell(run, records)
    figures, data = told.pop("figures"), told.pop("data")
    return fill(
        section.package,
        section.template,
        name=run.config.get("name", run.name),
        ramp=COMPLEXITY_SCALE,
        figures=_figures(figures),
        config=_pairs(run.config),
        environment=_pairs(run.environment()),
        data=_data(run, records, data),
        live=live,
        rivals=rival_rows(rivals(records), f"valid/{metrics_of(run.config)[1]}", run.config),
        **told,
    )


def render_comparison(runs: Sequence[Run]) -> str:
    """Returns the page of several runs as HTML."""
    told = compare_page([compared(run) for run in runs])
    figures, data = told.pop("figures"), told.pop("data")
    return fill(
        "netdial.report",
        "compare.html.j2",
        name=f"{len(runs)} runs",
        ramp=COMPLEXITY_SCALE,
        figures=_figures(figures),
        data=finite(data),
        live=None,
        rivals=None,
        **told,
    )


def _figures(figures: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures as plain JSON values."""
    return {
        name: json.loads(figure.to_json()) for name, figure in figures.items() if figure is not None
    }


def _data(run: Run, records: Sequence[Record], more: dict[str, Any]) -> Any:
    """Returns all that the page was made from, for whoever wants to compute with it."""
    return finite(
        {
            "config": run.config,
            "environment": run.environment(),
            **more,
            "series": series(records),
        }
    )


def series(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns records with those of one quantity in one row, which takes a tenth of the place; the page's download has each."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        told = dict(vars(record))
        step, value = told.pop("step"), told.pop("value")
        one = found.setdefault(json.dumps(told, sort_keys=True), {**told, "step": [], "value": []})
        one["step"].append(step)
        one["value"].append(value)
    return list(found.values())


def _pairs(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested settings as flat pairs of dotted name and text."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _pairs(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value if isinstance(value, str) else json.dumps(value)))
    return pairs
