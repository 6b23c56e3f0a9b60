"""The page of an experiment: one HTML file that opens from disk, asks nothing of the network and carries its numbers inside.

It is a page like those of runs (``report/page.html.j2``), with the tables and figures of an outcome in it.
"""

from __future__ import annotations

import json
from pathlib import Path

from netdial.core.storage.files import write_json, write_text
from netdial.papers.lab.outcome import Outcome
from netdial.report.template import fill

RESULT, PAGE = "RESULT.json", "report.html"


def render(outcome: Outcome) -> str:
    """Returns the page as HTML."""
    return fill(
        "netdial.papers.lab",
        "outcome.html.j2",
        name=outcome.title,
        brand="netdial reproduce",
        sentence="",
        lead=outcome.lead,
        tiles=(),
        notes=outcome.notes,
        live=None,
        rivals=None,
        outcome=outcome,
        settings=[(name, _text(value)) for name, value in outcome.settings.items()],
        figures={
            f"figure{place}": json.loads(figure.plot.to_json())
            for place, figure in enumerate(outcome.figures)
        },
        data=outcome.to_json(),
    )


def write_outcome(outcome: Outcome, folder: Path) -> tuple[Path, Path]:
    """Writes ``RESULT.json`` and ``report.html`` into a folder and returns their paths."""
    write_json(folder / RESULT, outcome.to_json())
    write_text(folder / PAGE, render(outcome))
    return folder / RESULT, folder / PAGE


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
