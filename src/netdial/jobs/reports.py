"""Reports and lists of runs of all ways of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netdial.core.storage.files import write_text
from netdial.jobs.ways import WAYS, way_of
from netdial.report.page import Section, render, render_comparison, write_page
from netdial.runs import FIRST_WAY, listing
from netdial.runs.listing import RunRow
from netdial.runs.run import Run


def write_report(run_path: Path, out: Path | None = None) -> Path:
    """Writes the report of a run and returns its path; see `netdial.report.page.write_page`."""
    return write_page(run_path, _section, out)


def report_of(run: Run, live: Mapping[str, Any] | None = None) -> str:
    """Returns the report of a run as HTML; ``live`` is for a page that a server gives, see `netdial.report.page.render`."""
    return render(run, _section(run), live)


def write_comparison(run_paths: Sequence[Path], out: Path) -> Path:
    """Writes the page that compares runs, and returns its path.

    Raises:
        CheckpointError: a folder is no run folder, its records are damaged, or the disk refused the file.
    """
    write_text(out, render_comparison([Run.open(path) for path in run_paths]))
    return out


def list_runs(root: Path) -> list[RunRow]:
    """Returns a row for each run folder directly under ``root``; see `netdial.runs.listing.list_runs`."""
    return listing.list_runs(root, _row)


def _section(run: Run) -> Section:
    return way_of(run).section()


def _row(run: Run) -> dict[str, Any]:
    """Returns what came out of a run; nothing for a measurement, which no way of training made."""
    if run.config.get("way", FIRST_WAY) not in WAYS:
        return {}
    return dict(way_of(run).headline(run).row)
