"""Pruning on the page: what is drawn, what the sentence says, and what happens when little was recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from netdial.core.records import Record
from netdial.jobs.reports import report_of as render
from netdial.report.sections.pruning import PruningSection, pruned, pruning_section
from netdial.runs.run import Run

from ..early import early

MakeRun = Callable[..., Run]
LAMS, SHARES = [0.01, 0.1, 1.0, 10.0], [0.0, 0.5, 0.9]
CONFIG = {"n_valid": 6000, "n_params": 1000}


def accuracy(lam: float, share: float) -> float:
    """Complex members start higher and fall deeper."""
    return 0.97 - 0.05 * (math.log10(lam) + 2) - share**4 * 0.3 / (1 + 10 * lam) ** 0.5


def records(
    method: str = "prune", name: str = "valid/accuracy", value: Any = accuracy
) -> list[Record]:
    return [
        early("r", method, lam, 0, 100, full, found, "", share)
        for lam in LAMS
        for share in SHARES
        for full, found in ((name, value(lam, share)), ("removed", 1000 * share))
    ]


def compared() -> list[Record]:
    """Log losses that rise by 0.01 a decade, and no further with the share, up to λ = 0.1; paired errors of 0.02."""
    rows = []
    for at, lam in enumerate(LAMS):
        for share in SHARES:
            excess = 0.01 * at if at < 2 else 0.1
            values = {"valid/nll": 0.3 + excess, "valid/excess": excess}
            values |= {"valid/excess_error": 0.02 if excess else 0.0, "params": 1000 - 1000 * share}
            rows += [early("r", "prune", lam, 0, 100, n, v, "", share) for n, v in values.items()]
    return rows


def section(rows: list[Record], **config: Any) -> PruningSection:
    found = pruning_section(rows, {**CONFIG, **config})
    assert found is not None
    return found


def test_members_are_found_by_complexity_share_and_method() -> None:
    rows = [*records(), *records("prune: magnitude, per layer"), *records("evaluate")]
    rows.append(early("r", "prune", 0.5, 0, 50, "valid/accuracy", 0.1, "", 0.1))
    density, magnitude = pruned(rows)
    assert (density.name, magnitude.name) == ("density", "magnitude, per layer")
    assert density.lams == tuple(LAMS), "an earlier step does not count"
    assert density.shares == tuple(SHARES)
    assert density.get(0.1, 0.5) == accuracy(0.1, 0.5)
    assert density.best() == [
        (0.0, 0.01, accuracy(0.01, 0.0)),
        (0.5, 0.01, accuracy(0.01, 0.5)),
        (0.9, 1.0, accuracy(1.0, 0.9)),
    ]


def test_the_sentence_says_how_much_can_go() -> None:
    said = section(records()).lead.replace("\u00a0", " ")
    assert said.startswith("The best whole member has a validation accuracy of 97.00%; without 90%")
    said = section([*records(), *compared()]).lead.replace("\u00a0", " ")
    assert said.startswith("90% of the weights can go: the member at λ = 0.1 then has a validation")
    assert "log loss is 0.01 above that of the best (λ = 0.01, 90% removed)" in said
    assert "within one standard error of that difference (0.02)" in said
    least = compared()  # the member of least log loss is not the most accurate one
    accurate = [early("r", "prune", 10.0, 0, 100, "valid/accuracy", 1.0, "", s) for s in SHARES]
    one = [row for row in least if "excess" not in row.name or row.lam in (0.01, 10.0)]
    found = section([*records(), *accurate, *one])
    said = found.lead.replace("\u00a0", " ")
    assert said.startswith("90% of the weights can go: the member at λ = 0.01 then has a")
    assert said.endswith("; its log loss is the least of all.")
    assert "the best at each share is that of least log loss." in found.hint
    cells = found.figures["pruning-surface"].data[0]
    assert "points above the one of least log loss at this share" in cells.text[0][3]
    alone = [row for row in records() if row.sparsity == 0.9]
    said = section(alone).lead.replace("\u00a0", " ")
    assert said.startswith("Without 90% of the weights, the best member is at λ = 1")


def test_members_worse_than_a_constant_are_marked_and_the_constant_is_a_row() -> None:
    constant = [early("r", "constant", None, 0, 100, "valid/nll", 0.305)]
    constant += [early("r", "constant", None, 0, 100, "valid/accuracy", 0.4)]
    rows = [row for row in [*records(), *compared()] if row.lam != 0.01]
    found = section([*rows, *constant])
    assert [row[2] for row in found.rows] == ["0.1, worse than a constant"] * 3 + ["–"]
    assert found.rows[-1][0] == "a constant" and found.rows[-1][3:] == ["40.00%", "0.305"]


def test_curves_are_one_for_each_member_and_one_of_the_best() -> None:
    figure = section(records()).figures["pruning-curves"]
    assert len(figure.data) == len(LAMS) + 1
    assert list(figure.data[1].x) == SHARES
    assert list(figure.data[1].y) == [accuracy(0.1, share) for share in SHARES]
    shades = [trace.line.color for trace in figure.data[:-1]]
    assert len(set(shades)) == len(LAMS)
    assert list(figure.data[-1].customdata) == ["0.01", "0.01", "1"]


def test_the_surface_has_a_cell_for_each_member_and_the_line_of_best_ones() -> None:
    figure = section(records()).figures["pruning-surface"]
    cells, line = figure.data
    assert [list(row) for row in cells.z] == [
        [accuracy(lam, share) for lam in LAMS] for share in SHARES
    ]
    assert (list(line.x), list(line.y)) == ([0, 0, 2], [0, 1, 2])
    assert list(figure.layout.xaxis.ticktext) == ["0.01", "0.1", "1", "10"]
    assert list(figure.layout.yaxis.ticktext) == ["0%", "50%", "90%"]
    assert "points below the one of least error rate at this share" in cells.text[2][0]
    assert not cells.reversescale


def test_errors_are_better_when_lower() -> None:
    found = section(records(name="valid/rmse", value=lambda lam, share: 2 - accuracy(lam, share)))
    assert "validation RMSE of 1.030" in found.lead
    cells, line = found.figures["pruning-surface"].data
    assert cells.reversescale
    assert list(line.x) == [0, 0, 2]
    assert found.rows[2][:3] == ["90%", "100", "1"]


def test_criteria_are_compared_when_there_are_several() -> None:
    other = records("prune: magnitude", value=lambda lam, share: accuracy(lam, share) - share / 5)
    found = section([*other, *records()])
    assert "pruned by density" in found.hint
    figure = found.figures["pruning-criteria"]
    assert [trace.name for trace in figure.data] == ["magnitude", "density"]
    assert "pruning-criteria" not in section(records()).figures
    assert "pruned by magnitude" in section(other).hint


def test_the_table_shows_what_was_recorded() -> None:
    rows = [
        *records(),
        *records(name="valid/accuracy_predictive"),
        *records(name="test/accuracy", value=lambda lam, share: 0.5),
    ]
    found = section(rows)
    assert found.headings == [
        "removed",
        "parameters left",
        "best λ",
        "validation",
        "validation, predictive",
        "test",
    ]
    assert found.rows[0] == ["0%", "1\u202f000", "0.01", "97.00%", "97.00%", "50.00%"]
    assert section(records(), n_params=None).rows[0][1] == "–"


def test_little_was_recorded() -> None:
    assert pruning_section([], CONFIG) is None
    assert pruning_section([early("r", "prune", 0.1, 0, 1, "removed", 3, "", 0.5)], CONFIG) is None
    one = section([early("r", "prune", 0.1, 0, 1, "test/accuracy", 0.5, "", 0.5)])
    assert set(one.figures) == {"pruning-curves"}
    assert "test accuracy of 50.00%" in one.lead
    bad = [*records(), early("r", "prune", 5.0, 0, 100, "valid/accuracy", math.nan, "", 0.5)]
    cells = section(bad).figures["pruning-surface"].data[0]
    assert cells.z[1][3] is None


def test_the_page_has_the_section_when_there_is_something_to_say(make_run: MakeRun) -> None:
    plain = render(make_run("plain"))
    assert "What can be removed" not in plain
    page = render(make_run("pruned", records=[*records("prune: <b>magnitude</b>")]))
    assert "What can be removed" in page
    for place in ("pruning-curves", "pruning-surface"):
        assert f'id="{place}"' in page
    assert "pruned by &lt;b&gt;magnitude" in page


@pytest.mark.parametrize("shares", [[0.5], [0.0, 0.333, 0.955]])
def test_shares_are_written_as_briefly_as_they_can(shares: list[float]) -> None:
    rows = [
        early("r", "prune", lam, 0, 1, "valid/accuracy", 0.5, "", share)
        for lam in (0.1, 1.0)
        for share in shares
    ]
    written = [row[0] for row in section(rows).rows]
    assert written == {1: ["50%"], 3: ["0%", "33.3%", "95.5%"]}[len(shares)]
