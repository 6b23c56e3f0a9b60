"""The page of a sweep: what came out, how far it is, and what each setting that was varied did; from its folder alone."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.errors import NetdialError
from netdial.core.records import Record
from netdial.core.storage.files import finite, write_text
from netdial.report.panels import COLOURS, axis_name, stacked, title_panel, value_axis
from netdial.report.sections.size_figures import SIZE_PIXELS, escaped, front_line, single, size_axes
from netdial.report.standing.told import (
    TITLES,
    UNKNOWN,
    Fact,
    Standing,
    constant_told,
    cost_told,
    gap_words,
    part_words,
    rival_told,
    sure_told,
    without_gaps,
    worth_words,
)
from netdial.report.standing.told import (
    measure as measure_words,
)
from netdial.report.template import Tile, fill
from netdial.report.text import count, number, percent
from netdial.runs.curves import MemberRow, constants, is_worse, rivals
from netdial.runs.run import Run
from netdial.sweeps.result import Sweep, SweepTrial
from netdial.sweeps.spec import is_higher

PAGE = "report.html"
_TITLE_PIXELS = 40
_COLOURS = {"done": COLOURS["family"], "stopped": "#d99a2b", "failed": "#d1495b"}


def write_sweep_page(sweep: Sweep, out: Path | None = None) -> Path:
    """Writes the page of a sweep, by default ``report.html`` in its folder, and returns its path."""
    path = out or sweep.path / PAGE
    write_text(path, render_sweep(sweep))
    return path


def render_sweep(sweep: Sweep) -> str:
    """Returns the page as HTML."""
    measure, done = sweep.spec.optimised[0], sweep.done
    best = sweep.best() if done else None
    front = (
        {trial.number for trial in sweep.front()} if best is not None and _sized(done) else set()
    )
    figures = {
        "sweep-size": size_figure(done, measure),
        "sweep-settings": settings_figure(done, measure),
    }
    measures = list(dict.fromkeys([*sweep.spec.optimised, "valid/accuracy", "valid/r2", "params"]))
    measures = [name for name in measures if any(name in trial.measures for trial in done)]
    varied = list(dict.fromkeys(name for trial in sweep.trials for name in trial.params))
    return fill(
        "netdial.sweeps",
        "sweep.html.j2",
        name=sweep.spec.name,
        sentence=f"{sweep.spec.count} trials of netdial {sweep.spec.way} on {sweep.spec.data}.",
        lead=_lead(sweep, best, measure),
        tiles=_tiles(sweep, best, measure),
        notes=_notes(sweep, best, measure),
        live=None,
        rivals=None,
        measures=[_titled(name, done) for name in measures],
        varied=varied,
        rows=[_row(trial, varied, measures, best, front) for trial in sweep.trials],
        colours=_COLOURS,
        settings=[(key, json.dumps(value)) for key, value in sweep.spec.model_dump(mode="json").items()],
        figures={name: json.loads(f.to_json()) for name, f in figures.items() if f is not None},
        data=finite(
            {
                "spec": sweep.spec.model_dump(mode="json"),
                "trials": [t.to_json(with_test=t is best or t.number in front) for t in sweep.trials],
            }
        ),
    )  # fmt: skip


def size_figure(done: list[SweepTrial], measure: str) -> go.Figure | None:
    """Returns the measure over parameters, a point for each trial, with the front; None without two sizes."""
    points = [
        (t.measures["params"], t.measures[measure], t) for t in done if "params" in t.measures
    ]
    if len({size for size, _, _ in points}) < 2:
        return None
    figure = single(SIZE_PIXELS, f"{_titled(measure, done)}, against size")
    hover = (
        f"%{{customdata}}: %{{x:,.0f}} parameters, <b>%{{y:{_format(measure)}}}</b><extra></extra>"
    )
    words = [escaped(_words(trial)) for _, _, trial in points]
    figure.add_trace(
        go.Scatter(
            x=[size for size, _, _ in points],
            y=[value for _, value, _ in points],
            mode="markers",
            name="trials",
            marker={"size": 8, "color": COLOURS["valid"]},
            customdata=words,
            hovertemplate=hover,
        )
    )
    pairs = [(size, value) for size, value, _ in points]
    figure.add_trace(front_line(pairs, words, hover, is_error=not is_higher(measure)))
    figure.update_layout(hovermode="closest", hoversubplots=None)
    size_axes(figure, is_error=not is_higher(measure))
    return figure


def settings_figure(done: list[SweepTrial], measure: str) -> go.Figure | None:
    """Returns the measure over each setting that was varied, by the rank of its values; None where there is nothing to see."""
    names = [
        name
        for name in dict.fromkeys(n for t in done for n in t.params)
        if len({json.dumps(t.params.get(name)) for t in done}) > 1
    ]
    if not names or len(done) < 2:
        return None
    figure = stacked(len(names), _TITLE_PIXELS)
    for index, name in enumerate(names, 1):
        values = sorted({json.dumps(t.params.get(name)) for t in done}, key=_order)
        places = {value: place / max(len(values) - 1, 1) for place, value in enumerate(values)}
        y = [t.measures[measure] for t in done]
        figure.add_trace(
            go.Scatter(
                x=[places[json.dumps(t.params.get(name))] for t in done],
                y=y,
                mode="markers",
                name=escaped(name),
                showlegend=False,
                marker={"size": 7, "color": COLOURS["valid"]},
                customdata=[f"{escaped(name)} = {escaped(_value(t.params.get(name)))}, trial {t.number}" for t in done],
                hovertemplate=f"%{{customdata}}: <b>%{{y:{_format(measure)}}}</b><extra></extra>",
                yaxis=axis_name("y", index),
            )
        )  # fmt: skip
        ends = [escaped(_value(json.loads(values[k]))) for k in (0, -1)]
        title_panel(figure, index, f"{escaped(name)}: {ends[0]} … {ends[1]}")
        figure.update_layout(
            {axis_name("yaxis", index): value_axis(y, "~%" if is_higher(measure) else "~g")}
        )
    figure.update_layout(hovermode="closest", hoversubplots=None)
    figure.update_xaxes(
        title_text="from its least value to its largest, by rank",
        range=[-0.04, 1.04],
        tickvals=[],
        anchor=axis_name("y", len(names)),
    )
    return figure


def _order(value: str) -> tuple[int, float, str]:
    found = json.loads(value)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return (0, float(found), "") if is_number else (1, 0.0, value)


def _lead(sweep: Sweep, best: SweepTrial | None, measure: str) -> str:
    if best is None:
        return "No trial is done yet."
    value = _shown(measure, best.measures[measure])
    return (
        f"Trial {best.number} is best: {_titled(measure, sweep.done)} {value} with {_words(best)}."
    )


def _tiles(sweep: Sweep, best: SweepTrial | None, measure: str) -> list[Tile]:
    """Returns what stands first, the best trial beside the next one, and how far the sweep is."""
    counts = sweep.counts
    spent = sum(trial.seconds or 0.0 for trial in sweep.trials)
    tiles = [Tile("Trials done", str(counts["done"]), f"of {sweep.spec.count}")]
    for state, words in (("stopped", "Stopped early"), ("failed", "Failed")):
        if counts[state]:
            tiles.append(Tile(words, str(counts[state]), "see the table"))
    time = Tile(
        "Time of training", f"{spent:.3g} s", "of all trials that are done, one thread each"
    )
    stands = (_none_done() if best is None else _standing(sweep, best, measure)).tiles()
    return [*stands, *tiles, time]


def _none_done() -> Standing:
    """Returns that nothing is known before a trial is done."""
    return Standing(*[Fact(UNKNOWN, "known once a trial is done")] * len(TITLES))


def _standing(sweep: Sweep, best: SweepTrial, measure: str) -> Standing:
    """Returns the best trial beside what its run recorded of a constant and of rivals, and the next trial."""
    values = {**best.measures, **best.test}
    metric, records = _proper(values, measure), _records(best)
    others = {
        f"trial {trial.number}": without_gaps(trial.measures)
        for trial in sweep.done
        if trial is not best
    }
    config = Run.open(best.run).config if records else {}
    next_best = {**others, **rivals(records)}
    return Standing(
        chosen=Fact(f"trial {best.number}", worth_words(values, metric) or _words(best)),
        cost=cost_told(best.measures),
        lost=_lost(sweep, best, measure),
        sure=sure_told(values, metric, config.get("n_valid")),
        constant=constant_told(constants(records), metric, values),
        rival=rival_told(next_best, metric, values, "no other trial is done", config),
    )


def _records(trial: SweepTrial) -> list[Record]:
    """Returns what the run of a trial recorded; nothing if it is gone."""
    with contextlib.suppress(NetdialError):
        return Run.open(trial.run).records()
    return []


def _proper(values: Mapping[str, float], measure: str) -> str:
    """Returns the record that a measure is; that of the loss is the task's proper metric."""
    known = next((n for n in ("valid/rmse", "valid/nll") if n in values), measure)
    return known if measure == "valid/loss" else measure


