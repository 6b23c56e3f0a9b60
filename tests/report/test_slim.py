"""Whole channels on the page: what is drawn, what the sentence says, and what happens when records say little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest

from netdial.core.records import Record
from netdial.jobs.reports import report_of as render
from netdial.report.sections.slim import Channels, channels_section
from netdial.report.template import CHARTS, script
from netdial.runs.prunings import prunings
from netdial.runs.run import Run

from ..early import early
from .test_page import Page

MakeRun = Callable[..., Run]
CONFIG = {"n_valid": 100}
HALF, ROUNDS = (
    "slim: density, 50% of the channels, global",
    "slim: taylor, 40 params, per layer, 2 rounds of 3 epochs",
)


def written(
    method: str, lam: float, share: float, values: dict[str, float], step: int = 100
) -> list[Record]:
    return [early("r", method, lam, 0, step, n, float(v), "", share) for n, v in values.items()]


def half(after: float = 0.88, method: str = HALF, metric: str = "valid/accuracy") -> list[Record]:
    """One shot: 100 parameters become 50, two layers lose channels."""
    costs = {"params": 100, "macs": 90, "bytes": 400, "ms_1": 0.03, "ms_64": 0.3}
    small = {"params": 50, "macs": 45, "bytes": 200, "ms_1": 0.02, "ms_64": 0.1}
    before = {metric: 0.9, **costs, "width/fc1": 8, "width/fc2": 10}
    left = {metric: after, **small, "width/fc1": 6, "width/fc2": 1}
    left |= {"valid/excess": abs(after - 0.9), "valid/excess_error": 0.03}
    return [*written(method, 0.1, 0.0, before), *written(method, 0.1, 0.5, left)]


def rounds() -> list[Record]:
    before = {"valid/accuracy": 0.9, "params": 100, "width/fc1": 8, "width/fc2": 10}
    between = {"pruned/valid/accuracy": 0.5, "pruned/params": 63}
    between |= {"round 1/valid/accuracy": 0.86, "round 1/params": 63}
    end = {"valid/accuracy": 0.84, "test/accuracy": 0.8, "params": 40, "macs": 36}
    end |= {"width/fc1": 4, "width/fc2": 5, "valid/excess": 0.06, "valid/excess_error": 0.03}
    return [
        *written(ROUNDS, 1.0, 0.0, before),
        *written(ROUNDS, 1.0, 0.6, {**between, **end}),
    ]


def section(rows: Iterable[Record], **config: object) -> Channels:
    found = channels_section(rows, {**CONFIG, **config})
    assert found is not None
    return found


def test_records_are_read_as_stages() -> None:
    one, other = prunings([*half(), *rounds(), *written("prune", 0.1, 0.5, {"valid/accuracy": 1})])
    assert one.how == ("density", "50% of the channels", "global")
    assert [r.stage for r in one.readings] == ["before", "pruned"]
    assert one.widths == {"fc1": (8, 6), "fc2": (10, 1)}
    assert (other.lam, other.how[-1]) == (1.0, "2 rounds of 3 epochs")
    assert [r.stage for r in other.readings] == ["before", "pruned", "round 1", "round 2"]
    assert [r.get("params") for r in other.readings] == [100, 63, 63, 40]
    assert other.after.get("test/accuracy") == 0.8
    assert other.after.get("bytes") is None


def test_only_the_last_step_counts_and_a_pruning_without_its_member_is_passed_over() -> None:
    old = written(HALF, 0.1, 0.9, {"valid/accuracy": 0.1}, step=50)
    assert len(prunings([*half(), *old])) == 1
    assert prunings([row for row in half() if row.sparsity]) == []
    assert channels_section([], CONFIG) is None


def test_the_sentence_is_about_the_smallest_that_is_as_good() -> None:
    said = section(half()).lead.replace("\u00a0", " ")
    assert said == (
        "Pruning (density, 50% of the channels, global; λ = 0.1) left 50 of 100 parameters (2 times smaller). "
        "Its validation accuracy is 88.00%, within one standard error of the whole member’s 90.00%."
    )
    said = section([*half(), *rounds()]).lead.replace("\u00a0", " ")
    assert said.startswith("Pruning 1 (density"), "0.06 is more than one standard error, 0.03"
    said = section([*half(0.5), *rounds()]).lead.replace("\u00a0", " ")
    assert said.startswith("Pruning 2 (taylor, 40 params"), "none is as good: the newest"
    assert "84.00%, against the whole member’s 90.00%" in said
    unknown = [row for row in half() if row.column != "valid/excess_error"]
    assert "against" in section(unknown).lead


def test_the_table_has_a_row_for_each_stage_and_blanks_where_nothing_was_measured() -> None:
    found = section([*half(), *rounds()])
    assert found.headings == [
        "validation accuracy", "test accuracy", "parameters", "MACs", "bytes", "ms, batch 1", "ms, batch 64",
    ]  # fmt: skip
    first, second = found.blocks
    assert first.name == "1 · density, 50% of the channels, global, λ = 0.1"
    assert first.rows[1] == ["pruned", "88.00%", "", "50", "45", "200", "0.0200", "0.100"]
    assert [row[0] for row in second.rows] == ["before", "pruned", "round 1", "round 2"]
    assert second.rows[2][1:4] == ["86.00%", "", "63"]
    assert first.colour != second.colour


def test_size_against_quality_has_a_way_for_each_pruning_and_the_front() -> None:
    figure = section([*half(), *rounds()]).figures["channels-size"]
    one, other, front = figure.data
    assert (list(one.x), list(one.y)) == ([100, 50], [0.9, 0.88])
    assert (list(other.x), list(other.customdata)) == (
        [100, 63, 63, 40],
        ["before", "pruned", "round 1", "round 2"],
    )
    assert (list(front.x), list(front.y)) == ([40, 50, 100], [0.84, 0.88, 0.9])
    assert list(front.customdata) == ["2, round 2", "1, pruned", "1, before"]


def test_widths_are_shares_of_the_start_by_layer() -> None:
    found = section([*half(), *rounds()])
    one, other = found.figures["channels-widths"].data
    assert (list(one.x), list(one.y)) == (["fc1", "fc2"], [0.75, 0.1])
    assert "<b>6</b> of 8 channels (75.0%)" in one.customdata[0]
    assert list(other.y) == [0.5, 0.5]
    assert found.figures["channels-widths"].layout.yaxis.type == "log", "little is left of fc2"
    layer = found.layers[1]
    assert (layer.name, layer.before) == ("fc2", "10")
    assert layer.after == [("1", 10.0, "10%"), ("5", 50.0, "50%")]


def test_errors_are_better_when_lower() -> None:
    found = section(half(0.95, metric="valid/rmse"))
    assert "Its validation RMSE is 0.9500, against the whole member’s 0.9000" in found.lead
    assert list(found.figures["channels-size"].data[-1].y) == [0.95, 0.9]


def test_records_of_before_criterion_and_widths_were_written() -> None:
    old = [row for row in half(method="structured") if row.name != "width"]
    found = section([*old, *rounds()])
    assert "Records of pruning 1 are of an older netdial" in found.notes
    assert found.blocks[0].name == "1 · a criterion that was not recorded, λ = 0.1"
    assert len(found.figures["channels-widths"].data) == 1
    assert [cells[0] for cells in (layer.after for layer in found.layers)] == [("–", 0.0, "")] * 2
    alone = section(old)
    assert alone.layers == [] and set(alone.figures) == {"channels-size"}
    assert "left 50 of 100 parameters" in alone.lead
    assert section(half()).notes == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_marked_and_left_out(value: float) -> None:
    found = section(half(value))
    assert found.blocks[0].rows[1][1] == "not finite"
    assert list(found.figures["channels-size"].data[0].x) == [100]
    assert found.lead.endswith("(2 times smaller).")


def test_without_a_metric_or_a_size_there_is_no_figure_of_them() -> None:
    found = section([row for row in half() if row.column != "valid/accuracy"])
    assert set(found.figures) == {"channels-widths"}
    found = section([row for row in half() if row.name != "params"])
    assert set(found.figures) == {"channels-widths"}
    assert "was recorded without its size" in found.lead


def test_the_page_has_the_section_when_there_is_something_to_say(make_run: MakeRun) -> None:
    assert "Whole channels removed" not in render(make_run("plain"))
    bad = half(method="slim: <b>, 5%, global")
    text = render(make_run("pruned", records=[*bad, *rounds()])).replace(script(*CHARTS), "")
    assert "Whole channels removed" in text
    assert "1 · &lt;b&gt;, 5%, global" in text
    page = Page(text)
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"channels-size", "channels-widths"} <= ids
    assert "after 2" in text and "round 1" in text
