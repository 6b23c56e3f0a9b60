"""The page of an experiment: one HTML file that opens from disk, asks nothing of the network and carries its numbers inside.

It has the look of the report of a run (``report/look.css``); the template is ``page.html.j2`` beside this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from netdial.core.storage.files import write_json, write_text
from netdial.papers.lab.outcome import Outcome

RESULT, PAGE = "RESULT.json", "report.html"
_MARGIN = {"l": 64, "r": 16, "t": 64, "b": 56}


def render(outcome: Outcome) -> str:
    """Returns the page as HTML."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    from netdial.report.template import fill

    return fill(
        "netdial.papers.lab",
        "page.html.j2",
        outcome=outcome,
        settings=[(name, _text(value)) for name, value in outcome.settings.items()],
        figures=[_themed(figure.plot) for figure in outcome.figures],
        data=outcome.to_json(),
        plotlyjs=get_plotlyjs(),
    )


def write_outcome(outcome: Outcome, folder: Path) -> tuple[Path, Path]:
    """Writes ``RESULT.json`` and ``report.html`` into a folder and returns their paths."""
    write_json(folder / RESULT, outcome.to_json())
    write_text(folder / PAGE, render(outcome))
    return folder / RESULT, folder / PAGE


def _themed(plot: Any) -> dict[str, Any]:
    """Returns a figure as plain JSON without a template of plotly's: the page sets ink, ground and grid."""
    plot.update_layout(
        template="none",
        margin=_MARGIN,
        font={"size": 12.5},
        hoverlabel={"font": {"size": 12}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    for annotation in plot.layout.annotations:
        annotation.font = {"size": 12.5}
    found: dict[str, Any] = json.loads(plot.to_json())
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
