"""Fronts of size and accuracy as tables and a figure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from netdial.papers.lab.fronts import FrontNetwork, front_of, time_of
from netdial.papers.lab.outcome import TextTable

ARMS = {
    "shrunken": "shrunken",
    "channels": "shrunken, all inputs",
    "independent": "fixed, independent widths",
    "factor": "fixed, one factor",
    "grid": "fixed, grid with early stopping",
    "draft": "shrunken as the draft does",
    "retrained": "found widths, from scratch",
    "family": "one family, slimmed",
    "one-shot": "one network, slimmed",
}
"""Arms by name, in words."""


def sizes_table(arm: str, rows: Sequence[Mapping[str, Any]]) -> TextTable:
    """Returns, for each level of accuracy, the smallest network of each arm, and how much larger and slower the other is."""
    return TextTable(
        f"Shrunken against {ARMS[arm]}, at equal validation accuracy",
        ("validation accuracy", "shrunken", ARMS[arm], "ratio", "test, %", "faster at 1 / 64"),
        tuple(
            (
                f"{row['accuracy']:.4f}",
                f"{row['ours']:,.0f}",
                f"{row['theirs']:,.0f}",
                f"{row['ratio']:.2f}",
                f"{100 * row['ours_test']:.2f} / {100 * row['theirs_test']:.2f}",
                f"{row['faster_1']:.2f} / {row['faster_64']:.2f}",
            )
            for row in rows
        ),
        "Parameters of the smallest network that reaches the accuracy; levels are the best accuracy that both reach and "
        "0.5, 1, 2, 5 points less. Faster: time of a network of the other widths over that of ours, measured side by side.",
    )


def fronts_table(
    arms: Mapping[str, Sequence[FrontNetwork]], beside: Mapping[str, Mapping[str, float]]
) -> TextTable:
    """Returns a row for each arm: its networks and time, and its front as a whole beside that of the shrunken ones."""
    return TextTable(
        "Fronts as a whole",
        ("arm", "networks", "processor time, s", "area of the sweep's front", "processor time of the sweep's"),
        tuple(
            (
                ARMS[name],
                str(len(found)),
                f"{time_of(found):.0f}",
                f"{beside[name]['hypervolume']:.3f}" if name in beside else "1" if name == "shrunken" else "",
                f"{beside[name]['compute']:.3f}" if name in beside else "1" if name == "shrunken" else "",
            )
            for name, found in arms.items()
        ),
        "Area: decades of parameters times validation accuracy above the worst network. Time is the processor's, "
        "all of a run with its loading of libraries, of the family once.",
    )  # fmt: skip


def noise_table(noise: Mapping[str, Sequence[Mapping[str, float]]]) -> TextTable:
    """Returns what the chosen networks come to with other seeds."""
    rows = []
    for name, found in noise.items():
        cells = [ARMS[name], str(len(found))]
        for what, scale in (("params", 1.0), ("valid", 100.0), ("test", 100.0)):
            values = [scale * one[what] for one in found]
            cells.append(f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f}")
        rows.append(tuple(cells))
    return TextTable(
        "The networks compared one point below the top, with other seeds",
        ("arm", "seeds", "parameters", "validation, %", "test, %"),
        tuple(rows),
        "Mean and standard deviation. The first seed is the one that was chosen on validation data, where it is too good.",
    )


def fronts_figure(arms: Mapping[str, Sequence[FrontNetwork]]) -> Any:
    """Returns the fronts of all arms."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    figure = go.Figure()
    for name, found in arms.items():
        front = front_of(found)
        figure.add_scatter(
            x=[one.params for one in front],
            y=[one.valid for one in front],
            name=ARMS[name],
            mode="lines+markers",
            line={"shape": "hv"},
        )
    figure.update_xaxes(type="log", title="parameters")
    figure.update_yaxes(title="validation accuracy")
    return figure
