"""What the page of a search tells: the structure found, how it came about, its gap, the verdict against random search.

Drawings of the structure are files of the run folder; they are shown as pictures, which run nothing.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from rich.table import Table

from netdial.core.records import Record
from netdial.report.panels import COLOURS, TITLE_PIXELS, axis_name, stacked, title_panel, value_axis
from netdial.report.sections.compress import compression_section
from netdial.report.sections.size_figures import SIZE_PIXELS, single, size_axes
from netdial.report.standing.of_search import search_standing
from netdial.report.standing.of_unfinished import unfinished_standing
from netdial.report.tables import table_of
from netdial.report.text import _sizes, count, fixed, metric_of, number, percent, units_sentence
from netdial.runs.curves import metrics_of, rivals
from netdial.runs.run import Run
from netdial.runs.searched import DRAWINGS, Searched, TrialRow, searched

LARGEST_DRAWING = 2_000_000
"""Bytes of a drawing that is still shown."""

_COSTS = {
    "params": ("parameters", count),
    "macs": ("MACs, one example", count),
    "vertices": ("vertices", count),
    "edges": ("edges", count),
    "ms": ("milliseconds, one example, measured", fixed),
}
_GAP = {
    "mixture": "supernet, all operations mixed",
    "inherited": "structure found, weights of the supernet",
    "retrained": "structure found, trained from fresh weights",
}
_GUARDS = {
    "skips": "identities in the network",
    "skips_before": "identities in the likeliest structure",
    "skips_entered": "identities in the likeliest structure of the final",
    "most_skips": "identities that one may have",
}
_SHADES = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_MOST_EDGES = 24


def search_page(run: Run, records: Sequence[Record]) -> dict[str, Any]:
    """Returns what ``search.html.j2`` names."""
    found = searched(records)
    drawings = _drawings(run)
    stands = search_standing(found, run.config, rivals(records), run.name)
    stands = stands or unfinished_standing(run, records, found.cost)
    compression = compression_section(records, run.config)
    return {
        "compression": compression,
        "sentence": about(run.config),
        "lead": lead(found, run.config),
        "tiles": stands.tiles(),
        "notes": notes(run, found),
        "verdict": found.verdict,
        "no_better": found.is_no_better,
        "picture": drawings.get("found"),
        "moments": [(_moment(n), p) for n, p in drawings.items() if n.startswith("epoch-")],
        "front": [
            (*row, drawings.get(f"lambda-{point['lam']:g}"))
            for point, row in zip(found.front, _front_rows(found), strict=True)
        ],
        "chosen": _chosen_rows(found),
        "gap": [(_GAP[name], fixed(found.gap[name], 4)) for name in _GAP if name in found.gap],
        "guards": [
            (title, count(found.guards[name]))
            for name, title in _GUARDS.items()
            if name in found.guards
        ],
        "costs": [
            (title, show(found.cost[k])) for k, (title, show) in _COSTS.items() if k in found.cost
        ],
        "trials": _trial_rows(found, "search"),
        "figures": {
            "training": training_figure(found),
            "gamma": gamma_figure(found),
            "size": trials_figure(found),
            **(compression.figures if compression else {}),
        },
        "shades": _SHADES,
        "data": {
            "chosen": found.chosen,
            "gap": found.gap,
            "guards": found.guards,
            "baseline": found.baseline,
            "front": found.front,
        },
    }


def about(config: dict[str, Any]) -> str:
    """Returns what was searched on what, in one sentence."""
    where = f"in the space {config.get('space', '')}"
    limit = f" of at most {config['size']}" if config.get("size") else ""
    if config.get("max_latency_ms"):
        limit = f" of at most {number(config['max_latency_ms'])} ms"
    by = f"by the strategy {config.get('strategy', '')}"
    said = f"One run searched for a network{limit} {where} {by}, on {config.get('data', '')}{_sizes(config)}."
    return said + units_sentence(config)


def lead(found: Searched, config: dict[str, Any]) -> str:
    """Returns the answer: what was found, and what it is worth."""
    if not found.chosen:
        return "The search has not ended yet."
    metric = metrics_of(config)[0]
    title, show = metric_of(metric)
    value = found.scores.get(f"valid/{metric}")
    worth = f" and has a validation {title} of {show(value)}" if value is not None else ""
    size = found.cost.get("params")
    return f"A network of {count(size)} parameters was found{worth}."


def notes(run: Run, found: Searched) -> list[str]:
    """Returns what a reader should know is missing or unusual."""
    said = []
    if not run.is_done:
        said.append("The search has not finished. Go on with --resume.")
    if found.leaves_no_choice:
        said.append(
            "All random structures came to the network that was found: the limits leave no choice; allow a larger size, or "
            "search in another space."
        )
    elif found.is_no_better:
        said.append(
            "The search did not do better than random structures in the same time; search longer, or in another space."
        )
    if {"mixture", "retrained"} <= set(found.gap) and found.gap["inherited"] > 1.5 * found.gap[
        "mixture"
    ] + 0.05:
        said.append(
            "With the weights of the supernet the structure that was chosen loses "
            f"{fixed(found.gap['inherited'] - found.gap['mixture'])} nats against their mixture (discretisation gap): those "
            "weights say little of it."
        )
    said += found.remarks
    diverged = sum("loss" not in trial.values for trial in found.trials)
    if diverged:
        said.append(f"{diverged} of {len(found.trials)} structures diverged in training.")
    return said


def structure_table(found: Searched) -> Table:
    """Returns what was chosen on each edge, for the terminal."""
    table = table_of("edge", "operation", title="Structure", left=("edge", "operation"))
    for edge, operation in found.chosen.items():
        table.add_row(edge, operation)
    return table


def worth_table(found: Searched, config: dict[str, Any]) -> Table:
    """Returns what the network is worth and costs, for the terminal."""
    metric = metrics_of(config)[0]
    title, show = metric_of(metric)
    table = table_of("", "valid", "test", title="Worth")
    for name, words, how in ((metric, title, show), ("nll", "NLL", fixed)):
        row = [found.scores.get(f"{part}/{name}") for part in ("valid", "test")]
        if any(value is not None for value in row) and (name, words) != ("nll", title):
            table.add_row(words, *(how(value) for value in row))
    for key, (words, how) in _COSTS.items():
        if key in found.cost:
            table.add_row(words, how(found.cost[key]), "")
    return table


def front_table(found: Searched) -> Table:
    """Returns the structures along λ, for the terminal."""
    table = table_of("λ", "parameters", "MACs", "validation loss", title="Structures along λ")
    for row in _front_rows(found):
        table.add_row(*row)
    return table


def training_figure(found: Searched) -> go.Figure | None:
    """Returns the losses along a search by gradient, or None."""
    lines = {part: line for part, line in found.loss.items() if line}
    if not lines:
        return None
    figure = single(260, "Loss of the supernet · nats per example")
    for part, colour in (("train", "valid"), ("valid", "test")):
        if part in lines:
            steps, values = zip(*lines[part], strict=True)
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    name={"train": "training", "valid": "validation"}[part],
                    mode="lines",
                    line={"color": COLOURS[colour], "width": 2},
                    hovertemplate=f"{part}: <b>%{{y:.4~g}}</b><extra></extra>",
                )
            )
    losses = [value for line in lines.values() for _, value in line]
    figure.update_layout(yaxis={**figure.layout.yaxis.to_plotly_json(), **value_axis(losses, "~g")})
    figure.update_xaxes(title_text="step", unifiedhovertitle_text="<b>step %{x}</b>")
    return figure


def gamma_figure(found: Searched) -> go.Figure | None:
    """Returns the probabilities of operations along the search, a panel for each edge; None without any."""
    edges = list(found.gamma)[:_MOST_EDGES]
    if not edges:
        return None
    figure = stacked(len(edges), TITLE_PIXELS)
    for index, edge in enumerate(edges, 1):
        for place, (operation, line) in enumerate(found.gamma[edge].items()):
            steps, values = zip(*line, strict=True)
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    name=operation,
                    mode="lines",
                    showlegend=False,
                    yaxis=axis_name("y", index),
                    line={"color": _SHADES[place % len(_SHADES)], "width": 2},
                    hovertemplate=f"{operation}: <b>%{{y:.3f}}</b><extra></extra>",
                )
            )
        title_panel(figure, index, f"{edge}: {', '.join(found.gamma[edge])}")
        axis = figure.layout[axis_name("yaxis", index)].to_plotly_json()
        figure.update_layout(
            {axis_name("yaxis", index): {**axis, "range": [-0.02, 1.02], "nticks": 3}}
        )
    figure.update_xaxes(
        title_text="step",
        unifiedhovertitle_text="<b>step %{x}</b>",
        anchor=axis_name("y", len(edges)),
    )
    return figure


def trials_figure(found: Searched) -> go.Figure | None:
    """Returns size against validation loss of all structures that were trained; None without any."""
    figure = single(SIZE_PIXELS, "Validation loss against size · nats per example")
    figure.update_layout(hovermode="closest", hoversubplots=None)
    for role, words, colour in (
        ("baseline", "random structures", COLOURS["test"]),
        ("search", "structures that the search tried", COLOURS["valid"]),
        ("front", "structures of the final", COLOURS["valid"]),
        ("candidate", "structures of the final", COLOURS["valid"]),
    ):
        rows = [t for t in found.trials if t.role == role and {"loss", "params"} <= set(t.values)]
        if rows:
            figure.add_trace(
                go.Scatter(
                    x=[trial.values["params"] for trial in rows],
                    y=[trial.values["loss"] for trial in rows],
                    name=words,
                    mode="markers",
                    marker={"color": colour, "size": 9},
                    hovertemplate=f"{words}: %{{x:,.0f}} parameters, <b>%{{y:.4~g}}</b><extra></extra>",
                )
            )
    if not figure.data:
        return None
    size_axes(figure, is_error=True)
    return figure


def _front_rows(found: Searched) -> list[tuple[str, str, str, str]]:
    """Returns λ, parameters, MACs and validation loss of each structure along λ."""
    return [
        (
            number(point["lam"]),
            count(point.get("params")),
            count(point.get("macs")),
            fixed(point["loss"], 4) if "loss" in point else "diverged",
        )
        for point in found.front
    ]


def _chosen_rows(found: Searched) -> list[tuple[str, str, str]]:
    """Returns edge, operation chosen, and its probability at the end, as text."""
    rows = []
    for edge, operation in found.chosen.items():
        line = found.gamma.get(edge, {}).get(operation)
        rows.append((edge, operation, percent(line[-1][1]) if line else "–"))
    return rows


def _trial_rows(found: Searched, role: str) -> list[tuple[str, str, str, str, str]]:
    """Returns number, validation loss, parameters, epochs and seconds of each structure that was trained, best first."""

    def loss(trial: TrialRow) -> float:
        return trial.values.get("loss", math.inf)

    rows = sorted((trial for trial in found.trials if trial.role == role), key=loss)
    return [
        (
            str(trial.number + 1),
            fixed(trial.values["loss"], 4) if "loss" in trial.values else "diverged",
            count(trial.values.get("params")),
            count(trial.values.get("epochs")),
            number(trial.values.get("seconds")),
        )
        for trial in rows
    ]


def _moment(name: str) -> str:
    """Returns the words for the name of a drawing.

    >>> _moment("epoch-00012")
    'epoch 12'
    """
    word, _, number_ = name.partition("-")
    return f"{word} {int(number_)}" if number_.isdecimal() else name


def _drawings(run: Run) -> dict[str, str]:
    """Returns the drawings of a run by name, as data that a page shows as pictures."""
    found = {}
    for path in sorted((run.path / DRAWINGS).glob("*.svg")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_DRAWING:
            text = base64.b64encode(Path(path).read_bytes()).decode()
            found[path.stem] = f"data:image/svg+xml;base64,{text}"
    return found