def _lost(sweep: Sweep, best: SweepTrial, measure: str) -> Fact:
    """Returns that nothing was lost by the best trial, and what the smallest one on the front loses."""
    note = f"it is the best of {len(sweep.done)} trials"
    small = sweep.front()[0] if _sized(sweep.done) else best
    if small is not best and {measure, "params"} <= small.measures.keys():
        sign = -1 if is_higher(measure) else 1
        gap = sign * (small.measures[measure] - best.measures[measure])
        size = count(small.measures["params"])
        note += f"; trial {small.number}, the smallest on the front, has {size} parameters and loses {gap_words(gap)}"
    return Fact("nothing beside the others", note)


def _notes(sweep: Sweep, best: SweepTrial | None, measure: str) -> list[str]:
    left = sweep.counts["waiting"] + sweep.counts["unfinished"]
    missing = "one trial is" if left == 1 else f"{left} trials are"
    notes = [f"{missing} not done: netdial sweep resume {sweep.spec.name}"] if left else []
    done = len(sweep.done)
    if done > 1:
        notes.append(
            f"The best of {done} trials on validation data looks better there than it is; test data were not chosen by."
        )
    if best is not None:
        member = MemberRow(math.nan, dict(best.measures))
        if is_worse(member, constants(_records(best)), _proper(best.measures, measure)):
            notes.append(
                "The best trial predicts validation data worse than a constant: train longer, or widen the ranges."
            )
    return notes


