"""The page of a network that shrank: the numbers of the command line, the log in words, and nothing of a family."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import CheckpointError
from netdial.core.records import Record
from netdial.jobs.reports import report_of as render
from netdial.jobs.reports import write_report
from netdial.report.sections.shrinking import (
    OPEN_LOG,
    about,
    channels,
    cost_rows,
    layer_rows,
    lead,
)
from netdial.report.sections.shrinking_figures import FEW_LAYERS, TimeAxis
from netdial.report.sections.size_dial import size_dial_of
from netdial.report.sections.size_figures import front
from netdial.report.standing.of_shrunk import shrunk_standing
from netdial.report.tables import costs_table, widths_table
from netdial.report.template import CHARTS, script
from netdial.runs.run import Run
from netdial.runs.shrinkage import KILLS, Shrinkage, shrinkage

from ..early import early
from .shrunk_run import (
    CONFIG,
    STEPS_PER_EPOCH,
    WIDTHS,
    collections,
    end_records,
    train_records,
    write_log,
)
from .test_page import Page

MakeRun = Callable[..., Run]
EPOCHS = 10
RECORDS = [*train_records("r", EPOCHS, WIDTHS), *end_records("r", EPOCHS)]
FAMILY_WORDS = ("family", "member", "complexity", "Evidence", "posterior", "criteri")


@pytest.fixture
def shrunk_run(tmp_path: Path) -> MakeRun:
    """Returns a function that makes a run folder, by default finished and complete."""

    def make(
        records: list[Record] | None = None,
        log: list[dict[str, Any]] | None = None,
        *,
        name: str = "shrunk",
        done: bool = True,
        **config: Any,
    ) -> Run:
        run = Run.create(tmp_path, name, {**CONFIG, **config})
        run.record(RECORDS if records is None else records)
        write_log(run, collections(EPOCHS, WIDTHS) if log is None else log)
        if done:
            run.finish()
        return run

    return make


def page_of(run: Run) -> Page:
    """Returns the page taken apart, without the scripts that draw."""
    return Page(render(run).replace(script(*CHARTS), ""))


def cells(table: Any) -> list[list[str]]:
    """Returns the rows of a table of the command line."""
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_the_page_says_what_came_out(shrunk_run: MakeRun) -> None:
    page = page_of(shrunk_run())
    assert (
        "The network shrank from 266 610 to 20 009 parameters (13.3 times smaller) and gets 96.1% of validation data right."
        in page.shown
    )
    assert (
        "One run trained one mlp:300-100 network on mnist (54 000 training, 6 000 validation, 10 000 test examples) "
        "in 10 epochs while it shrank towards 20k params." in page.shown
    )
    assert "Folding changed the outputs by at most 3.2×10⁻⁷ of the largest." in page.shown
    for words in (
        "0.16 ms one at a time, was 0.2",
        "13.3 times fewer",
        "test accuracy 95.8%",
        "± 0.2 points",
    ):
        assert words in page.shown
    assert {"widths", "size", "cost", "training", "json"} <= page.ids()
    assert "notes" not in [attributes.get("class") for _, attributes in page.tags]


def test_nothing_of_a_family_is_shown(shrunk_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["netdial", "shrink"])  # the page prints the command
    page = page_of(shrunk_run())
    assert not {"curves", "evidence", "pruning-curves"} & page.ids()
    assert not [word for word in FAMILY_WORDS if word in page.shown]


def test_the_page_stands_alone(shrunk_run: MakeRun) -> None:
    run = shrunk_run()
    page = Page(write_report(run.path).read_text(encoding="utf-8"))
    assert page.html.count(script(*CHARTS)) == 1
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if a.get("src") or a.get("href")]
    style = page.html[page.html.index("<style>") : page.html.index("</style>")]
    assert "--ground" in style and "url(" not in style and "@import" not in style


def test_tables_hold_the_numbers_of_the_command_line(shrunk_run: MakeRun) -> None:
    found = shrinkage(RECORDS)
    assert [list(row[:4]) for row in layer_rows(found)] == cells(widths_table(found))
    assert [list(row[1:]) for row in cost_rows(found)] == [r[1:] for r in cells(costs_table(found))]
    page = page_of(shrunk_run())
    shown = [[cell.replace("\u202f", " ") for cell in row] for row in page.rows]
    assert ["fc1", "300", "51", "17.0%"] in shown
    assert ["parameters", "266 610", "20 009", "13.3"] in shown
    assert ["measured time, batch of 64, ms", "1.600", "0.400", "4"] in shown


def test_the_log_tells_what_went_when_and_why(shrunk_run: MakeRun) -> None:
    page = page_of(shrunk_run())
    assert [
        "1 · step 50",
        "fc1",
        "52",
        "248–299",
        "size",
        "0.01",
        "2 into fc3.bias",
        "1.4×10⁻⁷",
        "0.050",
    ] in page.rows
    assert ["fc2", "19", "81–99"] in page.rows
    assert "10 collections, 334 channels" in page.shown
    assert ["fc2", "keeps at least 1 of 4 channels", "2", "10 · step 500"] in page.rows
    assert page.json("data")["collections"] == collections(EPOCHS, WIDTHS)


@pytest.mark.parametrize(("n", "is_open"), [(OPEN_LOG, True), (OPEN_LOG + 1, False)])
def test_a_long_log_is_folded_up(shrunk_run: MakeRun, n: int, is_open: bool) -> None:
    page = page_of(shrunk_run(log=collections(EPOCHS, WIDTHS)[:1] * n))
    log = next(a for tag, a in page.tags if tag == "details" and a.get("class") == "log")
    assert ("open" in log) is is_open


def test_a_very_long_log_is_cut_on_the_page_and_whole_in_the_download(
    shrunk_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netdial.report.sections.shrinking.LONGEST_LOG", 3)
    page = page_of(shrunk_run())
    assert "10 collections, 334 channels; the first 3 are shown" in page.shown
    assert sum(len(row) == 9 and row[4] == "size" for row in page.rows) == 3
    assert len(page.json("data")["collections"]) == EPOCHS


def test_widths_are_steps_with_counts_in_colours_by_depth(shrunk_run: MakeRun) -> None:
    figure = page_of(shrunk_run()).json("figures")["widths"]
    fc1, fc2, whole = figure["data"]
    assert (fc1["name"], fc2["name"], whole["name"]) == ("fc1", "fc2", "whole network")
    assert fc1["line"]["shape"] == "hv" and fc1["line"]["color"] != fc2["line"]["color"]
    assert fc1["x"] == list(range(EPOCHS + 1))
    assert fc1["y"][0] == 1.0 and fc1["y"][-1] == 51 / 300
    assert fc1["customdata"][-1] == "<b>51</b> of 300 channels (17.0%)"
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["layout"]["yaxis"]["ticktext"][0] == "100%"


def test_collections_between_epochs_show_in_the_widths(shrunk_run: MakeRun) -> None:
    log = [{**collections(EPOCHS, WIDTHS)[0], "step": 25, "widths": {"fc1": 250, "fc2": 90}}]
    fc1 = page_of(shrunk_run(log=log)).json("figures")["widths"]["data"][0]
    assert fc1["x"][:3] == [0, 25 / STEPS_PER_EPOCH, 1]
    assert fc1["y"][1] == 250 / 300


def test_little_shrinking_keeps_a_plain_axis(shrunk_run: MakeRun) -> None:
    rows = [
        early("r", "train", None, 0, step, "shrink/width/fc1", width)
        for step, width in ((0, 10.0), (5, 9.0))
    ]
    page = page_of(shrunk_run(rows, []))
    assert page.json("figures").keys() == {"widths"}
    assert page.json("figures")["widths"]["layout"]["yaxis"]["range"][0] == 0
    assert "optimiser step" in json.dumps(page.json("figures")["widths"]["layout"])


@pytest.mark.parametrize("n", [FEW_LAYERS, FEW_LAYERS + 1])
def test_many_layers_are_named_by_a_ramp(shrunk_run: MakeRun, n: int) -> None:
    widths = {f"layer{index}": 64 for index in range(n)}
    page = page_of(shrunk_run(train_records("r", 3, widths), collections(3, widths)))
    ramps = [a for _, a in page.tags if a.get("class") == "ramp"]
    assert len(ramps) == (n > FEW_LAYERS)
    figure = page.json("figures")["widths"]
    assert figure["layout"]["hovermode"] == ("closest" if n > FEW_LAYERS else "x unified")
    assert len({trace["line"]["color"] for trace in figure["data"]}) == n + 1


def test_size_against_accuracy_has_epochs_a_front_and_the_end(shrunk_run: MakeRun) -> None:
    figure = page_of(shrunk_run()).json("figures")["size"]
    path, best, end = figure["data"]
    found = shrinkage(RECORDS)
    assert path["x"] == list(found.course["params"][1:])
    assert path["y"] == list(found.course["valid/accuracy"][1:])
    assert (end["x"], end["y"]) == ([20009], [0.961])
    assert set(zip(best["x"], best["y"], strict=True)) < set(zip(path["x"], path["y"], strict=True))
    assert best["y"] == sorted(best["y"]) and best["x"] == sorted(best["x"])


pairs = st.tuples(st.integers(1, 6).map(float), st.integers(0, 5).map(float))


@given(path=st.lists(pairs, min_size=1, max_size=12), is_error=st.booleans())
def test_the_front_is_what_no_other_point_beats(
    path: list[tuple[float, float]], is_error: bool
) -> None:
    sign = 1 if is_error else -1

    def beaten(index: int) -> bool:
        size, value = path[index][0], sign * path[index][1]
        return any(
            s <= size and sign * v <= value and (s, sign * v) != (size, value) for s, v in path
        )

    kept = front(path, is_error=is_error)
    assert {path[i] for i in kept} == {path[i] for i in range(len(path)) if not beaten(i)}
    assert len({path[i] for i in kept}) == len(kept)


def test_cost_over_time_marks_the_collections(shrunk_run: MakeRun) -> None:
    figure = page_of(shrunk_run()).json("figures")["cost"]
    names = [trace["name"] for trace in figure["data"]]
    assert names == ["whole epoch", "collections", "MACs", "channels removed", "λ"]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == list(range(1, EPOCHS + 1))
    bars = figure["data"][3]
    assert bars["y"] == [sum(map(len, one["gone"].values())) for one in collections(EPOCHS, WIDTHS)]


def test_a_run_under_way(shrunk_run: MakeRun) -> None:
    page = page_of(shrunk_run(RECORDS[:40], collections(EPOCHS, WIDTHS)[:3], done=False))
    assert "So far the network has shrunk from 266 610 to" in page.shown
    assert "Training has not finished: the records reach step" in page.shown
    assert "has not been evaluated" in page.shown
    assert "What it costs57 030parameters of 266 610" in " ".join(page.shown.split())
    assert (
        page.shown.count("known once training has finished") >= 4
    )  # nothing chosen, lost, sure, no rival


def test_a_run_without_any_record(shrunk_run: MakeRun) -> None:
    page = page_of(shrunk_run([], [], done=False))
    assert "Nothing has been measured yet." in page.shown
    assert page.json("figures") == {}


def test_a_network_that_kept_everything(shrunk_run: MakeRun) -> None:
    rows = [early("r", "train", None, 0, step, "shrink/width/fc1", 4.0) for step in (0, 5)]
    rows += [
        early("r", "cost", None, 0, 5, f"shrink/{when}/{name}", value)
        for when in ("start", "end")
        for name, value in (("params", 20.0), ("ms_1", 0.1))
    ]
    rows.append(early("r", "cost", None, 0, 5, "shrink/fold_difference", 0.0))
    page = page_of(shrunk_run(rows, []))
    assert "The network kept all its 20 parameters." in page.shown
    assert "No channel was removed: raise lam" in page.shown
    assert "is not faster" not in page.shown  # it is no smaller either
    assert "No collection removed anything." in page.shown
    assert "Folding did not change any output." in page.shown


def test_a_lost_log_is_named_and_a_damaged_one_refused(shrunk_run: MakeRun) -> None:
    run = shrunk_run(log=[])
    assert "kills.jsonl is missing" in page_of(run).shown
    (run.path / KILLS).write_text("{}\n")
    with pytest.raises(CheckpointError, match="line 1 is not a removal"):
        write_report(run.path)


def test_regression_speaks_of_errors(shrunk_run: MakeRun) -> None:
    rows = [r for r in RECORDS if "accuracy" not in r.name]
    rows += [early("r", "train", None, 0, 50 * e, "valid/rmse", 60.0 - e) for e in (1, 2, 3)]
    rows += [
        early("r", "evaluate", None, 0, 500, f"{part}/rmse", value)
        for part, value in (("valid", 54.1234), ("test", 56.0))
    ]
    page = page_of(shrunk_run(rows, kind="regression"))
    assert "predicts validation data with an RMSE of 54.12." in page.shown
    assert "test RMSE 56" in page.shown
    assert "%" not in page.json("figures")["size"]["layout"]["yaxis"].get("tickformat", "")


def test_values_that_are_not_finite_are_left_out(shrunk_run: MakeRun) -> None:
    rows = [r for r in RECORDS if (r.column, r.step) != ("train/fit", 100)]
    rows.append(early("r", "train", None, 0, 100, "train/fit", math.nan))
    page = page_of(shrunk_run(rows))
    assert "Some values are missing or not finite" in page.shown
    training = page.json("figures")["training"]["data"][0]
    assert 2 not in training["x"] and len(training["x"]) == EPOCHS - 1


def test_everything_from_the_run_is_escaped(shrunk_run: MakeRun) -> None:
    hostile = "</script><script>alert(1)</script>%{y}"
    log = [{**collections(EPOCHS, WIDTHS)[0], "gone": {hostile: [1]}, "refused": {hostile: "<b>"}}]
    rows = [*RECORDS, early("r", "train", None, 0, 0, f"shrink/width/{hostile}", 9.0)]
    page = page_of(shrunk_run(rows, log, model=hostile))
    plain = page_of(shrunk_run(name="plain"))
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    scripts = [[tag for tag, _ in one.tags].count("script") for one in (page, plain)]
    assert scripts[0] == scripts[1]
    assert hostile in page.shown
    hover = page.json("figures")["widths"]["data"][2]["hovertemplate"]
    assert "<script>" not in hover and "%{y}" not in hover


def test_about_and_tiles_leave_out_what_is_not_known() -> None:
    assert about({}) == "One run trained one network while it shrank."
    assert about({}, done=False) == "One run began to train one network while it shrank."
    assert about({"lam": 0.01}).endswith("under a penalty of λ\u00a0=\u00a00.01 on its channels.")
    nothing = shrinkage([])
    assert shrunk_standing(nothing, {}, {}, "r") is None
    assert lead(nothing, {}) == "Nothing has been measured yet."


@given(numbers=st.sets(st.integers(0, 60), min_size=1))
def test_channels_are_shortened_without_losing_count(numbers: set[int]) -> None:
    words = channels(sorted(numbers)).split(", ")
    seen = 0
    for word in words:
        if word.startswith("…"):
            seen += int(word.split()[1])
        else:
            low, _, high = word.partition("–")
            named = set(range(int(low), int(high or low) + 1))
            assert named <= numbers
            seen += len(named)
    assert seen == len(numbers)


def test_the_size_slider_has_every_moment_at_which_sizes_were_recorded() -> None:
    steps = (0, 5, 10)
    course = {"params": (90.0, math.nan, 30.0), "valid/accuracy": (0.5, 0.6, 0.7)}
    found = Shrinkage(steps, {"fc1": (8.0, 4.0, 2.0)}, course, {}, {}, {})
    told = size_dial_of(found, "valid/accuracy", TimeAxis(5.0, "epoch"))
    assert told is not None
    assert told["times"] == [0.0, 2.0]
    assert told["params"] == [90.0, 30.0]
    assert told["metric"] == [0.5, 0.7]
    assert told["widths"] == {"fc1": [8.0, 2.0]}
    few = Shrinkage((0,), {}, {"params": (1.0,)}, {}, {}, {})
    assert size_dial_of(few, "valid/accuracy", TimeAxis(1.0, "epoch")) is None


def test_only_a_page_with_a_dial_says_that_answers_follow_it(
    make_run: MakeRun, shrunk_run: MakeRun
) -> None:
    live = {"columns": [{"column": "a", "kind": "number", "example": "1", "values": []}]}
    assert "The answer follows the slider." in render(make_run(), live)
    without = render(shrunk_run(), live)
    assert (
        "an empty field is a missing value." in without
        and "slider" not in without.split("<script")[0]
    )
