"""The page of an experiment: one HTML file that opens from disk, asks nothing of the network and carries its numbers inside.

It is a page like those of runs (``report/page.html.j2``), with the tables and figures of an outcome in it.
"""

from __future__ import annotations

import json
from pathlib import Path

from netdial.core.storage.files import write_json, write_text
from netdial.papers.lab.outcome import Outcome
from netdial.report.standing.told import TITLES, UNKNOWN, Fact, Standing
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
        tiles=standing_of(outcome).tiles(),
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


def standing_of(outcome: Outcome) -> Standing:
    """Returns what stands first: what the experiment says of each part, and of the others what its protocol does."""
    settings, told = outcome.settings, {part: Fact(*said) for part, said in outcome.facts.items()}
    network = [str(settings[name]) for name in ("network", "model") if name in settings]
    starts = next((settings[name] for name in ("starts", "seeds") if name in settings), None)
    count = len(starts) if isinstance(starts, list | tuple) else starts
    many = isinstance(count, int) and count > 1
    rest = {
        "chosen": Fact(UNKNOWN, "an experiment compares methods; nothing is chosen for use"),
        "cost": Fact(network[0], "the network; what it takes is in the protocol")
        if network
        else Fact(UNKNOWN, "sizes differ from row to row, see the tables and the protocol"),
        "lost": Fact(UNKNOWN, "not asked by this experiment"),
        "sure": Fact(f"{count} starts", "spreads over them stand in the tables")
        if many
        else Fact(UNKNOWN, "one start: chance is not told apart from a difference"),
        "constant": Fact(UNKNOWN, "not asked by this experiment"),
        "rival": Fact(
            UNKNOWN,
            "methods are compared in the tables, with published figures where there are some",
        ),
    }
    return Standing(**{part: told.get(part, rest[part]) for part in TITLES})


def write_outcome(outcome: Outcome, folder: Path) -> tuple[Path, Path]:
    """Writes ``RESULT.json`` and ``report.html`` into a folder and returns their paths."""
    write_json(folder / RESULT, outcome.to_json())
    write_text(folder / PAGE, render(outcome))
    return folder / RESULT, folder / PAGE


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