def _row(
    trial: SweepTrial,
    varied: list[str],
    measures: list[str],
    best: SweepTrial | None,
    front: set[int],
) -> dict[str, Any]:
    """Returns one row of the table of trials, as text."""
    marks = ["best"] if trial is best else []
    return {
        "number": trial.number,
        "state": trial.state,
        "marks": [*marks, *(["front"] if trial.number in front and not marks else [])],
        "cells": [_value(trial.params.get(name)) for name in varied]
        + [_shown(name, trial.measures.get(name)) for name in measures],
        "seconds": "–" if trial.seconds is None else f"{trial.seconds:.2g}",
        "error": trial.error,
    }


def _sized(done: list[SweepTrial]) -> bool:
    return any(math.isfinite(trial.measures.get("params", math.nan)) for trial in done)


def _words(trial: SweepTrial) -> str:
    return ", ".join(f"{k} = {_value(v)}" for k, v in trial.params.items())


def _value(value: object) -> str:
    if isinstance(value, float):
        return number(value, 4)
    return value if isinstance(value, str) else json.dumps(value)


def _format(measure: str) -> str:
    return ".2%" if measure.endswith("accuracy") else ".4~g"


def _titled(measure: str, done: Sequence[SweepTrial] = ()) -> str:
    """Returns what a measure is called, with its part of the data; ``valid/loss`` is called by what it is in trials.

    >>> _titled("valid/accuracy"), _titled("params"), _titled("valid/r2")
    ('validation accuracy', 'parameters', 'validation R²')
    """
    measure = _proper(done[0].measures, measure) if done else measure
    if "/" not in measure:
        return {"params": "parameters", "macs": "MACs"}.get(measure, measure)
    return f"{part_words(measure)} {measure_words(measure)}"


def _shown(measure: str, value: float | None) -> str:
    if value is None:
        return "–"
    if measure.endswith("accuracy"):
        return percent(value)
    return count(value) if measure in ("params", "macs", "bytes") else number(value, 4)
