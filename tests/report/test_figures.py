"""The figures: what is drawn, on which axis, in which colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from netdial.report.figures import curves_figure, learning_figure, panels
from netdial.report.panels import COLOURS, COMPLEXITY_SCALE, MUTED, log_axis, value_axis
from netdial.runs.curves import MemberRow, headline, learning, members
from netdial.runs.run import Run

from ..early import early

MakeRun = Callable[..., Run]


def curves_of(run: Run) -> Any:
    rows = members(run.records())
    return curves_figure(rows, headline(rows, run.config), run.config)


def titles(figure: Any) -> list[str]:
    return [note.text for note in figure.layout.annotations if note.text.startswith("<b>")]


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [*COLOURS.values(), *COMPLEXITY_SCALE, MUTED])
@pytest.mark.parametrize("ground", ["#fbfaf8", "#14171c"])
def test_colours_stand_out_on_light_and_dark(colour: str, ground: str) -> None:
    light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_classification_has_four_panels_on_one_axis(make_run: MakeRun) -> None:
    figure = curves_of(make_run())
    assert [title.split(" · ")[0].strip("<b>/") for title in titles(figure)] == [
        "Accuracy",
        "Negative log-likelihood",
        "Information in the weights, KL",
        "Effective parameters",
    ]
    assert {trace.xaxis for trace in figure.data} == {None}
    assert {trace.yaxis for trace in figure.data} == {"y", "y2", "y3", "y4"}
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.anchor == "y4"
    assert list(figure.layout.xaxis.ticktext) == ["0.001", "0.01", "0.1", "1", "10", "100"]
    assert figure.layout.yaxis3.type == "log"


def test_split_is_colour_and_predictive_is_dash(make_run: MakeRun) -> None:
    traces = [t for t in curves_of(make_run()).data if t.name != "family"]
    for trace in traces:
        split = "valid" if trace.name.startswith("validation") else "test"
        assert trace.line.color == COLOURS[split]
        assert (trace.line.dash != "solid") == ("predictive" in trace.name)
    in_legend = [trace.name for trace in traces if trace.showlegend]
    assert len(in_legend) == len(set(in_legend)) == 4


def test_curves_hold_the_recorded_values(make_run: MakeRun) -> None:
    run = make_run()
    trace = curves_of(run).data[0]
    rows = members(run.records())
    assert list(trace.x) == [row.lam for row in rows]
    assert list(trace.y) == [row.values["valid/accuracy"] for row in rows]


def test_regression_shows_errors(make_run: MakeRun) -> None:
    figure = curves_of(make_run(kind="regression"))
    assert titles(figure)[:2] == [
        "<b>Root mean squared error · target units</b>",
        "<b>Explained variance R²</b>",
    ]
    assert len(figure.layout.shapes) == 2


def test_the_answer_is_marked(make_run: MakeRun) -> None:
    run = make_run()
    answer = headline(members(run.records()), run.config)
    assert answer is not None
    assert answer.simplest is not None
    figure = curves_of(run)
    lines = [shape.x0 for shape in figure.layout.shapes if shape.type == "line"]
    assert lines == [answer.best.lam, answer.simplest.lam]


def test_what_a_constant_is_worth_is_a_line_across_its_panels(make_run: MakeRun) -> None:
    rows = members(make_run().records())
    constant = {"valid/accuracy": 0.11, "valid/nll": 2.3}
    figure: Any = curves_figure(rows, headline(rows, {}, constant), {})
    lines = [trace for trace in figure.data if trace.name.startswith("a constant")]
    assert {trace.yaxis: trace.y for trace in lines} == {"y": (0.11, 0.11), "y2": (2.3, 2.3)}
    assert [trace.x for trace in lines] == [(rows[0].lam, rows[-1].lam)] * 2


def test_only_what_was_recorded_is_drawn() -> None:
    rows = [MemberRow(1.0, {"valid/accuracy": 0.5, "kl_bits": math.nan, "test/nll": 1.0})]
    figure: Any = curves_figure(rows, None, {"kind": "classification"})
    assert len(titles(figure)) == 2
    assert len(figure.data) == 2
    assert curves_figure([], None, {}) is None
    assert curves_figure([MemberRow(1.0, {"other": 1.0})], None, {}) is None


@pytest.mark.parametrize("lams", [[1.0], [1.0, 1.5], [1e-12, 1e12]])
def test_every_range_of_complexity_has_labels(lams: list[float]) -> None:
    figure: Any = curves_figure([MemberRow(lam, {"kl_bits": 1 / lam}) for lam in lams], None, {})
    assert 1 <= len(figure.layout.xaxis.ticktext) <= 8


def test_learning_curves_by_epoch(make_run: MakeRun) -> None:
    run = make_run()
    figure: Any = learning_figure(learning(run.records()))
    assert len(titles(figure)) == 3
    assert len(figure.data) == 3 * 9
    assert list(figure.data[0].x) == list(range(1, 21))
    assert figure.layout.xaxis.title.text == "epoch"
    strong = [trace for trace in figure.data if trace.line.width == 3]
    assert [trace.yaxis for trace in strong] == ["y", "y2", "y3"]


def test_learning_curves_by_step_with_validation() -> None:
    rows = [
        early("r", "train", None, 0, step, name, value)
        for step, value in ((10, 1.0), (20, math.nan), (30, 0.5))
        for name in ("train/loss", "valid/accuracy", "train/lr")
    ]
    figure: Any = learning_figure(learning(rows))
    assert [title.strip("<b>/") for title in titles(figure)] == [
        "Loss · nats per example",
        "Validation accuracy",
    ]
    assert list(figure.data[0].x) == [10, 20, 30]
    assert list(figure.data[0].y) == [1.0, None, 0.5]
    assert figure.layout.xaxis.title.text == "optimiser step"
    assert learning_figure({}) is None


def test_equal_values_have_an_axis_of_their_own() -> None:
    assert value_axis([1.0, 1.0], "~%")["range"] == pytest.approx([0.95, 1.0])
    assert value_axis([40.0], "~g")["range"] == pytest.approx([36.0, 44.0])
    assert value_axis([0.0, 0.0], "~g")["range"] == pytest.approx([-1.0, 1.0])
    assert "range" not in value_axis([0.2, 0.4], "~%")


@pytest.mark.parametrize("values", [(537.0, 603.0), (1.0, 1.2), (0.0031, 0.0044), (2.0, 900.0)])
def test_a_log_axis_has_labels_between_its_ends(values: tuple[float, float]) -> None:
    ticks = log_axis(values)["tickvals"]
    assert sum(values[0] <= tick <= values[1] for tick in ticks) >= 2


@pytest.mark.parametrize(
    ("config", "unit"),
    [
        (
            {"n_outputs": 2, "error_unit": "standard deviations of the targets"},
            "standard deviations",
        ),
        ({"n_outputs": 2, "error_unit": "units of the target"}, "target units"),
        ({"n_outputs": 1, "error_unit": "units of the target", "units": "euro"}, "units of euro"),
    ],
)
def test_errors_of_several_targets_are_standardised_where_units_are_known(
    config: dict[str, object], unit: str
) -> None:
    (error,) = [one for one in panels(config) if one.quantity == "rmse"]
    assert error.title == f"Root mean squared error · {unit}"
